# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the inventory no longer says goes away everywhere, and nothing else changes."""

from __future__ import annotations

import pytest

from tests.e2e import scenario
from tests.e2e.load import Burst
from tests.e2e.scenario import LEDGER, MESHES, NAMESPACE
from tests.e2e.support import AuditLog, held, wait_for


def test_a_removed_export_takes_exactly_its_objects_along(federation):
    hosts = scenario.hosts()
    federation.write_inventory(hosts)
    federation.play("federate").ok()
    before = {mesh: held(federation, mesh) for mesh in MESHES}
    hosts["east"]["mesh_exports"].append(LEDGER)
    federation.write_inventory(hosts)
    federation.play("federate").ok()
    during = {mesh: held(federation, mesh) for mesh in MESHES}
    federation.write_inventory(scenario.hosts())
    logs = {mesh: AuditLog(federation.lab.audit_log(mesh)) for mesh in MESHES}
    federation.play("site", "--diff").ok()
    after = {mesh: held(federation, mesh) for mesh in MESHES}

    assert {mesh: set(during[mesh]) - set(before[mesh]) for mesh in MESHES} == {
        "east": {("AuthorizationPolicy", "vault", "multimesh-ledger")},
        "west": {
            (kind, "istio-system", "ledger.vault.svc.east.global")
            for kind in ("ServiceEntry", "DestinationRule", "VirtualService")
        },
        "north": set(),
    }
    gateway = ("Gateway", "istio-system", "multimesh-exports")
    for mesh in MESHES:
        assert set(after[mesh]) == set(before[mesh])
        touched = {key for key in after[mesh] if after[mesh][key] != during[mesh][key]}
        assert touched == ({gateway} if mesh == "east" else set())
        print(f"{mesh}: {logs[mesh].writes()}")
    assert logs["north"].writes() == []


@pytest.mark.load
def test_removing_a_mesh_costs_the_others_no_request(federation):
    federation.write_inventory(scenario.hosts())
    federation.play("federate").ok()
    url = "http://greeter.{}.svc.{}.global/"
    loads = {
        caller: Burst(federation, caller, url.format(NAMESPACE, callee), 50, 40, "4")
        for caller, callee in (("east", "west"), ("west", "east"))
    }
    federation.play("remove", "-e", '{"remove_meshes": ["north"]}').ok()
    for caller, load in loads.items():
        codes = load.wait().codes
        print(f"load of {caller}: {codes}")
        assert codes == {"200": 2000}
    for mesh in ("east", "west"):
        assert not [key for key in held(federation, mesh) if "north" in key[2]]
    assert [key[0] for key in held(federation, "north")] == ["PeerAuthentication"], "its control plane stays"
    federation.write_inventory(scenario.hosts())
    federation.play("site").ok()
    wait_for(
        lambda: federation.call("east", NAMESPACE, "caller", url.format(NAMESPACE, "north"))[0] == 200,
        "north is back after one run",
    )
