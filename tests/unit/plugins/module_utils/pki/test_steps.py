# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps over several meshes in memory: first CA, renewal, rotation, way back, revocation."""

from __future__ import annotations

import base64
from datetime import timedelta
from functools import cache

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.pki import authority, bundle, crl, ingress, public
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import Authority
from ansible_collections.multimesh.istio.plugins.module_utils.pki.cacerts import CANDIDATE
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import RootProfile
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import fingerprint
from ansible_collections.multimesh.istio.plugins.module_utils.pki.request import RefusedError
from ansible_collections.multimesh.istio.plugins.module_utils.pki.verify import certificates, leaf_rejection
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from tests.unit.plugins.module_utils.pki import forge
from tests.unit.plugins.module_utils.pki.custody.memory import MemoryStore
from tests.unit.plugins.module_utils.pki.fakes import FakeCluster
from tests.unit.plugins.module_utils.pki.meshes import NOW, PASSPHRASE, ROTATION, Meshes

DAY = timedelta(days=1)


def put(cluster, name, files):
    """A Secret of istio-system with these files."""
    data = {file: base64.b64encode(content).decode() for file, content in files.items()}
    cluster.put(f"Secret istio-system/{name}", {"metadata": {"name": name}, "data": data})


@pytest.fixture
def meshes():
    found = Meshes("east", "west", "north")
    found.site()
    return found


def test_first_ca(meshes):
    assert meshes.all_believe() == []
    assert [meshes.findings(mesh) for mesh in meshes.clusters] == [()] * 3
    assert len(meshes.roots()) == 1
    assert all(meshes.files(mesh, CANDIDATE) == {} for mesh in meshes.clusters)


def test_nothing_is_left_to_do_and_nothing_is_written(meshes):
    for cluster in meshes.clusters.values():
        cluster.written.clear()
    assert meshes.site() == set()
    assert [cluster.written for cluster in meshes.clusters.values()] == [[], [], []]


def test_renewal_is_prepared_at_half_and_done_at_two_thirds_of_life(meshes):
    first = {mesh: meshes.state(mesh).signer for mesh in meshes.clusters}
    meshes.now = NOW + 44 * DAY
    assert meshes.site() == set()
    meshes.now = NOW + 46 * DAY
    assert meshes.site() == {"east", "west", "north"}
    assert {mesh: meshes.state(mesh).signer for mesh in meshes.clusters} == first
    assert all(len(meshes.lists(mesh)) == 7 for mesh in meshes.clusters), "of the root, three CAs and their successors"
    assert meshes.site() == set()
    meshes.now = NOW + 61 * DAY
    assert meshes.site() == {"east", "west", "north"}
    for mesh in meshes.clusters:
        assert meshes.state(mesh).signer != first[mesh]
        assert meshes.findings(mesh) == ()
    assert meshes.all_believe() == []
    assert meshes.site() == set()


def test_rotation_keeps_every_pair_believing_each_other_at_every_step(meshes):
    (old,) = meshes.roots()
    for name in ROTATION:
        for mesh in meshes.clusters:
            assert meshes.step(mesh, name, settle=timedelta(0), successor_of=old).changed
            assert meshes.all_believe() == [], f"after {name} at {mesh}"
            assert meshes.findings(mesh) == ()
    new = meshes.roots()[-1]
    assert meshes.roots() == [old, new]
    assert meshes.step("east", "retire", known_roots=frozenset({new})).changed
    assert meshes.roots() == [new]
    assert {mesh: [fingerprint(root) for root in meshes.state(mesh).roots] for mesh in meshes.clusters} == {
        mesh: [new] for mesh in meshes.clusters
    }
    assert all(len(meshes.lists(mesh)) == 4 for mesh in meshes.clusters), "nothing of the old root is left"
    assert meshes.site() == set()
    assert meshes.all("prepare", successor_of=old) == set(), "the same command again does nothing"


