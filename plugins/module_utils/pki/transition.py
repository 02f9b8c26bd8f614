# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""From one CA of a mesh to the next: what Secret ``cacerts`` holds after each step, and which step a mesh has reached.

A renewal, the rotation of the root, its way back and the adoption of a mesh that had another root are the same steps
towards a *target*: the root that shall be the only one in the end.

==========  ====================================================  =====================================
stage       root-cert.pem                                         signer
==========  ====================================================  =====================================
``other``   the target is not in it                               under another root
``trust``   what it was, then the target                          under another root
``sign``    the same, then the target once more                   the candidate, under the target
``done``    the target alone                                      under the target
==========  ====================================================  =====================================

istiod takes a changed root-cert.pem only if it holds all of the old one or is held by it (its multi-root mode), and
passes it on to the proxies when its bytes differ. Hence roots are appended, and the target is there twice once the
signer is new: with those bytes every proxy gets its certificate anew from the new signer at once, and not when half
its life is over.
Source: istio/istio, pilot/pkg/bootstrap/istio_ca.go, and tests/integration/security/cacert_rotation.

Stages are read out of certificates. Nothing else remembers them, so a run that was killed is gone on with by any other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ansible_collections.multimesh.istio.plugins.module_utils.pki import bundle, crl, keys
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import Authority
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import fingerprint, signed_by
from ansible_collections.multimesh.istio.plugins.module_utils.pki.verify import certificates

with contextlib.suppress(ImportError):  # the modules report a missing library
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

Files = Mapping[str, bytes]
Stage = Literal["absent", "other", "trust", "sign", "done"]

STAGES: tuple[Stage, ...] = ("absent", "other", "trust", "sign", "done")
"""In the order in which a mesh goes through them."""

PREPARE_AT = 1 / 2
"""Share of its life after which a CA's successor is prepared, so that its CRL is everywhere long before it signs."""

RENEW_AT = 2 / 3
"""Share of its life after which a CA is succeeded."""


@dataclass(frozen=True)
class State:
    """What the certificates in Secret ``cacerts`` say.

    signer: the CA of the mesh; None without a (readable) one.
    roots: distinct roots it trusts, in their order.
    """

    signer: x509.Certificate | None
    roots: tuple[x509.Certificate, ...]

    @classmethod
    def of(cls, files: Files) -> State:
        """Read what can be read; whether it is any good is for verify_bundle to say."""
        signers = certificates(files.get(bundle.CA_CERT, b""))
        roots = {fingerprint(root): root for root in certificates(files.get(bundle.ROOT_CERT, b""))}
        return cls(signers[0] if signers else None, tuple(roots.values()))

    def stage(self, target: x509.Certificate) -> Stage:
        """How far this mesh is on the way to the target."""
        if self.signer is None:
            return "absent"
        trusts = target in self.roots
        if signed_by(self.signer, target) and trusts:
            return "done" if self.roots == (target,) else "sign"
        return "trust" if trusts else "other"


def trust(files: Files, roots: Iterable[x509.Certificate], crls: Sequence[x509.CertificateRevocationList]) -> Files:
    """Trust these roots too, and hold these CRLs.

    crls: every list that peers need, of all roots and all meshes; () leaves the mesh without any.
    The bytes of what is there are kept; lists that say the same as those there change nothing.
    """
    known = files[bundle.ROOT_CERT]
    present = certificates(known)
    added = b"".join(bundle.certificate_pem(root) for root in roots if root not in present)
    return _with_crls({**files, bundle.ROOT_CERT: _ended(known) + added if added else known}, crls)


def sign(files: Files, successor: Authority, root: x509.Certificate) -> Files:
    """Make the successor the signer.

    root: the root that issued it; trusted already. The bytes of root-cert.pem change in any case, so that every proxy
    gets its certificate anew: the root is added once more, or taken out once where it was there twice.
    """
    known = files[bundle.ROOT_CERT]
    trusted = certificates(known)
    ca, own = bundle.certificate_pem(successor.certificate), bundle.certificate_pem(root)
    if trusted.count(root) > 1:
        last = len(trusted) - 1 - trusted[::-1].index(root)
        rest = [one for position, one in enumerate(trusted) if position != last]
        bundled = b"".join(bundle.certificate_pem(one) for one in rest)
    else:
        bundled = _ended(known) + own
    return {
        **files,
        bundle.CA_CERT: ca,
        bundle.CA_KEY: keys.private_pem(successor.key, passphrase=None),
        bundle.CERT_CHAIN: ca + own,
        bundle.ROOT_CERT: bundled,
    }


def untrust(files: Files, root: x509.Certificate, crls: Sequence[x509.CertificateRevocationList]) -> Files:
    """Trust this root alone. crls: as for trust."""
    return _with_crls({**files, bundle.ROOT_CERT: bundle.certificate_pem(root)}, crls)


def share_of_life(certificate: x509.Certificate, now: datetime) -> float:
    """0 when it begins, 1 when it ends."""
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return (now - begins) / (ends - begins)


def _with_crls(files: Mapping[str, bytes], crls: Sequence[x509.CertificateRevocationList]) -> Files:
    held = crl.read(files.get(bundle.CA_CRL, b""))
    if {_der(one) for one in held} == {_der(one) for one in crls}:
        return files
    rest = {name: content for name, content in files.items() if name != bundle.CA_CRL}
    return {**rest, bundle.CA_CRL: crl.pem(crls)} if crls else rest


def _der(one: x509.CertificateRevocationList) -> bytes:
    return one.public_bytes(serialization.Encoding.DER)


def _ended(content: bytes) -> bytes:
    return content if content.endswith(b"\n") else content + b"\n"
