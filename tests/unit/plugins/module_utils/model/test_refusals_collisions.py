# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What in a cluster or between clusters contradicts the inventory, each with its exact message, and what does not."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.errors import InventoryError

from tests.unit.plugins.module_utils.model.build import export, facts, host, inventory, live, port

EAST, NORTH, WEST = "192.0.2.1", "192.0.2.3", "192.0.2.2"
DEFAULT = "reviews.books.svc.east.global"
OFFERED = "mesh_exports[0] of east"
REMOVE_ENTRY = "Take the host out of that ServiceEntry"
REMOVE_RULE = "Narrow or remove that DestinationRule"
REMOVE_ROUTES = "Narrow or remove that VirtualService"
RENAME = "import it under another name with key host of mesh_imports"
OTHER_GATEWAY = "have that Gateway select another workload"
ON_GATEWAY = "port 15443 of the east-west gateway"


def item(kind: str, *hosts: str, at: str = "shop/theirs", visible: Any = ("*",), **more: Any) -> dict[str, Any]:
    namespace, name = at.split("/")
    return {"kind": kind, "namespace": namespace, "name": name, "hosts": list(hosts), "visible": list(visible), **more}


def foreign(*objects: dict[str, Any], services: Any = None, take_over: bool = False) -> dict[str, Any]:
    return {"take_over": take_over, "services": services or {}, "objects": list(objects)}


def site(found: dict[str, Any] | None, address: str, *services: Any) -> dict[str, Any]:
    told = facts(*services, address=address)
    return told if found is None else {**told, "foreign": found}


def problems(
    *objects: dict[str, Any], east: Any = None, west: Any = None, exported: Any = None, **more: Any
) -> list[str]:
    """Problems where these objects are in west, which imports ``reviews`` from east, or where ``east`` are in east."""
    hosts = {
        "east": host(export("reviews", "all", **(exported or {})), facts=site(east, EAST)),
        "west": host(facts=site(foreign(*objects, **more), WEST), **(west or {})),
    }
    try:
        inventory(**hosts)
    except InventoryError as error:
        return [str(problem) for problem in error.problems]
    return []


