# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates that are wrong in one chosen way, and OpenSSL as a second opinion."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.pki import authority
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import Authority
from ansible_collections.multimesh.istio.plugins.module_utils.pki.verify import Expectation
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
URI = x509.UniformResourceIdentifier
DNS = x509.DNSName


def root(lifetime: timedelta = 3650 * DAY, key_type: str = "ecdsa-p256", now: datetime = NOW) -> Authority:
    return authority.create_root(lifetime, key_type, now)


def intermediate(
    signer: Authority, trust_domain: str = "east.mesh", key_type: str = "ecdsa-p256", lifetime: timedelta = 90 * DAY
) -> Authority:
    return authority.issue_intermediate(signer, "east", trust_domain, ["svc"], lifetime, key_type, NOW)


def expectation(*roots: Authority, trust_domain: str = "east.mesh") -> Expectation:
    return Expectation(trust_domain, ["svc"], [item.certificate for item in roots])


def key_usage(*, digital_signature: bool = False, key_cert_sign: bool = True, crl_sign: bool = True) -> x509.KeyUsage:
    return x509.KeyUsage(digital_signature, False, False, False, False, key_cert_sign, crl_sign, False, False)


@dataclass(frozen=True)
class Forgery:
    """An intermediate of east as it should be; replace() fields to spoil it.

    extensions: value and criticality by name; None leaves one out.
    """

    key: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    subject: x509.Name | None = None
    serial: int = 4711
    begins: datetime = NOW - timedelta(minutes=5)
    ends: datetime = NOW + 90 * DAY
    hash: hashes.HashAlgorithm | None = field(default_factory=hashes.SHA256)
    extensions: dict[str, tuple[Any, bool] | None] = field(default_factory=dict)

    def with_extension(self, name: str, value: Any, critical: bool = True) -> Forgery:
        return replace(self, extensions={**self.extensions, name: None if value is None else (value, critical)})

    def sign(self, signer: Authority) -> Authority:
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "east mesh CA")])
        own = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        above = signer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        extensions: dict[str, tuple[Any, bool] | None] = {
            "basic": (x509.BasicConstraints(True, 0), True),
            "usage": (key_usage(), True),
            "constraints": (x509.NameConstraints([URI("east.mesh"), DNS("svc")], None), True),
            "names": (x509.SubjectAlternativeName([DNS("istiod.istio-system.svc"), URI("spiffe://east.mesh")]), False),
            "own": (own, False),
            "above": (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(above), False),
            **self.extensions,
        }
        builder = (
            x509.CertificateBuilder()
            .subject_name(name if self.subject is None else self.subject)
            .issuer_name(signer.certificate.subject)
            .public_key(self.key.public_key())
            .serial_number(self.serial)
            .not_valid_before(self.begins)
            .not_valid_after(self.ends)
        )
        for extension in extensions.values():
            if extension is not None:
                builder = builder.add_extension(extension[0], critical=extension[1])
        return Authority(builder.sign(signer.key, self.hash), self.key)


def to_pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)


def openssl_accepts(leaf: x509.Certificate, chain: list[x509.Certificate], when: datetime = NOW) -> bool:
    """Whether ``openssl verify`` takes a leaf; chain as in leaf_rejection: issuer first, root last."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in (("leaf", to_pem(leaf)), ("chain", to_pem(*chain[:-1])), ("root", to_pem(chain[-1]))):
            Path(folder, name).write_bytes(content)
        command = ["openssl", "verify", "-x509_strict", "-no-CApath", "-attime", str(int(when.timestamp()))]
        command += ["-CAfile", "root", "-untrusted", "chain", "leaf"]
        return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0


def openssl_accepts_files(files: Mapping[str, bytes]) -> bool:
    """Whether OpenSSL reads the four files of cacerts as they are and finds the intermediate good."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        verify = "openssl verify -no-CApath -CAfile root-cert.pem -untrusted cert-chain.pem ca-cert.pem"
        commands = [verify, "openssl pkey -in ca-key.pem -noout"]
        results = [subprocess.run(line.split(), cwd=folder, capture_output=True, check=False) for line in commands]
        return not any(result.returncode for result in results)
