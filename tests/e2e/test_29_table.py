# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every way, every protocol and every form of a name, each called once and each with the identity that was seen."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e import ingress_controller, scenario
from tests.e2e.scenario import NAMESPACE
from tests.e2e.support import Federation, wait_for
from tests.lab import manifests

PORTS = {"http": 80, "grpc": 8079, "tcp": 9000, "tls": 8443}
HTTP2 = 8082
EXPORTED = [
    {"number": 80, "name": "http", "protocol": "HTTP", "target_port": 8080},
    {"number": HTTP2, "name": "http2", "protocol": "HTTP2", "target_port": 8080},
    {"number": 8079, "name": "grpc", "protocol": "GRPC", "target_port": 8079},
    {"number": 9000, "name": "tcp", "protocol": "TCP", "target_port": 9000},
    {"number": 8443, "name": "tls", "protocol": "TLS", "target_port": 8443},
]
GRPC_CALL = (
    "printf '\\0\\0\\0\\0\\0' | curl -s -m 5 --http2-prior-knowledge --data-binary @-"
    " -H 'content-type: application/grpc' -H 'te: trailers'"
    " http://{host}:8079/grpc.health.v1.Health/Check | od -An -tx1"
)
CALLS = {
    "HTTP/1.1": "curl -s -m 5 http://{host}/",
    "HTTP/2": f"curl -s -m 5 --http2-prior-knowledge http://{{host}}:{HTTP2}/",
    "gRPC": GRPC_CALL,
    "TCP": "echo hello | timeout 3 curl -s -m 2 telnet://{host}:9000",
    "TLS": "curl -s -k -m 5 https://{host}:8443/",
}
WAYS = {"passthrough": tuple(CALLS), "gateway": tuple(CALLS), "ingress": ("HTTP/1.1", "HTTP/2", "gRPC")}
"""What each way passes on; more is refused before anything is written."""
TARGETS = {"HTTP/1.1": 8080, "HTTP/2": 8080, "gRPC": 8079, "TCP": 9000, "TLS": 8443}
NUMBERS = {"HTTP/1.1": 80, "HTTP/2": HTTP2, "gRPC": 8079, "TCP": 9000, "TLS": 8443}
EXPORTERS = ("east", "north")
FORMS = ("qualified", "alias", "renamed", "short", "merged")


def service(way: str, form: str) -> str:
    return f"{way}-all" if form == "merged" else f"{way}-one"


def host(way: str, form: str) -> str:
    return {
        "qualified": f"{way}-one.{NAMESPACE}.svc.east.global",
        "alias": f"{way}.alias.example.com",
        "renamed": f"{way}.renamed.global",
        "short": f"{way}-one",
        "merged": f"{way}.merged.global",
    }[form]


def caller(form: str) -> tuple[str, str]:
    """Namespace and pod that call; short names are for one namespace."""
    return ("shop", "cart") if form == "short" else (NAMESPACE, "caller")


def hosts() -> dict[str, dict[str, Any]]:
    found = scenario.hosts()
    found["west"]["mesh_imports"] = [{"from": "all"}]
    for mesh in EXPORTERS:
        found[mesh] |= {"mesh_ingress_class": ingress_controller.CLASS, "mesh_ingress_secret_namespace": "istio-system"}
    for way, protocols in WAYS.items():
        numbers = {NUMBERS[protocol] for protocol in protocols}
        ports = [port for port in EXPORTED if port["number"] in numbers]
        one = {"service": f"{way}-one", "namespace": NAMESPACE, "via": way, "ports": ports, "consumers": ["west"]}
        found["east"]["mesh_exports"] += [{**one, "aliases": [host(way, "alias")]}]
        for mesh in EXPORTERS:
            found[mesh]["mesh_exports"].append({**one, "service": f"{way}-all", "host": host(way, "merged")})
        alone = {"from": "east", "select": f"[?service=='{way}-one']"}
        found["west"]["mesh_imports"] += [
            {**alone, "host": host(way, "renamed")},
            {**alone, "short_names_in": ["shop"]},
        ]
    return found


