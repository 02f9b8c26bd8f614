# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The root of a living federation is exchanged."""

from __future__ import annotations

import itertools
import os

import pytest

from tests.e2e import scenario
from tests.e2e.load import Load
from tests.e2e.scenario import MESHES, NAMESPACE
from tests.e2e.support import cacerts, wait_for

REQUESTS = int(os.environ.get("MULTIMESH_ROTATION_REQUESTS", "20000"))
"""How many requests are sent while the root is exchanged, all of which have to be answered; make soak sends more."""


@pytest.fixture(scope="module")
def leave(federation):
    """The root to leave."""
    federation.write_inventory(scenario.hosts())
    federation.play("site").ok()
    (roots,) = {cacerts(federation, mesh).roots for mesh in MESHES}
    return roots[0]


def test_the_root_is_exchanged(federation, leave):
    old = {mesh: cacerts(federation, mesh) for mesh in MESHES}
    with Load(federation, itertools.permutations(MESHES, 2), qps=36) as load:
        run = federation.play("rotate_root_ca", "-e", f"shared_root_ca_rotate_from={leave}").ok()
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
        assert leave not in new[mesh].roots
        assert new[mesh].signer != old[mesh].signer


@pytest.mark.parametrize(("caller", "callee"), [*itertools.permutations(MESHES, 2)])
def test_all_call_each_other_under_the_new_root(federation, caller, callee):
    for port in (80, 8081):
        url = f"http://greeter.{NAMESPACE}.svc.{callee}.global:{port}/"
        wait_for(lambda url=url: federation.call(caller, NAMESPACE, "caller", url)[0] == 200, url)


def test_the_same_command_again_does_nothing(federation, leave):
    for playbook in (("rotate_root_ca", "-e", f"shared_root_ca_rotate_from={leave}"), ("site",)):
        again = federation.play(*playbook).ok()
        assert {mesh: counts["changed"] for mesh, counts in again.recap.items()} == dict.fromkeys(MESHES, 0)