ENTRIES = {
    "default name": (
        [item("ServiceEntry", DEFAULT, "other.example")],
        {},
        (
            f"west: mesh_imports: '{DEFAULT}' ({OFFERED}) is also a host of ServiceEntry shop/theirs, and"
            f" Istio knows only one of the two in every namespace. {REMOVE_ENTRY}, or {RENAME}."
        ),
    ),
    "in sight of a few": (
        [item("ServiceEntry", DEFAULT, visible=("shop", "vault"))],
        {},
        (
            f"west: mesh_imports: '{DEFAULT}' ({OFFERED}) is also a host of ServiceEntry shop/theirs, and"
            f" Istio knows only one of the two in namespaces shop, vault. {REMOVE_ENTRY}, or {RENAME}."
        ),
    ),
    "common host": (
        [item("ServiceEntry", "reviews.shop.global")],
        {"exported": {"host": "reviews.shop.global"}},
        (
            f"west: mesh_imports: 'reviews.shop.global' ({OFFERED}) is also a host of ServiceEntry"
            f" shop/theirs, and Istio knows only one of the two in every namespace. {REMOVE_ENTRY}, or"
            f" {RENAME}."
        ),
    ),
    "alias": (
        [item("ServiceEntry", "reviews.example.com")],
        {"exported": {"aliases": ["reviews.example.com"]}},
        (
            f"west: mesh_imports: 'reviews.example.com' (an alias of {OFFERED}) is also a host of"
            " ServiceEntry shop/theirs, and Istio knows only one of the two in every namespace."
            f" {REMOVE_ENTRY}, or remove the alias there."
        ),
    ),
    "renamed": (
        [item("ServiceEntry", "r.example.com", at="istio-system/theirs")],
        {"west": {"imports": [{"from": "east", "host": "r.example.com", "export_to": ["shop"]}]}},
        (
            f"west: mesh_imports[0].host: 'r.example.com' ({OFFERED}) is also a host of ServiceEntry"
            f" istio-system/theirs, and Istio knows only one of the two in namespace shop. {REMOVE_ENTRY}, or"
            " choose another host."
        ),
    ),
    "chosen by an entry": (
        [item("ServiceEntry", DEFAULT)],
        {"west": {"imports": [{"from": "east", "select": "[?service=='none']"}, {"from": "east"}]}},
        (
            f"west: mesh_imports[1]: '{DEFAULT}' ({OFFERED}) is also a host of ServiceEntry shop/theirs, and"
            f" Istio knows only one of the two in every namespace. {REMOVE_ENTRY}, or {RENAME}."
        ),
    ),
    "short name": (
        [item("ServiceEntry", "reviews.shop.svc.cluster.local")],
        {"west": {"imports": [{"from": "east", "short_names_in": ["shop"]}]}},
        (
            f"west: mesh_imports[0].short_names_in: 'reviews.shop.svc.cluster.local' ({OFFERED}) is also a"
            " host of ServiceEntry shop/theirs, and Istio knows only one of the two in namespace shop."
            f" {REMOVE_ENTRY}, or leave shop out."
        ),
    ),
}
RULES = {
    "rule of the callers' namespace": (
        [item("DestinationRule", DEFAULT, visible=("shop",))],
        {},
        (
            f"west: mesh_imports: '{DEFAULT}' ({OFFERED}) is also a host of DestinationRule shop/theirs, and"
            f" Istio applies only one of the two rules in namespace shop. {REMOVE_RULE}, or {RENAME}."
        ),
    ),
    "wildcard of the callers' namespace": (
        [item("DestinationRule", "*.global")],
        {},
        (
            f"west: mesh_imports: '{DEFAULT}' ({OFFERED}) also falls under '*.global' of DestinationRule"
            f" shop/theirs, and Istio applies only one of the two rules in namespace shop. {REMOVE_RULE}, or"
            f" {RENAME}."
        ),
    ),
    "wildcard for everything": (
        [item("DestinationRule", "*")],
        {},
        (
            f"west: mesh_imports: '{DEFAULT}' ({OFFERED}) also falls under '*' of DestinationRule"
            f" shop/theirs, and Istio applies only one of the two rules in namespace shop. {REMOVE_RULE}, or"
            f" {RENAME}."
        ),
    ),
    "rule beside ours": (
        [item("DestinationRule", DEFAULT, at="istio-system/theirs")],
        {},
        (
            f"west: mesh_imports: '{DEFAULT}' ({OFFERED}) is also a host of DestinationRule"
            " istio-system/theirs, and Istio applies only one of the two rules in every namespace."
            f" {REMOVE_RULE}, or {RENAME}."
        ),
    ),
    "wildcard for the gateways themselves": (
        [item("DestinationRule", "*.global", at="istio-system/theirs", visible=("istio-system",))],
        {},
        (
            f"west: mesh_imports: '{DEFAULT}' ({OFFERED}) also falls under '*.global' of DestinationRule"
            " istio-system/theirs, and Istio applies only one of the two rules in namespace istio-system."
            f" {REMOVE_RULE}, or {RENAME}."
        ),
    ),
    "wildcard around short names": (
        [item("DestinationRule", "*.local")],
        {"west": {"imports": [{"from": "east", "short_names_in": ["shop"]}]}},
        (
            f"west: mesh_imports[0].short_names_in: 'reviews.shop.svc.cluster.local' ({OFFERED}) also falls"
            " under '*.local' of DestinationRule shop/theirs, and Istio applies only one of the two rules in"
            f" namespace shop. {REMOVE_RULE}, or leave shop out."
        ),
    ),
}
TCP = {"exported": {"ports": [port(), port(9000, "tcp", "TCP")]}}
ROUTES = {
    "requests": (
        [item("VirtualService", DEFAULT, http=True)],
        {},
        (
            f"west: mesh_imports: '{DEFAULT}' ({OFFERED}) is also a host of VirtualService shop/theirs, and"
            f" Istio follows the routes of only one of the two in every namespace. {REMOVE_ROUTES}, or"
            f" {RENAME}."
        ),
    ),
    "connections": (
        [item("VirtualService", DEFAULT, ports=[9000, 9001], visible=("shop",))],
        TCP,
        (
            f"west: mesh_imports: '{DEFAULT}' ({OFFERED}) is also a host of VirtualService shop/theirs, whose"
            f" routes take connections to port 9000 in namespace shop. {REMOVE_ROUTES}, or {RENAME}."
        ),
    ),
    "connections under a wildcard": (
        [item("VirtualService", "*.global", ports=[])],
        TCP,
        (
            f"west: mesh_imports: '{DEFAULT}' ({OFFERED}) also falls under '*.global' of VirtualService"
            f" shop/theirs, whose routes take connections to port 9000 in every namespace. {REMOVE_ROUTES},"
            f" or {RENAME}."
        ),
    ),
}
NAMES = {
    "name of an import": (
        [item("ServiceEntry", "a.example", at=f"istio-system/{DEFAULT}", owner="Helm")],
        {},
        (
            f"west: mesh_imports: ServiceEntry istio-system/{DEFAULT} exists and belongs to 'Helm', and the"
            " federation needs that name. Rename or remove it, or have it taken over with"
            " federation_force_conflicts."
        ),
    ),
    "name in another set": (
        [item("DestinationRule", at=f"istio-system/{DEFAULT}", owner="multimesh.istio", part_of="applyset-x-v1")],
        {"take_over": True},
        (
            f"west: mesh_imports: DestinationRule istio-system/{DEFAULT} exists and belongs to another"
            " ApplySet, and the federation needs that name. Rename or remove it."
        ),
    ),
    "name of the peers": (
        [item("ConfigMap", at="istio-system/multimesh-peers")],
        {},
        (
            "west: mesh_imports: ConfigMap istio-system/multimesh-peers exists and belongs to somebody else,"
            " and the federation needs that name. Rename or remove it, or have it taken over with"
            " federation_force_conflicts."
        ),
    ),
    "name of the set": (
        [item("ConfigMap", at="istio-system/multimesh-federation")],
        {"take_over": True},
        (
            "west: mesh_imports: ConfigMap istio-system/multimesh-federation exists and belongs to somebody"
            " else, and the federation needs that name. Rename or remove it."
        ),
    ),
}
SERVICES = {
    "Service of a short name": (
        [],
        {"services": {"shop": ["reviews"]}, "west": {"imports": [{"from": "east", "short_names_in": ["shop"]}]}},
        (
            f"west: mesh_imports[0].short_names_in: 'reviews.shop.svc.cluster.local' ({OFFERED}) is the name"
            " of Service shop/reviews here, which Istio prefers. Remove that Service, or leave shop out."
        ),
    ),
    "short name of a Service": (
        [],
        {"services": {"shop": ["cart"]}, "west": {"imports": [{"from": "east", "host": "cart.shop"}]}},
        (
            f"west: mesh_imports[0].host: 'cart.shop' ({OFFERED}) is a short name of Service shop/cart here,"
            " which it would hide. Remove that Service, or choose another host."
        ),
    ),
}
GATEWAYS = {
    "the same host": (
        item("Gateway", "a.example", "reviews.books.svc.cluster.local", tls="AUTO_PASSTHROUGH"),
        (
            "east: mesh_exports[0].service: 'reviews.books.svc.cluster.local' is also a host of Gateway"
            f" shop/theirs on {ON_GATEWAY}, and Istio drops the younger server with all its hosts. Take it"
            f" out of that Gateway, or {OTHER_GATEWAY}."
        ),
    ),
    "a wildcard that passes everything on": (
        item("Gateway", "*.local", tls="AUTO_PASSTHROUGH"),
        (
            "east: mesh_exports[0].service: 'reviews.books.svc.cluster.local' also falls under '*.local' of"
            f" Gateway shop/theirs on {ON_GATEWAY}, whose proxy refuses a listener that knows a name twice."
            f" Take it out of that Gateway, or {OTHER_GATEWAY}."
        ),
    ),
    "plaintext": (
        item("Gateway", "*", tls=""),
        (
            f"east: mesh_exports: Gateway shop/theirs serves plaintext on {ON_GATEWAY}, and Istio drops the"
            f" younger of it and the server of the exports. Choose another port there, or {OTHER_GATEWAY}."
        ),
    ),
    "the name of the exports": (
        item("Gateway", at="istio-system/multimesh-exports"),
        (
            "east: mesh_exports: Gateway istio-system/multimesh-exports exists and belongs to somebody else,"
            " and the federation needs that name. Rename or remove it, or have it taken over with"
            " federation_force_conflicts."
        ),
    ),
    "the name of a policy": (
        item("AuthorizationPolicy", at="books/multimesh-reviews"),
        (
            "east: mesh_exports[0].service: AuthorizationPolicy books/multimesh-reviews exists and belongs"
            " to somebody else, and the federation needs that name. Rename or remove it, or have it taken"
            " over with federation_force_conflicts."
        ),
    ),
}
IMPORTS = {**ENTRIES, **RULES, **ROUTES, **NAMES, **SERVICES}


