# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.federation.compute import federation
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Inventory

from tests.unit.plugins.module_utils.model.build import export, host, inventory, port

EAST = "192.0.2.1"
WEST = "192.0.2.2"
NORTH = "2001:db8::3"
OWN = "reviews.books.svc.cluster.local"


def meshes(**more: Any) -> Inventory:
    takeover = export("reviews", "all", host=OWN, **more)
    return inventory(
        east=host(takeover, address=EAST, locality="eu/fra-1"),
        west=host(takeover, address=WEST, locality="eu/fra-2"),
        north=host(takeover, address=NORTH, locality="us/nyc"),
        south=host(locality="us/nyc"),
    )


def held(found: Inventory, cluster: str) -> dict[tuple[str, str], Any]:
    """Specs by kind and name."""
    return {(item["kind"], item["metadata"]["name"]): item.get("spec") for item in federation(found, cluster)}


def test_a_mesh_without_the_service_knows_a_host() -> None:
    found = held(meshes(), "south")
    assert [key for key in found if key[0] == "WorkloadEntry"] == []
    entry = found["ServiceEntry", OWN]
    assert (entry["hosts"], entry["resolution"], len(entry["addresses"])) == ([OWN], "STATIC", 1)
    assert [endpoint["address"] for endpoint in entry["endpoints"]] == [EAST, NORTH, WEST]


def test_a_mesh_with_the_service_adds_endpoints_to_it() -> None:
    objects = {(item["kind"], item["metadata"]["name"]): item for item in federation(meshes(), "east")}
    assert [key for key in objects if key[0] == "ServiceEntry"] == []
    assert {name for kind, name in objects if kind == "WorkloadEntry"} == {
        "multimesh-reviews-192-0-2-2",
        "multimesh-reviews-2001-0db8-0000-0000-0000-0000-0000-0003",
    }
    assert objects["WorkloadEntry", "multimesh-reviews-192-0-2-2"] == {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadEntry",
        "metadata": {
            "name": "multimesh-reviews-192-0-2-2",
            "namespace": "books",
            "labels": {"app.kubernetes.io/managed-by": "multimesh.istio"},
            "annotations": {"multimesh.istio/export": "west/books/reviews"},
        },
        "spec": {
            "address": WEST,
            "labels": {
                "app": "reviews",
                "security.istio.io/tlsMode": "istio",
                "multimesh.istio/rank-1": "yes",
            },
            "network": "west",
            "ports": {"http": 15443},
        },
    }
    for kind in ("DestinationRule", "VirtualService"):
        assert objects[kind, OWN]["metadata"]["namespace"] == "istio-system"
        assert objects[kind, OWN]["spec"]["exportTo"] == ["*"]


def test_all_who_may_answer_are_named_and_the_own_network_comes_first() -> None:
    policy = held(meshes(), "east")["DestinationRule", OWN]["trafficPolicy"]
    assert policy["tls"] == {
        "mode": "ISTIO_MUTUAL",
        "sni": f"outbound_.9080_._.{OWN}",
        "subjectAltNames": [f"spiffe://{mesh}.mesh/ns/books/sa/reviews" for mesh in ("east", "north", "west")],
    }
    assert policy["loadBalancer"]["localityLbSetting"] == {
        "enabled": True,
        "failoverPriority": [
            "topology.istio.io/network",
            "multimesh.istio/rank-1=yes",
            "multimesh.istio/rank-2=yes",
        ],
    }


def test_in_a_chosen_order() -> None:
    found = held(meshes(traffic={"order": ["north", "west", "east"]}), "east")
    policy = found["DestinationRule", OWN]["trafficPolicy"]
    assert policy["loadBalancer"]["localityLbSetting"]["failoverPriority"] == [
        "topology.istio.io/network",
        "multimesh.istio/rank-1=yes",
        "multimesh.istio/rank-2=yes",
    ]
    ranked = {
        spec["network"]: sorted(label for label in spec["labels"] if label.startswith("multimesh.istio/"))
        for (kind, _name), spec in found.items()
        if kind == "WorkloadEntry"
    }
    assert ranked == {"north": ["multimesh.istio/rank-1"], "west": []}


def test_every_port_by_its_name() -> None:
    found = held(meshes(ports=[port(80, "web"), port(5432, "db", "TCP")]), "east")
    assert found["WorkloadEntry", "multimesh-reviews-192-0-2-2"]["ports"] == {"db": 15443, "web": 15443}


def test_exporters_let_in_calls_for_their_own_service() -> None:
    assert held(meshes(), "east")["Gateway", "multimesh-exports"]["servers"][0]["hosts"] == [OWN]


def test_clusters_of_one_mesh_behind_one_gateway_are_one_endpoint() -> None:
    takeover = export("reviews", "all", host=OWN)
    found = inventory(
        east=host(takeover, address=EAST),
        west_1=host(takeover, address=WEST, name="west"),
        west_2=host(takeover, address=WEST, name="west"),
    )
    assert [kind for kind, _name in held(found, "east")].count("WorkloadEntry") == 1


@pytest.mark.parametrize("cluster", ["east", "west"])
def test_nothing_is_written_while_nobody_else_serves_it(cluster: str) -> None:
    found = inventory(east=host(export("reviews", "west", host=OWN), address=EAST), west=host())
    kinds = [kind for kind, _name in held(found, cluster)]
    if cluster == "east":
        assert kinds == ["AuthorizationPolicy", "ConfigMap", "Gateway"]
    else:
        assert kinds == ["ConfigMap", "DestinationRule", "ServiceEntry", "VirtualService"]


def test_names_are_known_where_they_are_to_be() -> None:
    found = inventory(
        east=host(export("reviews", "west", aliases=["old.shop.global"]), address=EAST),
        west=host(imports=[{"from": "east", "short_names_in": ["shop"]}]),
    )
    entries = {name: spec for (kind, name), spec in held(found, "west").items() if kind == "ServiceEntry"}
    assert {name: spec["exportTo"] for name, spec in entries.items()} == {
        "old.shop.global": ["*"],
        "reviews.books.svc.east.global": ["*"],
        "reviews.shop.svc.cluster.local": ["shop"],
    }
    assert len({spec["addresses"][0] for spec in entries.values()}) == 3
    for name in entries:
        rule = held(found, "west")["DestinationRule", name]
        assert rule["trafficPolicy"]["tls"]["sni"] == f"outbound_.9080_._.{OWN}"
        assert rule["exportTo"] == entries[name]["exportTo"]
