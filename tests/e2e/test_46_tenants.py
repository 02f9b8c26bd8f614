# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two teams on four meshes: neither team's exports resolve, route or authorize in the other's.

East and west are of team books, north and south of team toys. South has pod addresses of its own, so that its pods
reach those of another mesh directly, which no gateway forbids.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
from collections.abc import Iterator

import pytest

from tests.e2e import scenario
from tests.e2e.scenario import MESHES, NAMESPACE
from tests.e2e.support import AuditLog, held, wait_for
from tests.lab import manifests

TEAMS = {"books": ("east", "west"), "toys": ("north", "south")}
SOUTH_PODS = "10.245.0.0/24"
SHARED = "desk.shop.global"
DIRECT = "direct.test"
PAIRS = list(itertools.permutations(("east", "west", "north", "south"), 2))


def team_of(mesh: str) -> str:
    return next(team for team, members in TEAMS.items() if mesh in members)


def inventory():
    """Every mesh offers its greeter to its own team, and the first of each team a host that both teams call alike."""
    hosts = scenario.hosts() | {"south": {"mesh_locality": "us/us-south", "mesh_exports": [scenario.greeter()]}}
    for mesh, values in hosts.items():
        values["mesh_exports"][0] |= {"consumers": [team_of(mesh)], "attributes": {"tier": "gold"}}
    # The teams do not agree on its ports, its Service and its time limits, and need not.
    desk = {"service": "hidden", "namespace": NAMESPACE, "host": SHARED, "service_accounts": ["hidden"]}
    web = {"number": 80, "name": "http", "protocol": "HTTP", "target_port": 8080}
    hosts["east"]["mesh_exports"].append(
        {**desk, "ports": [web], "traffic": {"timeout": "3s"}, "consumers": ["books"], "attributes": {"tier": "tin"}}
    )
    plain = {"number": 8081, "name": "tcp-web", "protocol": "TCP"}
    narrow = {"mesh": "toys", "namespace": NAMESPACE, "service_account": "caller"}
    hosts["north"]["mesh_exports"][0]["consumers"] = [narrow]
    hosts["north"]["mesh_exports"].append({**desk, "ports": [web, plain], "consumers": [narrow]})
    # West takes what is gold only, and lets one namespace know of it.
    gold = {"from": "all", "select": "[?attributes.tier=='gold']", "export_to": [NAMESPACE]}
    hosts["west"]["mesh_imports"] = [gold, {"from": "books", "select": "[?host]"}]
    return hosts


@pytest.fixture(scope="module")
def teams(federated):
    """Four meshes of two teams, with their services running."""
    lab = federated.lab
    lab.up(["south"], pod_cidrs={"south": SOUTH_PODS})
    injected = {"istio-injection": "enabled"}
    lab.apply("south", [manifests.namespace(name, injected) for name in scenario.NAMESPACES])
    federated.write_inventory(inventory(), TEAMS)
    federated.play("site").ok()
    scenario.deploy_mesh(lab, "south")
    lab.apply("south", manifests.curl("shop", "other"))
    lab.wait_ready("south", scenario.NAMESPACES)
    yield federated
    # A mesh that is missing in an inventory without having been removed is refused.
    federated.play("remove", "-e", '{"remove_meshes": ["south"]}').ok()
    # No test after these wants a fourth mesh to take its share of the machine.
    lab.kill("south")


def greeter(mesh: str) -> str:
    return f"http://greeter.{NAMESPACE}.svc.{mesh}.global/"


@pytest.mark.parametrize(("caller", "callee"), PAIRS)
def test_a_team_calls_its_own_and_does_not_know_the_others(teams, caller, callee):
    def outcome():
        status, body = teams.call(caller, NAMESPACE, "caller", greeter(callee))
        return (status, json.loads(body)["caller"]) if status == 200 else (status, "")

    if team_of(caller) == team_of(callee):
        identity = f"spiffe://{caller}.mesh/ns/{NAMESPACE}/sa/caller"
        wait_for(lambda: outcome() == (200, identity), f"{caller} calls {callee}")
        return
    assert not [key for key in held(teams, caller) if f".{callee}." in key[2]]
    shell = f"curl -s -o /dev/null -m 5 {greeter(callee)}; echo $?"
    pod = ("exec", "-n", NAMESPACE, "deploy/caller", "-c", "caller", "--", "sh", "-c", shell)
    assert teams.lab.kubectl(caller, *pod).strip() == "6", "curl: could not resolve host"


@pytest.mark.parametrize(
    ("caller", "callee", "status"), [("west", "east", 200), ("north", "east", 503), ("east", "north", 503)]
)
def test_whoever_makes_the_way_by_hand_is_refused(teams, caller, callee, status):
    """Somebody writes what the collection would have written for a member of the team: address and SNI are right.

    West is such a member, which shows that the way is one.
    """
    sni = f"outbound_.80_._.greeter.{NAMESPACE}.svc.cluster.local"
    with by_hand(teams.lab, caller, teams.lab.node_address(callee), 15443, sni):
        answer = wait_for(
            lambda: (found := teams.call(caller, NAMESPACE, "caller", f"http://{DIRECT}/"))[0] == status and found,
            f"{caller} gets {status}",
        )
        print(caller, callee, answer)