@pytest.mark.parametrize("name", IMPORTS)
def test_a_collision_with_an_import(name: str) -> None:
    objects, more, message = IMPORTS[name]
    assert problems(*objects, **more) == [message]


@pytest.mark.parametrize("name", GATEWAYS)
def test_a_collision_with_an_export(name: str) -> None:
    thing, message = GATEWAYS[name]
    assert problems(east=foreign(thing)) == [message]


def test_a_host_that_the_mesh_serves_itself() -> None:
    shared = {"host": "reviews.shop.global", "aliases": ["reviews.example.com"]}
    theirs = foreign(
        item("ServiceEntry", "reviews.shop.global"), item("VirtualService", "reviews.example.com", http=True)
    )
    assert problems(east=theirs, exported=shared) == [
        (
            "east: mesh_exports[0].aliases[0]: 'reviews.example.com' is also a host of VirtualService"
            " shop/theirs, and Istio follows the routes of only one of the two in every namespace."
            f" {REMOVE_ROUTES}, or choose another alias."
        ),
        (
            "east: mesh_exports[0].host: 'reviews.shop.global' is also a host of ServiceEntry shop/theirs,"
            f" and Istio knows only one of the two in every namespace. {REMOVE_ENTRY}, or choose another"
            " host."
        ),
    ]


