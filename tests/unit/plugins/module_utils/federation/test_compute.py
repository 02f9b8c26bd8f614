# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.federation.compute import (
    edges,
    federation,
    mesh_config,
)
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Inventory

from tests.unit.plugins.module_utils.model.build import export, facts, host, inventory, live, port

EAST = "192.0.2.1"
WEST = "192.0.2.2"
NAME = "reviews.books.svc.east.global"
MANAGED = {"app.kubernetes.io/managed-by": "multimesh.istio"}
TLS_MODE = {"security.istio.io/tlsMode": "istio"}


def spec(found: Inventory, cluster: str, kind: str, name: str | None = None) -> Any:
    items = [
        item for item in federation(found, cluster) if item["kind"] == kind and name in (None, item["metadata"]["name"])
    ]
    assert len(items) == 1
    return items[0]["spec"]


def kinds(found: Inventory, cluster: str) -> list[str]:
    return [item["kind"] for item in federation(found, cluster)]


def one(**more: Any) -> Inventory:
    return inventory(
        east=host(export("reviews", "west", **more), address=EAST, locality="eu/fra-1"), west=host(locality="us")
    )


def metadata(name: str, namespace: str = "istio-system") -> dict[str, Any]:
    return {
        "name": name,
        "namespace": namespace,
        "labels": MANAGED,
        "annotations": {"multimesh.istio/export": "east/books/reviews"},
    }


def test_exporter_holds_its_gateway_and_its_policy() -> None:
    policy, memory, gateway = federation(one(), "east")
    assert memory["data"] == {"consumers.json": '[\n  "west"\n]\n'}
    assert gateway == {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "multimesh-exports", "namespace": "istio-system", "labels": MANAGED},
        "spec": {
            "selector": {"istio": "eastwestgateway"},
            "servers": [
                {
                    "port": {"number": 15443, "name": "tls", "protocol": "TLS"},
                    "tls": {"mode": "AUTO_PASSTHROUGH"},
                    "hosts": ["reviews.books.svc.cluster.local"],
                }
            ],
        },
    }
    assert policy == {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": metadata("multimesh-reviews", "books"),
        "spec": {
            "selector": {"matchLabels": {"app": "reviews"}},
            "action": "DENY",
            "rules": [
                {"from": [{"source": {"principals": ["*"], "notPrincipals": ["east.mesh/*", "west.mesh/*"]}}]},
                {
                    "from": [{"source": {"principals": ["*"], "notPrincipals": ["east.mesh/*"]}}],
                    "to": [{"operation": {"notPorts": ["9080"]}}],
                },
            ],
        },
    }


def test_consumer_holds_name_way_and_memory() -> None:
    assert kinds(one(), "west") == ["ConfigMap", "DestinationRule", "ServiceEntry", "VirtualService"]
    config_map, rule, entry, routes = federation(one(), "west")
    assert entry == {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": metadata(NAME),
        "spec": {
            "hosts": [NAME],
            "addresses": ["241.59.220.223"],
            "location": "MESH_INTERNAL",
            "resolution": "STATIC",
            "ports": [{"number": 9080, "name": "http", "protocol": "HTTP"}],
            "endpoints": [
                {
                    "address": EAST,
                    "labels": TLS_MODE,
                    "locality": "eu/fra-1",
                    "network": "east",
                    "ports": {"http": 15443},
                }
            ],
            "subjectAltNames": ["spiffe://east.mesh/ns/books/sa/reviews"],
            "exportTo": ["*"],
        },
    }
    assert rule == {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": metadata(NAME),
        "spec": {
            "host": NAME,
            "trafficPolicy": {
                "tls": {
                    "mode": "ISTIO_MUTUAL",
                    "sni": "outbound_.9080_._.reviews.books.svc.cluster.local",
                    "subjectAltNames": ["spiffe://east.mesh/ns/books/sa/reviews"],
                },
                "connectionPool": {
                    "tcp": {
                        "connectTimeout": "10s",
                        "tcpKeepalive": {"time": "10s", "interval": "5s", "probes": 3},
                    }
                },
            },
            "exportTo": ["*"],
        },
    }
    route = [{"destination": {"host": NAME, "port": {"number": 9080}}}]
    assert routes == {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": metadata(NAME),
        "spec": {
            "hosts": [NAME],
            "http": [
                {
                    "match": [{"port": 9080, "method": {"regex": "GET|HEAD|OPTIONS|TRACE|PUT|DELETE"}}],
                    "route": route,
                    "retries": {
                        "attempts": 3,
                        "retryOn": "connect-failure,refused-stream,reset,gateway-error",
                        "retryRemoteLocalities": True,
                    },
                },
                {
                    "match": [{"port": 9080}],
                    "route": route,
                    "retries": {
                        "attempts": 3,
                        "retryOn": "connect-failure,refused-stream,reset-before-request",
                        "retryRemoteLocalities": True,
                    },
                },
            ],
            "exportTo": ["*"],
        },
    }
    assert config_map["metadata"] == {"name": "multimesh-peers", "namespace": "istio-system", "labels": MANAGED}
    assert json.loads(config_map["data"]["peers.json"]) == {
        "east": {
            "gateway_addresses": [EAST],
            "services": [
                {
                    "namespace": "books",
                    "name": "reviews",
                    "ports": [{"number": 9080, "name": "http", "protocol": "HTTP"}],
                    "service_accounts": ["reviews"],
                }
            ],
        }
    }


