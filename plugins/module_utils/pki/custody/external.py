# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all custodies share whose key is not ours: what is asked for, whether that came back, what is recorded of it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ansible_collections.multimesh.istio.plugins.module_utils.pki import keys
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import ISTIOD_DNS
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import IntermediateProfile, Revocation
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.journal import Journal
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import fingerprint
from ansible_collections.multimesh.istio.plugins.module_utils.pki.finding import Finding
from ansible_collections.multimesh.istio.plugins.module_utils.pki.ledger import Action, Entry
from ansible_collections.multimesh.istio.plugins.module_utils.pki.verify import Expectation, intermediate_findings

with contextlib.suppress(ImportError):  # the modules report a missing library
    from cryptography import x509
    from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from ansible_collections.multimesh.istio.plugins.module_utils.pki.keys import PrivateKey, PublicKey

ORGANIZATION = "multimesh.istio"

ROUNDED = timedelta(days=1)
"""Programs that count lifetimes in whole days may go this far beyond what was asked for."""


def common_name(profile: IntermediateProfile, public_key: PublicKey) -> str:
    """Names the CA of a mesh: the same for one key, another one for each key.

    Verifiers look for issuers and their revocation lists by name, so no two CAs may have the same.
    """
    return f"{profile.mesh[:40]} mesh CA {key_id(public_key)}"


def key_id(public_key: PublicKey) -> str:
    """Eight hexadecimal digits that tell keys apart for people; not a fingerprint to rely on."""
    return hashlib.sha256(keys.public_der(public_key)).hexdigest()[:8]


def uri(profile: IntermediateProfile) -> str:
    """Alternative name of kind URI; the one of kind DNS is authority.ISTIOD_DNS."""
    return f"spiffe://{profile.trust_domain}"


def name_constraints(profile: IntermediateProfile) -> x509.NameConstraints:
    """What binds the CA to its mesh; it has to be critical.

    A URI constraint names a host, not a URI (RFC 5280, 4.2.1.10).
    """
    return x509.NameConstraints(
        [x509.UniformResourceIdentifier(profile.trust_domain), *map(x509.DNSName, profile.dns_domains)], None
    )


def request(key: PrivateKey, profile: IntermediateProfile) -> x509.CertificateSigningRequest:
    """A request that asks for all of it itself, for signers that take names and extensions from nowhere else."""
    usage = x509.KeyUsage(
        False, False, False, False, False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False
    )
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name(profile, key.public_key())),
        ]
    )
    names = x509.SubjectAlternativeName([x509.DNSName(ISTIOD_DNS), x509.UniformResourceIdentifier(uri(profile))])
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(name_constraints(profile), critical=True)
        .add_extension(names, critical=False)
        .sign(key, keys.signature_hash(key))
    )


def findings(
    certificate: x509.Certificate,
    public_key: PublicKey,
    profile: IntermediateProfile,
    root: x509.Certificate,
    where: str,
    now: datetime,
) -> tuple[Finding, ...]:
    """Everything in which a certificate differs from what was asked for; nothing if it can be used.

    where: how findings name the certificate.
    """
    expected = Expectation(profile.trust_domain, profile.dns_domains, [root])
    return (
        *_key_and_life(certificate, public_key, profile, where),
        *intermediate_findings(certificate, where, expected, now),
    )


def _key_and_life(
    certificate: x509.Certificate, public_key: PublicKey, profile: IntermediateProfile, where: str
) -> Iterator[Finding]:
    if certificate.public_key() != public_key:
        yield Finding("key-mismatch", where, "its key is not the one of the request")
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    if life > profile.lifetime + ROUNDED:
        days = timedelta(days=1)
        yield Finding(
            "lifetime", where, f"it lives for {life / days:.1f} days, expected at most {profile.lifetime / days:.1f}"
        )


class ExternalRoots(Journal):
    """Records what others did, the first time that it is seen here."""

    def record_root(self, root: x509.Certificate, action: Action, now: datetime, note: str = "") -> None:
        """action: root-made, root-taken-over or root-retired. Of those that begin a root only the first counts."""
        own = fingerprint(root)
        known = {entry.action for entry in self.ledger() if entry.fingerprint == own and entry.action in _ROOT}
        if action not in known and (action == "root-retired" or not known):
            self.record([Entry.of(root, action, time=now, run=self.holder, note=note)])

    def record_issue(
        self, root: x509.Certificate, certificate: x509.Certificate, profile: IntermediateProfile, now: datetime
    ) -> None:
        """The CA of a mesh was signed."""
        entry = Entry.of(
            certificate,
            "ca-issued",
            time=now,
            run=self.holder,
            mesh=profile.mesh,
            trust_domain=profile.trust_domain,
            issuer=fingerprint(root),
        )
        self.record([entry])

    def record_revocations(self, root: str, revocations: Iterable[Revocation]) -> None:
        """These are on the list of this root."""
        self.record([self._revocation(root, one) for one in revocations])

    def issued(self, root: str, serial: int) -> Entry | None:
        """The entry of a CA that this root signed."""
        shown = f"{serial:x}"
        for entry in self.ledger():
            if entry.action == "ca-issued" and entry.serial == shown and entry.issuer == root:
                return entry
        return None

    def _revocation(self, root: str, one: Revocation) -> Entry:
        entry = self.issued(root, one.serial)
        if entry is None:
            return Entry(one.date, "ca-revoked", serial=f"{one.serial:x}", issuer=root, run=self.holder)
        return replace(entry, action="ca-revoked", time=one.date, run=self.holder, note="")


_ROOT = ("root-made", "root-taken-over", "root-retired")