# External services

API = "api.example.com"
WILDCARD = {"hosts": ["*.example.com"], "ports": [port(80)]}
CREDENTIAL = {"tls": {"mode": "simple", "credential": "ca"}, "export_to": ["shop"]}


def outside(*objects: dict[str, Any], **more: Any) -> list[str]:
    """Problems where west knows external services, and these objects are there."""
    service = {"hosts": [API], "ports": [port(80), port(5432, "sql", "TCP")], **more}
    try:
        inventory(west=host(external_services=[service], facts=site(foreign(*objects), WEST)))
    except InventoryError as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("thing", "more", "message"),
    [
        (
            item("ServiceEntry", API),
            {},
            (
                f"west: mesh_external_services[0].hosts: '{API}' is also a host of ServiceEntry shop/theirs, and"
                f" Istio knows only one of the two in every namespace. {REMOVE_ENTRY}, or remove the host here."
            ),
        ),
        (
            item("ServiceEntry", "*.example.com"),
            {**WILDCARD, "export_to": ["vault"]},
            (
                "west: mesh_external_services[0].hosts: '*.example.com' is also a host of ServiceEntry"
                f" shop/theirs, and Istio knows only one of the two in namespace vault. {REMOVE_ENTRY}, or remove"
                " the host here."
            ),
        ),
        (
            item("DestinationRule", "*.com"),
            {},
            (
                f"west: mesh_external_services[0].hosts: '{API}' also falls under '*.com' of DestinationRule"
                f" shop/theirs, and Istio applies only one of the two rules in namespace shop. {REMOVE_RULE}, or"
                " remove the host here."
            ),
        ),
        (
            item("DestinationRule", API),
            CREDENTIAL,
            (
                f"west: mesh_external_services[0].hosts: '{API}' is also a host of DestinationRule shop/theirs,"
                f" and Istio applies only one of the two rules in namespace shop. {REMOVE_RULE}, or remove the"
                " host here."
            ),
        ),
        (
            item("DestinationRule", at=f"shop/{API}"),
            CREDENTIAL,
            (
                f"west: mesh_external_services[0].hosts: DestinationRule shop/{API} exists and belongs to"
                " somebody else, and the federation needs that name. Rename or remove it, or have it taken over"
                " with federation_force_conflicts."
            ),
        ),
        (
            item("VirtualService", "*.com", ports=[5432]),
            {},
            (
                f"west: mesh_external_services[0].hosts: '{API}' also falls under '*.com' of VirtualService"
                f" shop/theirs, whose routes take connections to port 5432 in every namespace. {REMOVE_ROUTES},"
                " or remove the host here."
            ),
        ),
        (
            item("VirtualService", at="istio-system/wildcard.example.com"),
            WILDCARD,
            (
                "west: mesh_external_services[0].hosts: VirtualService istio-system/wildcard.example.com exists"
                " and belongs to somebody else, and the federation needs that name. Rename or remove it, or have"
                " it taken over with federation_force_conflicts."
            ),
        ),
    ],
)
def test_a_collision_with_an_external_service(thing: dict[str, Any], more: dict[str, Any], message: str) -> None:
    assert outside(thing, **more) == [message]


