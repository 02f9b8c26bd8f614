# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.errors import InventoryError
from ansible_collections.multimesh.istio.plugins.module_utils.model.inventory import parse
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Consumer, Inventory, Port

from tests.unit.plugins.module_utils.model.build import export, facts, host, inventory, live, port

EAST = "192.0.2.1"
WEST = "192.0.2.2"
NORTH = "192.0.2.3"


def hosts(found: Inventory, cluster: str) -> list[str]:
    return [entry.host for entry in found.clusters[cluster].imports]


def behind(found: Inventory, cluster: str, name: str) -> list[str]:
    """Clusters behind a host, the local one first and in brackets."""
    entry = next(entry for entry in found.clusters[cluster].imports if entry.host == name)
    local = [f"({entry.local.cluster})"] if entry.local else []
    return local + [source.export.cluster for source in entry.sources]


def test_defaults() -> None:
    cluster = inventory(east=host()).clusters["east"]
    assert (cluster.mesh, cluster.trust_domain, cluster.network) == ("east", "east.mesh", "east")
    assert (cluster.locality, cluster.domain, cluster.control_plane) == (None, "global", "east")
    assert (cluster.exports, cluster.imports, cluster.warnings) == ((), (), ())


def test_defaults_follow_the_name_of_the_mesh() -> None:
    cluster = inventory(cluster_1=host(name="east")).clusters["cluster-1"]
    assert (cluster.mesh, cluster.trust_domain, cluster.network) == ("east", "east.mesh", "east")
    assert cluster.control_plane == "cluster-1"


def test_what_is_written_is_what_it_says() -> None:
    variables = {
        "trust_domain": "east.example.com",
        "network": "vpc_1",
        "locality": "eu/fra-1",
        "domain": "shop.example",
    }
    cluster = inventory(east=host(**variables)).clusters["east"]
    assert {key: getattr(cluster, key) for key in variables} == variables


def test_empty_values_count_as_left_out() -> None:
    found = inventory(
        east=host(export("reviews", "west", host=None), address=EAST, locality=None),
        west=host(imports=None, exports=None),
    )
    assert hosts(found, "west") == ["reviews.books.svc.east.global"]


@pytest.mark.parametrize(
    ("consumers", "expected"),
    [
        (["west"], ["west"]),
        (["all"], ["north", "west"]),
        (["eu"], ["west"]),
        (["meshes"], ["north", "west"]),
        ([{"mesh": "eu", "namespace": "shop"}], ["west"]),
        (["east"], []),
        ([], []),
    ],
)
def test_consumers_are_meshes_groups_or_all_but_never_the_exporter(consumers: list[Any], expected: list[str]) -> None:
    found = inventory(
        east=host(export("reviews", *consumers), address=EAST, groups=("eu",)),
        west=host(groups=("eu",)),
        north=host(),
    )
    assert sorted(found.clusters["east"].exports[0].offers) == expected
    for mesh in ("east", "west", "north"):
        assert hosts(found, mesh) == (["reviews.books.svc.east.global"] if mesh in expected else [])


def test_entries_for_one_mesh_add_up_once_each() -> None:
    narrow = {"mesh": "west", "namespace": "shop", "methods": ["GET"], "paths": ["/a/*", "*"]}
    found = inventory(east=host(export("reviews", "west", "all", {"mesh": "west"}, narrow), address=EAST), west=host())
    assert found.clusters["east"].exports[0].offers == {"west": (Consumer(), Consumer("shop", None, ("GET",), None))}


def test_protocols_without_filters_in_istio_are_tcp() -> None:
    ports = [port(1, "a", "MONGO"), port(2, "b", "MYSQL"), port(3, "c", "REDIS"), port(4, "d", "TLS")]
    found = inventory(east=host(export("db", "west", ports=ports), address=EAST), west=host())
    assert [known.protocol for known in found.clusters["east"].exports[0].ports] == ["TCP", "TCP", "TCP", "TLS"]


def test_a_port_needs_no_name_and_is_the_pods_port() -> None:
    ports = [{"number": 443, "protocol": "HTTPS"}, {"number": 80, "protocol": "HTTP", "target_port": 8080}]
    found = inventory(east=host(export("web", "west", ports=ports), address=EAST), west=host())
    assert found.clusters["east"].exports[0].ports == (
        Port(80, "http-80", "HTTP", 8080),
        Port(443, "https-443", "HTTPS", 443),
    )


