# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.lab import certificates


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    return certificates.cluster_files("east", "198.18.0.11")


def certificate(files: dict[str, str], name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(files[f"{name}.crt"].encode())


def names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def test_api_server_is_known_by_every_name(files: dict[str, str]) -> None:
    served = names(certificate(files, "apiserver"))
    assert set(served.get_values_for_type(x509.IPAddress)) == {
        IPv4Address("198.18.0.11"),
        IPv4Address("127.0.0.1"),
        IPv4Address("10.96.0.1"),
    }
    assert set(served.get_values_for_type(x509.DNSName)) == {
        "east",
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    }


def test_kubelet_is_its_node(files: dict[str, str]) -> None:
    kubelet = certificate(files, "kubelet")
    assert kubelet.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "system:node:east"
    assert kubelet.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value == "system:nodes"
    assert names(kubelet).get_values_for_type(x509.IPAddress) == [IPv4Address("198.18.0.11")]


@pytest.mark.parametrize("user", ["admin", "kube-proxy", "front-proxy-client"])
def test_users_serve_nothing(files: dict[str, str], user: str) -> None:
    usage = certificate(files, user).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_all_come_from_the_one_authority(files: dict[str, str]) -> None:
    authority = certificate(files, "ca")
    for name in files:
        if name.endswith(".crt") and name != "ca.crt":
            certificate(files, name.removesuffix(".crt")).verify_directly_issued_by(authority)


def test_every_key_fits_its_certificate(files: dict[str, str]) -> None:
    for name, text in files.items():
        if name.endswith(".crt"):
            key = load_pem_private_key(files[f"{name.removesuffix('.crt')}.key"].encode(), None)
            assert x509.load_pem_x509_certificate(text.encode()).public_key() == key.public_key()


def test_clusters_share_nothing(files: dict[str, str]) -> None:
    assert not set(files.values()) & set(certificates.cluster_files("east", "198.18.0.11").values())