@pytest.mark.parametrize(
    ("thing", "more"),
    [
        (item("ServiceEntry", API), WILDCARD),
        (item("ServiceEntry", "*.example.com"), {}),
        (item("DestinationRule", API, at="istio-system/theirs"), CREDENTIAL),
        (item("DestinationRule", "*.com"), CREDENTIAL),
        (item("VirtualService", "*.example.com", http=True), {}),
    ],
)
def test_what_is_harmless_beside_external_services(thing: dict[str, Any], more: dict[str, Any]) -> None:
    assert outside(thing, **more) == []


def test_an_external_service_that_others_declare() -> None:
    service = {"hosts": [API], "ports": [port()], "consumers": ["west"]}
    with pytest.raises(InventoryError) as caught:
        inventory(
            east=host(external_services=[service]), west=host(facts=site(foreign(item("ServiceEntry", API)), WEST))
        )
    assert [str(problem) for problem in caught.value.problems] == [
        (
            f"west: mesh_external_services: '{API}' (mesh_external_services[0] of east) is also a host of"
            " ServiceEntry shop/theirs, and Istio knows only one of the two in every namespace."
            f" {REMOVE_ENTRY}, or remove the host there."
        )
    ]


# Services that others take over

STOCK = "stock.books.svc.cluster.local"


def taken_over(*objects: dict[str, Any], services: Any = None) -> list[str]:
    """Problems where east and north back each other's Service up, and west knows it without having one."""
    shared = export("stock", "all", host=STOCK)
    live_stock = live("stock", ports=[port(target_port=9080)], cluster_ip="10.96.0.7")
    found = foreign(*objects, services={"books": services or []})
    try:
        inventory(
            east=host(shared, facts=site(found, EAST, live_stock)),
            north=host(shared, address=NORTH),
            west=host(facts=site(foreign(services={"books": services or []}), WEST)),
        )
    except InventoryError as error:
        return [str(problem) for problem in error.problems]
    return []


def test_a_rule_of_the_owner_comes_before_ours() -> None:
    assert taken_over(item("DestinationRule", STOCK, at="books/theirs")) == [
        (
            f"east: mesh_exports[0].host: '{STOCK}' is also a host of DestinationRule books/theirs, and Istio"
            f" applies only one of the two rules in every namespace. {REMOVE_RULE}, or choose another host."
        )
    ]


def test_a_service_that_a_mesh_has_and_does_not_export() -> None:
    assert taken_over(services=["stock"]) == [
        (
            f"west: mesh_imports: '{STOCK}' (mesh_exports[0] of east) is the name of Service books/stock"
            f" here, which Istio prefers. Remove that Service, or {RENAME}."
        )
    ]


def test_an_entry_beside_a_service_was_never_heard() -> None:
    assert taken_over(item("ServiceEntry", STOCK, at="books/theirs")) == []


# Gateways that route


