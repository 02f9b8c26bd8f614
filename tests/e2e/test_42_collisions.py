# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Collisions and contradictions are refused before anything is written anywhere, each with its message.

Many at once: they are reported together. What is harmless stays, and the run goes through.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from tests.e2e import scenario
from tests.e2e.scenario import MESHES, NAMESPACE
from tests.e2e.support import AuditLog, Federation, Run, wait_for

GREETER = f"greeter.{NAMESPACE}.svc.east.global"
HIDDEN = "hidden.shop.global"
ALIAS = "hidden.example.com"
RENAMED = "greet.example.com"
EXTERNAL = "api.example.net"
ISTIO = "istio-system"
SELECTOR = {"istio": "eastwestgateway"}

OFFERED = f"'{GREETER}' (mesh_exports[0] of east)"
MERGED = f"'{HIDDEN}' (mesh_exports[1] of east)"
ONE_ENTRY = "and Istio knows only one of the two"
ONE_RULE = "and Istio applies only one of the two rules"
REMOVE_ENTRY = "Take the host out of that ServiceEntry"
REMOVE_RULE = "Narrow or remove that DestinationRule"
REMOVE_ROUTES = "Narrow or remove that VirtualService"
RENAME = "import it under another name with key host of mesh_imports."
TAKE_OVER = "Rename or remove it, or have it taken over with federation_force_conflicts."
OTHER_GATEWAY = "or have that Gateway select another workload."
ON_GATEWAY = "on port 15443 of the east-west gateway"


def hosts() -> dict[str, dict[str, Any]]:
    """East also offers ``hidden`` under names of its own; west imports by entries, and calls the world outside."""
    found = scenario.hosts()
    hidden = {
        "service": "hidden",
        "namespace": NAMESPACE,
        "host": HIDDEN,
        "aliases": [ALIAS],
        "ports": [
            {"number": 80, "name": "http", "protocol": "HTTP", "target_port": 8080},
            {"number": 9000, "name": "tcp", "protocol": "TCP"},
        ],
        "service_accounts": ["hidden"],
        "consumers": ["all"],
    }
    found["east"]["mesh_exports"].append(hidden)
    found["west"]["mesh_imports"] = [
        {"from": "east", "short_names_in": ["shop"]},
        {"from": "north", "select": "[?service=='greeter']", "host": RENAMED},
    ]
    found["west"]["mesh_external_services"] = [
        {"hosts": [EXTERNAL], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}]}
    ]
    return found


def thing(kind: str, namespace: str, name: str, spec: dict[str, Any], **labels: str) -> dict[str, Any]:
    group = "security" if kind == "AuthorizationPolicy" else "networking"
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": f"{group}.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


def entry(namespace: str, name: str, host: str, *export_to: str) -> dict[str, Any]:
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    spec: dict[str, Any] = {"hosts": [host], "ports": ports, "resolution": "STATIC"}
    spec["endpoints"] = [{"address": "192.0.2.1"}]
    return thing("ServiceEntry", namespace, name, {**spec, "exportTo": list(export_to or "*")})


def rule(namespace: str, name: str, host: str, *export_to: str, mode: str = "DISABLE") -> dict[str, Any]:
    spec = {"host": host, "trafficPolicy": {"tls": {"mode": mode}}, "exportTo": list(export_to or "*")}
    return thing("DestinationRule", namespace, name, spec)


def routes(namespace: str, name: str, host: str, spec: dict[str, Any], **labels: str) -> dict[str, Any]:
    return thing("VirtualService", namespace, name, {"hosts": [host], **spec}, **labels)


def http(host: str) -> dict[str, Any]:
    return {"http": [{"route": [{"destination": {"host": host}}]}]}


def tcp(host: str, port: int) -> dict[str, Any]:
    destination = {"host": host, "port": {"number": port}}
    return {"tcp": [{"match": [{"port": port}], "route": [{"destination": destination}]}]}


def gateway(name: str, host: str, mode: str | None, number: int = 15443) -> dict[str, Any]:
    server: dict[str, Any] = {"port": {"number": number, "name": "theirs", "protocol": "TLS"}, "hosts": [host]}
    if mode:
        server["tls"] = {"mode": mode}
    else:
        server["port"]["protocol"] = "HTTP"
    return thing("Gateway", NAMESPACE, name, {"selector": SELECTOR, "servers": [server]})


