# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Objects of exports ``via: gateway``."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.federation.compute import edges, federation
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Inventory

from tests.unit.plugins.module_utils.model.build import export, host, inventory, port

EAST, WEST = "192.0.2.1", "192.0.2.2"
MANAGED = {"app.kubernetes.io/managed-by": "multimesh.istio"}
HTTP = "9080.reviews.books.svc.cluster.local"
TCP = "9000.reviews.books.svc.cluster.local"
PORTS = [port(), port(9000, "tcp", "TCP")]
UNSENT = {
    "attempts": 3,
    "retryOn": "connect-failure,refused-stream,reset-before-request",
    "retryRemoteLocalities": True,
}


def one(*consumers: Any, **more: Any) -> Inventory:
    """East exports reviews to west, and perhaps to others, through its gateway."""
    reviews = export("reviews", "west", *consumers, via="gateway", **more)
    return inventory(east=host(reviews, address=EAST), west=host(), north=host())


def items(found: Inventory, cluster: str, kind: str) -> dict[str, Any]:
    return {item["metadata"]["name"]: item for item in federation(found, cluster) if item["kind"] == kind}


def spec(found: Inventory, cluster: str, kind: str, name: str) -> Any:
    return items(found, cluster, kind)[name]["spec"]


def routes(*given: Any, service: str = "reviews", **more: Any) -> Any:
    """``http`` of the VirtualService of east's port 9080."""
    found = inventory(
        east=host(export(service, "west", via="gateway", routes=list(given), **more), address=EAST), west=host()
    )
    return spec(found, "east", "VirtualService", f"9080.{service}.books.svc.cluster.local")["http"]


def test_each_port_has_a_server_of_its_own() -> None:
    gateway = items(one(ports=PORTS), "east", "Gateway")["multimesh-gateway-exports"]
    assert gateway == {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "multimesh-gateway-exports", "namespace": "istio-system", "labels": MANAGED},
        "spec": {
            "selector": {"istio": "eastwestgateway"},
            "servers": [
                {
                    "name": "books/reviews:9000",
                    "port": {"number": 15443, "name": "books/reviews:9000", "protocol": "TLS"},
                    "tls": {"mode": "ISTIO_MUTUAL"},
                    "hosts": [TCP],
                },
                {
                    "name": "books/reviews:9080",
                    "port": {"number": 15443, "name": "books/reviews:9080", "protocol": "HTTPS"},
                    "tls": {"mode": "ISTIO_MUTUAL"},
                    "hosts": [HTTP],
                },
            ],
        },
    }


@pytest.mark.parametrize(
    ("protocol", "server"),
    [("HTTP", "HTTPS"), ("HTTP2", "HTTPS"), ("GRPC", "HTTPS"), ("TCP", "TLS"), ("TLS", "TLS"), ("HTTPS", "TLS")],
)
def test_what_the_application_encrypts_stays_so(protocol: str, server: str) -> None:
    found = one(ports=[port(9080, "app", protocol)])
    assert spec(found, "east", "Gateway", "multimesh-gateway-exports")["servers"][0]["port"]["protocol"] == server
    kind = "http" if server == "HTTPS" else "tcp"
    assert kind in spec(found, "east", "VirtualService", HTTP)
    [edge] = edges(found, "west")
    assert (edge["protocol"], edge["via"]) == (protocol, "gateway")


def test_everything_goes_to_the_service() -> None:
    found = items(one(ports=PORTS), "east", "VirtualService")
    common = {"gateways": ["istio-system/multimesh-gateway-exports"], "exportTo": ["."]}
    assert set(found) == {HTTP, TCP}
    assert found[HTTP] == {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {
            "name": HTTP,
            "namespace": "istio-system",
            "labels": MANAGED,
            "annotations": {"multimesh.istio/export": "east/books/reviews"},
        },
        "spec": {
            "hosts": [HTTP],
            **common,
            "http": [
                {
                    "name": "books/reviews:9080",
                    "route": [{"destination": {"host": "reviews.books.svc.cluster.local", "port": {"number": 9080}}}],
                    "rewrite": {"authority": "reviews.books.svc.cluster.local"},
                    "retries": UNSENT,
                }
            ],
        },
    }
    assert found[TCP]["spec"] == {
        "hosts": [TCP],
        **common,
        "tcp": [{"route": [{"destination": {"host": "reviews.books.svc.cluster.local", "port": {"number": 9000}}}]}],
    }