def test_every_port_has_settings_of_its_own() -> None:
    ports = [port(9080), port(9090, "grpc", "GRPC"), port(5432, "tcp-db", "TCP"), port(443, "https", "HTTPS")]
    found = one(ports=ports)
    policy = spec(found, "west", "DestinationRule")["trafficPolicy"]
    assert list(policy) == ["portLevelSettings"]
    assert [settings["port"]["number"] for settings in policy["portLevelSettings"]] == [443, 5432, 9080, 9090]
    for settings in policy["portLevelSettings"]:
        number = settings["port"]["number"]
        assert settings["tls"]["sni"] == f"outbound_.{number}_._.reviews.books.svc.cluster.local"
        assert settings["tls"]["subjectAltNames"] == ["spiffe://east.mesh/ns/books/sa/reviews"]
        assert settings["connectionPool"]["tcp"]["connectTimeout"] == "10s"
    [endpoint] = spec(found, "west", "ServiceEntry")["endpoints"]
    assert endpoint["ports"] == dict.fromkeys(("http", "grpc", "tcp-db", "https"), 15443)


def test_routes_are_for_http_only_and_streams_are_not_held_back() -> None:
    ports = [port(80), port(81, "http2", "HTTP2"), port(82, "grpc", "GRPC"), port(83, "tcp", "TCP")]
    routes = spec(one(ports=ports), "west", "VirtualService")["http"]
    assert [(route["match"][0]["port"], "method" in route["match"][0]) for route in routes] == [
        (80, True),
        (80, False),
        (81, True),
        (81, False),
        (82, False),
    ]
    assert routes[-1]["retries"]["retryOn"] == "connect-failure,refused-stream"
    assert [route for route in routes if "timeout" in route] == []


def test_no_route_without_http() -> None:
    assert kinds(one(ports=[port(5432, "db", "TCP")]), "west") == ["ConfigMap", "DestinationRule", "ServiceEntry"]


@pytest.mark.parametrize(
    ("addresses", "resolution"),
    [
        (["192.0.2.1", "2001:db8::1"], "STATIC"),
        (["gateway.east.example.com"], "DNS"),
        (["192.0.2.1", "gateway.east.example.com"], "DNS"),
    ],
)
def test_resolution_follows_the_addresses(addresses: list[str], resolution: str) -> None:
    found = inventory(east=host(export("reviews", "west"), gateway_addresses=addresses), west=host())
    entry = spec(found, "west", "ServiceEntry")
    assert entry["resolution"] == resolution
    assert [endpoint["address"] for endpoint in entry["endpoints"]] == sorted(addresses)


def test_one_endpoint_is_never_ejected_and_several_may_all_be() -> None:
    policy = spec(one(), "west", "DestinationRule")["trafficPolicy"]
    assert not {"outlierDetection", "loadBalancer"} & set(policy)
    found = inventory(east=host(export("reviews", "west"), gateway_addresses=[EAST, WEST]), west=host())
    policy = spec(found, "west", "DestinationRule")["trafficPolicy"]
    assert policy["connectionPool"]["tcp"]["connectTimeout"] == "0.8s", "there is another one to turn to"
    assert policy["outlierDetection"] == {
        "consecutive5xxErrors": 0,
        "consecutiveGatewayErrors": 3,
        "interval": "1s",
        "baseEjectionTime": "10s",
        "maxEjectionPercent": 100,
        "minHealthPercent": 1,
    }
    assert policy["loadBalancer"] == {"localityLbSetting": {"enabled": True}}