COLLISIONS: dict[str, tuple[str, dict[str, Any], str]] = {
    "ServiceEntry of an import": (
        "west",
        entry(NAMESPACE, "clash-default", GREETER),
        (
            f"west: mesh_imports[0]: {OFFERED} is also a host of ServiceEntry {NAMESPACE}/clash-default, {ONE_ENTRY}"
            " in every"
            f" namespace. {REMOVE_ENTRY}, or {RENAME}"
        ),
    ),
    "ServiceEntry in one namespace's sight": (
        "west",
        entry("shop", "clash-merged", HIDDEN, "."),
        (
            f"west: mesh_imports[0]: {MERGED} is also a host of ServiceEntry shop/clash-merged, {ONE_ENTRY} in"
            " namespace shop."
            f" {REMOVE_ENTRY}, or {RENAME}"
        ),
    ),
    "ServiceEntry of an alias": (
        "west",
        entry(NAMESPACE, "clash-alias", ALIAS),
        (
            f"west: mesh_imports[0]: '{ALIAS}' (an alias of mesh_exports[1] of east) is also a host of ServiceEntry"
            f" {NAMESPACE}/clash-alias, {ONE_ENTRY} in every namespace. {REMOVE_ENTRY}, or remove the alias there."
        ),
    ),
    "ServiceEntry of a chosen host": (
        "west",
        entry(ISTIO, "clash-renamed", RENAMED),
        (
            f"west: mesh_imports[1].host: '{RENAMED}' (mesh_exports[0] of north) is also a host of ServiceEntry"
            f" {ISTIO}/clash-renamed, {ONE_ENTRY} in every namespace. {REMOVE_ENTRY}, or choose another host."
        ),
    ),
    "ServiceEntry of an external service": (
        "west",
        entry("vault", "clash-external", EXTERNAL, "."),
        (
            f"west: mesh_external_services[0].hosts: '{EXTERNAL}' is also a host of ServiceEntry vault/clash-external,"
            f" {ONE_ENTRY} in namespace vault. {REMOVE_ENTRY}, or remove the host here."
        ),
    ),
    "ServiceEntry of a short name": (
        "west",
        entry("shop", "clash-short", "hidden.shop.svc.cluster.local", "shop"),
        (
            "west: mesh_imports[0].short_names_in: 'hidden.shop.svc.cluster.local' (mesh_exports[1] of east) is also"
            " a host of"
            f" ServiceEntry shop/clash-short, {ONE_ENTRY} in namespace shop. {REMOVE_ENTRY}, or leave shop out."
        ),
    ),
    "Service of a short name": (
        "west",
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "greeter", "namespace": "shop"},
            "spec": {"ports": [{"name": "http", "port": 80}]},
        },
        (
            "west: mesh_imports[0].short_names_in: 'greeter.shop.svc.cluster.local' (mesh_exports[0] of east) is the"
            " name of"
            " Service shop/greeter here, which Istio prefers. Remove that Service, or leave shop out."
        ),
    ),
    "DestinationRule of the callers": (
        "west",
        rule(NAMESPACE, "clash-rule", GREETER, "."),
        (
            f"west: mesh_imports[0]: {OFFERED} is also a host of DestinationRule {NAMESPACE}/clash-rule, {ONE_RULE}"
            " in namespace"
            f" {NAMESPACE}. {REMOVE_RULE}, or {RENAME}"
        ),
    ),
    "DestinationRule for a wildcard": (
        "west",
        rule("shop", "clash-wildcard", "*.shop.global"),
        (
            f"west: mesh_imports[0]: {MERGED} also falls under '*.shop.global' of DestinationRule shop/clash-wildcard,"
            f" {ONE_RULE} in namespace shop. {REMOVE_RULE}, or {RENAME}"
        ),
    ),
    "DestinationRule beside ours": (
        "west",
        rule(ISTIO, "clash-beside", HIDDEN),
        (
            f"west: mesh_imports[0]: {MERGED} is also a host of DestinationRule {ISTIO}/clash-beside, {ONE_RULE} in"
            " every"
            f" namespace. {REMOVE_RULE}, or {RENAME}"
        ),
    ),
    "VirtualService for requests": (
        "west",
        routes(NAMESPACE, "clash-routes", GREETER, http("hidden")),
        (
            f"west: mesh_imports[0]: {OFFERED} is also a host of VirtualService {NAMESPACE}/clash-routes, and Istio"
            " follows the"
            f" routes of only one of the two in every namespace. {REMOVE_ROUTES}, or {RENAME}"
        ),
    ),
    "VirtualService for connections": (
        "west",
        routes(NAMESPACE, "clash-connections", "*.east.global", tcp("hidden", 9000)),
        (
            f"west: mesh_imports[0]: {OFFERED} also falls under '*.east.global' of VirtualService"
            f" {NAMESPACE}/clash-connections,"
            f" whose routes take connections to port 9000 in every namespace. {REMOVE_ROUTES}, or {RENAME}"
        ),
    ),
    "name of our ServiceEntry": (
        "west",
        entry(ISTIO, HIDDEN, "other.example.com"),
        (
            f"west: mesh_imports[0]: ServiceEntry {ISTIO}/{HIDDEN} exists and belongs to somebody else, and the"
            " federation needs"
            f" that name. {TAKE_OVER}"
        ),
    ),
    "name of our VirtualService": (
        "west",
        routes(ISTIO, RENAMED, "other.example.com", http("hidden"), **{"app.kubernetes.io/managed-by": "Helm"}),
        (
            f"west: mesh_imports[1].host: VirtualService {ISTIO}/{RENAMED} exists and belongs to 'Helm', and the"
            " federation needs"
            f" that name. {TAKE_OVER}"
        ),
    ),
    "Gateway with a host of ours": (
        "east",
        gateway("clash-server", f"greeter.{NAMESPACE}.svc.cluster.local", "AUTO_PASSTHROUGH"),
        (
            f"east: mesh_exports[0].service: 'greeter.{NAMESPACE}.svc.cluster.local' is also a host of Gateway"
            f" {NAMESPACE}/clash-server {ON_GATEWAY}, and Istio drops the younger server with all its hosts. Take it"
            " out of"
            f" that Gateway, {OTHER_GATEWAY}"
        ),
    ),
    "Gateway that passes everything on": (
        "east",
        gateway("clash-everything", "*.local", "AUTO_PASSTHROUGH"),
        (
            f"east: mesh_exports[0].service: 'greeter.{NAMESPACE}.svc.cluster.local' also falls under '*.local' of"
            " Gateway"
            f" {NAMESPACE}/clash-everything {ON_GATEWAY}, whose proxy refuses a listener that knows a name twice."
            " Take it out of"
            f" that Gateway, {OTHER_GATEWAY}"
        ),
    ),
    "Gateway without TLS": (
        "east",
        gateway("clash-plaintext", "*", None),
        (
            f"east: mesh_exports: Gateway {NAMESPACE}/clash-plaintext serves plaintext {ON_GATEWAY}, and Istio drops"
            " the younger"
            f" of it and the server of the exports. Choose another port there, {OTHER_GATEWAY}"
        ),
    ),
    "name of our AuthorizationPolicy": (
        "east",
        thing("AuthorizationPolicy", NAMESPACE, "multimesh-hidden", {"selector": {"matchLabels": {"app": "nobody"}}}),
        (
            f"east: mesh_exports[1].service: AuthorizationPolicy {NAMESPACE}/multimesh-hidden exists and belongs to"
            " somebody"
            f" else, and the federation needs that name. {TAKE_OVER}"
        ),
    ),
    "ServiceEntry of a host that the mesh serves itself": (
        "east",
        entry("shop", "clash-own", HIDDEN),
        (
            f"east: mesh_exports[1].host: '{HIDDEN}' is also a host of ServiceEntry shop/clash-own, {ONE_ENTRY} in"
            " every"
            f" namespace. {REMOVE_ENTRY}, or choose another host."
        ),
    ),
}

