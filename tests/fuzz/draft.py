# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A bundle on its way from a good federation to spoiled files, stage by stage."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum

from ansible_collections.multimesh.istio.plugins.module_utils.pki import pem
from ansible_collections.multimesh.istio.plugins.module_utils.pki.bundle import (
    CA_CERT,
    CA_CRL,
    CA_KEY,
    CERT_CHAIN,
    ROOT_CERT,
)

from tests.fuzz import keyring
from tests.fuzz.keyring import Key, Keyring
from tests.fuzz.plan import Plan, authority
from tests.fuzz.revocation import ListPlan, revocation_list

TRUST_DOMAIN = "east.mesh"
DNS_DOMAINS = ("svc",)
DAY = timedelta(days=1)


class Stage(IntEnum):
    """What of a draft is changed when."""

    FIELDS = 1
    """What the certificates say; they are signed afterwards, so the signatures are good."""
    ENCODING = 2
    """The bytes of certificates and of the key."""
    BLOCKS = 3
    """Which of them are in which file."""
    TEXT = 4
    """The files."""


@dataclass(frozen=True)
class Block:
    """One PEM block of a file."""

    label: str
    der: bytes


@dataclass
class Draft:
    """Everything a mutator may change; each looks at what its stage is about.

    plans: FIELDS, the certificates to be made: "root" and "ca". more_roots: other roots of the federation, trusted
    beside it. lists: changes to revocation lists, by number; None if there are no lists.
    encoded: ENCODING, "root", "ca", "key", and "list 0" and so on. blocks: BLOCKS, by file. files: TEXT.
    federation: the roots that the federation is expected to have, encoded.
    """

    rng: random.Random
    keys: Keyring
    now: datetime
    plans: dict[str, Plan]
    more_roots: list[Plan] = field(default_factory=list)
    lists: list[tuple[int, Callable[[ListPlan], None]]] | None = None
    encoded: dict[str, bytes] = field(default_factory=dict)
    federation: list[bytes] = field(default_factory=list)
    blocks: dict[str, list[Block]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def foreign(self, trust_domain: str | None = None) -> Plan:
        """A CA that has nothing to do with the federation; a root unless there is a trust domain."""
        name = f"foreign {self.rng.randrange(4)}"
        return authority(self.keys.get("p256", name), name, self.now - DAY, self.now + 3000 * DAY, trust_domain)

    def key(self) -> Key:
        """The key of the intermediate."""
        return self.plans["ca"].key

    def sign(self) -> None:
        """From FIELDS to ENCODING."""
        root, ca = self.plans["root"], self.plans["ca"]
        signed = root.sign(root)
        self.encoded = {"root": signed, "ca": ca.sign(root), "key": keyring.private_der(self.key())}
        self.federation = [signed, *(plan.sign(plan) for plan in self.more_roots)]
        if self.lists is not None:
            plans = [revocation_list(one, self.now - DAY / 2, self.now + 80 * DAY) for one in self._listed()]
            for number, change in self.lists:
                change(plans[number % len(plans)])
            self.encoded |= {f"list {number}": plan.sign() for number, plan in enumerate(plans)}

    def _listed(self) -> list[Plan]:
        """CAs that have a list: the roots, this mesh's, another mesh's."""
        return [self.plans["root"], self.plans["ca"], *self.more_roots, self.foreign("west.mesh")]

    def arrange(self) -> None:
        """From ENCODING to BLOCKS."""
        root, ca = (Block("CERTIFICATE", self.encoded[name]) for name in ("root", "ca"))
        if self.rng.random() < 0.8:  # otherwise the custody has the root as it was signed
            self.federation[0] = root.der
        roots = [root, *(Block("CERTIFICATE", other) for other in self.federation[1:])]
        self.rng.shuffle(roots)
        self.rng.shuffle(self.federation)
        self.blocks = {
            CA_CERT: [ca],
            CA_KEY: [Block("PRIVATE KEY", self.encoded["key"])],
            CERT_CHAIN: [ca, root],
            ROOT_CERT: roots,
        }
        if self.lists is not None:
            names = sorted(name for name in self.encoded if name.startswith("list "))
            self.blocks[CA_CRL] = [Block("X509 CRL", self.encoded[name]) for name in names]

    def write(self) -> None:
        """From BLOCKS to TEXT."""
        self.files = {
            name: b"".join(pem.write(block.label, block.der) for block in blocks)
            for name, blocks in self.blocks.items()
        }


@dataclass(frozen=True)
class Case:
    """A spoiled bundle, and of which federation it claims to be.

    federation: the federation's roots, DER. mutators: what was done, in this order.
    """

    seed: int
    index: int
    now: datetime
    mutators: Sequence[str]
    files: Mapping[str, bytes]
    federation: Sequence[bytes]


def good(rng: random.Random, keys: Keyring, now: datetime) -> Draft:
    """A federation without a flaw: one root or two, kinds of keys that are allowed."""

    def key(name: str, rsa: float = 5) -> Key:
        kinds = ("p256", "p384", "p521", "rsa-2048", "rsa-3072")
        return keys.get(rng.choices(kinds, (80, 8, 4, rsa, rsa / 4))[0], name)

    root = authority(key("root"), "Mesh federation root 1", now - 30 * DAY, now + 3000 * DAY, None)
    # Reading a private RSA key takes a hundred times as long as all the rest.
    ca = authority(key("ca", rsa=1), "east mesh CA 1", now - DAY, now + 90 * DAY, TRUST_DOMAIN, DNS_DOMAINS)
    more = []
    if rng.random() < 0.2:
        more.append(authority(key("root 2"), "Mesh federation root 2", now - DAY, now + 3600 * DAY, None))
    return Draft(rng, keys, now, {"root": root, "ca": ca}, more, [] if rng.random() < 0.35 else None)