def common(service: str = "reviews") -> Inventory:
    return inventory(
        east=host(export("reviews", "all", host="reviews.shop.global"), address=EAST, locality="eu/fra-1"),
        west=host(export(service, "all", host="reviews.shop.global"), address=WEST),
        north=host(),
    )


def test_a_mesh_that_serves_a_host_is_its_first_endpoint() -> None:
    entry = spec(common(), "east", "ServiceEntry")
    assert entry["resolution"] == "DNS"
    assert entry["endpoints"] == [
        {"address": "reviews.books.svc.cluster.local", "labels": TLS_MODE, "locality": "eu/fra-1"},
        {"address": WEST, "labels": TLS_MODE, "network": "west", "ports": {"http": 15443}},
    ]
    assert entry["subjectAltNames"] == [
        "spiffe://east.mesh/ns/books/sa/reviews",
        "spiffe://west.mesh/ns/books/sa/reviews",
    ]
    policy = spec(common(), "east", "DestinationRule")["trafficPolicy"]
    assert policy["tls"]["subjectAltNames"] == entry["subjectAltNames"]
    assert policy["tls"]["sni"] == "outbound_.9080_._.reviews.books.svc.cluster.local"
    assert spec(common(), "east", "Gateway")["servers"][0]["hosts"] == ["reviews.books.svc.cluster.local"]


@pytest.mark.parametrize(
    ("own", "other", "seen"),
    [
        ("eu/fra-1", "eu/ber-1", "eu/ber-1"),
        ("eu/fra-1", "us", "us"),
        ("eu/fra-1", None, None),
        ("eu/fra-1", "eu/fra-1", "eu/fra-1/west"),
        ("eu/fra-1", "eu/fra-1/rack-2", "eu/fra-1/west"),
        ("eu/fra-1/rack-2", "eu/fra-1/rack-2", "eu/fra-1/west"),
        ("eu", "eu/fra-1", "eu/west"),
        (None, "eu", "eu"),
        (None, None, "west"),
    ],
)
def test_a_gateway_is_never_as_near_as_the_own_service(own: str | None, other: str | None, seen: str | None) -> None:
    found = inventory(
        east=host(export("reviews", "all", host="reviews.shop.global"), address=EAST, locality=own),
        west=host(export("reviews", "all", host="reviews.shop.global"), address=WEST, locality=other),
        north=host(),
    )
    local, gateway = spec(found, "east", "ServiceEntry")["endpoints"]
    assert (local.get("locality"), gateway.get("locality")) == (own, seen)
    assert [endpoint.get("locality") for endpoint in spec(found, "north", "ServiceEntry")["endpoints"]] == [own, other]


def test_a_consumer_of_a_common_host_has_all_gateways_behind_it() -> None:
    entry = spec(common(), "north", "ServiceEntry")
    assert [endpoint["network"] for endpoint in entry["endpoints"]] == ["east", "west"]
    [item] = [item for item in federation(common(), "north") if item["kind"] == "ServiceEntry"]
    assert item["metadata"]["annotations"] == {"multimesh.istio/export": "east/books/reviews,west/books/reviews"}


def test_differently_called_services_are_asked_for_by_the_host() -> None:
    found = common("critics")
    for cluster in ("east", "west", "north"):
        policy = spec(found, cluster, "DestinationRule")["trafficPolicy"]
        assert policy["tls"]["sni"] == "outbound_.9080_._.reviews.shop.global"
    assert spec(found, "west", "Gateway")["servers"][0]["hosts"] == [
        "critics.books.svc.cluster.local",
        "reviews.shop.global",
    ]


def test_a_renamed_import_asks_for_what_the_exporter_knows() -> None:
    found = inventory(
        east=host(export("reviews", "west"), address=EAST),
        west=host(imports=[{"from": "east", "host": "critics.shop.global", "export_to": ["shop"]}]),
    )
    for kind in ("ServiceEntry", "DestinationRule", "VirtualService"):
        assert spec(found, "west", kind, "critics.shop.global")["exportTo"] == ["shop"]
    sni = spec(found, "west", "DestinationRule")["trafficPolicy"]["tls"]["sni"]
    assert sni == "outbound_.9080_._.reviews.books.svc.cluster.local"