def test_the_ledger_tells_a_rotation(meshes):
    (old,) = meshes.roots()
    begun = len(meshes.custody.ledger())
    for _step in meshes.rotate(old):
        pass
    (new,) = meshes.roots()
    told = [(entry.action, entry.mesh, entry.fingerprint) for entry in meshes.custody.ledger()[begun:]]
    signers = {mesh: fingerprint(meshes.state(mesh).signer) for mesh in meshes.clusters}
    assert told == [
        ("root-made", "", new),
        *(("ca-issued", mesh, signers[mesh]) for mesh in meshes.clusters),
        *(("root-trusted", mesh, new) for mesh in meshes.clusters),
        *(("ca-active", mesh, signers[mesh]) for mesh in meshes.clusters),
        *(("root-untrusted", mesh, old) for mesh in meshes.clusters),
        ("root-retired", "", old),
    ]


def test_the_target_is_there_twice_once_certificates_are_renewed(meshes):
    (old,) = meshes.roots()
    for name in ROTATION[:3]:
        meshes.all(name, settle=timedelta(0), **({"successor_of": old} if name == "prepare" else {}))
    held = [fingerprint(root) for root in certificates(meshes.files("east")[bundle.ROOT_CERT])]
    assert held == [old, meshes.roots()[-1]]
    with pytest.raises(RefusedError, match="may still have certificates of the CA before"):
        meshes.step("east", "untrust")
    assert meshes.all("renew") == {*meshes.clusters}
    assert meshes.all("renew") == set()
    held = [fingerprint(root) for root in certificates(meshes.files("east")[bundle.ROOT_CERT])]
    assert held == [old, meshes.roots()[-1], meshes.roots()[-1]]


def test_a_proxy_that_came_too_early_is_sent_again(meshes):
    before = meshes.files("east")[bundle.ROOT_CERT]
    assert not meshes.step("east", "renew").changed
    assert meshes.step("east", "renew", renew_again=True).changed
    assert meshes.files("east")[bundle.ROOT_CERT] == before * 2
    assert meshes.findings("east") == ()


def test_a_renewal_in_time_leaves_certificates_to_their_time(meshes):
    before = meshes.files("east")
    meshes.now = NOW + 61 * DAY
    assert meshes.site() == {*meshes.clusters}
    assert meshes.files("east")[bundle.CA_CERT] != before[bundle.CA_CERT]
    assert meshes.files("east")[bundle.ROOT_CERT] == before[bundle.ROOT_CERT]


@pytest.mark.parametrize("reached", range(1, 5))
def test_a_rotation_can_be_taken_back_until_a_mesh_has_stopped_trusting_the_old_root(meshes, reached):
    (old,) = meshes.roots()
    for name in ROTATION[:reached]:
        meshes.all(name, settle=timedelta(0), **({"successor_of": old} if name == "prepare" else {}))
    for name in ROTATION:
        for mesh in meshes.clusters:
            meshes.step(mesh, name, settle=timedelta(0), target=old)
            assert meshes.all_believe() == [], f"after {name} at {mesh}"
    assert meshes.step("east", "retire", target=old, known_roots=frozenset({old})).changed
    assert meshes.roots() == [old]
    assert meshes.site() == set()
    assert [meshes.findings(mesh) for mesh in meshes.clusters] == [()] * 3


def test_a_key_is_not_destroyed_while_a_mesh_trusts_its_root(meshes):
    (old,) = meshes.roots()
    meshes.all("prepare", successor_of=old)
    with pytest.raises(RefusedError, match="still trust the root"):
        meshes.step("east", "retire", known_roots=frozenset({old}))
    assert len(meshes.roots()) == 2


def test_no_mesh_joins_while_the_root_is_exchanged(meshes):
    (old,) = meshes.roots()
    meshes.all("prepare", successor_of=old)
    meshes.clusters["south"] = FakeCluster("south")
    with pytest.raises(RefusedError, match="the root is being exchanged"):
        meshes.step("south", "issue")


def test_untrust_waits_for_the_signer(meshes):
    (old,) = meshes.roots()
    meshes.all("prepare", successor_of=old)
    meshes.all("trust")
    with pytest.raises(RefusedError, match=r"stage trust"):
        meshes.step("east", "untrust")


INGRESS = ingress.Wanted(
    "istio-system", "multimesh-ingress.a.b", ("80.a.b.svc",), "spiffe://east.mesh/ns/b/sa/ingress_controller"
)