# Facts


def test_facts_complete_the_inventory() -> None:
    found = inventory(
        east=host(
            export("reviews", "west", ports=None, service_accounts=None), facts=facts(live("reviews"), address=EAST)
        ),
        west=host(),
    )
    own = found.clusters["east"].exports[0]
    assert own.ports == (Port(80, "http-web", "HTTP", 8080),)
    assert own.selector == {"app.kubernetes.io/name": "reviews"}
    assert own.identities == ("spiffe://east.mesh/ns/books/sa/reviews-account",)
    source = found.clusters["west"].imports[0].sources[0]
    assert (source.addresses, source.export) == ((EAST,), own)


def test_the_inventory_wins_over_facts_value_by_value() -> None:
    written = export("reviews", "west", ports=[{"number": 80}], service_accounts=["other"], selector={"app": "other"})
    found = inventory(
        east=host(written, address=NORTH, facts=facts(live("reviews"), address=EAST)),
        west=host(),
    )
    own = found.clusters["east"].exports[0]
    assert own.ports == (Port(80, "http-web", "HTTP", 8080),)
    assert (own.service_accounts, own.selector) == (("other",), {"app": "other"})
    assert found.clusters["west"].imports[0].sources[0].addresses == (NORTH,)


REMEMBERED = {"east": {"gateway_addresses": [EAST], "services": [live("reviews")]}}


def test_a_peer_out_of_reach_is_remembered() -> None:
    found = inventory(
        east=host(export("reviews", "west", "north", ports=None, service_accounts=None)),
        west=host(facts=facts(remembered=REMEMBERED)),
        north=host(facts=facts()),
    )
    source = found.clusters["west"].imports[0].sources[0]
    assert (source.addresses, source.export.service_accounts) == ((EAST,), ("reviews-account",))
    assert [known.number for known in source.export.ports] == [80]
    assert found.clusters["west"].warnings == ()
    assert hosts(found, "north") == []
    warning = "north: east was not reached and nothing is remembered of it: east/books/reviews is left out"
    assert found.clusters["north"].warnings == (warning,)
    assert found.warnings == (warning,)


def test_facts_win_over_memory() -> None:
    service = live("reviews", ports=[port(target_port=9080)])
    found = inventory(
        east=host(export("reviews", "west", ports=None), facts=facts(service, address=NORTH)),
        west=host(facts=facts(remembered=REMEMBERED)),
    )
    source = found.clusters["west"].imports[0].sources[0]
    assert (source.addresses, source.export.ports[0].number) == ((NORTH,), 9080)


def test_a_gateway_that_lost_its_address_keeps_the_remembered_one() -> None:
    found = inventory(
        east=host(export("reviews", "west", ports=None), facts=facts(live("reviews"))),
        west=host(facts=facts(remembered=REMEMBERED)),
    )
    assert found.clusters["west"].imports[0].sources[0].addresses == (EAST,)


def test_an_outdated_memory_is_left_out_of_a_common_host() -> None:
    found = inventory(
        east=host(export("reviews", "west", ports=None, service_accounts=None, host="reviews.shop.global")),
        north=host(export("reviews", "west", host="reviews.shop.global"), facts=facts(address=NORTH)),
        west=host(facts=facts(remembered=REMEMBERED)),
    )
    assert behind(found, "west", "reviews.shop.global") == ["north"]
    [warning] = found.clusters["west"].warnings
    assert warning == (
        "west: the ports of east/books/reviews differ from those of north/books/reviews:"
        " east is left out of reviews.shop.global"
    )


def test_one_dead_peer_stops_nobody() -> None:
    found = inventory(
        east=host(export("reviews", "west", ports=None)),
        north=host(export("ratings", "west", ports=None), facts=facts(live("ratings"), address=NORTH)),
        west=host(facts=facts()),
    )
    assert hosts(found, "west") == ["ratings.books.svc.north.global"]


def test_placeholder_for_a_gateway_that_does_not_exist_yet() -> None:
    found = inventory(True, east=host(export("reviews", "west", ports=None), facts=facts(live("reviews"))), west=host())
    source = found.clusters["west"].imports[0].sources[0]
    assert (source.addresses, source.pending) == (("pending.east.invalid",), True)