def test_names_of_what_a_gateway_routes() -> None:
    found = foreign(
        item("Gateway", at="istio-system/multimesh-gateway-exports"),
        item("AuthorizationPolicy", at="istio-system/multimesh-gateway-exports"),
        item("AuthorizationPolicy", at="istio-system/multimesh-default-deny"),
        item("AuthorizationPolicy", at="books/multimesh-reviews"),
        item("Gateway", "*", tls=""),
        item("Gateway", "*.local", at="shop/everything", tls="AUTO_PASSTHROUGH"),
    )
    needed = (
        "exists and belongs to somebody else, and the federation needs that name. Rename or remove it, or have it taken"
    )
    assert problems(east=found, exported={"via": "gateway"}) == [
        (
            f"east: mesh_exports: AuthorizationPolicy istio-system/multimesh-default-deny {needed} over"
            " with federation_force_conflicts."
        ),
        (
            f"east: mesh_exports: AuthorizationPolicy istio-system/multimesh-gateway-exports {needed} over"
            " with federation_force_conflicts."
        ),
        (
            f"east: mesh_exports: Gateway istio-system/multimesh-gateway-exports {needed} over"
            " with federation_force_conflicts."
        ),
        (
            f"east: mesh_exports: Gateway shop/theirs serves plaintext on {ON_GATEWAY}, and Istio drops the"
            f" younger of it and the server of the exports. Choose another port there, or {OTHER_GATEWAY}."
        ),
    ]


def test_one_object_that_meets_many_hosts_is_one_problem() -> None:
    with pytest.raises(InventoryError) as caught:
        inventory(
            east=host(*(export(f"service-{number}", "all") for number in range(5)), address=EAST),
            west=host(facts=site(foreign(item("DestinationRule", "*.svc.east.global")), WEST)),
        )
    assert [str(problem) for problem in caught.value.problems] == [
        (
            f"west: mesh_imports: 'service-0.books.svc.east.global' ({OFFERED}) also falls under"
            " '*.svc.east.global' of DestinationRule shop/theirs, as do 4 more hosts, and Istio applies only"
            f" one of the two rules in namespace shop. {REMOVE_RULE}, or {RENAME}."
        )
    ]


NARROW = {"west": {"imports": [{"from": "east", "export_to": ["shop"]}]}}
HARMLESS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "other hosts": ([item(kind, "reviews.example.com") for kind in ("ServiceEntry", "DestinationRule")], {}),
    "names of a mesh that offers nothing": ([item("ServiceEntry", "reviews.books.svc.north.global")], {}),
    "a wildcard around ours": ([item("ServiceEntry", "*.global")], {}),
    "an entry that ours is not beside": ([item("ServiceEntry", DEFAULT, visible=("vault",))], NARROW),
    "an entry that nobody sees": ([item("ServiceEntry", DEFAULT, visible=())], {}),
    "a rule where ours is not": ([item("DestinationRule", DEFAULT, at="vault/theirs")], NARROW),
    "a rule for other namespaces than its own": ([item("DestinationRule", DEFAULT, visible=("vault",))], {}),
    "a wildcard rule beside ours": ([item("DestinationRule", "*.global", at="istio-system/theirs")], {}),
    "routes of requests under a wildcard": ([item("VirtualService", "*.global", http=True)], {}),
    "routes of connections to other ports": ([item("VirtualService", DEFAULT, ports=[9001])], TCP),
    "routes of connections where all are requests": ([item("VirtualService", DEFAULT, ports=[])], {}),
    "routes of requests where all are connections": (
        [item("VirtualService", DEFAULT, http=True)],
        {"exported": {"ports": [port(9000, "tcp", "TCP")]}},
    ),
    "routes that nobody sees where ours are": (
        [item("VirtualService", DEFAULT, http=True, visible=("vault",))],
        NARROW,
    ),
    "a VirtualService of the name where ours has none": (
        [item("VirtualService", at=f"istio-system/{DEFAULT}")],
        {"exported": {"ports": [port(9000, "tcp", "TCP")]}},
    ),
    "objects rendered by this collection": (
        [item("ServiceEntry", DEFAULT, at=f"istio-system/{DEFAULT}", owner="multimesh.istio")],
        {},
    ),
    "objects to be taken over": (
        [item("ServiceEntry", DEFAULT, at=f"istio-system/{DEFAULT}", owner="Helm")],
        {"take_over": True},
    ),
    "Services of other names": (
        [],
        {"services": {"shop": ["cart"]}, "west": {"imports": [{"from": "east", "short_names_in": ["shop"]}]}},
    ),
    "imports of nothing": ([item("ServiceEntry", DEFAULT), item("DestinationRule", "*")], {"west": {"imports": []}}),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_harmless_is_not_refused(name: str) -> None:
    objects, more = HARMLESS[name]
    assert problems(*objects, **more) == []


