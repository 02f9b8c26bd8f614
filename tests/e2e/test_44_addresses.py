# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Gateways move: it is told, one run follows, and calls work again; by one address, several, or a name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from tests.e2e import scenario
from tests.e2e.scenario import MESHES, NAMESPACE
from tests.e2e.support import AuditLog, Federation, Run, wait_for
from tests.lab.addresses import LAST_MESH

pytestmark = pytest.mark.long

EXPORTER = "north"
CALLERS = ("east", "west")
HOST = f"greeter.{NAMESPACE}.svc.{EXPORTER}.global"
GATEWAY = ("svc", "-n", "istio-system", "istio-eastwestgateway")
ZONE = "gateways.example"
NAME = f"{EXPORTER}.{ZONE}"


class Moves:
    """The addresses of north's gateway."""

    def __init__(self, federation: Federation) -> None:
        self.lab = federation.lab
        self.first = self.lab.node_address(EXPORTER)
        # Beyond those that the lab gives to clusters.
        base = int(IPv4Address(self.first)) & ~0xFF
        self.others = [str(IPv4Address(base + LAST_MESH + offset)) for offset in (1, 2)]
        self._device = self._run("ip", "-o", "-4", "address", "show", "to", self.first).split()[1]

    def _run(self, *command: str) -> str:
        done = self.lab.exec_in_node(EXPORTER, command)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def to(self, *addresses: str) -> None:
        """Serve at these addresses only, as when a load balancer is replaced."""
        for address in addresses:
            self._run("ip", "address", "replace", f"{address}/24", "dev", self._device)
        fields = {
            "loadBalancerSourceRanges": None,
            "allocateLoadBalancerNodePorts": None,
            "externalTrafficPolicy": None,
        }
        spec = {"type": "ClusterIP", "externalIPs": list(addresses), **fields}
        self._patch(spec)

    def home(self) -> None:
        """As the chart made it."""
        self._patch({"type": "LoadBalancer", "externalIPs": None})
        for address in self.others:
            self.lab.exec_in_node(EXPORTER, ["ip", "address", "del", f"{address}/24", "dev", self._device])

    def _patch(self, spec: dict[str, object]) -> None:
        self.lab.kubectl(EXPORTER, "patch", *GATEWAY, "--type=merge", "-p", json.dumps({"spec": spec}))


@pytest.fixture(scope="module")
def moves(federation: Federation) -> Iterator[Moves]:
    moves = Moves(federation)
    yield moves
    moves.home()
    wait_for(lambda: balanced(federation), "the load balancer gives its address")
    federation.write_inventory(scenario.hosts())
    federation.play("site").ok()


def balanced(federation: Federation) -> bool:
    status = federation.kubectl_json(EXPORTER, "get", *GATEWAY)["status"]
    return bool(status.get("loadBalancer", {}).get("ingress"))


def works(federation: Federation, caller: str) -> bool:
    return federation.call(caller, NAMESPACE, "caller", f"http://{HOST}/hello")[0] == 200


def endpoints(federation: Federation, mesh: str) -> tuple[list[str], str]:
    spec = federation.kubectl_json(mesh, "get", "serviceentry", "-n", "istio-system", HOST)["spec"]
    return sorted(endpoint["address"] for endpoint in spec["endpoints"]), spec["resolution"]


def told(run: Run) -> str:
    """What a run printed, with the line breaks of long warnings undone."""
    return re.sub(r"\s+", " ", run.output)


def drift(caller: str, at: str, now: str) -> str:
    return (
        f"{caller}: callers are sent to the gateway of {EXPORTER} at {at}, and it is at {now}; playbook"
        " multimesh.istio.site corrects that"
    )


def follow(federation: Federation, *addresses: str) -> None:
    """One run, and the calls work; another one has nothing to do."""
    run = federation.play("site").ok()
    assert {mesh for mesh, counts in run.recap.items() if counts["changed"]} == set(CALLERS)
    for mesh in CALLERS:
        assert endpoints(federation, mesh)[0] == sorted(addresses)
        wait_for(lambda mesh=mesh: works(federation, mesh), f"{mesh} calls {EXPORTER} at {', '.join(addresses)}")
    again = federation.play("site").ok()
    assert {mesh: counts["changed"] for mesh, counts in again.recap.items()} == dict.fromkeys(MESHES, 0)
    assert "callers are sent to" not in told(again)


