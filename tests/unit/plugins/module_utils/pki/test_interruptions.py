# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs that are killed before any request to an API server, or before any write to the place of the root.

After each kill another run repeats everything up to the step in which it happened, as a playbook does. Then all has to
be as if nobody had been killed.
"""

from __future__ import annotations

import copy
import os
from datetime import timedelta

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.pki.cacerts import CANDIDATE
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import fingerprint

from tests.unit.plugins.module_utils.pki.custody.memory import Killed
from tests.unit.plugins.module_utils.pki.meshes import NOW, ROTATION, Meshes

DAY = timedelta(days=1)
NAMES = ("east", "west")
STRIDE = 1 if os.environ.get("MULTIMESH_KILL_POINTS") == "all" else 4
"""Runs are killed at one point of so many; make soak takes all."""
AT_ONCE = {"settle": timedelta(0)}


class Counted(dict):
    """Blobs, with somebody who is told before each of them changes."""

    def __init__(self, content, tell):
        super().__init__(content)
        self._tell = tell

    def __setitem__(self, name, content):
        self._tell()
        super().__setitem__(name, content)

    def pop(self, name, default=None):
        self._tell()
        return super().pop(name, default)


def copied(meshes):
    found = Meshes(*NAMES, store=copy.deepcopy(meshes.store))
    found.now, found.told = meshes.now, dict(meshes.told)
    found.clusters = copy.deepcopy(meshes.clusters)
    return found


def dies(meshes, at, act):
    """Whether that was killed before the given request or write, counted from 1. Reads of the store change nothing."""
    count = 0

    def one_more(*_):
        nonlocal count
        count += 1
        if count == at:
            raise Killed

    blobs = meshes.store.blobs
    meshes.store.blobs = Counted(blobs, one_more)
    for cluster in meshes.clusters.values():
        cluster.before = one_more
    try:
        act()
    except Killed:
        return True
    else:
        return False
    finally:
        meshes.store.blobs = dict(meshes.store.blobs)
        for cluster in meshes.clusters.values():
            cluster.before = lambda *_: None


def shape(meshes):
    """What can be compared with a run that nobody disturbed."""
    roots = meshes.roots()
    return len(roots), {
        mesh: (
            sorted(meshes.files(mesh)),
            len(meshes.lists(mesh)),
            [roots.index(root) for root in meshes.told[mesh].trusted_roots],
            meshes.told[mesh].stage,
            sorted(meshes.files(mesh, CANDIDATE)),
        )
        for mesh in meshes.told
    }


def unrecorded(meshes):
    """CAs that sign, and roots, that the ledger does not know to have been issued or made exactly once."""
    told = [entry.fingerprint for entry in meshes.custody.ledger() if entry.action in ("ca-issued", "root-made")]
    signers = [fingerprint(outcome.signer) for outcome in meshes.told.values()]
    return [one for one in (*signers, *meshes.roots()) if told.count(one) != 1]


def survive(begin, plan):
    """Take these steps, killed everywhere; gives the meshes in the end, and how often somebody was killed."""
    deaths, undisturbed = 0, begin
    for index, (mesh, name, changes) in enumerate(plan):
        before, undisturbed = undisturbed, copied(undisturbed)
        undisturbed.step(mesh, name, **changes)
        seen = shape(undisturbed)
        believed = undisturbed.all_believe() if len(undisturbed.told) == len(NAMES) else None
        at = 1 + index % STRIDE
        while dies(meshes := copied(before), at, lambda: meshes.step(mesh, name, **changes)):  # noqa: B023
            assert len(meshes.roots()) <= max(seen[0], len(before.roots()))
            for other, again, options in plan[: index + 1]:
                if other == mesh:
                    meshes.step(mesh, again, run="another", break_lease=True, **options)
            where = f"{name} at {mesh}, killed before {at}"
            assert shape(meshes) == seen, where
            assert believed is None or believed == meshes.all_believe(), where
            assert [meshes.findings(mesh) for mesh in meshes.told] == [()] * len(meshes.told), where
            assert unrecorded(meshes) == [], where
            at += STRIDE
            deaths += 1
    return undisturbed, deaths


def plan(*names, **changes):
    return [(mesh, name, {**AT_ONCE, **changes}) for name in names for mesh in NAMES]


def test_first_cas():
    meshes, deaths = survive(Meshes(*NAMES), plan("issue", "trust", "release"))
    assert meshes.all_believe() == []
    assert meshes.site() == set()
    assert deaths > 40 / STRIDE


def test_renewal():
    begin = Meshes(*NAMES)
    begin.site()
    begin.now = NOW + 61 * DAY
    old = {mesh: begin.state(mesh).signer for mesh in NAMES}
    meshes, deaths = survive(begin, plan("issue", "trust", "sign", "renew", "release"))
    assert meshes.all_believe() == []
    assert [mesh for mesh in NAMES if meshes.state(mesh).signer == old[mesh]] == []
    assert meshes.site() == set()
    assert deaths > 40 / STRIDE


def test_rotation():
    begin = Meshes(*NAMES)
    begin.site()
    (old,) = begin.roots()
    steps = plan(*ROTATION, successor_of=old)
    steps += [(NAMES[0], "retire", {"successor_of": old}), *plan("release")]
    meshes, deaths = survive(begin, steps)
    (new,) = meshes.roots()
    assert new != old
    assert meshes.all_believe() == []
    assert meshes.site() == set()
    assert deaths > 70 / STRIDE


@pytest.mark.parametrize("reached", [("trust", "east"), ("sign", "east")])
def test_way_back(reached):
    """A rotation that stands between two meshes is taken back, and that is killed."""
    begin = Meshes(*NAMES)
    begin.site()
    (old,) = begin.roots()
    for step in begin.rotate(old):
        if step == reached:
            break
    steps = [*plan(*ROTATION, target=old), (NAMES[0], "retire", {"target": old}), *plan("release", target=old)]
    meshes, deaths = survive(begin, steps)
    assert meshes.roots() == [old]
    assert meshes.all_believe() == []
    assert meshes.site() == set()
    assert deaths > 20 / STRIDE
