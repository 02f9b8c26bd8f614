# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Attributes on the objects, and where the exporter's owner sees them."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.federation.compute import federation
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Inventory

from tests.unit.plugins.module_utils.model.build import export, host, inventory, port

EAST = "192.0.2.1"
GOLD = {"tier": "gold", "team": "books", "score": 7, "tags": ["a", {"b": None}], "name": 'say "x"'}
KINDS = ("EnvoyFilter", "Telemetry")


def meshes(*exports: Any, shown: list[str] | None = None) -> Inventory:
    more = {} if shown is None else {"telemetry_attributes": shown}
    return inventory(east=host(*exports, address=EAST, **more), west=host())


def observed(found: Inventory) -> dict[tuple[str, str], Any]:
    items = [item for item in federation(found, "east") if item["kind"] in KINDS]
    return {(item["kind"], item["metadata"]["name"]): item for item in items}


def attributes(found: Inventory, cluster: str) -> dict[str, Any]:
    return {
        f"{item['kind']} {item['metadata']['name']}": json.loads(written)
        for item in federation(found, cluster)
        if (written := item["metadata"].get("annotations", {}).get("multimesh.istio/attributes"))
    }


def test_attributes_travel_with_the_objects() -> None:
    found = meshes(export("reviews", "west", attributes=GOLD), export("ratings", "west"))
    host_name = "reviews.books.svc.east.global"
    of_reviews = {"east/books/reviews": GOLD}
    assert attributes(found, "east") == {"AuthorizationPolicy multimesh-reviews": of_reviews}
    assert attributes(found, "west") == {
        f"{kind} {host_name}": of_reviews for kind in ("ServiceEntry", "DestinationRule", "VirtualService")
    }
    [policy] = [item for item in federation(found, "east") if item["metadata"]["name"] == "multimesh-reviews"]
    assert policy["metadata"]["annotations"]["multimesh.istio/attributes"] == (
        '{"east/books/reviews":{"name":"say \\"x\\"","score":7,"tags":["a",{"b":null}],"team":"books","tier":"gold"}}'
    )


def test_a_merged_host_has_those_of_all_its_exporters() -> None:
    found = inventory(
        east=host(export("reviews", "west", host="r.shop.global", attributes={"tier": "gold"}), address=EAST),
        north=host(export("critiques", "west", host="r.shop.global", attributes={"tier": "tin"}), address="192.0.2.2"),
        west=host(),
    )
    assert attributes(found, "west")["ServiceEntry r.shop.global"] == {
        "east/books/reviews": {"tier": "gold"},
        "north/books/critiques": {"tier": "tin"},
    }


def test_nothing_is_shown_unless_asked_for() -> None:
    assert observed(meshes(export("reviews", "west", attributes=GOLD))) == {}
    assert observed(meshes(export("reviews", "west", attributes=GOLD), shown=["owner"])) == {}
    assert observed(meshes(export("reviews", attributes=GOLD), shown=["tier"])) == {}


def test_metrics_and_access_log() -> None:
    ports = [port(80, target_port=8080), port(8079, "grpc", "GRPC"), port(9000, "tcp", "TCP")]
    reviews = export("reviews", "west", ports=ports, attributes=GOLD)
    found = observed(meshes(reviews, shown=["tier", "score", "tags", "name"]))
    assert found["Telemetry", "multimesh-reviews"]["spec"] == {
        "selector": {"matchLabels": {"app": "reviews"}},
        "metrics": [
            {
                "overrides": [
                    {
                        "match": {"metric": "ALL_METRICS", "mode": "SERVER"},
                        "tagOverrides": {
                            "export_name": {"value": '"say \\"x\\""'},
                            "export_score": {"value": '"7"'},
                            "export_tier": {"value": '"gold"'},
                        },
                    }
                ]
            }
        ],
    }
    text = 'name=say \\"x\\",score=7,tier=gold'
    assert found["EnvoyFilter", "multimesh-reviews"]["spec"] == {
        "workloadSelector": {"labels": {"app": "reviews"}},
        "configPatches": [
            {
                "applyTo": "HTTP_ROUTE",
                "match": {"context": "SIDECAR_INBOUND", "routeConfiguration": {"portNumber": number}},
                "patch": {
                    "operation": "MERGE",
                    "value": {"metadata": {"filter_metadata": {"multimesh.istio": {"attributes": text}}}},
                },
            }
            for number in (8079, 8080)
        ],
    }


def test_connections_have_no_route() -> None:
    found = observed(meshes(export("db", "west", ports=[port(9000, "tcp", "TCP")], attributes=GOLD), shown=["tier"]))
    assert list(found) == [("Telemetry", "multimesh-db")]


def test_exports_of_the_same_pods_show_what_they_agree_on() -> None:
    one = export("one", "west", selector={"app": "x"}, attributes={"tier": "gold", "team": "books"})
    two = export("two", "west", selector={"app": "x"}, ports=[port(81)], attributes={"tier": "tin", "team": "books"})
    found = observed(meshes(one, two, shown=["tier", "team"]))
    for name in ("multimesh-one", "multimesh-two"):
        [override] = found["Telemetry", name]["spec"]["metrics"][0]["overrides"]
        assert list(override["tagOverrides"]) == ["export_team"]
