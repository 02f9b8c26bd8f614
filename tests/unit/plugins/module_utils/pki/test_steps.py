# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps over several meshes in memory: first CA, renewal, rotation, way back, revocation."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.pki import bundle, crl, public
from ansible_collections.multimesh.istio.plugins.module_utils.pki.cacerts import CANDIDATE
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import IntermediateProfile, RootProfile
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.held import HeldRoots
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.store import FileStore
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import fingerprint, signed_by
from ansible_collections.multimesh.istio.plugins.module_utils.pki.request import RefusedError, Request
from ansible_collections.multimesh.istio.plugins.module_utils.pki.steps import Steps
from ansible_collections.multimesh.istio.plugins.module_utils.pki.transition import State
from ansible_collections.multimesh.istio.plugins.module_utils.pki.verify import Expectation, certificates, verify_bundle

from tests.unit.plugins.module_utils.pki.fakes import FakeCluster

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
PASSPHRASE = "correct horse battery staple"


class Meshes:
    """Meshes in memory under one custody, and what a playbook does with them."""

    def __init__(self, folder, *names):
        self.folder = folder
        self.now = NOW
        self.clusters = {name: FakeCluster(name) for name in names}
        self.told = {}

    @property
    def custody(self):
        """As another process would open it."""
        return HeldRoots(FileStore(self.folder / "ca"), PASSPHRASE)

    def step(self, mesh, name, *, check=False, **changes):
        """One step at one mesh, with what all meshes have told so far."""
        request = Request(
            profile=IntermediateProfile(mesh, f"{mesh}.mesh"),
            root=RootProfile(key_type="ecdsa-p256"),
            run="test",
            certificates=[one for outcome in self.told.values() for one in outcome.certificates],
            crls=[one for outcome in self.told.values() for one in outcome.crls],
        )
        steps = Steps(self.clusters[mesh], self.custody, replace(request, **changes), self.now, check=check)
        outcome = getattr(steps, name)()
        if outcome.signer is not None:
            self.told[mesh] = outcome
        return outcome

    def all(self, name, **changes):
        """One step at all meshes; which of them it changed."""
        return {mesh for mesh in self.clusters if self.step(mesh, name, **changes).changed}

    def site(self):
        """What role shared_root_ca does in playbook site; which meshes it changed."""
        changed = self.all("issue") | self.all("trust")
        for mesh in self.clusters:
            if self.told[mesh].renewal_due:
                changed |= {mesh for _once in (1,) if self.step(mesh, "sign", settle=timedelta(0)).changed}
        return changed

    def files(self, mesh, name="cacerts"):
        """What a Secret of a mesh holds."""
        data = self.clusters[mesh].objects[f"Secret istio-system/{name}"].get("data") or {}
        return {file: base64.b64decode(content) for file, content in data.items()}

    def state(self, mesh):
        return State.of(self.files(mesh))

    def findings(self, mesh):
        """Everything wrong with what a mesh holds."""
        roots = [root.certificate for root in self.custody.roots()]
        return verify_bundle(self.files(mesh), Expectation(f"{mesh}.mesh", ["svc"], roots), self.now)

    def lists(self, mesh):
        return crl.read(self.files(mesh)[bundle.CA_CRL])

    def believes(self, mesh, other):
        """Whether proxies of a mesh believe what another one signs, as far as the bundles decide it."""
        signer, held = self.state(other).signer, self.lists(mesh)
        roots = [root for root in self.state(mesh).roots if signed_by(signer, root)]
        listed = all(any(crl.issued_by(one, issuer) for one in held) for issuer in (signer, *roots))
        cut_off = any(crl.issued_by(one, roots[0]) and signer.serial_number in crl.revoked(one) for one in held)
        return bool(roots) and listed and not cut_off

    def all_believe(self):
        """Every pair that does not."""
        return [(a, b) for a in self.clusters for b in self.clusters if not self.believes(a, b)]