def test_the_policy_names_all_who_get_in() -> None:
    found = one({"mesh": "north", "namespace": "shop", "service_account": "cart", "methods": ["GET"]})
    policy = items(found, "east", "AuthorizationPolicy")["multimesh-gateway-exports"]
    asked = [{"key": "connection.sni", "values": [HTTP]}]
    assert policy == {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "multimesh-gateway-exports", "namespace": "istio-system", "labels": MANAGED},
        "spec": {
            "selector": {"matchLabels": {"istio": "eastwestgateway"}},
            "action": "DENY",
            "rules": [
                {
                    "to": [{"operation": {"ports": ["15443"]}}],
                    "when": [{"key": "connection.sni", "notValues": [HTTP]}],
                },
                {
                    "from": [{"source": {"notPrincipals": ["north.mesh/ns/shop/sa/cart", "west.mesh/*"]}}],
                    "when": asked,
                },
                {
                    "from": [{"source": {"principals": ["north.mesh/ns/shop/sa/cart"]}}],
                    "to": [{"operation": {"notMethods": ["GET"]}}],
                    "when": asked,
                },
            ],
        },
    }


def test_exports_for_the_same_consumers_share_rules() -> None:
    exports = [export(f"svc-{number}", "west", via="gateway") for number in range(20)]
    found = inventory(east=host(*exports, address=EAST), west=host())
    rules = spec(found, "east", "AuthorizationPolicy", "multimesh-gateway-exports")["rules"]
    assert len(rules) == 2
    assert len(rules[1]["when"][0]["values"]) == 20


def test_the_workloads_are_closed_to_other_meshes() -> None:
    policy = items(one(), "east", "AuthorizationPolicy")["multimesh-reviews"]
    assert policy["metadata"]["namespace"] == "books"
    assert policy["spec"] == {
        "selector": {"matchLabels": {"app": "reviews"}},
        "action": "DENY",
        "rules": [{"from": [{"source": {"principals": ["*"], "notPrincipals": ["east.mesh/*"]}}]}],
    }


def test_passthrough_does_not_see_it() -> None:
    found = inventory(
        east=host(export("reviews", "west", via="gateway"), export("ratings", "west"), address=EAST), west=host()
    )
    servers = spec(found, "east", "Gateway", "multimesh-exports")["servers"]
    assert [server["hosts"] for server in servers] == [["ratings.books.svc.cluster.local"]]
    servers = spec(found, "east", "Gateway", "multimesh-gateway-exports")["servers"]
    assert [server["hosts"] for server in servers] == [[HTTP]]


def test_nobody_is_offered_anything_so_nothing_is_opened() -> None:
    found = inventory(east=host(export("reviews", via="gateway"), address=EAST), west=host())
    assert federation(found, "east") == []


# Consumers


def test_consumers_ask_for_the_port_and_believe_the_gateway() -> None:
    name = "reviews.books.svc.east.global"
    found = one(ports=PORTS)
    settings = spec(found, "west", "DestinationRule", name)["trafficPolicy"]["portLevelSettings"]
    gateway = "spiffe://east.mesh/ns/istio-system/sa/istio-eastwestgateway"
    assert [one["tls"] for one in settings] == [
        {"mode": "ISTIO_MUTUAL", "sni": asked, "subjectAltNames": [gateway]} for asked in (TCP, HTTP)
    ]
    entry = spec(found, "west", "ServiceEntry", name)
    assert entry["subjectAltNames"] == [gateway]
    assert entry["endpoints"][0]["ports"] == {"http": 15443, "tcp": 15443}
    http = spec(found, "west", "VirtualService", name)["http"]
    assert [route["rewrite"] for route in http] == [{"authority": HTTP}] * 2


def test_an_alias_asks_for_the_same() -> None:
    found = one(aliases=["critics.shop.global"])
    assert spec(found, "west", "VirtualService", "critics.shop.global")["http"][0]["rewrite"] == {"authority": HTTP}


