# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clusters that are down and playbooks that are killed."""

from __future__ import annotations

import os
import random
import signal
import time
from types import SimpleNamespace

import pytest

from tests.e2e import scenario
from tests.e2e.scenario import LEDGER, MESHES, NAMESPACE
from tests.e2e.support import cacerts, held

# A cluster that is down cannot tell what the inventory leaves out.
OFFLINE_LEDGER = LEDGER | {
    "ports": [{"number": 80, "name": "http", "protocol": "HTTP", "target_port": 8080}],
    "service_accounts": ["ledger"],
    "selector": {"app": "ledger"},
}
KILLS = int(os.environ.get("MULTIMESH_KILLS", "5"))


def roots(federation):
    """Fingerprints of the roots that any mesh trusts."""
    return {root for mesh in MESHES for root in cacerts(federation, mesh).roots}


def test_one_api_server_down_stops_only_its_own_mesh(federation):
    hosts = scenario.hosts()
    hosts["west"]["mesh_exports"].append(OFFLINE_LEDGER | {"consumers": ["all"]})
    federation.write_inventory(hosts)
    federation.lab.stop_api("north")
    try:
        run = federation.play("site")
    finally:
        federation.lab.start_api("north")
    assert run.returncode != 0
    assert "north: " in run.output
    assert run.recap["north"]["failed"] + run.recap["north"]["unreachable"] == 1
    assert run.recap["east"]["failed"] == run.recap["west"]["failed"] == 0
    names = federation.lab.kubectl("east", "get", "serviceentries", "-n", "istio-system", "-o", "name")
    assert "ledger.vault.svc.west.global" in names
    assert f"greeter.{NAMESPACE}.svc.north.global" in names, "what was known of north is kept"

    federation.play("site").ok()
    assert "ledger.vault.svc.west.global" in federation.lab.kubectl(
        "north", "get", "serviceentries", "-n", "istio-system"
    )
    federation.write_inventory(scenario.hosts())
    federation.play("federate").ok()


@pytest.fixture(scope="module")
def complete(federation):
    """What the clusters hold after runs that nobody killed, without and with the ledger, and the seconds of one."""
    found, seconds = [], 0.0
    for exports in ([], [OFFLINE_LEDGER]):
        hosts = scenario.hosts()
        hosts["east"]["mesh_exports"] += exports
        federation.write_inventory(hosts)
        seconds = federation.play("site").ok().seconds
        found.append({mesh: set(held(federation, mesh)) for mesh in MESHES})
    return SimpleNamespace(held=found, seconds=seconds)


@pytest.mark.parametrize("attempt", range(KILLS))
def test_a_killed_run_is_finished_by_the_next(federation, complete, attempt):
    before = roots(federation)
    hosts = scenario.hosts()
    if attempt % 2 == 0:
        hosts["east"]["mesh_exports"].append(OFFLINE_LEDGER)
    federation.write_inventory(hosts)
    for mesh in MESHES:
        # Something to do in every phase, so that the kill can meet a write.
        federation.lab.kubectl(
            mesh, "delete", "peerauthentication", "-n", "istio-system", "default", "--ignore-not-found"
        )
    moment = random.Random(f"{attempt}").uniform(0, complete.seconds)
    process = federation.start("site")
    time.sleep(moment)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    print(f"killed after {moment:.1f} s")

    federation.play("site").ok()
    assert {mesh: set(held(federation, mesh)) for mesh in MESHES} == complete.held[attempt % 2 == 0]
    assert roots(federation) == before
    assert len(before) == 1


def test_nothing_is_left_to_do_after_all_kills(federation):
    again = federation.play("site").ok()
    assert {mesh: counts["changed"] for mesh, counts in again.recap.items()} == dict.fromkeys(MESHES, 0)
