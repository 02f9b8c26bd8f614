# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The objects by which a cluster knows services outside every mesh."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.federation.compute import edges, federation
from ansible_collections.multimesh.istio.plugins.module_utils.federation.objects import identity

from tests.unit.plugins.module_utils.model.build import export, host, inventory, port

HOST = "api.example.com"
HTTP = port(80, "http")
HTTPS = port(443, "https", "HTTPS")
TCP = port(5432, "tcp", "TCP")
POOL = {"tcp": {"connectTimeout": "10s", "tcpKeepalive": {"time": "10s", "interval": "5s", "probes": 3}}}
PLAIN = {"tls": {"mode": "DISABLE"}, "connectionPool": POOL}


def service(**more: Any) -> dict[str, Any]:
    """A good one; a value of None leaves the key out."""
    entry = {"hosts": [HOST], "ports": [HTTP], **more}
    return {key: value for key, value in entry.items() if value is not None}


def objects(*services: dict[str, Any]) -> list[Any]:
    found = inventory(east=host(external_services=list(services)))
    return federation(found, "east")


def specs(**more: Any) -> dict[str, Any]:
    """Spec by kind of a service with one host or address."""
    found = objects(service(**more))
    assert sorted(item["kind"] for item in found) == ["DestinationRule", "ServiceEntry", "VirtualService"]
    assert len({item["metadata"]["name"] for item in found}) == 1
    return {item["kind"]: item["spec"] for item in found}


def route(name: str, number: int, **match: Any) -> dict[str, Any]:
    destination = {"host": name, "port": {"number": number}}
    return {"match": [{"port": number, **match}], "route": [{"destination": destination}]}


def test_a_host_is_resolved_by_the_callers_proxies() -> None:
    rule, entry, routes = objects(service(ports=[HTTPS]))
    metadata = {
        "name": HOST,
        "namespace": "istio-system",
        "labels": {"app.kubernetes.io/managed-by": "multimesh.istio"},
        "annotations": {"multimesh.istio/external-service": f"east/{HOST}"},
    }
    head = {"apiVersion": "networking.istio.io/v1", "metadata": metadata}
    assert entry == {
        **head,
        "kind": "ServiceEntry",
        "spec": {
            "hosts": [HOST],
            "location": "MESH_EXTERNAL",
            "resolution": "DNS",
            "ports": [{"number": 443, "name": "https", "protocol": "HTTPS"}],
            "exportTo": ["*"],
        },
    }
    assert rule == {
        **head,
        "kind": "DestinationRule",
        "spec": {"host": HOST, "trafficPolicy": PLAIN, "exportTo": ["*"]},
    }
    assert routes == {
        **head,
        "kind": "VirtualService",
        "spec": {"hosts": [HOST], "tls": [route(HOST, 443, sniHosts=[HOST])], "exportTo": ["*"]},
    }


def test_every_protocol_has_its_routes() -> None:
    ports = [HTTP, port(81, "h2", "HTTP2"), port(82, "grpc", "GRPC"), HTTPS, port(444, "tls", "TLS"), TCP]
    found = specs(ports=ports, timeout="2s", retries=1)
    routes = found["VirtualService"]
    assert [one["match"][0]["port"] for one in routes["http"]] == [80, 80, 81, 81, 82]
    assert {one["timeout"] for one in routes["http"]} == {"2s"}
    assert {one["retries"]["attempts"] for one in routes["http"]} == {1}
    assert [one["match"][0].get("method") for one in routes["http"][:2]] == [
        {"regex": "GET|HEAD|OPTIONS|TRACE|PUT|DELETE"},
        None,
    ]
    assert routes["tls"] == [route(HOST, 443, sniHosts=[HOST]), route(HOST, 444, sniHosts=[HOST])]
    assert routes["tcp"] == [route(HOST, 5432)]
    settings = found["DestinationRule"]["trafficPolicy"]["portLevelSettings"]
    assert settings == [
        {"port": {"number": one["number"]}, **PLAIN} for one in sorted(ports, key=lambda p: p["number"])
    ]


def test_no_retries() -> None:
    assert {one["retries"]["attempts"] for one in specs(retries=0)["VirtualService"]["http"]} == {0}


def test_a_host_with_addresses() -> None:
    found = specs(addresses=["192.0.2.8", "192.0.2.9"])
    entry = found["ServiceEntry"]
    assert (entry["resolution"], entry["endpoints"]) == ("STATIC", [{"address": "192.0.2.8"}, {"address": "192.0.2.9"}])
    assert "addresses" not in entry
    policy = found["DestinationRule"]["trafficPolicy"]
    assert policy["connectionPool"]["tcp"]["connectTimeout"] == "0.8s"
    assert policy["outlierDetection"]["consecutiveGatewayErrors"] == 3