HARMLESS = [
    ("west", entry(NAMESPACE, "wildcard", "*.global")),
    ("west", entry(NAMESPACE, "nobody", GREETER, "~")),
    ("west", entry(NAMESPACE, "example", "www.example.com")),
    ("west", rule(ISTIO, "wildcard", "*.global", mode="ISTIO_MUTUAL")),
    ("west", rule("vault", "elsewhere", GREETER, "shop")),
    ("west", routes(NAMESPACE, "wildcard", "*.global", http("hidden"))),
    ("west", routes(NAMESPACE, "gateway-only", GREETER, {"gateways": [f"{NAMESPACE}/none"], **http("hidden")})),
    ("west", routes(NAMESPACE, "other-port", GREETER, tcp("hidden", 5432))),
    ("east", gateway("other-host", f"hidden.{NAMESPACE}.svc.cluster.local", "AUTO_PASSTHROUGH")),
    ("east", gateway("other-port", "*.local", "AUTO_PASSTHROUGH", number=16443)),
    (
        "east",
        thing("AuthorizationPolicy", "shop", "multimesh-greeter", {"selector": {"matchLabels": {"app": "nobody"}}}),
    ),
]


def contradictory() -> dict[str, dict[str, Any]]:
    """An inventory that contradicts itself and the clusters in all of CONTRADICTIONS."""
    found = hosts()
    east, west, north = found["east"], found["west"], found["north"]
    greeter, hidden = east["mesh_exports"]
    greeter["ports"] = [
        {"number": 80, "name": "http", "protocol": "HTTP", "target_port": 8081},
        {"number": 81, "name": "admin", "protocol": "HTTP"},
        {"number": 9000, "name": "tcp", "protocol": "TCP"},
    ]
    greeter["consumers"] = ["wets", {"mesh": "west", "methods": ["GET"]}]
    twice = {key: value for key, value in greeter.items() if key != "ports"}
    east["mesh_exports"].append({**twice, "consumers": ["north"], "host": f"hidden.{NAMESPACE}"})
    east["mesh_trust_domain"] = "north.mesh"
    east["mesh_gateway_addresses"] = ["127.0.0.1"]
    west["mesh_network"] = "north"
    west["mesh_trust_domain"] = "inner.north.mesh"
    west["mesh_import"] = []
    west["mesh_imports"] += [{"from": "east", "select": "[?"}, {"from": "all", "host": "both.example.com"}]
    north["mesh_gateway_addresses"] = ["gw.north.example.com"]
    north["mesh_kubeconfig"] = west["mesh_kubeconfig"] = "{{ demo_lab_directory }}/west.kubeconfig"
    other = {**hidden, "ports": hidden["ports"][:1], "aliases": ["gw.north.example.com"]}
    north["mesh_exports"] += [
        {**other, "traffic": {"order": ["north"]}},
        {**other, "service": "ledger", "host": "ledger.shop.global", "aliases": [ALIAS]},
    ]
    return found


