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

pytestmark = pytest.mark.load

REQUESTS = int(os.environ.get("MULTIMESH_ROTATION_REQUESTS", "20000"))
"""How many requests are sent while the root is exchanged, all of which have to be answered."""
QPS = float(os.environ.get("MULTIMESH_ROTATION_QPS", "36"))
"""Requests per second in each of the six directions."""
EACH = 20_000
"""At so many of them it is exchanged once more, which make soak comes to."""


def the_root(federation):
    """The root of all meshes."""
    (roots,) = {cacerts(federation, mesh).roots for mesh in MESHES}
    (root,) = roots
    return root


@pytest.fixture(scope="module")
def leave(federation):
    """The root to leave."""
    federation.write_inventory(scenario.hosts())
    federation.play("site").ok()
    return the_root(federation)


def test_the_root_is_exchanged(federation, leave):
    old = {mesh: cacerts(federation, mesh) for mesh in MESHES}
    with Load(federation, itertools.permutations(MESHES, 2), qps=QPS) as load:
        exchanges = 0
        while load.total < REQUESTS and not load.failed and not load.problems:
            run = federation.play("rotate_root_ca", "-e", f"shared_root_ca_rotate_from={the_root(federation)}").ok()
            exchanges += 1
            load.wait_for(min(REQUESTS, exchanges * EACH))
    print(run.output[-3000:])
    print(f"{exchanges} exchanges, {load.total} requests, failed: {load.failed or 'none'}", *load.failures, sep="\n")
    assert load.problems == []
    assert load.failed == {}
    assert load.total >= REQUESTS
    assert the_root(federation) != leave
    assert all(cacerts(federation, mesh).signer != old[mesh].signer for mesh in MESHES)


@pytest.mark.parametrize(("caller", "callee"), [*itertools.permutations(MESHES, 2)])
def test_all_call_each_other_under_the_new_root(federation, caller, callee):
    for port in (80, 8081):
        url = f"http://greeter.{NAMESPACE}.svc.{callee}.global:{port}/"
        wait_for(lambda url=url: federation.call(caller, NAMESPACE, "caller", url)[0] == 200, url)


def test_the_same_command_again_does_nothing(federation, leave):
    for playbook in (("rotate_root_ca", "-e", f"shared_root_ca_rotate_from={leave}"), ("site",)):
        again = federation.play(*playbook).ok()
        assert {mesh: counts["changed"] for mesh, counts in again.recap.items()} == dict.fromkeys(MESHES, 0)