@pytest.fixture(scope="module")
def exported(federated: Federation) -> Iterator[Federation]:
    names = {"east": [service(way, form) for way in WAYS for form in ("qualified", "merged")]}
    names["north"] = [service(way, "merged") for way in WAYS]
    for mesh, services in names.items():
        ingress_controller.install(federated, mesh)
        for name in services:
            objects = manifests.app(mesh, NAMESPACE, name, ports=PORTS)
            objects[1]["spec"]["ports"].append({"name": "http2", "port": HTTP2, "targetPort": 8080})
            federated.lab.apply(mesh, objects)
    for mesh in names:
        federated.lab.wait_ready(mesh, [NAMESPACE, "istio-system"])
    federated.write_inventory(hosts())
    federated.play("site").ok()
    yield federated
    for mesh, services in names.items():
        ingress_controller.uninstall(federated, mesh)
        for name in services:
            federated.lab.kubectl(mesh, "delete", f"deploy/{name}-v1", f"service/{name}", "-n", NAMESPACE)


def answered(federation: Federation, form: str, way: str, protocol: str) -> bool:
    """Whether east's application answers a call, in the way the protocol has."""
    namespace, pod = caller(form)
    command = CALLS[protocol].format(host=host(way, form))
    said = federation.lab.kubectl(
        "west", "exec", "-n", namespace, f"deploy/{pod}", "-c", pod, "--", "sh", "-c", f"{command} || true"
    )
    if protocol == "gRPC":
        return "08 01" in said  # status SERVING of grpc.health.v1
    if protocol == "TCP":
        return f"mesh=east service={service(way, form)} " in said
    answer = json.loads(said)
    return (answer["mesh"], answer["service"]) == ("east", service(way, form))


def identities(federation: Federation, form: str, way: str, protocol: str) -> set[str]:
    """Callers of a Service's port as the last proxy saw them that can: the gateway, or the sidecar of the pods."""
    if way == "gateway":
        place, mark = ("istio-system", "istio=eastwestgateway", "istio-proxy"), f'sni="{NUMBERS[protocol]}.'
        wanted = service(way, form)
    else:
        place, mark = (NAMESPACE, f"app={service(way, form)}", "istio-proxy"), f'cluster="inbound|{TARGETS[protocol]}||'
        wanted = ""
    namespace, label, container = place
    log = federation.lab.kubectl("east", "logs", "-n", namespace, "-l", label, "-c", container, "--tail=2000")
    lines = [line for line in log.splitlines() if mark in line and (wanted in line or "merged" in line)]
    return {found[1] for line in lines if (found := re.search(r'caller="(spiffe://[^"]+)"', line))}


def expected(way: str, form: str) -> str:
    """Who calls, for the callee: behind an Ingress its controller does, for whoever it is."""
    if way == "ingress":
        return f"spiffe://east.mesh/ns/istio-system/sa/{ingress_controller.RELEASE}"
    namespace, pod = caller(form)
    return f"spiffe://west.mesh/ns/{namespace}/sa/{pod}"


@pytest.mark.parametrize("way", WAYS)
def test_every_protocol_under_every_name(exported, way):
    table = {}
    for form in FORMS:
        for protocol in WAYS[way]:
            wait_for(lambda f=form, p=protocol: answered(exported, f, way, p), f"{protocol} to {host(way, form)}")
            table[form, protocol] = host(way, form)
    for (form, protocol), name in table.items():
        identity = expected(way, form)
        # Proxies write their logs every few seconds.
        wait_for(lambda f=form, p=protocol, i=identity: i in identities(exported, f, way, p), f"{identity} in the log")
        print(f"via: {way:11}  {form:9}  {protocol:8}  {name:40}  seen: {identity}")