def common(service: str = "reviews") -> Inventory:
    """East and west back each other up, north consumes."""
    return inventory(
        east=host(export("reviews", "all", via="gateway", host="reviews.shop.global"), address=EAST),
        west=host(export(service, "all", via="gateway", host="reviews.shop.global"), address=WEST),
        north=host(),
    )


def test_a_cluster_that_serves_the_host_believes_its_own_workloads_too() -> None:
    entry = spec(common(), "east", "ServiceEntry", "reviews.shop.global")
    assert [endpoint["address"] for endpoint in entry["endpoints"]] == ["reviews.books.svc.cluster.local", WEST]
    assert entry["subjectAltNames"] == [
        "spiffe://east.mesh/ns/books/sa/reviews",
        "spiffe://west.mesh/ns/istio-system/sa/istio-eastwestgateway",
    ]
    assert spec(common(), "north", "ServiceEntry", "reviews.shop.global")["subjectAltNames"] == [
        "spiffe://east.mesh/ns/istio-system/sa/istio-eastwestgateway",
        "spiffe://west.mesh/ns/istio-system/sa/istio-eastwestgateway",
    ]


def test_differently_called_services_are_asked_for_by_the_host() -> None:
    found, name = common("critics"), "9080.reviews.shop.global"
    for cluster in ("east", "west", "north"):
        assert spec(found, cluster, "DestinationRule", "reviews.shop.global")["trafficPolicy"]["tls"]["sni"] == name
    # Consumers may be a run behind, so the gateway knows both names.
    names = ["9080.critics.books.svc.cluster.local", name]
    assert spec(found, "west", "Gateway", "multimesh-gateway-exports")["servers"][0]["hosts"] == names
    assert spec(found, "west", "VirtualService", names[0])["hosts"] == names
    rules = spec(found, "west", "AuthorizationPolicy", "multimesh-gateway-exports")["rules"]
    assert [rule["when"][0].get("values", rule["when"][0].get("notValues")) for rule in rules] == [names, names]


# Routes


def test_a_route_takes_what_it_matches() -> None:
    given = {
        "match": {
            "paths": ["/v2/*", "/exact", "*/end"],
            "methods": ["POST", "GET"],
            "headers": {"x-stage": "canary", "x-user": "t*", "x-any": "*", "x-part": "*a.b*"},
        },
        "destinations": [{"service": "reviews-v2", "port": 80}],
        "timeout": "2s",
        "per_try_timeout": "500ms",
        "retries": 1,
    }
    rest = {
        "method": {"regex": "GET|POST"},
        "headers": {
            "x-any": {"regex": ".*"},
            "x-part": {"regex": r".*a\.b.*"},
            "x-stage": {"exact": "canary"},
            "x-user": {"prefix": "t"},
        },
    }
    assert routes(given) == [
        {
            "name": "books/reviews:9080/0",
            "match": [
                {**rest, "uri": {"prefix": "/v2/"}},
                {**rest, "uri": {"exact": "/exact"}},
                {**rest, "uri": {"regex": ".*/end"}},
            ],
            "route": [{"destination": {"host": "reviews-v2.books.svc.cluster.local", "port": {"number": 80}}}],
            "rewrite": {"authority": "reviews.books.svc.cluster.local"},
            "retries": {**UNSENT, "attempts": 1, "perTryTimeout": "0.5s"},
            "timeout": "2s",
        }
    ]


def test_weights_share_out() -> None:
    [route] = routes({"destinations": [{"service": "reviews", "weight": 90}, {"service": "reviews-v2", "weight": 10}]})
    assert "match" not in route
    assert [(entry["destination"]["host"], entry["weight"]) for entry in route["route"]] == [
        ("reviews.books.svc.cluster.local", 90),
        ("reviews-v2.books.svc.cluster.local", 10),
    ]


def test_a_route_without_destinations_leads_to_the_service() -> None:
    [route] = routes({"match": {"methods": ["GET"]}, "timeout": "1s"})
    assert route["route"] == [{"destination": {"host": "reviews.books.svc.cluster.local", "port": {"number": 9080}}}]
    assert route["match"] == [{"method": {"regex": "GET"}}]


@pytest.mark.parametrize("path", ["*", "/*"])
def test_every_path_is_no_condition(path: str) -> None:
    assert "match" not in routes({"match": {"paths": ["/a", path]}})[0]


