# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A mesh that was broken into is cut off by its CA, and let in again with a new one."""

from __future__ import annotations

import itertools
import time

import pytest

from tests.e2e import scenario
from tests.e2e.load import NEW_CONNECTIONS, Load
from tests.e2e.scenario import MESHES, NAMESPACE
from tests.e2e.support import cacerts, wait_for

pytestmark = pytest.mark.load

SECONDS = 120
"""Within which no new handshake of the mesh that was cut off may succeed anywhere."""


def reached(federation, caller, callee):
    """Whether a new connection gets an answer."""
    url = f"http://greeter.{NAMESPACE}.svc.{callee}.global:{NEW_CONNECTIONS}/"
    return federation.call(caller, NAMESPACE, "caller", url)[0] == 200


def test_a_mesh_is_cut_off_and_the_others_do_not_notice(federation):
    federation.write_inventory(scenario.hosts())
    others = [mesh for mesh in MESHES if mesh != "north"]
    for pair in itertools.permutations(MESHES, 2):
        wait_for(lambda pair=pair: reached(federation, *pair), f"{pair} call each other")
    routes = [*itertools.permutations(others, 2), *((mesh, mesh) for mesh in others)]
    with Load(federation, routes) as load:
        begin = time.monotonic()
        federation.play("revoke", "-e", '{"revoke_meshes": ["north"]}').ok()
        for mesh in others:
            wait_for(lambda mesh=mesh: not reached(federation, "north", mesh), f"{mesh} refuses north", SECONDS)
            wait_for(lambda mesh=mesh: not reached(federation, mesh, "north"), f"{mesh} does not call north", SECONDS)
        seconds = time.monotonic() - begin
    print(f"new handshakes refused {seconds:.0f} s after the command; {load.total} requests of the others")
    print(*load.failures, sep="\n")
    assert seconds <= SECONDS
    assert load.problems == []
    assert load.failed == {}

    again = federation.play("revoke", "-e", '{"revoke_meshes": ["north"]}').ok()
    assert {mesh: counts["changed"] for mesh, counts in again.recap.items()} == dict.fromkeys(MESHES, 0)
    site = federation.play("site", "--limit", "north")
    assert site.returncode != 0
    assert "north: the CA of this mesh is revoked" in site.output


def test_with_a_new_ca_it_is_believed_again(federation):
    before = cacerts(federation, "north")
    # Nobody believes it anyway, so there is no need to wait until its next list is everywhere.
    arguments = ("-e", '{"shared_root_ca_replace_revoked": true, "shared_root_ca_settle_seconds": 0}')
    federation.play("site", *arguments).ok()
    assert cacerts(federation, "north").signer != before.signer
    for pair in itertools.permutations(MESHES, 2):
        wait_for(lambda pair=pair: reached(federation, *pair), f"{pair} call each other again", 150)