def test_nothing_is_offered_so_nothing_is_opened() -> None:
    found = inventory(east=host(export("reviews"), export("ratings", "east"), address=EAST), west=host())
    assert federation(found, "east") == []
    assert federation(found, "west") == []


def test_a_placeholder_is_not_remembered() -> None:
    found = inventory(True, east=host(export("reviews", "west", ports=None), facts=facts(live("reviews"))), west=host())
    assert spec(found, "west", "ServiceEntry")["resolution"] == "DNS"
    config_map = federation(found, "west")[0]
    assert json.loads(config_map["data"]["peers.json"])["east"]["gateway_addresses"] == []


def test_what_is_remembered_gives_the_same_objects() -> None:
    exporter = export("reviews", "west", ports=None, service_accounts=None)
    seen = inventory(east=host(exporter, facts=facts(live("reviews"), address=EAST)), west=host(facts=facts()))
    before = federation(seen, "west")
    remembered = json.loads(before[0]["data"]["peers.json"])
    unseen = inventory(east=host(exporter), west=host(facts=facts(remembered=remembered)))
    assert federation(unseen, "west") == before


def test_live_and_offline_give_the_same_objects() -> None:
    written = export("reviews", "west", ports=[port(80, "http-web", target_port=8080)], selector={"app": "r"})
    offline = inventory(east=host(written, address=EAST), west=host())
    online = inventory(
        east=host(written, address=EAST, facts=facts(live("reviews"), address=EAST)), west=host(facts=facts())
    )
    for cluster in ("east", "west"):
        assert federation(online, cluster) == federation(offline, cluster)


def test_mesh_config() -> None:
    found = inventory(
        east=host(export("reviews", "west", {"mesh": "north", "namespace": "shop"}), address=EAST, locality="eu"),
        west=host(trust_domain="west.example.com"),
        north=host(),
        south=host(),
    )
    assert mesh_config(found, "east") == {
        "mesh_name": "east",
        "cluster_name": "east",
        "control_plane": "east",
        "served_clusters": [],
        "remote_clusters": [],
        "readers": [],
        "trust_domain": "east.mesh",
        "network": "east",
        "locality": "eu",
        "admitted_trust_domains": ["north.mesh", "west.example.com"],
        "ca_certificates": [{"trustDomains": ["north.mesh"]}, {"trustDomains": ["west.example.com"]}],
    }
    assert mesh_config(found, "west")["admitted_trust_domains"] == []


def test_meshes_that_share_a_host_admit_each_other() -> None:
    found = inventory(
        east=host(export("reviews", "west", host="reviews.shop.global"), address=EAST),
        west=host(export("reviews", host="reviews.shop.global")),
    )
    assert mesh_config(found, "west")["admitted_trust_domains"] == ["east.mesh"]


def test_edges() -> None:
    ports = [port(80), port(9000, "tcp", "TCP")]
    found = inventory(
        east=host(
            export("reviews", "all", ports=ports),
            export("ratings", {"mesh": "west", "namespace": "shop", "methods": ["GET"], "paths": ["/a/*"]}),
            address=EAST,
        ),
        west=host(),
    )
    anybody = {"namespace": None, "service_account": None, "methods": None, "paths": None}
    assert [(edge["host"], edge["port"], edge["protocol"]) for edge in edges(found, "west")] == [
        ("ratings.books.svc.east.global", 9080, "HTTP"),
        (NAME, 80, "HTTP"),
        (NAME, 9000, "TCP"),
    ]
    first, second, _third = edges(found, "west")
    assert first["callers"] == [{**anybody, "namespace": "shop", "methods": ["GET"], "paths": ["/a/*"]}]
    assert second == {
        "exporter": "east",
        "exporter_cluster": "east",
        "consumer": "west",
        "consumer_cluster": "west",
        "host": NAME,
        "port": 80,
        "protocol": "HTTP",
        "export": "books/reviews",
        "via": "passthrough",
        "callers": [anybody],
        "expect": "allowed",
    }
    assert edges(found, "east") == []


def test_a_cluster_that_the_inventory_lacks() -> None:
    with pytest.raises(MultimeshError, match=r"wset: no host of group 'meshes'\. Did you mean 'west'"):
        federation(one(), "wset")
