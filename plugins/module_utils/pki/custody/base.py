# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every custody of the shared root can do, wherever the root's key is.

A custody keeps one root, or two while the root is being exchanged. It signs what the meshes' CAs ask for and what is
revoked; the key itself never comes out of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError

with contextlib.suppress(ImportError):  # the modules report a missing library
    from cryptography import x509

if TYPE_CHECKING:
    from ansible_collections.multimesh.istio.plugins.module_utils.pki.ledger import Entry


class CustodyError(MultimeshError):
    """The root cannot be read, kept or used, and what to do about it."""


class SignaturePending(CustodyError):
    """Somebody else has to sign first. What they have to do stands in the message; then the run is repeated.

    request: where they find what is to be signed.
    """

    def __init__(self, message: str, request: str) -> None:
        self.request = request
        super().__init__(message)


@dataclass(frozen=True)
class Root:
    """One generation of the shared root, public parts only.

    crl: the newest list of what it has revoked; None where the custody has none (yet).
    """

    certificate: x509.Certificate
    crl: x509.CertificateRevocationList | None = None


@dataclass(frozen=True)
class RootProfile:
    """What a root that is made shall be.

    key_type: one of keys.KEY_TYPES.
    """

    lifetime: timedelta = timedelta(days=3650)
    key_type: str = "ecdsa-p384"


@dataclass(frozen=True)
class IntermediateProfile:
    """What the CA of a mesh shall be; see authority.issue_intermediate.

    dns_domains: DNS names that it may sign for, with everything below them.
    """

    mesh: str
    trust_domain: str
    dns_domains: Sequence[str] = ("svc",)
    lifetime: timedelta = timedelta(days=90)


@dataclass(frozen=True)
class Revocation:
    """A certificate of this root that is not to be believed any more (RFC 5280, 5.3).

    serial: serial number of the certificate.
    date: when it was revoked.
    """

    serial: int
    date: datetime = field(compare=False)


class Custody(Protocol):
    """A place for the root, and whatever signs with its key. Raises CustodyError everywhere.

    place: how messages name it.
    """

    @property
    def place(self) -> str: ...

    def roots(self) -> tuple[Root, ...]:
        """The roots that can sign, oldest first; () if none was ever made here, two during a rotation."""

    def make_root(self, profile: RootProfile, now: datetime, *, beside: str | None = None) -> Root:
        """Make the first root, or with ``beside`` the one that is to follow.

        beside: SHA-256 fingerprint (lower-case hexadecimal) of the root that is to be replaced.
        Idempotent and safe in several processes at once: if the root asked for is there already, it is returned.
        """

    def issue(
        self, root: str, profile: IntermediateProfile, request: x509.CertificateSigningRequest, now: datetime
    ) -> x509.Certificate:
        """Sign the CA of a mesh. Raises SignaturePending when the signature takes somebody else's action.

        root: fingerprint of the root that shall sign.
        request: the public key of the CA and proof that its owner has the private one; names and extensions are made
        from ``profile``, never taken from the request. The caller verifies what it gets.
        """

    def revoke(self, root: str, revocations: Iterable[Revocation], now: datetime) -> Root:
        """Put certificates on the root's list; gives the root with its new list, the same if all were on it."""

    def retire(self, root: str, now: datetime) -> bool:
        """Destroy the key of a root that nobody trusts any more; False if it was gone already.

        Raises CustodyError for the only root.
        """

    def record(self, entries: Sequence[Entry]) -> None:
        """Add to the ledger, in this order, and flush it to where it is kept."""

    def ledger(self) -> tuple[Entry, ...]:
        """The whole ledger, oldest first. Raises CustodyError where it was tampered with."""

    def acquire(self, holder: str, now: datetime, duration: timedelta, *, break_lease: bool = False) -> None:
        """Be the one run that changes CAs, or renew being it.

        holder: names the run for people, the same text in all its tasks.
        break_lease: also while another run is, because it is known to be over.
        Raises CustodyError that names the holder, since when and until when, when another run is the one.
        """

    def release(self, holder: str) -> None:
        """Stop being it; nothing happens if another run is."""
