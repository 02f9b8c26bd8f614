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
``sign``    the same                                              the candidate, under the target
``done``    the target alone                                      under the target
==========  ====================================================  =====================================

istiod takes a changed root-cert.pem only if its certificates are all of those it had or some of them (its multi-root
mode), and passes it on to the proxies when its bytes differ. Hence roots are appended.

A proxy gets its certificate anew when half its life is over, or at once when those bytes change. So when nothing signed
by the old CA may be left, ``renew`` writes the last root once more, or takes it out where it is there twice. That is a
write of its own, to be made when every replica of istiod has the new signer: together with it, a proxy's request may
reach a replica that has not read it yet, and the proxy would keep for half a day what the old CA signs. Until then
the Secret holds a file RENEWAL_PENDING.
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
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import fingerprint, key_id, signed_by
from ansible_collections.multimesh.istio.plugins.module_utils.pki.verify import certificates

with contextlib.suppress(ImportError):  # the modules report a missing library
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

Files = Mapping[str, bytes]
Stage = Literal["absent", "other", "trust", "sign", "done"]

STAGES: tuple[Stage, ...] = ("absent", "other", "trust", "sign", "done")
"""In the order in which a mesh goes through them."""

RENEWAL_PENDING = "renewal-pending"
"""File of Secret cacerts with the key identifier of the CA whose certificates the proxies have yet to get."""

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


def sign(files: Files, successor: Authority, root: x509.Certificate, *, renewal: bool) -> Files:
    """Make the successor the signer.

    root: the root that issued it; trusted already.
    renewal: whether certificates that the old signer has signed have to be renewed before their time.
    """
    ca = bundle.certificate_pem(successor.certificate)
    signed = {
        **files,
        bundle.CA_CERT: ca,
        bundle.CA_KEY: keys.private_pem(successor.key, passphrase=None),
        bundle.CERT_CHAIN: ca + bundle.certificate_pem(root),
    }
    return signed | {RENEWAL_PENDING: (key_id(successor.certificate) or "").encode()} if renewal else signed


def is_renewal_pending(files: Files) -> bool:
    """Whether proxies may have certificates that nobody will believe soon."""
    return RENEWAL_PENDING in files


def renew(files: Files) -> Files:
    """Change the bytes of root-cert.pem, and nothing that they mean, so that every proxy gets its certificate anew."""
    known = files[bundle.ROOT_CERT]
    trusted = certificates(known)
    if trusted[-1] in trusted[:-1]:
        known = b"".join(map(bundle.certificate_pem, trusted[:-1]))
    else:
        known = _ended(known) + bundle.certificate_pem(trusted[-1])
    rest = {name: content for name, content in files.items() if name != RENEWAL_PENDING}
    return {**rest, bundle.ROOT_CERT: known}


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
