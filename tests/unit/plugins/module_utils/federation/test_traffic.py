# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an export says of its traffic, in the objects of its consumers."""

from __future__ import annotations

from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.federation.compute import federation
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Inventory

from tests.unit.plugins.module_utils.model.build import export, host, inventory, port

EAST, NORTH, SOUTH = "192.0.2.1", "192.0.2.3", "192.0.2.4"
HOST = "quotes.shop.global"
OWN = "10.96.0.9"


def merged(**traffic: Any) -> Inventory:
    """East, north and south export one host to all, and only east says how it is called."""
    entry = {"host": HOST, "cluster_ip": OWN}
    return inventory(
        east=host(export("quotes", "all", **entry, traffic=traffic or None), address=EAST, locality="eu/fra"),
        north=host(export("quotes", "all", **entry), address=NORTH, locality="us"),
        south=host(export("quotes", "all", **entry), address=SOUTH),
        west=host(locality="eu/dub"),
    )


def spec(found: Inventory, cluster: str, kind: str) -> Any:
    items = [item["spec"] for item in federation(found, cluster) if item["kind"] == kind]
    assert len(items) == 1
    return items[0]


def endpoints(found: Inventory, cluster: str) -> dict[str, dict[str, Any]]:
    return {endpoint["address"]: endpoint for endpoint in spec(found, cluster, "ServiceEntry")["endpoints"]}


def ranks(found: Inventory, cluster: str) -> dict[str, int]:
    """Rank of each endpoint, as istiod counts: labels of the list that it has, from the first on."""
    policy = spec(found, cluster, "DestinationRule")["trafficPolicy"]
    wanted = [item.split("=") for item in policy["loadBalancer"]["localityLbSetting"]["failoverPriority"]]
    result = {}
    for address, endpoint in endpoints(found, cluster).items():
        matching = 0
        for label, value in wanted:
            if endpoint["labels"].get(label) != value:
                break
            matching += 1
        result[address] = len(wanted) - matching
    return result


def test_order_is_that_of_the_labels_and_no_locality_interferes() -> None:
    found = merged(order=["north", "east", "south"])
    assert ranks(found, "west") == {NORTH: 0, EAST: 1, SOUTH: 2}
    assert not any("locality" in endpoint for endpoint in endpoints(found, "west").values())


def test_a_service_of_ones_own_comes_before_any_order() -> None:
    found = merged(order=["north", "east", "south"])
    assert ranks(found, "east") == {OWN: 0, NORTH: 1, SOUTH: 2}
    assert ranks(found, "south") == {OWN: 0, NORTH: 1, EAST: 2}


def test_a_service_of_ones_own_comes_before_any_locality() -> None:
    assert ranks(merged(), "east") == {OWN: 0, NORTH: 1, SOUTH: 1}, "another region is as far as an unknown one"
    near = inventory(
        east=host(export("quotes", "all", host=HOST, cluster_ip=OWN), address=EAST, locality="eu/fra/a"),
        north=host(export("quotes", "all", host=HOST), address=NORTH, locality="eu/dub"),
        south=host(export("quotes", "all", host=HOST), address=SOUTH, locality="eu/fra/b"),
        west=host(export("quotes", "all", host=HOST), address="192.0.2.5", locality="us"),
    )
    assert ranks(near, "east") == {OWN: 0, SOUTH: 1, NORTH: 2, "192.0.2.5": 3}


def test_where_an_endpoint_is_a_name_labels_are_not_used() -> None:
    """They make istiod panic."""
    for names in ({"east": "gateway.east.example.com"}, {"own": None}):
        found = inventory(
            east=host(
                export("quotes", "all", host=HOST, cluster_ip=names.get("own", OWN)), address=names.get("east", EAST)
            ),
            north=host(export("quotes", "all", host=HOST, cluster_ip=names.get("own", OWN)), address=NORTH),
        )
        assert spec(found, "north", "ServiceEntry")["resolution"] == "DNS"
        balancer = spec(found, "north", "DestinationRule")["trafficPolicy"]["loadBalancer"]
        assert balancer == {"localityLbSetting": {"enabled": True}}
        assert all(one["labels"].keys() == {"security.istio.io/tlsMode"} for one in endpoints(found, "north").values())


def test_ranks_are_those_of_the_exporters_that_admit_the_consumer() -> None:
    order = {"traffic": {"order": ["north", "east"]}}
    found = inventory(
        east=host(export("quotes", "west", "south", host=HOST, cluster_ip=OWN, **order), address=EAST),
        north=host(export("quotes", "south", host=HOST, cluster_ip=OWN), address=NORTH),
        south=host(),
        west=host(),
    )
    assert ranks(found, "south") == {NORTH: 0, EAST: 1}
    assert "loadBalancer" not in spec(found, "west", "DestinationRule")["trafficPolicy"]