def test_no_placeholder_for_a_peer_out_of_reach() -> None:
    found = inventory(True, east=host(export("reviews", "west")), west=host(facts=facts()))
    assert hosts(found, "west") == []
    assert len(found.warnings) == 1


def test_addresses_are_not_asked_of_a_mesh_from_which_nobody_imports() -> None:
    found = inventory(east=host(export("reviews", "west")), west=host(imports=[]))
    assert hosts(found, "west") == []


# Imports


def two_exports() -> dict[str, Any]:
    return {
        "east": host(
            export("reviews", "west", attributes={"tier": "gold"}),
            export("ratings", "west", attributes={"tier": "silver"}),
            export("secrets", "north"),
            address=EAST,
        ),
        "north": host(export("reviews", "west"), address=NORTH, groups=("far",)),
    }


@pytest.mark.parametrize(
    ("imports", "expected"),
    [
        ([], []),
        ([{"from": "north"}], ["reviews.books.svc.north.global"]),
        ([{"from": "far"}], ["reviews.books.svc.north.global"]),
        ([{"from": "all", "select": "[?attributes.tier=='gold']"}], ["reviews.books.svc.east.global"]),
        ([{"from": "east", "select": "reverse(sort_by(@, &service))[:1]"}], []),
        (
            [{"from": "east", "select": "[?service=='ratings']"}, {"from": "all", "select": "[?service=='reviews']"}],
            ["ratings.books.svc.east.global", "reviews.books.svc.east.global", "reviews.books.svc.north.global"],
        ),
        ([{"from": "north", "host": "reviews.shop.global"}], ["reviews.shop.global"]),
        (
            [{"from": "north"}, {"from": "north", "host": "reviews.shop.global"}],
            ["reviews.books.svc.north.global", "reviews.shop.global"],
        ),
        ([{"from": "west"}], []),
    ],
)
def test_imports(imports: list[Any], expected: list[str]) -> None:
    assert hosts(inventory(**two_exports(), west=host(imports=imports)), "west") == expected


@pytest.mark.parametrize("select", ["[?service=='nothing']", "[?service=='secrets']"])
def test_selecting_nothing_that_is_offered_is_a_warning(select: str) -> None:
    found = inventory(**two_exports(), west=host(imports=[{"from": "east", "select": select}]))
    assert found.warnings == ("west: mesh_imports[0]: nothing that east offers to west is selected",)


def test_importing_from_itself_is_ignored_without_a_word() -> None:
    assert inventory(east=host(imports=[{"from": "east"}])).warnings == ()


def test_visibility_adds_up() -> None:
    imports = [{"from": "north", "export_to": ["shop", "."]}, {"from": "north", "export_to": ["ops"]}]
    found = inventory(**two_exports(), west=host(imports=imports))
    assert found.clusters["west"].imports[0].export_to == (".", "ops", "shop")
    found = inventory(**two_exports(), west=host(imports=[*imports, {"from": "north"}]))
    assert found.clusters["west"].imports[0].export_to == ("*",)


def test_the_name_ends_with_the_domain_of_the_consumer() -> None:
    found = inventory(
        east=host(export("reviews", "all"), address=EAST, domain="east.example"),
        west=host(domain="west.example"),
        north=host(),
    )
    assert hosts(found, "west") == ["reviews.books.svc.east.west.example"]
    assert hosts(found, "north") == ["reviews.books.svc.east.global"]


# Common hosts


def common(*consumers: str, service: str = "reviews") -> Any:
    return export(service, *consumers, host="reviews.shop.global")


def test_exporters_of_a_host_back_each_other_up() -> None:
    found = inventory(east=host(common("all"), address=EAST), west=host(common("all"), address=WEST), north=host())
    assert behind(found, "north", "reviews.shop.global") == ["east", "west"]
    assert behind(found, "east", "reviews.shop.global") == ["(east)", "west"]
    assert behind(found, "west", "reviews.shop.global") == ["(west)", "east"]
    assert hosts(found, "east") == ["reviews.shop.global"]


def test_only_exporters_that_list_a_consumer_serve_it() -> None:
    found = inventory(east=host(common("north"), address=EAST), west=host(common("all"), address=WEST), north=host())
    assert behind(found, "north", "reviews.shop.global") == ["east", "west"]
    assert behind(found, "west", "reviews.shop.global") == ["(west)"]
    assert behind(found, "east", "reviews.shop.global") == ["(east)", "west"]


