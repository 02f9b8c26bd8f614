# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading and writing Secrets with a CA; what is to be in them is for test_issue and test_steps."""

from __future__ import annotations

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import ConflictError
from ansible_collections.multimesh.istio.plugins.module_utils.pki import bundle, cacerts, keys
from ansible_collections.multimesh.istio.plugins.module_utils.pki.cacerts import CANDIDATE, SECRET, Candidate
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from tests.unit.plugins.module_utils.pki import forge
from tests.unit.plugins.module_utils.pki.fakes import FakeCluster

ROOT = forge.root()
EAST = forge.intermediate(ROOT)
KEY = keys.private_pem(EAST.key, passphrase=None)
FILES = bundle.build(EAST, ROOT.certificate)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.mark.parametrize("name", [SECRET, CANDIDATE])
def test_what_is_written_is_read(cluster: FakeCluster, name: str) -> None:
    absent = cacerts.read(cluster, name)
    assert (absent.secret, absent.files) == (None, {})
    cacerts.write(cluster, absent, FILES, name)
    held = cacerts.read(cluster, name)
    assert held.files == FILES
    cacerts.write(cluster, held, {"ca-key.pem": KEY}, name)
    assert cacerts.read(cluster, name).files == {"ca-key.pem": KEY}, "what is not named goes"
    cacerts.write(cluster, cacerts.read(cluster, name), {}, name)
    assert cacerts.read(cluster, name).files == {}
    assert f"Secret istio-system/{name}" in cluster.objects, "it is emptied, so no right to delete is needed"


@pytest.mark.parametrize("data", [{"ca-key.pem": "%%%"}, {"ca-key.pem": 7}])
def test_what_is_not_base64_is_named(cluster: FakeCluster, data: object) -> None:
    cluster.put(f"Secret istio-system/{SECRET}", {"data": data})
    with pytest.raises(MultimeshError, match=r"^east: Secret istio-system/cacerts came with data that is not base64"):
        cacerts.read(cluster)


def test_what_was_read_has_to_be_there_still(cluster: FakeCluster) -> None:
    absent = cacerts.read(cluster)
    cacerts.write(cluster, absent, {"ca-cert.pem": b"one"})
    first = cacerts.read(cluster)
    cacerts.write(cluster, first, {"ca-cert.pem": b"two"})
    for held in (absent, first):
        with pytest.raises(MultimeshError, match="written by somebody else at the same moment"):
            cacerts.write(cluster, held, {"ca-cert.pem": b"three"})
        assert cacerts.read(cluster).files == {"ca-cert.pem": b"two"}
    cacerts.write(cluster, first, {"ca-cert.pem": b"two"})  # our own request, repeated after its answer was lost


def test_what_others_own_is_only_forced_on_demand(cluster: FakeCluster) -> None:
    cluster.put(f"Secret istio-system/{SECRET}", {"data": {"ca-cert.pem": "b25l"}})
    with pytest.raises(ConflictError):
        cacerts.write(cluster, cacerts.read(cluster), {"ca-cert.pem": b"two"})
    cacerts.write(cluster, cacerts.read(cluster), {"ca-cert.pem": b"two"}, force=True)
    assert cacerts.read(cluster).files == {"ca-cert.pem": b"two"}


def test_the_type_of_a_secret_cannot_be_changed_and_is_kept(cluster: FakeCluster) -> None:
    cluster.put(f"Secret istio-system/{SECRET}", {"type": "istio.io/ca-root"})
    cacerts.write(cluster, cacerts.read(cluster), FILES)
    assert cluster.written[-1]["type"] == "istio.io/ca-root"


def test_a_candidate_with_and_without_its_certificate(cluster: FakeCluster) -> None:
    for certificate in (None, EAST.certificate):
        written = cacerts.candidate_files(Candidate(EAST.key, certificate))
        cacerts.write(cluster, cacerts.read(cluster, CANDIDATE), written, CANDIDATE)
        held = cacerts.candidate(cacerts.read(cluster, CANDIDATE))
        assert held is not None
        assert held.certificate == certificate
        assert keys.private_pem(held.key, passphrase=None) == KEY
    assert held.authority.certificate == EAST.certificate
    with pytest.raises(ValueError, match="without a certificate"):
        print(Candidate(EAST.key, None).authority)


def pkcs8(key: object, encryption: serialization.KeySerializationEncryption) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"junk",
        KEY[:-60],
        KEY + KEY,
        forge.to_pem(EAST.certificate),
        pkcs8(EAST.key, serialization.BestAvailableEncryption(b"correct horse battery staple")),
        pkcs8(ed25519.Ed25519PrivateKey.generate(), serialization.NoEncryption()),
    ],
)
def test_what_is_no_candidate_counts_as_none(content: bytes) -> None:
    assert cacerts.candidate(cacerts.Held(None, {"ca-key.pem": content})) is None
    assert cacerts.candidate(cacerts.Held(None, {})) is None


def test_a_certificate_of_another_key_is_not_the_candidates() -> None:
    other = forge.intermediate(ROOT).certificate
    held = cacerts.Held(None, {"ca-key.pem": KEY, "ca-cert.pem": forge.to_pem(other)})
    found = cacerts.candidate(held)
    assert found is not None
    assert found.certificate is None
    assert "PRIVATE" not in repr([held, found])
    assert "Key" not in repr(found)