@pytest.mark.parametrize(
    "thing",
    [
        item("Gateway", "*.local", tls="SIMPLE"),
        item("Gateway", "*.example.com", "other.books.svc.cluster.local", tls="AUTO_PASSTHROUGH"),
        item("AuthorizationPolicy", at="shop/multimesh-reviews"),
        item("AuthorizationPolicy", at="books/multimesh-reviews", owner="multimesh.istio"),
    ],
    ids=["other TLS", "other hosts", "other namespace", "rendered"],
)
def test_what_is_harmless_beside_exports(thing: dict[str, Any]) -> None:
    assert problems(east=foreign(thing)) == []


def test_nothing_is_guarded_that_is_offered_to_nobody() -> None:
    gateway = foreign(item("Gateway", "*", tls=""), item("AuthorizationPolicy", at="books/multimesh-reviews"))
    found = inventory(east=host(export("reviews"), facts=site(gateway, EAST)), west=host())
    assert found.clusters["east"].exports[0].offers == {}


def test_facts_that_nobody_wrote() -> None:
    with pytest.raises(InventoryError) as caught:
        inventory(east=host(facts={**facts(), "foreign": {"objects": [{}]}}), west=host())
    assert [str(problem) for problem in caught.value.problems] == [
        "east: facts.foreign: expected services and objects. Read them with multimesh.istio.mesh_info."
    ]


# What the inventory says against what the clusters say


def refused(**hosts: Any) -> list[str]:
    with pytest.raises(InventoryError) as caught:
        inventory(**hosts)
    return [str(problem) for problem in caught.value.problems]


def test_a_port_that_the_service_lacks() -> None:
    exporter = export("reviews", "west", ports=[port(80), port(81, "admin")])
    assert refused(east=host(exporter, facts=facts(live("reviews"), address=EAST)), west=host()) == [
        (
            "east: mesh_exports[0].ports: expected ports of Service books/reviews (80), found 81. Correct"
            " the number, or add the port to the Service."
        )
    ]


def test_a_port_of_the_pods_that_is_another_one() -> None:
    exporter = export("reviews", "west", ports=[port(80, target_port=9999)])
    assert refused(east=host(exporter, facts=facts(live("reviews"), address=EAST)), west=host()) == [
        (
            "east: mesh_exports[0].ports: expected target_port 8080 for port 80 as Service books/reviews"
            " has, found 9999. Correct it, or leave it out to have it read."
        )
    ]


def test_what_is_offered_to_nobody_may_say_anything() -> None:
    exporter = export("reviews", ports=[port(81)])
    inventory(east=host(exporter, facts=facts(live("reviews"), address=EAST)), west=host())


def test_two_hosts_for_one_cluster() -> None:
    same = {"kubeconfig": "/etc/meshes", "context": "east"}
    assert refused(east=host(**same), west=host(**same)) == [
        (
            "west: mesh_context: expected a cluster of its own, found the kubeconfig and context of east."
            " Give every host its own cluster."
        )
    ]
    assert refused(east=host(kubeconfig="/etc/one"), west=host(kubeconfig="/etc/one"))[0].startswith(
        "west: mesh_kubeconfig: "
    )
    inventory(east=host(kubeconfig="/etc/meshes", context="east"), west=host(kubeconfig="/etc/meshes", context="west"))


def test_two_gateways_with_one_address() -> None:
    assert refused(
        east=host(facts=facts(address=EAST)), north=host(facts=facts(address=EAST)), west=host(address=WEST)
    ) == [
        (
            f"north: mesh_gateway_addresses: the gateway's address is {EAST}, which is also that of east,"
            " where its callers would end up. Say at which address other clusters reach this gateway."
        )
    ]
    inventory(
        north_1=host(name="north", facts=facts(address=NORTH)), north_2=host(name="north", facts=facts(address=NORTH))
    )