def test_a_wildcard_leads_where_the_application_turns_to() -> None:
    found = objects(service(hosts=["*.example.com"], ports=[HTTP, HTTPS]))
    assert {item["metadata"]["name"] for item in found} == {"wildcard.example.com"}
    rule, entry, routes = (item["spec"] for item in found)
    assert (entry["hosts"], entry["resolution"], rule["host"]) == (["*.example.com"], "NONE", "*.example.com")
    assert routes["hosts"] == ["*.example.com"]
    assert routes["tls"] == [route("*.example.com", 443, sniHosts=["*.example.com"])]
    assert routes["http"][0]["route"] == [{"destination": {"host": "*.example.com", "port": {"number": 80}}}]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.9", "ip-192-0-2-9-443.external.global"),
        ("192.0.2.0/24", "ip-192-0-2-0-24-443.external.global"),
        ("2001:db8::9", "ip-2001-db8--9-443.external.global"),
        ("2001:db8::/32", "ip-2001-db8---32-443.external.global"),
    ],
)
def test_an_address_without_host(address: str, name: str) -> None:
    ports = [HTTPS, TCP]
    rule, entry, routes = objects(service(hosts=None, addresses=[address], ports=ports))
    assert {item["metadata"]["name"] for item in (rule, entry, routes)} == {name}
    assert entry["metadata"]["annotations"] == {"multimesh.istio/external-service": f"east/{address}"}
    assert entry["spec"] == {
        "hosts": [name],
        "location": "MESH_EXTERNAL",
        "resolution": "NONE",
        "addresses": [address],
        # Nothing routes by SNI where there is no name.
        "ports": [
            {"number": 443, "name": "https", "protocol": "TCP"},
            {"number": 5432, "name": "tcp", "protocol": "TCP"},
        ],
        "exportTo": ["*"],
    }
    assert routes["spec"] == {"hosts": [name], "tcp": [route(name, 443), route(name, 5432)], "exportTo": ["*"]}


def test_several_hosts_and_several_addresses_have_objects_each() -> None:
    names = [item["metadata"]["name"] for item in objects(service(hosts=["a.example.com", "b.example.com"]))]
    assert names == ["a.example.com", "b.example.com"] * 3
    found = objects(service(hosts=None, addresses=["192.0.2.8", "192.0.2.9"], ports=[TCP, port(1, "one", "TCP")]))
    assert {item["metadata"]["name"] for item in found} == {
        "ip-192-0-2-8-1.external.global",
        "ip-192-0-2-9-1.external.global",
    }


# TLS made by the callers' proxies


def tls(found: dict[str, Any]) -> Any:
    return found["DestinationRule"]["trafficPolicy"]["tls"]


def test_http_becomes_https_and_the_server_is_verified() -> None:
    found = specs(tls={"mode": "simple"})
    assert tls(found) == {"mode": "SIMPLE", "sni": HOST, "subjectAltNames": [HOST]}
    assert found["ServiceEntry"]["ports"] == [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 443}]
    assert found["VirtualService"]["http"][0]["match"][0]["port"] == 80


def test_another_name_of_the_server() -> None:
    name = "front.example.net"
    found = specs(hosts=None, addresses=["192.0.2.9"], tls={"mode": "simple", "sni": name})
    assert tls(found) == {"mode": "SIMPLE", "sni": name, "subjectAltNames": [name]}


def test_below_a_wildcard_each_name_is_asked_for_and_verified() -> None:
    assert tls(specs(hosts=["*.example.com"], tls={"mode": "simple"})) == {"mode": "SIMPLE"}


@pytest.mark.parametrize("where", [{}, {"hosts": None, "addresses": ["192.0.2.9"]}])
def test_what_is_tls_already_is_left_alone(where: dict[str, Any]) -> None:
    found = specs(ports=[HTTP, HTTPS, TCP], tls={"mode": "simple", "sni": HOST}, **where)
    settings = found["DestinationRule"]["trafficPolicy"]["portLevelSettings"]
    assert [one["tls"]["mode"] for one in settings] == ["SIMPLE", "DISABLE", "SIMPLE"]


@pytest.mark.parametrize("mode", ["simple", "mutual"])
def test_a_credential_is_named_in_every_namespace_that_calls(mode: str) -> None:
    found = objects(service(tls={"mode": mode, "credential": "api"}, export_to=["shop", "bank"]))
    bank, shop, entry, routes = found
    for rule, namespace in ((bank, "bank"), (shop, "shop")):
        assert (rule["metadata"]["name"], rule["metadata"]["namespace"]) == (HOST, namespace)
        assert rule["spec"] == {
            "host": HOST,
            "trafficPolicy": {
                "tls": {"mode": mode.upper(), "sni": HOST, "subjectAltNames": [HOST], "credentialName": "api"},
                "connectionPool": POOL,
            },
            "workloadSelector": {},
            "exportTo": ["."],
        }
    for item in (entry, routes):
        assert (item["metadata"]["namespace"], item["spec"]["exportTo"]) == ("istio-system", ["bank", "shop"])


# Who knows it


def test_the_declaring_hosts_entry_reaches_every_cluster_of_every_consumer() -> None:
    found = inventory(
        east=host(external_services=[service(consumers=["west", "north"])]),
        west=host(),
        west_2=host(name="west"),
        north=host(export("reviews", "east"), address="192.0.2.3"),
    )
    names = {cluster: {identity(item)[0] for item in federation(found, cluster)} for cluster in found.clusters}
    kinds = {"DestinationRule", "ServiceEntry", "VirtualService"}
    assert [kinds <= names[cluster] for cluster in ("west", "west-2", "north")] == [True] * 3
    assert [item["metadata"]["name"] for item in federation(found, "east") if item["kind"] == "ServiceEntry"] == [
        "reviews.books.svc.north.global"
    ]
    assert federation(found, "west") == federation(found, "west-2")
    assert edges(found, "west") == []


def test_what_several_hosts_declare_alike_names_them_all() -> None:
    same = {"external_services": [service(consumers=["all"])]}
    found = federation(inventory(east=host(**same), west=host(**same)), "west")
    assert {item["metadata"]["annotations"]["multimesh.istio/external-service"] for item in found} == {
        f"east/{HOST},west/{HOST}"
    }