def test_a_gateway_that_moved_is_told_and_followed(federation: Federation, moves: Moves) -> None:
    moves.to(moves.others[0])
    for mesh in CALLERS:
        wait_for(lambda mesh=mesh: not works(federation, mesh), f"{mesh} no longer reaches the old address")
    verify = federation.play("verify", "-e", "verify_timeout=10")
    assert verify.returncode != 0
    logs = {mesh: AuditLog(federation.lab.audit_log(mesh)) for mesh in MESHES}
    check = federation.play("site", "--check", "--diff").ok()
    assert [log.writes() for log in logs.values()] == [[], [], []]
    for mesh in CALLERS:
        assert drift(mesh, moves.first, moves.others[0]) in told(verify)
        assert drift(mesh, moves.first, moves.others[0]) in told(check)
    assert re.search(rf"^-.*{re.escape(moves.first)}", check.output, re.MULTILINE)
    assert re.search(rf"^\+.*{re.escape(moves.others[0])}", check.output, re.MULTILINE)
    follow(federation, moves.others[0])
    federation.play("verify").ok()


def test_several_addresses(federation: Federation, moves: Moves) -> None:
    moves.to(*moves.others)
    follow(federation, *moves.others)
    # One of them goes away without anybody saying so: the other one serves.
    moves.to(moves.others[1])
    for mesh in CALLERS:
        wait_for(lambda mesh=mesh: all(works(federation, mesh) for _attempt in range(10)), f"{mesh} uses the other one")
    follow(federation, moves.others[1])


def test_an_inventory_that_says_something_else_is_told_and_counts(federation: Federation, moves: Moves) -> None:
    moves.to(moves.others[1])
    hosts = scenario.hosts()
    hosts[EXPORTER]["mesh_gateway_addresses"] = [moves.others[0]]
    federation.write_inventory(hosts)
    run = federation.play("site").ok()
    assert (
        f"{EXPORTER}: mesh_gateway_addresses says {moves.others[0]}, and the gateway's Service {moves.others[1]};"
        " callers are sent to the former"
    ) in told(run)
    assert endpoints(federation, "east") == ([moves.others[0]], "STATIC")


def test_an_address_that_is_a_name(federation: Federation, moves: Moves) -> None:
    moves.home()
    wait_for(lambda: balanced(federation), "the load balancer gives its address")
    with_name(federation, moves.first)
    hosts = scenario.hosts()
    hosts[EXPORTER]["mesh_gateway_addresses"] = [NAME]
    federation.write_inventory(hosts)
    try:
        follow(federation, NAME)
        assert endpoints(federation, "east") == ([NAME], "DNS")
        # The name moves: nobody has to run anything.
        with_name(federation, moves.others[0])
        moves.to(moves.others[0])
        for mesh in CALLERS:
            wait_for(lambda mesh=mesh: works(federation, mesh), f"{mesh} follows the name", seconds=90)
    finally:
        with_name(federation, None)


def with_name(federation: Federation, address: str | None) -> None:
    """A zone of its own in the callers' cluster DNS, or none."""
    zone = f"\n{ZONE}:53 {{\n    hosts {{\n        {address} {NAME}\n        ttl 5\n    }}\n    reload 2s\n}}\n"
    for mesh in CALLERS:
        config = federation.kubectl_json(mesh, "get", "configmap", "-n", "kube-system", "coredns")
        corefile = config["data"]["Corefile"].partition(f"\n{ZONE}:53")[0] + (zone if address else "")
        patch = json.dumps({"data": {"Corefile": corefile}})
        federation.lab.kubectl(mesh, "patch", "configmap", "-n", "kube-system", "coredns", "--type=merge", "-p", patch)
        # So that the kubelet looks at the pod's files now.
        pods = ["pods", "-n", "kube-system", "-l", "k8s-app=kube-dns"]
        federation.lab.kubectl(mesh, "annotate", "--overwrite", *pods, f"multimesh.test/zone={address}")
