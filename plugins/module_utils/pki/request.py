# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is asked of the CA of one cluster, and what has become of it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import ISTIOD_DNS
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import IntermediateProfile, RootProfile
from ansible_collections.multimesh.istio.plugins.module_utils.pki.finding import Finding
from ansible_collections.multimesh.istio.plugins.module_utils.pki.ledger import Entry
from ansible_collections.multimesh.istio.plugins.module_utils.pki.transition import Stage

with contextlib.suppress(ImportError):  # the modules report a missing library
    from cryptography import x509

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DNS_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_LONGEST_LIFETIME = timedelta(days=30 * 365)


class RefusedError(MultimeshError):
    """Going on would replace or damage a CA. Nothing was written to the cluster.

    findings: what is wrong with a certificate or the Secret, empty where the reason is another.
    """

    def __init__(self, reason: str, way_out: str, findings: Sequence[Finding] = ()) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join([reason, *(f"  - {finding}" for finding in self.findings), way_out]))


@dataclass(frozen=True)
class Request:
    """What one cluster has to have.

    profile: of its CA. mesh and trust domain are part of it.
    key_type: of a CA that is made, see keys.KEY_TYPES.
    root: of a root that is made.
    run: names this run in leases and in the ledger.
    known_roots: SHA-256 fingerprints (lower-case hexadecimal) of the roots that clusters of this run have in cacerts.
    target: fingerprint of the root that shall be the only one in the end; None for the newest one.
    certificates, crls: public parts that the other meshes of the run handed out, see Outcome.
    replace_revoked: give a revoked mesh a new CA.
    adopt: lead a mesh whose CA is not under the shared root to it, and take over what other field managers own.
    take_over: write what another field manager owns.
    new_issuers: in a check, whether CAs are to be made whose CRLs do not exist yet.
    revocation: whether the mesh holds CRLs.
    successor_of: fingerprint of the root to leave; while it is the only one, prepare makes another one beside it.
    renew_again: have proxies get their certificates anew although that is not pending.
    settle: how long the CRL of a new CA needs to reach every proxy.
    revoke: names of the meshes that shall not be believed any more.
    break_lease: go on although another run holds the lease.
    """

    profile: IntermediateProfile
    key_type: str = "ecdsa-p256"
    root: RootProfile = field(default_factory=RootProfile)
    run: str = "a run without a name"
    known_roots: frozenset[str] = frozenset()
    target: str | None = None
    certificates: Sequence[x509.Certificate] = ()
    crls: Sequence[x509.CertificateRevocationList] = ()
    replace_revoked: bool = False
    adopt: bool = False
    take_over: bool = False
    new_issuers: bool = False
    revocation: bool = True
    successor_of: str | None = None
    renew_again: bool = False
    settle: timedelta = timedelta(minutes=3)
    revoke: Sequence[str] = ()
    break_lease: bool = False

    @property
    def mesh(self) -> str:
        """Name of the mesh."""
        return self.profile.mesh


@dataclass(frozen=True)
class Outcome:
    """What the cluster has now, or would have.

    root, signer, candidate: None where there is none, or where it is still to be made, which only happens in a check.
    stage: on the way to the target root.
    before, after: descriptions for a diff, free of secrets.
    roots: fingerprints of the roots of the custody, oldest first. trusted_roots: of those that the mesh trusts.
    renewal_due: whether the candidate shall sign as soon as it can.
    renewal_pending: whether proxies have yet to get certificates of the CA that signs.
    share_of_life: of the signer's, see transition.
    certificates, crls: public parts that the other meshes need to verify what this one signs.
    held_crls: the lists that the mesh holds.
    ledger: what has happened to roots and CAs, where that was asked for.
    warnings: sentences for the user.
    """

    changed: bool
    root: x509.Certificate | None = None
    signer: x509.Certificate | None = None
    candidate: x509.Certificate | None = None
    stage: Stage = "absent"
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    roots: tuple[str, ...] = ()
    trusted_roots: tuple[str, ...] = ()
    renewal_due: bool = False
    renewal_pending: bool = False
    share_of_life: float = 0.0
    certificates: tuple[x509.Certificate, ...] = ()
    crls: tuple[x509.CertificateRevocationList, ...] = ()
    held_crls: tuple[x509.CertificateRevocationList, ...] = ()
    ledger: tuple[Entry, ...] = ()
    warnings: tuple[str, ...] = ()


def validate(request: Request) -> None:
    """Raises MultimeshError for what no cluster can be asked."""
    domain = request.profile.trust_domain
    if not _DNS_NAME.fullmatch(domain) or len(domain) > 253 or domain == "cluster.local":
        raise MultimeshError(
            f"{request.mesh}: mesh_trust_domain: {domain!r} cannot be a trust domain, expected a lower-case DNS name "
            "of the mesh's own, not cluster.local. Name one such as east.mesh."
        )
    for variable, lifetime in (
        ("root_lifetime_days", request.root.lifetime),
        ("intermediate_lifetime_days", request.profile.lifetime),
    ):
        if not timedelta(0) < lifetime <= _LONGEST_LIFETIME:
            raise MultimeshError(
                f"{request.mesh}: {variable}: {lifetime / timedelta(days=1):g} cannot be used, expected more than 0 "
                f"and at most {_LONGEST_LIFETIME.days}."
            )
    for index, name in enumerate(request.profile.dns_domains):
        if not _DNS_NAME.fullmatch(name):
            raise MultimeshError(
                f"{request.mesh}: permitted_dns_domains[{index}]: {name!r} cannot be used, expected a lower-case DNS "
                "name without a leading dot. Name one such as svc."
            )
    domains = request.profile.dns_domains
    if domains and not any(f".{ISTIOD_DNS}".endswith(f".{name}") for name in domains):
        raise MultimeshError(
            f"{request.mesh}: permitted_dns_domains: {ISTIOD_DNS}, the name of istiod's own certificate, is in none of "
            f"{', '.join(domains)}. Add svc."
        )
