# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Consumers named by rules and selected by attributes, and hosts that teams share without knowing of each other."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.errors import InventoryError
from ansible_collections.multimesh.istio.plugins.module_utils.federation.compute import edges
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Consumer, Inventory, Traffic

from tests.unit.plugins.module_utils.model.build import export, host, inventory, port

EAST = "192.0.2.1"
GOLD = {"tier": "gold"}
GOLD_RULE = "[?attributes.tier=='gold']"


def offers(found: Inventory, cluster: str = "east") -> dict[str, dict[str, tuple[Consumer, ...]]]:
    return {export.service: dict(export.offers) for export in found.clusters[cluster].exports}


def peers() -> dict[str, Any]:
    return {
        "west": host(groups=("shop",), attributes={"stage": "production", "score": 9}),
        "north": host(groups=("shop",), attributes={"stage": "test"}),
        "south": host(attributes={"stage": "production"}),
    }


def test_a_rule_adds_consumers_to_what_it_selects() -> None:
    east = host(
        export("reviews", "south", attributes=GOLD),
        export("ratings", "south"),
        export("details", attributes=GOLD, consumers=None),
        address=EAST,
        export_rules=[{"select": GOLD_RULE, "consumers": ["shop", {"mesh": "south", "methods": ["GET"]}]}],
    )
    everyone = (Consumer(),)
    reading = Consumer(methods=("GET",))
    assert offers(inventory(east=east, **peers())) == {
        "reviews": {"south": (Consumer(), reading), "north": everyone, "west": everyone},
        "ratings": {"south": everyone},
        "details": {"south": (reading,), "north": everyone, "west": everyone},
    }


@pytest.mark.parametrize(
    ("mesh", "select", "expected"),
    [
        ("all", "[?attributes.stage=='production']", ["south", "west"]),
        ("shop", "[?attributes.stage=='production']", ["west"]),
        ("all", "[?contains(groups, 'shop') && attributes.score > `5`]", ["west"]),
        ("all", "[?name=='east']", []),
        ("all", "[?attributes.stage!='production']", ["north"]),
        ("all", "[?attributes.nothing]", []),
    ],
)
def test_meshes_are_selected_by_what_they_are(mesh: str, select: str, expected: list[str]) -> None:
    entry = {"mesh": mesh, "select": select, "namespace": "shop"}
    # The exporter has all that is asked for, and is never meant.
    east = host(
        export("reviews", entry), address=EAST, groups=("shop",), attributes={"stage": "production", "score": 9}
    )
    found = inventory(east=east, **peers())
    assert sorted(offers(found)["reviews"]) == expected
    warning = f"east: mesh_exports[0].consumers[0]: no mesh of '{mesh}' is selected"
    assert list(found.clusters["east"].warnings) == ([] if expected else [warning])


def test_a_rule_that_selects_nothing_anywhere_is_a_warning() -> None:
    rules = [{"select": GOLD_RULE, "consumers": ["west"]}, {"select": "[?service=='reviews']", "consumers": ["west"]}]
    found = inventory(
        east=host(export("reviews", "west"), address=EAST, export_rules=rules),
        north=host(export_rules=rules),
        west=host(),
    )
    assert found.warnings == tuple(f"{mesh}: mesh_export_rules[0]: no export is selected" for mesh in ("east", "north"))


def test_an_export_that_a_rule_names_may_be_offered_to_nobody() -> None:
    east = host(export("reviews", consumers=None), address=EAST, export_rules=[{"select": "[*]", "consumers": []}])
    assert offers(inventory(east=east, west=host())) == {"reviews": {}}


def test_a_port_that_is_not_offered_is_an_edge_that_is_refused() -> None:
    entry = {"mesh": "west", "namespace": "shop", "ports": [80], "paths": ["/a"]}
    reviews = export("reviews", entry, ports=[port(80), port(9000, "tcp", "TCP")])
    found = edges(inventory(east=host(reviews, address=EAST), west=host()), "west")
    caller = {"namespace": "shop", "service_account": None, "methods": None, "paths": ["/a"]}
    assert [(edge["port"], edge["callers"], edge["expect"]) for edge in found] == [
        (80, [caller], "allowed"),
        (9000, [], "denied"),
    ]


# Teams


def shared(*consumers: str, **more: Any) -> dict[str, Any]:
    return export(more.pop("service", "reviews"), *consumers, host="reviews.shop.global", **more)


def teams(consumers_of_b: list[str], **of_b: Any) -> Inventory:
    return inventory(
        a1=host(shared("team-a", traffic={"timeout": "3s"}), address=EAST, groups=("team-a",)),
        a2=host(groups=("team-a",)),
        b1=host(shared(*consumers_of_b, **of_b), address="192.0.2.2", groups=("team-b",)),
        b2=host(groups=("team-b",)),
    )


def test_teams_may_use_one_host_and_neither_is_bound_by_the_other() -> None:
    found = teams(["team-b"], service="critiques", ports=[port(80)])
    [of_a], [of_b] = found.clusters["a2"].imports, found.clusters["b2"].imports
    assert of_a.host == of_b.host == "reviews.shop.global"
    assert [export.cluster for export in of_a.exports] == ["a1"]
    assert [export.cluster for export in of_b.exports] == ["b1"]
    assert of_a.traffic == Traffic(timeout=3.0)
    assert of_b.traffic == Traffic()
    assert not of_a.exports[0].common_host


def test_they_are_as_soon_as_somebody_sees_both() -> None:
    with pytest.raises(InventoryError) as caught:
        teams(["team-b", "a2"], ports=[port(80)])
    assert [str(problem) for problem in caught.value.problems] == [
        (
            "b1 (team-b): mesh_exports[0].ports: expected the ports that a1 gives for 'reviews.shop.global' "
            "(9080 HTTP), found 80 HTTP. Export the same port numbers and protocols everywhere, or use another host."
        )
    ]


def test_what_one_exporter_says_of_the_traffic_holds_for_those_that_back_it_up() -> None:
    found = teams(["all"], service="critiques")
    both = [*found.clusters["a2"].imports[0].exports, *found.clusters["b2"].imports[0].exports]
    assert {export.cluster: (export.traffic, export.common_host) for export in both} == {
        "a1": (Traffic(timeout=3.0), True),
        "b1": (Traffic(timeout=3.0), True),
    }


def test_teams_may_use_one_alias_for_different_things() -> None:
    def found(*more: str) -> Inventory:
        return inventory(
            a1=host(export("reviews", "team-a", aliases=["r.shop.global"]), address=EAST, groups=("team-a",)),
            a2=host(groups=("team-a",)),
            b1=host(
                export("critiques", "team-b", *more, aliases=["r.shop.global"]), address="192.0.2.2", groups=("team-b",)
            ),
            b2=host(groups=("team-b",)),
        )

    names = {cluster: [entry.host for entry in found().clusters[cluster].imports] for cluster in ("a2", "b2")}
    assert names == {
        "a2": ["r.shop.global", "reviews.books.svc.a1.global"],
        "b2": ["critiques.books.svc.b1.global", "r.shop.global"],
    }
    with pytest.raises(
        InventoryError, match=r"b1 \(team-b\): mesh_exports\[0\].aliases\[0\]: .* is already a name of a1/"
    ):
        found("a2")
