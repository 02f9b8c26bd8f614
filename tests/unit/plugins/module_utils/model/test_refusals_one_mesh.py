# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What clusters of one mesh may not say, each with the exact message."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.errors import InventoryError

from tests.unit.plugins.module_utils.model.build import export, facts, host, inventory, live, port

GATEWAY = "192.0.2.1"
HOST = "reviews.shop.global"


def refused(a: Any, b: Any, **hosts: Any) -> list[str]:
    with pytest.raises(InventoryError) as raised:
        inventory(south_a=a, south_b=b, west=host(), **hosts)
    return [str(problem) for problem in raised.value.problems]


def primary(*exports: Any, **more: Any) -> Any:
    return host(*exports, address=GATEWAY, name="south", **more)


def served(*exports: Any, **more: Any) -> Any:
    return host(*exports, name="south", control_plane="south-a", **more)


def test_an_ingress_needs_a_control_plane_of_its_own() -> None:
    behind = export("ratings", "west", via="ingress")
    assert (
        "south-b: mesh_exports[0].via: expected passthrough or gateway, because the gateway of south-a lets in the"
        " calls for both, found 'ingress'. Leave it out, or give south-b a control plane of its own."
    ) in refused(primary(), served(behind))


SAME = "Say the same in both, for example by one export for a group of both."
ONE_SERVICE = "which is one Service for the control plane of south-a, found something else"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"network": "other"},
            (
                "south-b: mesh_network: expected 'south' as on south-a, whose control plane serves this cluster,"
                " found 'other'. Let the pods of both reach each other directly and set the same network, or give"
                " this cluster a control plane of its own."
            ),
        ),
        (
            {"gateway_addresses": ["192.0.2.2"]},
            (
                "south-b: mesh_gateway_addresses: expected nothing, or the same as on south-a, whose gateway lets in"
                " the calls for both, found something else. Set it for south-a, or for a group of both."
            ),
        ),
        (
            {"domain": "corp"},
            (
                "south-b: mesh_domain: expected nothing, or the same as on south-a, whose control plane names what"
                " is imported, found something else. Set it for south-a, or for a group of both."
            ),
        ),
        (
            {"imports": []},
            (
                "south-b: mesh_imports: expected nothing, or the same as on south-a, whose control plane imports for"
                " both, found something else. Set it for south-a, or for a group of both."
            ),
        ),
        (
            {"telemetry_attributes": ["team"]},
            (
                "south-b: mesh_telemetry_attributes: expected nothing, or the same as on south-a, whose control plane"
                " says what proxies show, found something else. Set it for south-a, or for a group of both."
            ),
        ),
        (
            {"trust_domain": "b.mesh"},
            (
                "south-b: mesh_trust_domain: expected 'south.mesh' as on south-a, because a mesh has one trust"
                " domain, found 'b.mesh'. Set the same on every cluster of the mesh."
            ),
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_belongs_to_the_control_plane(changes: dict[str, Any], message: str) -> None:
    assert refused(primary(), served(**changes)) == [message]


@pytest.mark.parametrize(
    ("first", "second", "key"),
    [
        ({}, {"host": HOST}, "host"),
        ({}, {"aliases": ["reviews.corp.example"]}, "aliases"),
        ({}, {"selector": {"app": "other"}}, "selector"),
        ({}, {"ports": [port(target_port=80)]}, "ports"),
    ],
)
def test_one_service_is_exported_in_one_way(first: dict[str, Any], second: dict[str, Any], key: str) -> None:
    found = refused(primary(export("reviews", "west", **first)), served(export("reviews", "west", **second)))
    assert (
        f"south-b: mesh_exports[0].{key}: expected what south-a says of Service books/reviews, {ONE_SERVICE}. {SAME}"
        in found
    )


def test_one_service_has_one_set_of_consumers() -> None:
    found = refused(
        primary(export("reviews", "west")), served(export("reviews", {"mesh": "west", "namespace": "shop"}))
    )
    assert (
        f"south-b: mesh_exports[0].consumers: expected what south-a says of Service books/reviews, {ONE_SERVICE}."
        f" {SAME}" in found
    )


def test_a_cluster_that_was_not_asked_contradicts_nobody() -> None:
    own = export("reviews", "west", ports=None, service_accounts=None)
    inventory(
        south_a=primary(own, facts=facts(live("reviews"), address=GATEWAY)),
        south_b=served(own),
        west=host(facts=facts()),
    )


def test_the_same_pods_have_the_same_consumers_in_every_cluster() -> None:
    one = export("reviews", "west", selector={"app": "web"})
    other = export("ratings", "north", selector={"app": "web", "tier": "gold"})
    assert refused(primary(one), served(other), north=host()) == [
        (
            "south-b: mesh_exports[0].selector: its pods are among those of mesh_exports[0] of south-a, which has"
            " other consumers or ports, and policies select pods. Give both the same consumers and ports, or"
            " selectors that no pod matches both of."
        )
    ]


def test_a_common_host_is_exported_by_every_cluster_that_a_control_plane_knows() -> None:
    assert refused(primary(export("reviews", "west", host=HOST)), served()) == [
        (
            "south-b: mesh_exports: expected an export of 'reviews.shop.global' as on south-a, for callers here"
            " would look for Service books/reviews in their own cluster, found none. Export it here too, for example"
            " by one export for a group of both, or leave out host there."
        )
    ]


def test_a_host_is_one_service_in_all_clusters_that_a_control_plane_knows() -> None:
    found = refused(primary(export("reviews", "west", host=HOST)), served(export("ratings", "west", host=HOST)))
    assert found == [
        (
            "south-b: mesh_exports[0].host: host 'reviews.shop.global' is already that of south/books/reviews of"
            " south-a, and the control plane of south-a knows both. Give each Service its own host; one host is"
            " shared by exports of different meshes."
        )
    ]


def test_an_order_of_meshes_needs_one_address_of_the_service() -> None:
    own = export("reviews", "west", host=HOST, cluster_ip="192.0.2.50", traffic={"order": ["south", "west"]})
    other = host(export("reviews", "south", host=HOST, cluster_ip="192.0.2.60"), address="192.0.2.9")
    with pytest.raises(InventoryError) as raised:
        inventory(south_a=primary(own), south_b=served(own), west=other)
    assert [str(problem) for problem in raised.value.problems] == [
        (
            "south-a: mesh_exports[0].host: 'reviews.shop.global' has an order of meshes, which needs one address of"
            " the Service in the mesh, and one control plane serves several clusters. Leave out traffic.order in all"
            " exports of the host."
        )
    ]


def other_primary(*exports: Any, **more: Any) -> Any:
    return host(*exports, address="192.0.2.2", name="south", **more)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (
            {"endpoint_discovery": "yes"},
            {},
            "south-a: mesh_endpoint_discovery: expected a boolean, found 'yes'. Write true or false without quotes.",
        ),
        (
            {"endpoint_discovery": True},
            {},
            (
                "south-b: mesh_endpoint_discovery: expected true as on south-a, because the clusters of a mesh know"
                " each other or do not, found false. Set the same on every cluster of the mesh."
            ),
        ),
        (
            {"endpoint_discovery": True, "network": "one"},
            {"endpoint_discovery": True, "network": "two"},
            (
                "south-b: mesh_endpoint_discovery: needs one network, and 'two' is not 'one' of south-a: a gateway"
                " between them would let callers of other meshes in to every Service. Let the pods reach each other"
                " directly and set the same mesh_network, or leave it out."
            ),
        ),
    ],
)
def test_endpoint_discovery(first: dict[str, Any], second: dict[str, Any], message: str) -> None:
    assert refused(primary(**first), other_primary(**second)) == [message]


def test_primaries_that_do_not_know_each_other_may_differ() -> None:
    inventory(
        south_a=primary(export("reviews", "west"), network="one"),
        south_b=other_primary(export("reviews", {"mesh": "west", "namespace": "shop"}), network="two"),
        west=host(),
    )
