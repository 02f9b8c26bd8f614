# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates and keys of one Kubernetes cluster (kubernetes.io: PKI certificates and requirements)."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.lab.addresses import SERVICE_CIDR

LIFETIME = datetime.timedelta(days=365)
_SLACK = datetime.timedelta(hours=1)


@dataclass(frozen=True)
class Credential:
    """A certificate and its private key, both PEM."""

    certificate: str
    key: str


class Authority:
    """A new certificate authority with a key of its own; the key lives as long as this object and `credential`."""

    def __init__(self, common_name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        builder = (
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
        )
        self.credential = _credential(builder.sign(self._key, hashes.SHA256()), self._key)

    def issue(self, common_name: str, groups: Sequence[str] = (), serves: Sequence[str] = ()) -> Credential:
        """A client certificate; with `serves` (addresses and DNS names) a server certificate as well.

        Kubernetes reads `common_name` as the user and `groups` (the organizations) as its groups.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if serves else [])]
        builder = (
            _builder(subject, self._name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if serves:
            names = x509.SubjectAlternativeName([_general_name(name) for name in serves])
            builder = builder.add_extension(names, critical=False)
        return _credential(builder.sign(self._key, hashes.SHA256()), key)


def cluster_files(mesh: str, address: str) -> dict[str, str]:
    """All certificates and keys of the cluster `mesh` whose node has `address`, by file name."""
    authority = Authority(f"{mesh} cluster")
    masters = ["system:masters"]
    issued = {
        "ca": authority.credential,
        "apiserver": authority.issue("kube-apiserver", serves=api_server_names(mesh, address)),
        "apiserver-kubelet-client": authority.issue("kube-apiserver-kubelet-client", masters),
        "front-proxy-client": authority.issue("front-proxy-client"),
        "admin": authority.issue("admin", masters),
        "load-balancer": authority.issue("load-balancer", masters),
        "kube-controller-manager": authority.issue("system:kube-controller-manager"),
        "kube-scheduler": authority.issue("system:kube-scheduler"),
        "kube-proxy": authority.issue("system:kube-proxy"),
        "kubelet": authority.issue(f"system:node:{mesh}", ["system:nodes"], serves=[mesh, address]),
    }
    files = {}
    for name, credential in issued.items():
        files[f"{name}.crt"] = credential.certificate
        files[f"{name}.key"] = credential.key
    signer = ec.generate_private_key(ec.SECP256R1())
    files["service-accounts.key"] = _pem(signer)
    public = signer.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    files["service-accounts.pub"] = public.decode()
    return files


def api_server_names(mesh: str, address: str) -> list[str]:
    """Everything an API server is called by: from the host, on its node, and from pods."""
    service = "kubernetes.default.svc.cluster.local"
    labels = service.split(".")
    inside = [".".join(labels[:count]) for count in (1, 2, 3, 5)]
    return [address, "127.0.0.1", str(SERVICE_CIDR[1]), "localhost", mesh, *inside]


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLACK)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        address = ip_address(name)
    except ValueError:
        return x509.DNSName(name)
    return x509.IPAddress(IPv4Address(address))


def _credential(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Credential:
    return Credential(certificate.public_bytes(serialization.Encoding.PEM).decode(), _pem(key))


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
