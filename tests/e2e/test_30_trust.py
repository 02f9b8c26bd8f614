# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stolen mesh CA cannot speak for another mesh."""

from __future__ import annotations

import base64
import datetime
import itertools
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.e2e.scenario import MESHES, NAMESPACE

REQUEST = b"GET /forged HTTP/1.1\r\nHost: greeter\r\nConnection: close\r\n\r\n"


def leaf(secret: dict[str, str], identity: str, folder: Path) -> ssl.SSLContext:
    """A client that shows a fresh leaf for this identity, signed with the CA in a cacerts Secret."""
    data = {name: base64.b64decode(value) for name, value in secret.items()}
    ca = x509.load_pem_x509_certificate(data["ca-cert.pem"])
    ca_key = serialization.load_pem_private_key(data["ca-key.pem"], None)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=2))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)]), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.OID_CLIENT_AUTH, x509.OID_SERVER_AUTH]), critical=False)
        .add_extension(x509.KeyUsage(True, False, True, False, False, False, False, False, False), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    chain, private = folder / "leaf.pem", folder / "leaf.key"
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + data["cert-chain.pem"])
    private.touch(mode=0o600)
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["istio"])
    context.load_cert_chain(chain, private)
    return context


@pytest.mark.parametrize(("signer", "callee"), [*itertools.permutations(MESHES, 2)])
@pytest.mark.parametrize("claimed", MESHES)
def test_a_mesh_ca_speaks_for_its_own_mesh_only(federation, tmp_path, signer, claimed, callee):
    identity_domain = f"{claimed}.mesh"
    secret = federation.kubectl_json(signer, "get", "secret", "-n", "istio-system", "cacerts")["data"]
    context = leaf(secret, f"spiffe://{identity_domain}/ns/{NAMESPACE}/sa/caller", tmp_path)
    sni = f"outbound_.80_._.greeter.{NAMESPACE}.svc.cluster.local"
    with socket.create_connection((federation.lab.node_address(callee), 15443), timeout=5) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=sni) as secure:
                secure.sendall(REQUEST)
                answer = secure.recv(65536)
        except (ssl.SSLError, ConnectionError) as error:
            answer = b""
            print(f"{signer} for {identity_domain}: {error}")
    assert answer.startswith(b"HTTP/1.1 200") is (claimed == signer), answer