def test_weights_stand_at_the_endpoints_and_localities_are_off() -> None:
    found = merged(weights={"east": 80, "north": 15, "south": 5})
    assert {address: one["weight"] for address, one in endpoints(found, "west").items()} == {
        EAST: 80,
        NORTH: 15,
        SOUTH: 5,
    }
    assert endpoints(found, "east")[OWN]["weight"] == 80
    assert not any("locality" in endpoint for endpoint in endpoints(found, "west").values())
    balancer = spec(found, "west", "DestinationRule")["trafficPolicy"]["loadBalancer"]
    assert balancer == {"localityLbSetting": {"enabled": False}}


def test_without_either_the_nearest_locality_comes_first() -> None:
    found = merged()
    assert {address: one.get("locality") for address, one in endpoints(found, "west").items()} == {
        EAST: "eu/fra",
        NORTH: "us",
        SOUTH: None,
    }
    balancer = spec(found, "west", "DestinationRule")["trafficPolicy"]["loadBalancer"]
    assert balancer == {"localityLbSetting": {"enabled": True}}


def test_limits_and_times_are_those_of_the_export() -> None:
    found = merged(
        connect_timeout="500ms",
        outlier_detection={"consecutive_gateway_errors": 5, "interval": "2s", "base_ejection_time": "1m"},
        connection_pool={"max_connections": 10, "max_requests": 100, "max_pending_requests": 20},
    )
    for cluster in ("west", "north"):
        policy = spec(found, cluster, "DestinationRule")["trafficPolicy"]
        assert policy["connectionPool"] == {
            "tcp": {
                "connectTimeout": "0.5s",
                "tcpKeepalive": {"time": "10s", "interval": "5s", "probes": 3},
                "maxConnections": 10,
            },
            "http": {"http2MaxRequests": 100, "http1MaxPendingRequests": 20},
        }
        assert policy["outlierDetection"] == {
            "consecutive5xxErrors": 0,
            "consecutiveGatewayErrors": 5,
            "interval": "2s",
            "baseEjectionTime": "60s",
            "maxEjectionPercent": 100,
            "minHealthPercent": 1,
        }


def test_limits_of_requests_are_for_ports_that_have_requests() -> None:
    ports = [port(80), port(5432, "tcp-db", "TCP")]
    traffic = {"connection_pool": {"max_requests": 100}, "timeout": "2s"}
    found = inventory(east=host(export("quotes", "west", ports=ports, traffic=traffic), address=EAST), west=host())
    policies = spec(found, "west", "DestinationRule")["trafficPolicy"]["portLevelSettings"]
    assert {one["port"]["number"]: "http" in one["connectionPool"] for one in policies} == {80: True, 5432: False}


def test_requests_are_repeated_and_given_up_as_the_export_says() -> None:
    found = merged(timeout="2s", per_try_timeout="300ms", retries=5)
    for route in spec(found, "west", "VirtualService")["http"]:
        assert route["timeout"] == "2s"
        assert route["retries"]["attempts"] == 5
        assert route["retries"]["perTryTimeout"] == "0.3s"
    for route in spec(merged(retries=0), "west", "VirtualService")["http"]:
        assert route["retries"] == {"attempts": 0}
        assert "timeout" not in route


def test_an_alias_is_another_name_for_the_same() -> None:
    found = inventory(
        east=host(export("quotes", "west", aliases=["quotes.shop.global", "prices.shop.global"]), address=EAST),
        west=host(imports=[{"from": "east", "export_to": ["shop"]}]),
    )
    entries = [item["spec"] for item in federation(found, "west") if item["kind"] == "ServiceEntry"]
    assert [entry["hosts"] for entry in entries] == [
        ["prices.shop.global"],
        ["quotes.books.svc.east.global"],
        ["quotes.shop.global"],
    ]
    assert len({str(entry["endpoints"]) for entry in entries}) == 1
    assert all(entry["exportTo"] == ["shop"] for entry in entries)


def test_a_short_name_is_a_service_name_in_its_namespace() -> None:
    found = inventory(
        east=host(export("quotes", "west"), address=EAST),
        west=host(imports=[{"from": "east", "short_names_in": ["shop", "cart"]}]),
    )
    entries = [item["spec"] for item in federation(found, "west") if item["kind"] == "ServiceEntry"]
    assert {entry["hosts"][0]: entry["exportTo"] for entry in entries} == {
        "quotes.books.svc.east.global": ["*"],
        "quotes.cart.svc.cluster.local": ["cart"],
        "quotes.shop.svc.cluster.local": ["shop"],
    }