CONTRADICTIONS = {
    "an unknown consumer": "east: mesh_exports[0].consumers[0]: expected a mesh, a group of meshes or 'all', found"
    " 'wets',"
    " which this run's inventory lacks. Did you mean 'west'; job slicing takes hosts out of an inventory.",
    "methods of connections": "east: mesh_exports[0].consumers: methods and paths need HTTP, and port 9000 is TCP."
    " Give the consumer ports that are HTTP, or admit it without methods and paths.",
    "a port that the Service lacks": f"east: mesh_exports[0].ports: expected ports of Service {NAMESPACE}/greeter"
    " (80, 8079,"
    " 8081, 8443, 9000), found 81. Correct the number, or add the port to the Service.",
    "another port of the pods": "east: mesh_exports[0].ports: expected target_port 8080 for port 80 as Service"
    f" {NAMESPACE}/greeter has, found 8081. Correct it, or leave it out to have it read.",
    "a Service exported twice": f"east: mesh_exports[2].service: Service {NAMESPACE}/greeter is already exported by"
    " mesh_exports[0]. Make one export of the two.",
    "a host that is a Service's short name": f"east: mesh_exports[2].host: 'hidden.{NAMESPACE}' is a short name of"
    " Service"
    f" {NAMESPACE}/hidden of east, which it would hide. Choose a host of its own, such as 'reviews.shop.global'.",
    "a gateway nobody reaches": "east: mesh_gateway_addresses[0]: expected an address that other clusters can reach,"
    " found"
    " '127.0.0.1'. Give what other clusters can reach, for example '192.0.2.10'.",
    "a common host with other ports": f"north: mesh_exports[1].ports: expected the ports that east gives for '{HIDDEN}'"
    " (80 HTTP, 9000 TCP), found 80 HTTP. Export the same port numbers and protocols everywhere, or use another host.",
    "an order that lacks a mesh": f"north: mesh_exports[1].traffic.order: expected every mesh that exports"
    f" '{HIDDEN}', and"
    " east is missing. Add east where its turn is.",
    "an order of a gateway with a name": (
        f"north: mesh_gateway_addresses: '{HIDDEN}' has an order, which Istio keeps for IP addresses only, and"
        " 'gw.north.example.com' is a name. Give the gateway's IP addresses, or leave out order."
    ),
    "a name that is a gateway's": "north: mesh_exports[1].aliases[0]: 'gw.north.example.com' is the address of the"
    " gateway of"
    " north, which callers would no longer find. Choose another host.",
    "an alias of something else": f"north: mesh_exports[2].aliases[0]: '{ALIAS}' is already a name of"
    f" east/{NAMESPACE}/hidden of east. Choose another alias.",
    "a trust domain twice": "north: mesh_trust_domain: 'north.mesh' is already the trust domain of mesh east. Give"
    " each mesh"
    " one of its own, such as '<mesh>.mesh'.",
    "a nested trust domain": "west: mesh_trust_domain: 'inner.north.mesh' is nested in 'north.mesh' of mesh east,"
    " whose CA"
    " could then speak for it. Choose siblings, such as 'east.mesh' and 'west.mesh'.",
    "a network of another mesh": "west: mesh_network: 'north' is already the network of mesh north, whose pods would be"
    " called directly. Choose a network of its own, or leave it out.",
    "a cluster with two hosts": "west: mesh_kubeconfig: expected a cluster of its own, found the kubeconfig and"
    " context of"
    " north. Give every host its own cluster.",
    "a port of shared pods with two protocols": "east: mesh_exports[2].ports: port 8081 of the pods is TCP here and"
    " HTTP in"
    " mesh_exports[0]. Give a port of the same pods the same protocol in both.",
    "one host for many": "west: mesh_imports[3].host: one host cannot stand for 4 selected exports:"
    f" {GREETER}, greeter.{NAMESPACE}.svc.north.global, {HIDDEN}, ledger.shop.global. Narrow from and select to one"
    " export,"
    " or leave out host.",
    "an unknown variable": "west: mesh_import: unknown key. Did you mean 'mesh_imports'.",
    "an expression that is none": "west: mesh_imports[2].select: expected a JMESPath expression over exports: Invalid"
    " jmespath expression: Incomplete expression. See https://jmespath.org.",
}


