# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a cluster and a custody have to be before anything is done to them. Everything here refuses, or lets pass."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import datetime

from ansible_collections.multimesh.istio.plugins.module_utils.pki import bundle, crl, transition
from ansible_collections.multimesh.istio.plugins.module_utils.pki.cacerts import NAMESPACE, SECRET, SELF_SIGNED
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import Root
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import fingerprint, signed_by
from ansible_collections.multimesh.istio.plugins.module_utils.pki.finding import Finding
from ansible_collections.multimesh.istio.plugins.module_utils.pki.request import RefusedError, Request
from ansible_collections.multimesh.istio.plugins.module_utils.pki.transition import Files, State
from ansible_collections.multimesh.istio.plugins.module_utils.pki.verify import (
    Expectation,
    certificates,
    root_findings,
    verify_bundle,
)

with contextlib.suppress(ImportError):  # the modules report a missing library
    from cryptography import x509

ROTATE = "Run playbook multimesh.istio.rotate_root_ca, which takes the steps in their order."
_RESTORE = (
    "Restore that place from its backup, or name the right one in the variables of role multimesh.istio.shared_root_ca."
)
_LEFT_BEHIND = frozenset({"foreign-root", "shared-root-missing", "name-constraint"})
"""What may be wrong with an adopted mesh once its CA is under the shared root, beside all that is about old roots."""
_BROKEN = frozenset(
    {
        "missing-file",
        "malformed-pem",
        "not-a-certificate",
        "unreadable-certificate",
        "encrypted-key",
        "key-mismatch",
        "not-a-ca",
        "not-yet-valid",
        "expired",
        "tls-layout",
        "istio-generated",
    }
)
"""Before that, all that a mesh lives with is fine, but for what istiod cannot work with."""


def expectation(request: Request, roots: Sequence[Root]) -> Expectation:
    """What the bundle of the mesh has to be under these roots."""
    return Expectation(request.profile.trust_domain, request.profile.dns_domains, [root.certificate for root in roots])


def fit_roots(roots: Sequence[Root], place: str, mesh: str, now: datetime) -> None:
    """Refuse roots that cannot be the shared root (any more)."""
    findings = [finding for root in roots for finding in root_findings(root.certificate, place, now)]
    if findings:
        raise RefusedError(
            f"{mesh}: the shared root cannot be used:",
            "Nothing was written. Check this machine's clock, or restore the root from its backup.",
            findings,
        )


def own_ca(request: Request, files: Files) -> None:
    """Refuse to plug in what is no CA."""
    if not request.adopt:
        raise RefusedError(
            f"{request.mesh}: adopt: expected true to take over a CA that istiod has made for itself.",
            "Nothing was written. Playbook multimesh.istio.adopt takes the steps in their order.",
        )
    if not files:
        raise RefusedError(
            f"{request.mesh}: this cluster has no CA, neither Secret {NAMESPACE}/{SECRET} nor {SELF_SIGNED}.",
            "Nothing was written. A mesh that does not exist yet is made by playbook multimesh.istio.site. One whose "
            "certificates are signed by something else than istiod cannot be adopted.",
        )


def target(request: Request, roots: Sequence[Root], place: str) -> Root:
    """The root that shall be the only one in the end: the one asked for, else the newest."""
    if not roots:
        raise RefusedError(
            f"{request.mesh}: {place} holds no root.",
            "Nothing was written. Run playbook multimesh.istio.site first, or name the right place of the root.",
        )
    for root in roots:
        if fingerprint(root.certificate) == request.target:
            return root
    if request.target is not None:
        held = ", ".join(fingerprint(root.certificate) for root in roots)
        raise RefusedError(
            f"{request.mesh}: target_root: {request.target} is no root of {place}, which holds {held}.",
            "Nothing was written. Name one of those.",
        )
    return roots[-1]


def first_ca(request: Request, roots: Sequence[Root], place: str, *, self_signed: bool) -> None:
    """Refuse to give a mesh its first CA where that would part it from others, or its workloads from each other.

    self_signed: whether istiod of the cluster has made a CA of its own.
    """
    if self_signed:
        raise RefusedError(
            f"{request.mesh}: istiod of this cluster has made a CA of its own (Secret {NAMESPACE}/{SELF_SIGNED}), and "
            f"there is no Secret {SECRET}. Writing one would part running workloads from those that start later.",
            f"If nothing runs in the mesh yet, uninstall istiod, delete Secret {SELF_SIGNED} and run again. "
            "Otherwise playbook multimesh.istio.adopt leads the mesh to the shared root.",
        )
    prints = [fingerprint(root.certificate) for root in roots]
    if request.known_roots and not request.known_roots.intersection(prints):
        found = f"another one, SHA-256 {', '.join(prints)}" if prints else "no root"
        raise RefusedError(
            f"{request.mesh}: clusters of this run have a CA under a root with SHA-256 "
            f"{', '.join(sorted(request.known_roots))}, and {place} holds {found}. A mesh under another root could "
            "call none of them.",
            f"{_RESTORE} Clusters whose CA is not one of this collection have to be left out of the run.",
        )
    if len(roots) > 1:
        raise RefusedError(
            f"{request.mesh}: it has no CA yet, and the root is being exchanged.",
            "Nothing was written. Run playbook multimesh.istio.rotate_root_ca to its end, then this one again.",
        )


