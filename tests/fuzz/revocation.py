# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A revocation list before it is signed: every field in its hand, none of them checked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from tests.fuzz import der, keyring
from tests.fuzz.plan import HASHES, ISSUER_ID, Extended, Extension, Plan, algorithm_identifier, moment

NUMBER, REASON, DELTA, POINT = "2.5.29.20", "2.5.29.21", "2.5.29.27", "2.5.29.28"


@dataclass
class Revoked:
    """One entry. Fields of bytes hold whole elements."""

    serial: bytes
    date: bytes
    extensions: list[Extension] = field(default_factory=list)

    def encode(self) -> bytes:
        """The entry's SEQUENCE."""
        extensions = der.sequence(*(extension.encode() for extension in self.extensions)) if self.extensions else b""
        return der.sequence(self.serial, self.date, extensions)


@dataclass
class ListPlan(Extended):
    """What a revocation list says. Fields of bytes hold whole elements.

    signer: the CA whose list it is. issuer: name of it, if not simply that. ends: empty for a list without end.
    reshape: changes the tree of what is signed, before it is.
    """

    signer: Plan
    begins: bytes
    ends: bytes
    extensions: list[Extension]
    entries: list[Revoked] = field(default_factory=list)
    version: bytes = b"\x02\x01\x01"
    issuer: bytes | None = None
    digest: str = "sha256"
    inner: bytes | None = None
    outer: bytes | None = None
    reshape: list[Callable[[der.Node], der.Node]] = field(default_factory=list)

    def sign(self) -> bytes:
        """The list, signed."""
        algorithm = algorithm_identifier(self.signer.key, self.digest)
        content = der.sequence(
            self.version,
            self.inner or algorithm,
            self.signer.subject if self.issuer is None else self.issuer,
            self.begins,
            self.ends,
            der.sequence(*(entry.encode() for entry in self.entries)) if self.entries else b"",
            der.wrap(0xA0, der.sequence(*(extension.encode() for extension in self.extensions)))
            if self.extensions
            else b"",
        )
        for change in self.reshape:
            # What is odd already may be no tree, or have nothing left to change.
            with contextlib.suppress(der.MalformedDer, IndexError):
                content = change(der.parse(content)).encode()
        signature = keyring.sign(self.signer.key, content, HASHES[self.digest])
        return der.sequence(content, self.outer or algorithm, der.bits(signature))


def revocation_list(signer: Plan, begins: datetime, ends: datetime) -> ListPlan:
    """The good, empty list of a CA."""
    reference = der.sequence(der.wrap(0x80, signer.own_id))
    extensions = [Extension(ISSUER_ID, reference), Extension(NUMBER, der.integer(3))]
    return ListPlan(signer, moment(begins), moment(ends), extensions)
