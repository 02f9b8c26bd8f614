# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The root of a living federation is exchanged, and nobody notices."""

from __future__ import annotations

import itertools
import os

from tests.e2e import scenario
from tests.e2e.load import Load
from tests.e2e.scenario import MESHES
from tests.e2e.support import cacerts

REQUESTS = int(os.environ.get("MULTIMESH_ROTATION_REQUESTS", "20000"))


def test_a_rotation_under_load_costs_no_request(federation):
    federation.write_inventory(scenario.hosts())
    federation.play("site").ok()
    old = {mesh: cacerts(federation, mesh) for mesh in MESHES}
    (leave,) = {found.roots for found in old.values()}
    routes = list(itertools.permutations(MESHES, 2))
    with Load(federation, routes, qps=40) as load:
        run = federation.play("rotate_root_ca", "-e", f"shared_root_ca_rotate_from={leave[0]}").ok()
        load.wait_for(REQUESTS)
    print(run.output[-3000:])
    print(f"{load.total} requests, failed: {load.failed or 'none'}", *load.failures, sep="\n")
    assert load.problems == []
    assert load.failed == {}
    assert load.total >= REQUESTS
    new = {mesh: cacerts(federation, mesh) for mesh in MESHES}
    assert len({found.roots for found in new.values()}) == 1
    for mesh in MESHES:
        assert len(new[mesh].roots) == 1
        assert new[mesh].roots != old[mesh].roots
        assert new[mesh].signer != old[mesh].signer

    again = federation.play("rotate_root_ca", "-e", f"shared_root_ca_rotate_from={leave[0]}").ok()
    assert {mesh: counts["changed"] for mesh, counts in again.recap.items()} == dict.fromkeys(MESHES, 0)
    site = federation.play("site").ok()
    assert {mesh: counts["changed"] for mesh, counts in site.recap.items()} == dict.fromkeys(MESHES, 0)