def certify(meshes, *, check=False):
    """What the playbooks do for the Ingresses of east: keep what there is good."""
    return ingress.ensure(meshes.clusters["east"], ingress.Request(None, run="test"), meshes.now, check=check)


@pytest.fixture
def behind_ingress(meshes):
    ingress.ensure(meshes.clusters["east"], ingress.Request([INGRESS], run="test"), meshes.now, check=False)
    return meshes


def test_the_old_root_is_not_left_while_a_certificate_of_an_ingress_is_under_it(behind_ingress):
    meshes = behind_ingress
    (old,) = meshes.roots()
    for name in ROTATION[:-1]:
        meshes.all(name, settle=timedelta(0), **({"successor_of": old} if name == "prepare" else {}))
    before = meshes.files("east")
    with pytest.raises(RefusedError) as caught:
        meshes.step("east", "untrust")
    assert str(caught.value).splitlines()[0] == (
        "east: the certificates of Ingresses in Secret istio-system/multimesh-ingress.a.b are under another root, and"
        " callers would refuse them."
    )
    assert meshes.files("east") == before
    assert meshes.step("east", "untrust", check=True).changed, "a check predicts before that they are issued anew"
    assert meshes.step("west", "untrust").changed, "where there is none, nothing is waited for"

    assert certify(meshes).changed
    assert meshes.step("east", "untrust").changed
    assert not certify(meshes).changed


def test_a_certificate_of_an_ingress_is_believed_by_all_at_every_step_of_a_rotation(behind_ingress):
    meshes = behind_ingress
    (old,) = meshes.roots()

    def believed():
        chain = certificates(meshes.files("east", INGRESS.secret)["tls.crt"])
        return all(
            any(leaf_rejection(chain[0], [chain[1], root], meshes.now) is None for root in meshes.state(mesh).roots)
            and all(any(crl.issued_by(one, issuer) for one in meshes.lists(mesh)) for issuer in chain[1:])
            for mesh in meshes.clusters
        )

    for name, mesh in meshes.rotate(old):
        if name == "sign" and mesh == "east":
            assert believed()
            assert certify(meshes).changed
        assert believed(), f"after {name} at {mesh}"
    assert meshes.roots() != [old]


def test_an_ingress_whose_secret_has_gone_holds_nothing_up(behind_ingress):
    meshes = behind_ingress
    (old,) = meshes.roots()
    del meshes.clusters["east"].objects[f"Secret {INGRESS.place}"]
    assert list(meshes.rotate(old))
    assert meshes.roots() != [old]


def adopt(meshes, *names):
    """Lead these meshes to the root of the custody. All others hold the lists before any of them signs."""
    for name in names:
        meshes.step(name, "prepare", adopt=True)
    for name in meshes.clusters:
        meshes.step(name, "trust", adopt=name in names)
        assert meshes.believes(name, name) or not meshes.lists(name), "its own workloads go on"
    for step in ("sign", "renew", "untrust"):
        for name in names:
            meshes.step(name, step, adopt=True, settle=timedelta(0))
            assert meshes.believes(name, name) or not meshes.lists(name), "its own workloads go on"


@pytest.mark.parametrize("bound", [True, False])
def test_a_mesh_under_a_foreign_root_is_led_to_the_shared_one(meshes, bound):
    foreign = forge.root()
    unbound = forge.Forgery().with_extension("constraints", None).with_extension("names", None)
    ca = forge.intermediate(foreign, "south.mesh") if bound else unbound.sign(foreign)
    meshes.clusters["south"] = cluster = FakeCluster("south")
    put(cluster, "cacerts", bundle.build(ca, foreign.certificate))
    for step in ("issue", "prepare", "trust", "sign", "untrust"):
        with pytest.raises(RefusedError, match="not a good CA under the shared root"):
            meshes.step("south", step)
    adopt(meshes, "south")
    assert meshes.findings("south") == ()
    assert meshes.all_believe() == []
    meshes.site()
    assert meshes.site() == set()


