# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What everybody has to hold, and what of it somebody does not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import iso
from ansible_collections.multimesh.istio.plugins.module_utils.rollout.held import Held, Leaf, Trust

BACKDATED = timedelta(minutes=2)
"""istiod's certificates begin this long before they are made (security/pkg/pki/util/generate_cert.go)."""

_SHOWN = 12  # digits of a fingerprint in messages
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_KEY_ID = re.compile(r"([0-9a-f]{2}){1,32}")


@dataclass(frozen=True)
class Wanted:
    """What everybody has to hold.

    roots: SHA-256 fingerprints (lower-case hexadecimal) that must all be trusted.
    only_roots: no other root may be.
    issuer: subject key identifier (hexadecimal) of the CA that must have signed; None for any.
    crls: lowest number of the revocation list that must be held, by key identifier of its CA.
    trust_domain: of the identity that every proxy must have; None for any.
    """

    roots: frozenset[str] = frozenset()
    only_roots: bool = False
    issuer: str | None = None
    crls: Mapping[str, int] = field(default_factory=dict)
    trust_domain: str | None = None

    @classmethod
    def from_options(cls, mesh: str, options: Mapping[str, Any]) -> Wanted:
        """From the options of the module; colons and capitals are fine. Raises MultimeshError."""
        roots = [
            _hexadecimal(mesh, f"roots[{index}]", value, _FINGERPRINT, "a SHA-256 fingerprint, 64 hexadecimal digits")
            for index, value in enumerate(options.get("roots") or [])
        ]
        key_id = "a key identifier in hexadecimal digits"
        issuer = options.get("issuer")
        crls = {
            _hexadecimal(mesh, f"crls[{index}].issuer", entry["issuer"], _KEY_ID, key_id): entry.get("number") or 0
            for index, entry in enumerate(options.get("crls") or [])
        }
        only_roots = bool(options.get("only_roots"))
        if only_roots and not roots:
            raise MultimeshError(f"{mesh}: only_roots: no root at all would be trusted. Name those that are in roots.")
        trust_domain = options.get("trust_domain")
        if not (roots or issuer or crls or trust_domain):
            raise MultimeshError(f"{mesh}: there is nothing to wait for. Give roots, issuer, crls or trust_domain.")
        return cls(
            roots=frozenset(roots),
            only_roots=only_roots,
            issuer=_hexadecimal(mesh, "issuer", issuer, _KEY_ID, key_id) if issuer else None,
            crls=crls,
            trust_domain=trust_domain,
        )

    @property
    def of_reload(self) -> bool:
        """Whether a replica of istiod has to have read Secret ``cacerts`` anew, which its signer does not prove."""
        return bool(self.roots or self.crls)


def lacking(wanted: Wanted, held: Held) -> tuple[str, ...]:
    """What a proxy does not hold, or holds too much; clauses without a full stop, () if all is well."""
    if held.empty:
        return ()
    found: dict[str, None] = {}
    if held.pending:
        found["it waits for a certificate or a trust bundle"] = None
    for trust in held.trusts:
        found.update(dict.fromkeys(_of_trust(wanted, trust)))
    for own in held.leaves:
        found.update(dict.fromkeys(_of_issuer(wanted, own)))
        found.update(dict.fromkeys(_of_identity(wanted, own)))
    return tuple(found)


def lacking_replica(wanted: Wanted, serving: Leaf, written: datetime | None) -> tuple[str, ...]:
    """The same for a replica of istiod.

    What it trusts cannot be read, but it makes itself a new certificate whenever it has accepted what Secret
    ``cacerts`` holds, and only then (pilot/pkg/bootstrap/istio_ca.go, handleEvent).

    serving: the certificate it shows on port 15012.
    written: when ``cacerts`` got the content it has; None when there is no such Secret.
    """
    found = list(_of_issuer(wanted, serving))
    made = serving.not_before + BACKDATED
    if wanted.of_reload and written is not None and made < written:
        found.append(
            f"its own certificate was made {iso(made)}, before cacerts was written {iso(written)}: it has not read "
            "that yet, or refused it, or its clock is behind"
        )
    return tuple(found)


def _of_trust(wanted: Wanted, trust: Trust) -> Iterator[str]:
    missing, foreign = wanted.roots - trust.roots, trust.roots - wanted.roots
    if missing:
        yield f"it does not trust root {_shown(missing)}, only {_shown(trust.roots) or 'none'}"
    if wanted.only_roots and foreign:
        yield f"it still trusts root {_shown(foreign)}"
    numbers = {crl.issuer: crl.number for crl in sorted(trust.crls)}
    absent = wanted.crls.keys() - numbers.keys()
    if absent:
        yield f"it has no revocation list of CA {_shown(absent)}"
    for issuer, number in sorted(wanted.crls.items()):
        if number > numbers.get(issuer, number):
            yield f"its revocation list of CA {issuer[:_SHOWN]} is number {numbers[issuer]}, expected {number}"


def _of_issuer(wanted: Wanted, own: Leaf) -> Iterator[str]:
    if wanted.issuer is not None and own.issuer != wanted.issuer:
        yield f"its certificate is signed by CA {(own.issuer or 'unknown')[:_SHOWN]}, not by {wanted.issuer[:_SHOWN]}"


def _of_identity(wanted: Wanted, own: Leaf) -> Iterator[str]:
    foreign = own.trust_domains - {wanted.trust_domain}
    if wanted.trust_domain is not None and foreign:
        yield f"its identity is of trust domain {', '.join(sorted(foreign))}, expected {wanted.trust_domain}"


def _shown(identifiers: Iterable[str]) -> str:
    return ", ".join(identifier[:_SHOWN] for identifier in sorted(identifiers))


def _hexadecimal(mesh: str, option: str, value: Any, pattern: re.Pattern[str], expected: str) -> str:
    text = str(value).replace(":", "").strip().lower()
    if not pattern.fullmatch(text):
        raise MultimeshError(f"{mesh}: {option}: {value!r} cannot be used, expected {expected}.")
    return text
