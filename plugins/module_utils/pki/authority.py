# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Making certificates: the shared root, one intermediate per mesh, and leaves to try an intermediate with.

Profiles follow RFC 5280 and SPIFFE X509-SVID (section 4, constraints and usage). An intermediate is bound to its mesh
by a critical name constraint: a URI constraint names a host (RFC 5280, 4.2.1.10), which for SPIFFE is the trust domain.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.pki import keys

with contextlib.suppress(ImportError):  # the modules report a missing library
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from ansible_collections.multimesh.istio.plugins.module_utils.pki.keys import PrivateKey, PublicKey

BACKDATE = timedelta(minutes=5)
"""Certificates begin this long before they are made, for clocks that are behind."""

ISTIOD_DNS = "istiod.istio-system.svc"
"""Name of istiod's own certificate, https://istio.io/latest/docs/tasks/security/cert-management/plugin-ca-cert/"""


@dataclass(frozen=True)
class Authority:
    """A CA: its certificate and the private key that goes with it."""

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)


def create_root(lifetime: timedelta, key_type: str, now: datetime) -> Authority:
    """Make a self-signed root.

    Its subject is unique: verifiers that find two roots of one name may try the wrong one.
    """
    key = keys.generate(key_type)
    suffix = secrets.token_hex(4)
    subject = _name(f"Mesh federation root {suffix}")
    key_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    builder = _ca_builder(subject, key.public_key(), subject, key_id, path_length=None)
    builder = builder.not_valid_before(now - BACKDATE).not_valid_after(now + lifetime)
    return Authority(builder.sign(key, keys.signature_hash(key)), key)


def new_request(key_type: str, key: PrivateKey | None = None) -> tuple[PrivateKey, x509.CertificateSigningRequest]:
    """What the CA of a mesh begins with: its key, and the request to sign that key (PKCS #10, RFC 2986).

    key: an existing one instead of a new one of this type.
    The request carries no names: whoever signs gives them.
    """
    key = key or keys.generate(key_type)
    builder = x509.CertificateSigningRequestBuilder().subject_name(_name("mesh CA"))
    return key, builder.sign(key, keys.signature_hash(key))


def requested_key(request: x509.CertificateSigningRequest) -> PublicKey:
    """The public key that a request asks to sign, once its owner has proved to have the private one.

    Raises MultimeshError for a request that is not signed by that key, or a key that is not fit for a CA.
    """
    try:
        public_key, proved = request.public_key(), request.is_signature_valid
    except Exception:  # noqa: BLE001 - the library raises whatever it finds in keys it does not know
        public_key, proved = None, False
    weakness = keys.weakness(public_key)
    if not proved or weakness is not None or not isinstance(public_key, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey)):
        raise MultimeshError(
            f"The certificate signing request {f'asks for {weakness}' if proved else 'is not signed by its own key'}. "
            "Make it anew from the CA's own key."
        )
    return public_key


def sign_intermediate(
    root: Authority,
    public_key: PublicKey,
    mesh: str,
    trust_domain: str,
    dns_domains: Sequence[str],
    lifetime: timedelta,
    now: datetime,
) -> x509.Certificate:
    """Certify the intermediate of one mesh. It never outlives the root.

    dns_domains: DNS names and everything below them that the mesh may sign for; istiod's own name has to be among them.
    Raises MultimeshError when the root is not valid now.
    """
    begins, ends = root.certificate.not_valid_before_utc, root.certificate.not_valid_after_utc
    if not begins <= now < ends:
        raise MultimeshError(
            f"The shared root is valid from {begins:%Y-%m-%d %H:%M} to {ends:%Y-%m-%d %H:%M} UTC and now it is "
            f"{now:%Y-%m-%d %H:%M}, so it can sign nothing. Check this machine's clock, or rotate the root."
        )
    names = x509.SubjectAlternativeName(
        [x509.DNSName(ISTIOD_DNS), x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")]
    )
    constraints = x509.NameConstraints(
        [x509.UniformResourceIdentifier(trust_domain), *(x509.DNSName(domain) for domain in dns_domains)], None
    )
    subject = _name(f"{mesh[:40]} mesh CA {secrets.token_hex(4)}")
    builder = _ca_builder(subject, public_key, root.certificate.subject, _key_id(root), path_length=0)
    builder = builder.add_extension(names, critical=False).add_extension(constraints, critical=True)
    builder = builder.not_valid_before(max(begins, now - BACKDATE)).not_valid_after(min(ends, now + lifetime))
    return builder.sign(root.key, keys.signature_hash(root.key))


def issue_intermediate(
    root: Authority,
    mesh: str,
    trust_domain: str,
    dns_domains: Sequence[str],
    lifetime: timedelta,
    key_type: str,
    now: datetime,
) -> Authority:
    """The same with a new key."""
    key = keys.generate(key_type)
    return Authority(sign_intermediate(root, key.public_key(), mesh, trust_domain, dns_domains, lifetime, now), key)


def issue_leaf(authority: Authority, spiffe_id: str, now: datetime, dns_names: Sequence[str] = ()) -> x509.Certificate:
    """Make a certificate as istiod does for workloads and itself, to try the authority with. Its key is thrown away."""
    key = ec.generate_private_key(ec.SECP256R1())
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return _sign_leaf(authority, key.public_key(), spiffe_id, dns_names, usages, timedelta(hours=1), now)


def sign_server(
    authority: Authority,
    public_key: PublicKey,
    spiffe_id: str,
    dns_names: Sequence[str],
    lifetime: timedelta,
    now: datetime,
) -> x509.Certificate:
    """Certify a server. With this certificate nobody can call anything, and it never outlives the authority."""
    usages = [ExtendedKeyUsageOID.SERVER_AUTH]
    return _sign_leaf(authority, public_key, spiffe_id, dns_names, usages, lifetime, now)


def _sign_leaf(
    authority: Authority,
    public_key: PublicKey,
    spiffe_id: str,
    dns_names: Sequence[str],
    usages: Sequence[x509.ObjectIdentifier],
    lifetime: timedelta,
    now: datetime,
) -> x509.Certificate:
    builder = _builder(x509.Name([]), public_key, authority.certificate.subject, _key_id(authority))
    names = x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier(spiffe_id), *(x509.DNSName(name) for name in dns_names)]
    )
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(names, critical=True)
        .not_valid_before(max(authority.certificate.not_valid_before_utc, now - BACKDATE))
        .not_valid_after(min(authority.certificate.not_valid_after_utc, now + lifetime))
    )
    return builder.sign(authority.key, keys.signature_hash(authority.key))


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "multimesh.istio"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _key_id(issuer: Authority) -> x509.AuthorityKeyIdentifier:
    own = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own.value)


def _builder(
    subject: x509.Name, public_key: PublicKey, issuer: x509.Name, issuer_key_id: x509.AuthorityKeyIdentifier
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(issuer_key_id, critical=False)
    )


def _ca_builder(
    subject: x509.Name,
    public_key: PublicKey,
    issuer: x509.Name,
    issuer_key_id: x509.AuthorityKeyIdentifier,
    path_length: int | None,
) -> x509.CertificateBuilder:
    return (
        _builder(subject, public_key, issuer, issuer_key_id)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
    )


def _key_usage(ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