@pytest.mark.parametrize(
    ("changes", "variable"),
    [
        ({"host": "gw.example.com"}, "mesh_exports[0].host"),
        ({"aliases": ["a.example.com", "gw.example.com"]}, "mesh_exports[0].aliases[1]"),
    ],
)
def test_a_host_that_is_the_address_of_a_gateway(changes: dict[str, Any], variable: str) -> None:
    assert refused(
        east=host(export("reviews", "west", **changes), address=EAST), west=host(address="gw.example.com")
    ) == [
        (
            f"east: {variable}: 'gw.example.com' is the address of the gateway of west, which callers would"
            " no longer find. Choose another host."
        )
    ]


def test_an_import_named_as_a_gateway() -> None:
    importer = host(facts=facts(address="gw.example.com"), imports=[{"from": "east", "host": "gw.example.com"}])
    assert refused(east=host(export("reviews", "west"), address=EAST), west=importer)[0].startswith(
        "west: mesh_imports[0].host: 'gw.example.com' is the address"
    )


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "224.0.0.1"])
def test_an_address_that_leads_nowhere(address: str) -> None:
    assert refused(east=host(export("reviews", "west"), address=address), west=host()) == [
        (
            "east: mesh_gateway_addresses[0]: expected an address that other clusters can reach, found"
            f" '{address}'. Give what other clusters can reach, for example '192.0.2.10'."
        )
    ]


# Several clusters of one mesh


def of_one_mesh(a: Any = (), b: Any = (), services: Any = None, **more: Any) -> list[str]:
    """Problems where these objects are in south-a or in south-b, which south-a serves and which alone exports."""
    hosts = {
        "south_a": host(name="south", facts=site(foreign(*a), EAST), **more),
        "south_b": host(
            export("reviews", "north"),
            name="south",
            control_plane="south-a",
            facts=site(foreign(*b, services=services), NORTH),
        ),
        "north": host(export("quotes", "south"), facts=site(None, WEST)),
    }
    try:
        inventory(**hosts)
    except InventoryError as error:
        return [str(problem) for problem in error.problems]
    return []


def test_what_is_applied_for_a_served_cluster_collides_where_its_control_plane_is() -> None:
    fqdn = "reviews.books.svc.cluster.local"
    assert of_one_mesh(
        [
            item("AuthorizationPolicy", at="books/multimesh-reviews"),
            item("Gateway", fqdn, at="istio-system/theirs", tls="AUTO_PASSTHROUGH"),
        ]
    ) == [
        (
            f"south-a: mesh_exports[0].service of south-b: '{fqdn}' is also a host of Gateway istio-system/theirs on"
            f" {ON_GATEWAY}, and Istio drops the younger server with all its hosts. Take it out of that Gateway, or"
            f" {OTHER_GATEWAY}."
        ),
        (
            "south-a: mesh_exports[0].service of south-b: AuthorizationPolicy books/multimesh-reviews exists and"
            " belongs to somebody else, and the federation needs that name. Rename or remove it, or have it taken over"
            " with federation_force_conflicts."
        ),
    ]


def test_nobody_reads_routing_objects_in_a_served_cluster() -> None:
    host_of_north = "quotes.books.svc.north.global"
    assert of_one_mesh(b=[item("ServiceEntry", host_of_north), item("DestinationRule", "*")]) == []
    assert len(of_one_mesh([item("ServiceEntry", host_of_north)])) == 1


def test_a_service_of_a_served_cluster_collides_with_an_import_of_its_control_plane() -> None:
    found = of_one_mesh(services={"shop": ["quotes"]}, imports=[{"from": "north", "short_names_in": ["shop"]}])
    assert found == [
        (
            "south-b: mesh_imports[0].short_names_in: 'quotes.shop.svc.cluster.local' (mesh_exports[0] of north) is the"
            " name of Service shop/quotes here, which Istio prefers. Remove that Service, or leave shop out."
        )
    ]
