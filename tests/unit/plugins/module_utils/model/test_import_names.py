# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""By which names a cluster knows what it imports, and where."""

from __future__ import annotations

from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Inventory, OwnService

from tests.unit.plugins.module_utils.model.build import export, facts, host, inventory, live, port

EAST = "192.0.2.1"
WEST = "192.0.2.2"
OWN = "reviews.books.svc.cluster.local"
MERGED = "reviews.shop.global"


def names(found: Inventory, cluster: str) -> dict[str, tuple[str, ...]]:
    """Hosts, each with the namespaces that see it."""
    return {entry.host: entry.export_to for entry in found.clusters[cluster].imports}


def behind(found: Inventory, cluster: str, name: str) -> list[str]:
    """Clusters behind a host, the local one in brackets."""
    entry = next(entry for entry in found.clusters[cluster].imports if entry.host == name)
    local = [f"({entry.local.cluster})"] if entry.local else []
    return local + [source.export.cluster for source in entry.sources]


def test_aliases_stand_beside_the_name() -> None:
    found = inventory(
        east=host(export("reviews", "all", aliases=["reviews.example.com", "old.shop.global"]), address=EAST),
        west=host(imports=[{"from": "east", "export_to": ["shop"]}]),
        north=host(),
    )
    assert list(names(found, "north")) == ["old.shop.global", "reviews.books.svc.east.global", "reviews.example.com"]
    assert names(found, "west") == dict.fromkeys(names(found, "north"), ("shop",))
    assert names(found, "east") == {}


def test_a_renamed_import_keeps_its_aliases() -> None:
    found = inventory(
        east=host(export("reviews", "west", aliases=["old.shop.global"]), address=EAST),
        west=host(imports=[{"from": "east", "host": "theirs.shop.global"}]),
    )
    assert list(names(found, "west")) == ["old.shop.global", "theirs.shop.global"]


def test_an_alias_of_a_merged_host_has_everything_behind_it() -> None:
    found = inventory(
        east=host(export("reviews", "all", host=MERGED, aliases=["old.shop.global"]), address=EAST),
        west=host(export("reviews", "all", host=MERGED, aliases=["old.shop.global"]), address=WEST),
        north=host(),
    )
    for cluster, expected in (("north", ["east", "west"]), ("east", ["(east)", "west"]), ("west", ["(west)", "east"])):
        assert behind(found, cluster, "old.shop.global") == expected
        assert behind(found, cluster, MERGED) == expected


def test_short_names_are_for_their_namespace_alone() -> None:
    found = inventory(
        east=host(export("reviews", "west"), address=EAST),
        west=host(imports=[{"from": "east", "short_names_in": ["shop", "kiosk"], "export_to": ["shop", "bank"]}]),
    )
    assert names(found, "west") == {
        "reviews.books.svc.east.global": ("bank", "shop"),
        "reviews.kiosk.svc.cluster.local": ("kiosk",),
        "reviews.shop.svc.cluster.local": ("shop",),
    }


def test_a_short_name_of_a_merged_host_has_everything_behind_it() -> None:
    found = inventory(
        east=host(
            export("reviews", "all", host=MERGED),
            address=EAST,
            imports=[{"from": "all", "short_names_in": ["shop"]}],
        ),
        west=host(export("reviews", "all", host=MERGED), address=WEST),
    )
    assert behind(found, "east", "reviews.shop.svc.cluster.local") == ["(east)", "west"]
    assert names(found, "east") == {MERGED: ("*",), "reviews.shop.svc.cluster.local": (".", "shop")}


def takeover(**more: Any) -> Any:
    return export("reviews", "all", host=OWN, **more)


def test_the_name_of_the_service_itself() -> None:
    found = inventory(
        east=host(takeover(), address=EAST),
        west=host(takeover(), address=WEST, imports=[{"from": "all", "export_to": ["shop"]}]),
        north=host(imports=[{"from": "all", "export_to": ["shop"]}]),
    )
    assert names(found, "north") == {OWN: ("shop",)}
    assert names(found, "west") == {OWN: ("*",)}, "a Service is there for all namespaces"
    assert behind(found, "north", OWN) == ["east", "west"]
    assert behind(found, "west", OWN) == ["(west)", "east"]
    assert found.clusters["north"].imports[0].own_service is None
    assert found.clusters["west"].imports[0].own_service == OwnService({"app": "reviews"}, ("http",))
    assert list(found.clusters["north"].addresses) == [OWN]
    assert found.clusters["west"].addresses == {}, "the Service has one"


def test_what_the_live_service_asks_of_its_endpoints() -> None:
    service = live(
        "reviews",
        cluster_ip="10.96.0.9",
        ports=[
            port(80, "http-web", target_port=8080, target_port_name="web"),
            port(81, "admin", target_port=8081, target_port_name=None),
        ],
    )
    found = inventory(
        east=host(
            takeover(ports=[port(80, "other"), port(81, "admin")], selector={"app": "reviews", "tier": "gold"}),
            facts=facts(service, address=EAST),
        ),
        west=host(takeover(ports=[port(80, "other"), port(81, "admin")]), facts=facts(address=WEST)),
    )
    [entry] = found.clusters["east"].imports
    assert entry.own_service == OwnService({"app.kubernetes.io/name": "reviews"}, ("admin", "http-web", "web"))


def test_nobody_else_serves_it() -> None:
    found = inventory(east=host(takeover(), address=EAST), west=host())
    assert behind(found, "east", OWN) == ["(east)"]


def test_an_alias_of_the_service_itself() -> None:
    found = inventory(
        east=host(takeover(aliases=[MERGED]), address=EAST), west=host(takeover(aliases=[MERGED]), address=WEST)
    )
    assert [(entry.host, bool(entry.own_service)) for entry in found.clusters["east"].imports] == [
        (OWN, True),
        (MERGED, False),
    ]
    assert behind(found, "east", MERGED) == ["(east)", "west"]


def test_a_mesh_that_imports_it_by_another_name_keeps_its_own_service() -> None:
    found = inventory(
        east=host(takeover(), address=EAST),
        west=host(export("reviews", "north"), address=WEST, imports=[{"from": "east", "host": "theirs.shop.global"}]),
        north=host(imports=[]),
    )
    assert names(found, "west") == {"theirs.shop.global": ("*",)}