@pytest.fixture
def meshes(tmp_path):
    found = Meshes(tmp_path, "east", "west", "north")
    found.site()
    return found


def roots(meshes):
    return [fingerprint(root.certificate) for root in meshes.custody.roots()]


def test_first_ca(meshes):
    assert meshes.all_believe() == []
    assert [meshes.findings(mesh) for mesh in meshes.clusters] == [()] * 3
    assert len(roots(meshes)) == 1
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


ROTATION = ("prepare", "trust", "sign", "untrust")


def test_rotation_keeps_every_pair_believing_each_other_at_every_step(meshes):
    (old,) = roots(meshes)
    for name in ROTATION:
        for mesh in meshes.clusters:
            settle = timedelta(0)
            assert meshes.step(mesh, name, settle=settle, **({"successor_of": old} if name == "prepare" else {})).changed
            assert meshes.all_believe() == [], f"after {name} at {mesh}"
            assert meshes.findings(mesh) == ()
    new = roots(meshes)[-1]
    assert roots(meshes) == [old, new]
    assert meshes.step("east", "retire", known_roots=frozenset({new})).changed
    assert roots(meshes) == [new]
    assert {mesh: [fingerprint(root) for root in meshes.state(mesh).roots] for mesh in meshes.clusters} == {
        mesh: [new] for mesh in meshes.clusters
    }
    assert all(len(meshes.lists(mesh)) == 4 for mesh in meshes.clusters), "nothing of the old root is left"
    assert meshes.site() == set()
    assert meshes.all("prepare", successor_of=old) == set(), "the same command again does nothing"


def test_the_target_is_there_twice_once_the_signer_is_new(meshes):
    (old,) = roots(meshes)
    for name in ROTATION[:3]:
        meshes.all(name, settle=timedelta(0), **({"successor_of": old} if name == "prepare" else {}))
    held = [fingerprint(root) for root in certificates(meshes.files("east")[bundle.ROOT_CERT])]
    assert held == [old, roots(meshes)[-1], roots(meshes)[-1]]


@pytest.mark.parametrize("reached", range(1, 4))
def test_a_rotation_can_be_taken_back_until_a_mesh_has_stopped_trusting_the_old_root(meshes, reached):
    (old,) = roots(meshes)
    for name in ROTATION[:reached]:
        meshes.all(name, settle=timedelta(0), **({"successor_of": old} if name == "prepare" else {}))
    for name in ROTATION:
        for mesh in meshes.clusters:
            meshes.step(mesh, name, settle=timedelta(0), target=old)
            assert meshes.all_believe() == [], f"after {name} at {mesh}"
    assert meshes.step("east", "retire", target=old, known_roots=frozenset({old})).changed
    assert roots(meshes) == [old]
    assert meshes.site() == set()
    assert [meshes.findings(mesh) for mesh in meshes.clusters] == [()] * 3


def test_a_key_is_not_destroyed_while_a_mesh_trusts_its_root(meshes):
    (old,) = roots(meshes)
    meshes.all("prepare", successor_of=old)
    with pytest.raises(RefusedError, match="still trust the root"):
        meshes.step("east", "retire", known_roots=frozenset({old}))
    assert len(roots(meshes)) == 2


def test_no_mesh_joins_while_the_root_is_exchanged(meshes):
    (old,) = roots(meshes)
    meshes.all("prepare", successor_of=old)
    meshes.clusters["south"] = FakeCluster("south")
    with pytest.raises(RefusedError, match="the root is being exchanged"):
        meshes.step("south", "issue")


def test_untrust_waits_for_the_signer(meshes):
    (old,) = roots(meshes)
    meshes.all("prepare", successor_of=old)
    meshes.all("trust")
    with pytest.raises(RefusedError, match=r"stage trust"):
        meshes.step("east", "untrust")


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
    meshes.site()
    assert meshes.all_believe() == []
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