def test_no_retries() -> None:
    assert routes({"retries": 0})[0]["retries"] == {"attempts": 0}


def test_a_stream_is_not_held_back_for_repetition() -> None:
    [route] = routes({}, ports=[port(9080, "grpc", "GRPC")])
    assert route["retries"]["retryOn"] == "connect-failure,refused-stream"


def test_routes_of_one_port_leave_the_others_alone() -> None:
    found = one(
        ports=[*PORTS, port(8079, "grpc", "GRPC")],
        routes=[
            {"match": {"port": 9080, "paths": ["/v2/*"]}, "destinations": [{"service": "reviews-v2"}]},
            {"match": {"port": 9080}},
        ],
    )
    names = {
        name: [route["name"] for route in item["spec"].get("http", [])]
        for name, item in items(found, "east", "VirtualService").items()
    }
    assert names == {
        HTTP: ["books/reviews:9080/0", "books/reviews:9080/1"],
        "8079.reviews.books.svc.cluster.local": ["books/reviews:8079"],
        TCP: [],
    }


def test_what_follows_a_route_for_everything_is_for_other_ports() -> None:
    found = one(
        ports=[port(), port(8079, "grpc", "GRPC")],
        routes=[{"match": {"port": 9080}}, {"destinations": [{"service": "streams"}]}],
    )
    services = items(found, "east", "VirtualService")
    hosts = {
        name: [route["route"][0]["destination"]["host"].split(".")[0] for route in item["spec"]["http"]]
        for name, item in services.items()
    }
    assert hosts == {HTTP: ["reviews"], "8079.reviews.books.svc.cluster.local": ["streams"]}


# Limits


def test_a_service_gets_no_more_than_its_share_of_the_gateway() -> None:
    [(name, rule)] = items(one(), "east", "DestinationRule").items()
    assert name == "multimesh-reviews.books"
    assert rule["metadata"]["annotations"] == {"multimesh.istio/export": "east/books/reviews"}
    assert rule["spec"] == {
        "host": "reviews.books.svc.cluster.local",
        "exportTo": ["istio-system", "kube-node-lease"],
        "trafficPolicy": {
            "connectionPool": {
                "tcp": {"maxConnections": 1024},
                "http": {"http2MaxRequests": 1024, "http1MaxPendingRequests": 1024},
            },
            "outlierDetection": {
                "consecutive5xxErrors": 0,
                "consecutiveGatewayErrors": 3,
                "interval": "1s",
                "baseEjectionTime": "10s",
                "maxEjectionPercent": 100,
                "minHealthPercent": 1,
            },
            "loadBalancer": {"localityLbSetting": {"enabled": False}},
        },
    }


def test_limits_are_those_of_whoever_says_some() -> None:
    limited = {
        "service": "reviews-v2",
        "connection_pool": {"max_connections": 1, "max_requests": 2, "max_pending_requests": 3},
        "outlier_detection": {"consecutive_gateway_errors": 9},
    }
    found = one(
        routes=[
            {"match": {"paths": ["/a"]}, "destinations": [{"service": "reviews-v2"}]},
            {"match": {"paths": ["/b"]}, "destinations": [limited]},
        ]
    )
    assert set(items(found, "east", "DestinationRule")) == {"multimesh-reviews-v2.books"}
    policy = spec(found, "east", "DestinationRule", "multimesh-reviews-v2.books")["trafficPolicy"]
    assert policy["connectionPool"] == {
        "tcp": {"maxConnections": 1},
        "http": {"http2MaxRequests": 2, "http1MaxPendingRequests": 3},
    }
    assert policy["outlierDetection"]["consecutiveGatewayErrors"] == 9


def test_a_service_that_other_meshes_stand_behind_has_a_rule_already() -> None:
    name = "stock.books.svc.cluster.local"
    stock = export("stock", "all", host=name)
    shop = export("shop", "all", via="gateway", routes=[{"destinations": [{"service": "stock"}]}])
    alone = inventory(east=host(stock, shop, address=EAST), west=host())
    assert set(items(alone, "east", "DestinationRule")) == {"multimesh-stock.books"}
    backed = inventory(east=host(stock, shop, address=EAST), west=host(stock, address=WEST))
    assert set(items(backed, "east", "DestinationRule")) == {name}