def test_a_ca_that_the_shared_root_issued_without_a_constraint_is_succeeded_too(meshes):
    """As somebody has it who brings the root of an existing PKI."""
    (root,) = meshes.custody.roots()
    unbound = forge.Forgery().with_extension("constraints", None).with_extension("names", None)
    meshes.clusters["south"] = cluster = FakeCluster("south")
    (kept,) = (content for content in meshes.store.blobs.values() if b"ENCRYPTED PRIVATE KEY" in content)
    ca = unbound.sign(Authority(root.certificate, serialization.load_pem_private_key(kept, PASSPHRASE.encode())))
    put(cluster, "cacerts", bundle.build(ca, root.certificate))
    with pytest.raises(RefusedError, match="name-constraint"):
        meshes.step("south", "issue")
    adopt(meshes, "south")
    assert meshes.findings("south") == ()
    meshes.site()
    assert meshes.all_believe() == []


@cache
def self_signed():
    """What istiod makes for itself (istio/istio, security/pkg/pki/ca/ca.go): an RSA key, and no right to sign lists."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "south.mesh")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 4711, NOW - DAY, NOW + 3650 * DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(forge.key_usage(crl_sign=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    return {
        bundle.CA_CERT: forge.to_pem(certificate),
        bundle.CA_KEY: key.private_bytes(serialization.Encoding.PEM, *plain),
        bundle.CERT_CHAIN: b"",
        bundle.ROOT_CERT: b"",
    }


@pytest.mark.parametrize("place", ["istio-ca-secret", "cacerts"])
def test_a_mesh_whose_ca_istiod_made_is_led_to_the_shared_root(meshes, place):
    meshes.clusters["south"] = cluster = FakeCluster("south")
    files = self_signed() | ({bundle.ISTIO_GENERATED: b""} if place == "cacerts" else {})
    put(cluster, place, files)
    with pytest.raises(RefusedError, match=r"multimesh\.istio\.adopt"):
        meshes.step("south", "issue")
    with pytest.raises(RefusedError, match="adopt: expected true"):
        meshes.step("south", "plug_in")
    for step in ("plug_in", "prepare", "trust"):
        assert meshes.step("south", step, adopt=True, check=True, new_issuers=True).changed
    assert meshes.step("south", "plug_in", adopt=True).changed
    assert not meshes.step("south", "plug_in", adopt=True).changed
    held = meshes.files("south")
    assert held == {**files, bundle.CERT_CHAIN: files[bundle.CA_CERT], bundle.ROOT_CERT: files[bundle.CA_CERT]} or (
        place == "cacerts" and bundle.ISTIO_GENERATED not in held
    )
    adopt(meshes, "south")
    assert meshes.findings("south") == ()
    assert meshes.all_believe() == []
    meshes.site()
    assert meshes.site() == set()


def test_the_first_mesh_of_a_federation_can_be_an_adopted_one():
    meshes = Meshes("south")
    put(meshes.clusters["south"], "istio-ca-secret", self_signed())
    meshes.step("south", "plug_in", adopt=True)
    with pytest.raises(RefusedError, match=r"holds\s+no root"):
        meshes.step("south", "prepare")
    with pytest.raises(RefusedError, match="clusters of this run have a CA under a root"):
        meshes.step("south", "prepare", adopt=True, known_roots=frozenset({"00"}))
    assert meshes.step("south", "prepare", adopt=True, check=True).changed
    assert meshes.custody.roots() == ()
    adopt(meshes, "south")
    assert meshes.findings("south") == ()
    assert meshes.site() == set()


def test_a_ca_that_is_none_is_not_plugged_in(meshes):
    meshes.clusters["south"] = cluster = FakeCluster("south")
    with pytest.raises(RefusedError, match="this cluster has no CA"):
        meshes.step("south", "plug_in", adopt=True)
    put(cluster, "istio-ca-secret", self_signed() | {bundle.CA_CERT: b"junk"})
    with pytest.raises(RefusedError, match=r"would not work(?s:.*)ca-cert\.pem"):
        meshes.step("south", "plug_in", adopt=True)


def test_all_meshes_move_to_the_root_of_another_custody_and_believe_each_other_all_the_way(meshes):
    """The first custody is not asked any more: it may be lost."""
    meshes.store = MemoryStore()
    for name in ROTATION:
        for mesh in meshes.clusters:
            assert meshes.step(mesh, name, adopt=True, settle=timedelta(0)).changed
            assert meshes.all_believe() == [], f"after {name} at {mesh}"
    assert [meshes.findings(mesh) for mesh in meshes.clusters] == [()] * 3
    assert meshes.site() == set()


@pytest.mark.parametrize("reached", range(1, 5))
@pytest.mark.parametrize("alone", [True, False])
def test_such_a_move_goes_on_where_it_was_stopped_and_they_believe_each_other_all_the_way(meshes, reached, alone):
    """alone: only the first mesh has taken the last step."""
    meshes.store = MemoryStore()
    done = [(name, mesh) for name in ROTATION[:reached] for mesh in meshes.clusters]
    for name, mesh in done[:-2] if alone else done:
        meshes.step(mesh, name, adopt=True, settle=timedelta(0))
    for name in ROTATION:
        for mesh in meshes.clusters:
            meshes.step(mesh, name, adopt=True, settle=timedelta(0))
            assert meshes.all_believe() == [], f"after {name} at {mesh}"
    assert meshes.site() == set()


def test_a_ca_that_begins_when_it_is_made_signs_at_once_when_nobody_has_to_wait(meshes, monkeypatch):
    """As offline and in Vault, where the certificate is not dated back like here."""
    monkeypatch.setattr(authority, "BACKDATE", timedelta(0))
    meshes.store = MemoryStore()
    for name in ROTATION:
        assert meshes.all(name, adopt=True, settle=timedelta(0)) == set(meshes.clusters)
    assert meshes.all_believe() == []


def test_a_lost_root_is_replaced_by_adoption(meshes):
    """With an empty place. Nothing of the old root, nor of its ledger, is left but in the clusters."""
    old = [meshes.state(mesh).signer for mesh in meshes.clusters]
    meshes.store.blobs.clear()
    with pytest.raises(RefusedError, match=r"holds\s+no root"):
        meshes.site()
    meshes.custody.make_root(RootProfile(key_type="ecdsa-p256"), NOW)
    adopt(meshes, *meshes.clusters)
    assert [meshes.findings(mesh) for mesh in meshes.clusters] == [()] * 3
    assert meshes.all_believe() == []
    assert not [mesh for mesh in meshes.clusters if meshes.state(mesh).signer in old]
    meshes.site()
    assert meshes.site() == set()


def test_a_revoked_mesh_is_believed_by_nobody_else(meshes):
    assert meshes.step("east", "revoke", revoke=["north"]).changed
    assert not meshes.step("east", "revoke", revoke=["north"]).changed
    for mesh in ("east", "west"):
        assert meshes.step(mesh, "trust").changed
    assert sorted(meshes.all_believe()) == [("east", "north"), ("west", "north")]
    with pytest.raises(RefusedError, match="is revoked"):
        meshes.step("north", "issue")


def test_a_revoked_mesh_is_believed_again_with_a_new_ca(meshes):
    meshes.step("east", "revoke", revoke=["north"])
    for mesh in ("east", "west"):
        meshes.step(mesh, "trust")
    old = meshes.state("north").signer
    for mesh in meshes.clusters:
        meshes.step(mesh, "issue", replace_revoked=True)
    for mesh in meshes.clusters:
        meshes.step(mesh, "trust", replace_revoked=True)
        assert meshes.believes("north", "north"), "its own workloads go on"
    assert meshes.step("north", "sign", replace_revoked=True, settle=timedelta(0)).changed
    assert meshes.state("north").signer != old
    assert meshes.all_believe() == []
    assert meshes.site() == {"north"}, "what the old CA has signed is not left to its time"
    assert meshes.site() == set()


def test_a_misspelt_mesh_is_not_taken_for_revoked(meshes):
    with pytest.raises(RefusedError, match=r"knows no CA of mesh 'nort' that has not\s+ended"):
        meshes.step("east", "revoke", revoke=["nort"])


def test_public_parts_survive_the_way_through_facts(meshes):
    shown = public.result(meshes.told["east"], NOW)
    assert public.read_certificates(shown["certificates"]) == meshes.told["east"].certificates
    assert [crl.issuer_key_id(one) for one in public.read_crls(shown["crls"])] == [
        crl.issuer_key_id(one) for one in meshes.told["east"].crls
    ]
    assert "PRIVATE" not in repr(shown)