def said(run: Run) -> list[str]:
    """Problems of the inventory, which concern all and are told once."""
    results = re.findall(r"^fatal: \[\w+\]: FAILED! => (\{.*\})$", run.output, re.MULTILINE)
    assert len(results) == 1, run.output[-4000:]
    return str(json.loads(results[0])["msg"]).partition(":\n  - ")[2].split("\n  - ")


def refused(federation: Federation, inventory: dict[str, dict[str, Any]]) -> list[str]:
    """What is said of it, after a run that wrote nothing anywhere."""
    federation.write_inventory(inventory)
    logs = {mesh: AuditLog(federation.lab.audit_log(mesh)) for mesh in MESHES}
    run = federation.play("site")
    assert run.returncode != 0
    assert {mesh: log.writes() for mesh, log in logs.items()} == {mesh: [] for mesh in MESHES}
    return said(run)


@contextlib.contextmanager
def crowd(federation: Federation, objects: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[None]:
    """Others keep these objects for a while."""
    objects = list(objects)
    try:
        for mesh, body in objects:
            federation.lab.apply(mesh, [body])
        yield
    finally:
        for mesh, body in objects:
            delete(federation, mesh, body)


def delete(federation: Federation, mesh: str, body: dict[str, Any]) -> None:
    metadata = body["metadata"]
    kind = f"{body['kind']}.{body['apiVersion'].split('/')[0]}" if "/" in body["apiVersion"] else body["kind"]
    federation.lab.kubectl(mesh, "delete", kind, "-n", metadata["namespace"], metadata["name"], "--ignore-not-found")


@pytest.fixture(scope="module")
def collided(federation: Federation) -> tuple[list[str], list[str]]:
    """What is refused where all that collides is there, and what is when objects of our names may be taken over."""
    with crowd(federation, ((mesh, body) for mesh, body, _message in COLLISIONS.values())):
        problems = refused(federation, hosts())
        print(f"{len(problems)} collisions reported at once")
        taking_over = said(federation.play("site", "--check", "-e", "federation_force_conflicts=true"))
    return problems, taking_over


@pytest.fixture(scope="module")
def reported(collided: tuple[list[str], list[str]]) -> list[str]:
    return collided[0]


@pytest.mark.parametrize("name", COLLISIONS)
def test_a_collision_is_refused_with_its_message(reported: list[str], name: str) -> None:
    assert COLLISIONS[name][2] in reported


def test_nothing_else_is_refused(reported: list[str]) -> None:
    assert sorted(reported) == sorted(message for _mesh, _body, message in COLLISIONS.values())


def test_objects_of_our_names_are_taken_over_on_request(collided: tuple[list[str], list[str]]) -> None:
    """Only they: the run is still refused for everything else."""
    before, taking_over = collided
    assert taking_over == [problem for problem in before if "needs that name" not in problem]
    assert len(before) - len(taking_over) == 3


@pytest.fixture(scope="module")
def contradicted(federation: Federation) -> list[str]:
    problems = refused(federation, contradictory())
    print(f"{len(problems)} contradictions reported at once")
    return problems


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_contradiction_is_refused_with_its_message(contradicted: list[str], name: str) -> None:
    assert CONTRADICTIONS[name] in contradicted


def test_nothing_else_contradicts(contradicted: list[str]) -> None:
    assert sorted(contradicted) == sorted(CONTRADICTIONS.values())


def test_what_is_harmless_is_left_alone(federation: Federation) -> None:
    federation.write_inventory(scenario.hosts())
    federation.play("federate").ok()
    with crowd(federation, HARMLESS):
        run = federation.play("federate").ok()
        assert {mesh: counts["changed"] for mesh, counts in run.recap.items()} == dict.fromkeys(MESHES, 0)
        wait_for(lambda: calls(federation, NAMESPACE, "caller"), "calls are not disturbed")


# That these are collisions and no fancies


def calls(federation: Federation, namespace: str, name: str) -> bool:
    return federation.call("west", namespace, name, f"http://{GREETER}/hello")[0] == 200


def test_a_rule_of_the_callers_takes_ours_away_from_them_alone(federation: Federation) -> None:
    federation.write_inventory(scenario.hosts())
    federation.play("federate").ok()
    theirs = rule(NAMESPACE, "wildcard", "*.east.global", ".")
    wait_for(lambda: calls(federation, NAMESPACE, "caller"), "the call works before")
    with crowd(federation, [("west", theirs)]):
        wait_for(lambda: not calls(federation, NAMESPACE, "caller"), "callers beside the rule lose mutual TLS")
        assert calls(federation, "shop", "other")
    wait_for(lambda: calls(federation, NAMESPACE, "caller"), "the call works again")


def test_a_wildcard_beside_the_exports_freezes_the_gateway(federation: Federation) -> None:
    theirs = gateway("everything", "*.local", "AUTO_PASSTHROUGH")
    before = rejected(federation)
    with crowd(federation, [("east", theirs)]):
        wait_for(lambda: rejected(federation) > before, "the gateway refuses the listener")
    wait_for(lambda: calls(federation, NAMESPACE, "caller"), "the call works again")


def rejected(federation: Federation) -> int:
    """How often the proxy of east's gateway refused listeners."""
    stats = federation.lab.kubectl(
        "east", "exec", "-n", ISTIO, "deploy/istio-eastwestgateway", "--",
        "pilot-agent", "request", "GET", "stats?filter=listener_manager.lds.update_rejected",
    )  # fmt: skip
    return int(stats.rpartition(":")[2])
