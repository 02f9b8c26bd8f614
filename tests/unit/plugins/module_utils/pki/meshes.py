# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Meshes in memory under one custody, led through the steps as the playbooks do it."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ansible_collections.multimesh.istio.plugins.module_utils.pki import bundle, crl
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import IntermediateProfile, RootProfile
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.held import HeldRoots
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import fingerprint, signed_by
from ansible_collections.multimesh.istio.plugins.module_utils.pki.request import Request
from ansible_collections.multimesh.istio.plugins.module_utils.pki.steps import Steps
from ansible_collections.multimesh.istio.plugins.module_utils.pki.transition import State
from ansible_collections.multimesh.istio.plugins.module_utils.pki.verify import Expectation, verify_bundle

from tests.unit.plugins.module_utils.pki.custody.memory import MemoryStore
from tests.unit.plugins.module_utils.pki.fakes import FakeCluster

NOW = datetime.now(UTC).replace(microsecond=0)
PASSPHRASE = "correct horse battery staple"
ROTATION = ("prepare", "trust", "sign", "renew", "untrust")


class Meshes:
    """Meshes in memory under one custody, and what a playbook does with them."""

    def __init__(self, *names, store=None):
        self.store = store or MemoryStore()
        self.now = NOW
        self.clusters = {name: FakeCluster(name) for name in names}
        self.told = {}

    @property
    def custody(self):
        """As another process would open it."""
        return HeldRoots(self.store, PASSPHRASE)

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
        due = [mesh for mesh in self.clusters if self.told[mesh].renewal_due]
        changed |= {mesh for mesh in due if self.step(mesh, "sign", settle=timedelta(0)).changed}
        pending = [mesh for mesh in self.clusters if self.told[mesh].renewal_pending]
        return changed | {mesh for mesh in pending if self.step(mesh, "renew").changed}

    def rotate(self, old, **changes):
        """What playbook rotate_root_ca does; it gives way to the caller after every step at a mesh."""
        for name in ROTATION:
            for mesh in self.clusters:
                self.step(mesh, name, settle=timedelta(0), **{"successor_of": old, **changes})
                yield name, mesh
        trusted = frozenset(fingerprint(root) for mesh in self.clusters for root in self.state(mesh).roots)
        first, *_others = self.clusters
        self.step(first, "retire", known_roots=trusted, **changes)
        yield "retire", first
        for mesh in self.clusters:
            self.step(mesh, "release", **changes)

    def roots(self):
        """Fingerprints of the roots, oldest first."""
        return [fingerprint(root.certificate) for root in self.custody.roots()]

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
        return crl.read(self.files(mesh).get(bundle.CA_CRL, b""))

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