@contextlib.contextmanager
def by_hand(lab, mesh: str, address: str, port: int, sni: str = "") -> Iterator[None]:
    """A way from a mesh to an address, with mutual TLS, under the name DIRECT."""
    tls = {"mode": "ISTIO_MUTUAL", **({"sni": sni} if sni else {})}
    metadata = {"name": "by-hand", "namespace": NAMESPACE}
    endpoint = {"address": address, "ports": {"http": port}, "labels": {"security.istio.io/tlsMode": "istio"}}
    entry = {
        "hosts": [DIRECT],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "endpoints": [endpoint],
    }
    rule = {"host": DIRECT, "trafficPolicy": {"tls": tls}}
    lab.apply(
        mesh,
        [
            {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec}
            for kind, spec in (("ServiceEntry", entry), ("DestinationRule", rule))
        ],
    )
    try:
        yield
    finally:
        lab.kubectl(mesh, "delete", "serviceentry,destinationrule", "-n", NAMESPACE, "by-hand")


def test_pods_that_reach_each_other_are_judged_too(teams):
    """South calls a pod of north that nobody exports, past every gateway: whom no export names is refused there.

    Whoever is named by some export gets through the handshake and the default deny, which is why pod networks are
    kept apart: docs/policy.md says so.
    """
    teams.lab.apply("north", manifests.app("north", "shop", "inner", ports={"http": 80}))
    teams.lab.wait_ready("north", ["shop"])
    [pod] = teams.kubectl_json("north", "get", "pods", "-n", "shop", "-l", "app=inner")["items"]
    with by_hand(teams.lab, "south", pod["status"]["podIP"], 8080):

        def status(namespace, name):
            return teams.call("south", namespace, name, f"http://{DIRECT}/")[0]

        wait_for(lambda: status("shop", "other") == 403, "the identity that no export names is refused")
        policies = teams.kubectl_json("north", "get", "authorizationpolicies", "-n", "shop")["items"]
        assert policies == [], "what refuses it is not of this namespace"
        wait_for(lambda: status(NAMESPACE, "caller") == 200, "the one that an export names is not")
    teams.lab.kubectl("north", "delete", "deploy/inner-v1", "service/inner", "-n", "shop")


def test_one_name_stands_for_another_service_in_each_team(teams):
    def answers(mesh):
        status, body = teams.call(mesh, NAMESPACE, "caller", f"http://{SHARED}/")
        return json.loads(body)["mesh"] if status == 200 else None

    expected = {"east": "east", "west": "east", "north": "north", "south": "north"}
    wait_for(lambda: {mesh: answers(mesh) for mesh in expected} == expected, "each team gets its own")
    ports = {
        mesh: [port["number"] for port in item["spec"]["ports"]]
        for mesh in expected
        for item in [teams.kubectl_json(mesh, "get", "serviceentry", "-n", "istio-system", SHARED)]
    }
    assert ports == {"east": [80], "west": [80], "north": [80, 8081], "south": [80, 8081]}


def test_an_import_is_known_where_it_is_exported_to(teams):
    entry = teams.kubectl_json(
        "west", "get", "serviceentry", "-n", "istio-system", f"greeter.{NAMESPACE}.svc.east.global"
    )
    assert entry["spec"]["exportTo"] == [NAMESPACE]
    wait_for(lambda: teams.call("west", NAMESPACE, "caller", greeter("east"))[0] == 200, "demo knows it")
    wait_for(lambda: teams.call("west", "shop", "cart", greeter("east"))[0] == 0, "shop does not")
    wait_for(lambda: teams.call("west", "shop", "cart", f"http://{SHARED}/")[0] == 200, "shop knows the other one")


def test_a_conflict_is_reported_to_the_team_whose_it_is(teams):
    hosts = copy.deepcopy(inventory())
    hosts["south"]["mesh_imports"] = [{"from": "all", "host": "one.shop.global"}]
    teams.write_inventory(hosts, TEAMS)
    logs = {mesh: AuditLog(teams.lab.audit_log(mesh)) for mesh in hosts}
    run = teams.play("site")
    teams.write_inventory(inventory(), TEAMS)
    assert run.returncode != 0
    # South has the pick of what its team offers, and no other.
    message = (
        "south (toys): mesh_imports[0].host: one host cannot stand for 2 selected exports: "
        f"{SHARED}, greeter.{NAMESPACE}.svc.north.global. Narrow from and select to one export, or leave out host."
    )
    assert message in run.output
    assert {mesh: log.writes() for mesh, log in logs.items()} == {mesh: [] for mesh in hosts}


def test_the_audit_knows_of_no_grant_across_teams(teams):
    run = teams.play("audit", "-e", "audit_fail=true").ok()
    for host in (*MESHES, "south"):
        text = "\n".join(run.messages[host])
        others = [mesh for team, members in TEAMS.items() if team != team_of(host) for mesh in members]
        assert f"{next(mesh for mesh in TEAMS[team_of(host)] if mesh != host)}.mesh/" in text
        assert not [mesh for mesh in others if f"{mesh}.mesh/" in text]