def test_importing_nothing_leaves_the_own_service_behind_the_host() -> None:
    found = inventory(east=host(common("all"), address=EAST, imports=[]), west=host(common("all"), address=WEST))
    assert behind(found, "east", "reviews.shop.global") == ["(east)"]


def test_a_gateway_sees_the_host_that_it_serves() -> None:
    imports = [{"from": "west", "export_to": ["shop"]}]
    found = inventory(east=host(common("all"), address=EAST, imports=imports), west=host(common("all"), address=WEST))
    assert found.clusters["east"].imports[0].export_to == (".", "shop")


def test_exporters_may_call_the_service_differently() -> None:
    found = inventory(east=host(common("all"), address=EAST), west=host(common("all", service="critics"), address=WEST))
    assert [cluster.exports[0].sni_host for cluster in found.clusters.values()] == ["reviews.shop.global"] * 2


def test_a_common_host_keeps_the_name_of_the_service_where_all_agree() -> None:
    found = inventory(east=host(common("all"), address=EAST), west=host(common("all"), address=WEST))
    assert found.clusters["east"].exports[0].sni_host == "reviews.books.svc.cluster.local"


# Hosts on their way out


def leaving(*without: str) -> Inventory:
    hosts = {
        "east": host(common("all", "west"), export("ratings", "west"), address=EAST),
        "west": host(common("all", service="critics"), export("carts", "east", "north"), address=WEST),
        "north": host(common("all"), address=NORTH, imports=[{"from": "east"}, {"from": "west"}]),
    }
    return parse({"hosts": hosts}, without=without)


def test_a_mesh_on_its_way_out_neither_offers_nor_gets_anything() -> None:
    found = leaving("west")
    assert behind(found, "north", "reviews.shop.global") == ["(north)", "east"]
    assert hosts(found, "north") == ["reviews.shop.global"]
    assert [sorted(offered.offers) for offered in found.clusters["east"].exports] == [["north"], []]
    assert found.clusters["east"].exports[0].sni_host == "reviews.books.svc.cluster.local"
    assert leaving().clusters["east"].exports[0].sni_host == "reviews.shop.global"


def test_a_mesh_stays_while_one_of_its_clusters_does() -> None:
    found = parse(
        {
            "hosts": {
                "east-1": host(export("reviews", "west"), address=EAST, name="east"),
                "east-2": host(export("reviews", "west"), address=NORTH, name="east"),
                "west": host(export("ratings", "east"), address=WEST),
            }
        },
        without=["east-2"],
    )
    assert behind(found, "west", "reviews.books.svc.east.global") == ["east-1"]
    assert hosts(found, "east-1") == ["ratings.books.svc.west.global"]


# Several clusters of one mesh


def test_clusters_of_a_mesh_serve_one_name_together() -> None:
    found = inventory(
        east_1=host(export("reviews", "all"), address=EAST, name="east", network="east-1"),
        east_2=host(export("reviews", "all"), export("ratings", "west"), address=NORTH, name="east", network="east-2"),
        west=host(),
    )
    assert found.meshes == {"east": ("east-1", "east-2"), "west": ("west",)}
    assert behind(found, "west", "reviews.books.svc.east.global") == ["east-1", "east-2"]
    assert behind(found, "west", "ratings.books.svc.east.global") == ["east-2"]
    assert hosts(found, "east-1") == []


def test_a_select_sees_the_exports_of_all_clusters_of_a_mesh() -> None:
    found = inventory(
        east_1=host(export("reviews", "all"), address=EAST, name="east"),
        east_2=host(export("ratings", "all"), address=NORTH, name="east"),
        west=host(imports=[{"from": "east", "select": "[?service=='ratings']", "host": "ratings.shop.global"}]),
    )
    assert behind(found, "west", "ratings.shop.global") == ["east-2"]


# External services


def test_jmespath_is_needed_for_select_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.multimesh.istio.plugins.module_utils.model import selection

    monkeypatch.setattr(selection, "HAS_JMESPATH", False)
    assert hosts(inventory(**two_exports(), west=host(imports=[{"from": "north"}])), "west")
    with pytest.raises(InventoryError, match="the Python library jmespath is missing"):
        inventory(**two_exports(), west=host(imports=[{"from": "east", "select": "[*]"}]))
