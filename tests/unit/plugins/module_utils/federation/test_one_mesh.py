# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several clusters of one mesh: what is applied where."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.federation.compute import edges, federation, mesh_config
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Inventory

from tests.unit.plugins.module_utils.model.build import export, facts, host, inventory, live

SOUTH, WEST = "192.0.2.1", "192.0.2.2"
HOST = "reviews.shop.global"


def found_of(found: Inventory, cluster: str, kind: str) -> dict[str, Any]:
    items = [item for item in federation(found, cluster) if item["kind"] == kind]
    return {item["metadata"]["name"]: item for item in items}


def south(a: tuple[Any, ...], b: tuple[Any, ...], west: tuple[Any, ...] = (), **more: Any) -> Inventory:
    return inventory(
        south_a=host(*a, address=SOUTH, name="south", locality="eu/eu-1", **more),
        south_b=host(*b, name="south", control_plane="south-a", locality="eu/eu-2", **more),
        west=host(*west, address=WEST),
    )


def test_a_served_cluster_holds_nothing() -> None:
    found = south((export("reviews", "west"),), (export("ratings", "west"),), (export("quotes", "all"),))
    assert federation(found, "south-b") == []


def test_its_exports_go_through_the_gateway_of_its_control_plane() -> None:
    found = south((export("reviews", "west"),), (export("ratings", "west"),))
    server = found_of(found, "south-a", "Gateway")["multimesh-exports"]["spec"]["servers"][0]
    assert server["hosts"] == ["ratings.books.svc.cluster.local", "reviews.books.svc.cluster.local"]
    assert set(found_of(found, "south-a", "AuthorizationPolicy")) == {"multimesh-ratings", "multimesh-reviews"}
    entry = found_of(found, "west", "ServiceEntry")["ratings.books.svc.south.global"]["spec"]
    assert [(one["address"], one["network"], one["locality"]) for one in entry["endpoints"]] == [
        (SOUTH, "south", "eu/eu-1")
    ]


def test_one_gateway_is_one_endpoint_and_all_identities_may_answer() -> None:
    found = south(
        (export("reviews", "west", service_accounts=["blue"]),),
        (export("reviews", "west", service_accounts=["green"]),),
    )
    entry = found_of(found, "west", "ServiceEntry")["reviews.books.svc.south.global"]["spec"]
    assert [one["address"] for one in entry["endpoints"]] == [SOUTH]
    assert entry["subjectAltNames"] == [f"spiffe://south.mesh/ns/books/sa/{account}" for account in ("blue", "green")]
    rule = found_of(found, "west", "DestinationRule")["reviews.books.svc.south.global"]["spec"]
    assert "outlierDetection" not in rule["trafficPolicy"]


def test_it_may_call_what_its_control_plane_imports() -> None:
    found = south((), (), (export("quotes", "south"),), imports=[{"from": "west"}])
    assert [(edge["host"], edge["consumer_cluster"]) for edge in edges(found, "south-b")] == [
        ("quotes.books.svc.west.global", "south-b")
    ]
    assert set(found_of(found, "south-a", "ServiceEntry")) == {"quotes.books.svc.west.global"}


def test_a_common_host_is_local_in_both() -> None:
    own = export("reviews", "west", host=HOST, cluster_ip="192.0.2.50")
    found = south((own,), ({**own, "service_accounts": ["green"]},), (export("reviews", "south", host=HOST),))
    entry = found_of(found, "south-a", "ServiceEntry")[HOST]["spec"]
    assert [one["address"] for one in entry["endpoints"]] == ["reviews.books.svc.cluster.local", WEST]
    assert "spiffe://south.mesh/ns/books/sa/green" in entry["subjectAltNames"]


def test_mesh_config_of_both() -> None:
    found = south((), (export("reviews", "west"),))
    keys = ("cluster_name", "control_plane", "served_clusters", "remote_clusters", "readers", "admitted_trust_domains")
    assert [mesh_config(found, "south-a")[key] for key in keys] == [
        "south-a", "south-a", ["south-b"], ["south-b"], [], ["west.mesh"],
    ]  # fmt: skip
    assert [mesh_config(found, "south-b")[key] for key in keys] == [
        "south-b", "south-a", [], [], ["south-a"], ["west.mesh"],
    ]  # fmt: skip


# A cluster that was not reached

WRITTEN = {"ports": None, "service_accounts": None}
RATINGS = live("ratings", ports=[{"number": 80, "name": "http", "protocol": "HTTP", "target_port": 8080}])


def remembering(remembered: Any, of_south_b: Any = None) -> Inventory:
    return inventory(
        south_a=host(name="south", facts=facts(address=SOUTH, remembered=remembered)),
        south_b=host(export("ratings", "west", **WRITTEN), name="south", control_plane="south-a", facts=of_south_b),
        west=host(facts=facts()),
    )


def memory(found: Inventory) -> dict[str, Any]:
    remembered: dict[str, Any] = json.loads(
        found_of(found, "south-a", "ConfigMap")["multimesh-peers"]["data"]["peers.json"]
    )
    return remembered


def test_what_is_remembered_of_a_served_cluster_gives_the_same_objects() -> None:
    seen = remembering({}, facts(RATINGS))
    known = memory(seen)
    assert known["south-b"]["services"][0]["selector"] == {"app.kubernetes.io/name": "ratings"}
    assert federation(remembering(known), "south-a") == federation(seen, "south-a")


def test_without_memory_its_exports_are_left_out_and_said() -> None:
    found = remembering({})
    assert federation(found, "south-a") == []
    assert found.clusters["south-a"].warnings == (
        "south-a: south-b was not reached and nothing is remembered of it: south/books/ratings is left out",
    )


# Several control planes


def primaries(**more: Any) -> Inventory:
    return inventory(
        south_a=host(export("reviews", "west"), address=SOUTH, name="south", **more),
        south_b=host(export("ratings", "west"), export("reviews", "west"), address="192.0.2.3", name="south", **more),
        west=host(),
    )


def test_primaries_of_one_mesh_are_all_endpoints() -> None:
    found = primaries()
    entries = found_of(found, "west", "ServiceEntry")
    assert [one["address"] for one in entries["reviews.books.svc.south.global"]["spec"]["endpoints"]] == [
        SOUTH,
        "192.0.2.3",
    ]
    assert [one["address"] for one in entries["ratings.books.svc.south.global"]["spec"]["endpoints"]] == ["192.0.2.3"]
    assert set(found_of(found, "south-a", "AuthorizationPolicy")) == {"multimesh-reviews"}
    assert mesh_config(found, "south-a")["remote_clusters"] == []


def test_a_control_plane_guards_what_other_gateways_can_lead_to_it() -> None:
    found = primaries(endpoint_discovery=True)
    assert mesh_config(found, "south-a")["remote_clusters"] == ["south-b"]
    assert mesh_config(found, "south-a")["readers"] == ["south-b"]
    assert set(found_of(found, "south-a", "AuthorizationPolicy")) == {"multimesh-ratings", "multimesh-reviews"}
    server = found_of(found, "south-a", "Gateway")["multimesh-exports"]["spec"]["servers"][0]
    assert server["hosts"] == ["reviews.books.svc.cluster.local"]