def existing(request: Request, files: Files, roots: Sequence[Root], place: str, now: datetime) -> None:
    """Refuse a Secret cacerts that is not good as it is."""
    if not files:
        raise RefusedError(
            f"{request.mesh}: Secret {NAMESPACE}/{SECRET} is missing or empty.",
            "Nothing was written. Run playbook multimesh.istio.site first.",
        )
    if not roots:
        trusted = certificates(files.get(bundle.ROOT_CERT, b""))
        shown = ", ".join(fingerprint(certificate) for certificate in trusted) or "unreadable"
        raise RefusedError(
            f"{request.mesh}: Secret {NAMESPACE}/{SECRET} is there (SHA-256 of its root: {shown}), but {place} holds "
            "no root.",
            f"No second root is made. {_RESTORE} If this CA is not one of this collection, leave the cluster out of "
            "the run.",
            verify_bundle(files, Expectation(request.profile.trust_domain, request.profile.dns_domains, trusted), now),
        )
    signer = State.of(files).signer
    tolerated = {"signer-revoked"} if request.replace_revoked else set()
    if signer is not None and is_revoked(signer, roots) and not request.replace_revoked:
        raise RefusedError(
            f"{request.mesh}: the CA of this mesh is revoked (serial {signer.serial_number:x}).",
            "Nothing was written. To give the mesh a new CA, which the others believe again, run with "
            "shared_root_ca_replace_revoked=true. To leave it cut off, take it out of the run.",
        )
    _refuse(
        request, files, roots, now, tolerated,
        f"{request.mesh}: Secret {NAMESPACE}/{SECRET} is not a good CA under the shared root:",
        "Nothing was written. If the root is foreign or the trust domain another one, check that the place of the root "
        "and mesh_trust_domain are those of this mesh. If nothing runs in the mesh yet, delete the Secret and run "
        "again. A CA under another root is led to the shared one by playbook multimesh.istio.adopt.",
    )  # fmt: skip


def planned(request: Request, files: Files, roots: Sequence[Root], now: datetime) -> None:
    """Refuse to write what would not work."""
    _refuse(
        request, files, roots, now, set(),
        f"{request.mesh}: what was to be written to Secret {NAMESPACE}/{SECRET} would not work:",
        "Nothing was written to it. Check permitted_dns_domains and the root.",
    )  # fmt: skip


def may_sign(request: Request, files: Files, candidate: x509.Certificate, root: Root) -> None:
    """Refuse to let a candidate sign that this very mesh would not believe."""
    if root.certificate not in State.of(files).roots:
        raise RefusedError(
            f"{request.mesh}: its candidate is under a root that the mesh does not trust yet.",
            f"Nothing was written. {ROTATE}",
        )
    lists = crl.read(files.get(bundle.CA_CRL, b""))
    if lists and not any(crl.issued_by(one, candidate) for one in lists):
        raise RefusedError(
            f"{request.mesh}: the CRL of its candidate is not in {bundle.CA_CRL} yet, so peers would refuse what it "
            "signs.",
            "Nothing was written. Run the playbook again: that list is distributed first.",
        )


def may_untrust(request: Request, stage: transition.Stage, files: Files) -> None:
    """Refuse to take a root away from a mesh whose CA, or certificates that it signed, may be under it."""
    if stage not in ("sign", "done"):
        raise RefusedError(
            f"{request.mesh}: its CA is not under the root that shall be the only one (stage {stage}).",
            f"Nothing was written. {ROTATE}",
        )
    if transition.is_renewal_pending(files):
        raise RefusedError(
            f"{request.mesh}: its proxies may still have certificates of the CA before this one.",
            f"Nothing was written. {ROTATE}",
        )


def is_revoked(certificate: x509.Certificate, roots: Sequence[Root]) -> bool:
    """Whether a root has put this certificate on its list."""
    return any(
        root.crl is not None
        and signed_by(certificate, root.certificate)
        and certificate.serial_number in crl.revoked(root.crl)
        for root in roots
    )


def _refuse(
    request: Request, files: Files, roots: Sequence[Root], now: datetime, tolerated: set[str], reason: str, way_out: str
) -> None:
    found = verify_bundle(files, expectation(request, roots), now)
    findings = [one for one in found if one.name not in tolerated]
    if request.adopt:
        signer = State.of(files).signer
        arrived = signer is not None and any(signed_by(signer, root.certificate) for root in roots)
        findings = [one for one in findings if one.name in _BROKEN or (arrived and not _is_left_behind(one))]
    if findings:
        raise RefusedError(reason, way_out, findings)


def _is_left_behind(finding: Finding) -> bool:
    return finding.name in _LEFT_BEHIND or finding.where == bundle.ROOT_CERT
