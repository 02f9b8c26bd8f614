# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""``via: ingress``: what exporters and consumers hold, and which certificates there have to be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.errors import InventoryError
from ansible_collections.multimesh.istio.plugins.module_utils.federation.compute import (
    federation,
    ingress_certificates,
)
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Inventory

from tests.unit.plugins.module_utils.model.build import export, facts, host, inventory, live, port

EAST = "192.0.2.21"
WEST = "192.0.2.22"
NAME = "reviews.books.svc.east.global"
SERVED = "spiffe://east.mesh/ns/books/sa/ingress_controller"


def exporter(*exports: Any, address: str | None = EAST, **more: Any) -> Any:
    if address:
        more["ingress_addresses"] = [address]
    return host(*exports, **more)


def behind(service: str = "reviews", *consumers: Any, **more: Any) -> dict[str, Any]:
    return export(service, *(consumers or ("west",)), via="ingress", **more)


def held(found: Inventory, cluster: str, kind: str) -> list[dict[str, Any]]:
    return [item for item in federation(found, cluster) if item["kind"] == kind]


def spec(found: Inventory, cluster: str, kind: str, name: str = NAME) -> Any:
    [item] = [item for item in held(found, cluster, kind) if item["metadata"]["name"] == name]
    return item["spec"]


def test_an_exporter_holds_an_ingress_with_a_virtual_host_for_each_port() -> None:
    reviews = behind(ports=[port(9080), port(8079, "grpc", "GRPC")])
    found = inventory(
        east=exporter(reviews, ingress_class="istio", ingress_annotations={"example.com/a": "b"}), west=host()
    )
    [ingress] = held(found, "east", "Ingress")

    def rule(number: int) -> dict[str, Any]:
        backend = {"service": {"name": "reviews", "port": {"number": number}}}
        return {
            "host": f"{number}.reviews.books.svc",
            "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]},
        }

    assert ingress == {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {
            "name": "multimesh-reviews",
            "namespace": "books",
            "labels": {"app.kubernetes.io/managed-by": "multimesh.istio"},
            "annotations": {"multimesh.istio/export": "east/books/reviews", "example.com/a": "b"},
        },
        "spec": {
            "ingressClassName": "istio",
            "tls": [
                {
                    "hosts": ["8079.reviews.books.svc", "9080.reviews.books.svc"],
                    "secretName": "multimesh-ingress.reviews.books",
                }
            ],
            "rules": [rule(8079), rule(9080)],
        },
    }
    assert ingress_certificates(found, "east") == [
        {
            "namespace": "books",
            "secret": "multimesh-ingress.reviews.books",
            "hosts": ["8079.reviews.books.svc", "9080.reviews.books.svc"],
            "spiffe_id": SERVED,
        }
    ]


def test_without_a_class_it_is_the_default_one_of_the_cluster() -> None:
    [ingress] = held(inventory(east=exporter(behind()), west=host()), "east", "Ingress")
    assert "ingressClassName" not in ingress["spec"]
    assert ingress["metadata"]["annotations"] == {"multimesh.istio/export": "east/books/reviews"}


def test_the_east_west_gateway_does_not_let_in_calls_for_it() -> None:
    found = inventory(east=exporter(behind(), export("ratings", "west"), gateway_addresses=["192.0.2.1"]), west=host())
    [gateway] = held(found, "east", "Gateway")
    assert gateway["spec"]["servers"][0]["hosts"] == ["ratings.books.svc.cluster.local"]
    assert held(inventory(east=exporter(behind()), west=host()), "east", "Gateway") == []


def test_no_workload_of_another_mesh_may_call_the_pods_itself() -> None:
    found = inventory(east=exporter(behind()), west=host())
    assert spec(found, "east", "AuthorizationPolicy", "multimesh-reviews")["rules"] == [
        {"from": [{"source": {"principals": ["*"], "notPrincipals": ["east.mesh/*"]}}]}
    ]


def test_what_is_offered_to_nobody_has_no_ingress_and_no_certificate() -> None:
    found = inventory(east=exporter(export("reviews", via="ingress")), west=host())
    assert federation(found, "east") == []
    assert ingress_certificates(found, "east") == []


def test_a_consumer_calls_by_its_name_and_asks_the_controller_for_the_exporters() -> None:
    found = inventory(east=exporter(behind(), locality="eu/fra-1"), west=host())
    entry = spec(found, "west", "ServiceEntry")
    assert entry["ports"] == [{"number": 9080, "name": "http", "protocol": "HTTP"}]
    assert entry["endpoints"] == [
        {
            "address": EAST,
            "labels": {"security.istio.io/tlsMode": "istio"},
            "locality": "eu/fra-1",
            "network": "east",
            "ports": {"http": 443},
        }
    ]
    assert entry["subjectAltNames"] == [SERVED]
    assert spec(found, "west", "DestinationRule")["trafficPolicy"]["tls"] == {
        "mode": "ISTIO_MUTUAL",
        "sni": "9080.reviews.books.svc",
        "subjectAltNames": [SERVED],
    }
    for route in spec(found, "west", "VirtualService")["http"]:
        assert route["rewrite"] == {"authority": "9080.reviews.books.svc"}
        assert route["route"] == [{"destination": {"host": NAME, "port": {"number": 9080}}}]


def test_every_port_is_asked_for_by_its_own_name() -> None:
    found = inventory(east=exporter(behind(ports=[port(80), port(81, "more")])), west=host())
    levels = spec(found, "west", "DestinationRule")["trafficPolicy"]["portLevelSettings"]
    assert {level["port"]["number"]: level["tls"]["sni"] for level in levels} == {
        80: "80.reviews.books.svc",
        81: "81.reviews.books.svc",
    }
    routes = spec(found, "west", "VirtualService")["http"]
    assert {(route["match"][0]["port"], route["rewrite"]["authority"]) for route in routes} == {
        (80, "80.reviews.books.svc"),
        (81, "81.reviews.books.svc"),
    }


def test_whatever_a_consumer_calls_it_the_controller_is_asked_for_the_same() -> None:
    found = inventory(
        east=exporter(behind(aliases=["reviews.shop.global"])),
        west=host(domain="other.example", imports=[{"from": "east", "host": "our-reviews.global"}]),
    )
    for name in ("our-reviews.global", "reviews.shop.global"):
        assert spec(found, "west", "DestinationRule", name)["trafficPolicy"]["tls"]["sni"] == "9080.reviews.books.svc"


def test_meshes_that_back_each_other_up_are_asked_for_their_host_whatever_their_services_are_called() -> None:
    shared = {"host": "reviews.shop.global", "ports": [port()]}
    found = inventory(
        east=exporter(behind("reviews", "north", **shared)),
        west=exporter(behind("rates", "north", **shared), address=WEST),
        north=host(),
    )
    entry = spec(found, "north", "ServiceEntry", "reviews.shop.global")
    assert [endpoint["address"] for endpoint in entry["endpoints"]] == [EAST, WEST]
    policy = spec(found, "north", "DestinationRule", "reviews.shop.global")["trafficPolicy"]
    assert policy["tls"] == {
        "mode": "ISTIO_MUTUAL",
        "sni": "9080.reviews.shop.global.svc",
        "subjectAltNames": [SERVED, SERVED.replace("east", "west")],
    }
    assert policy["outlierDetection"], "as on every other way"
    for cluster in ("east", "west"):
        assert ingress_certificates(found, cluster)[0]["hosts"] == ["9080.reviews.shop.global.svc"]
        assert held(found, cluster, "Ingress")[0]["spec"]["rules"][0]["host"] == "9080.reviews.shop.global.svc"


def test_an_exporter_of_a_merged_host_has_its_own_service_in_it() -> None:
    """The own workload answers with its identity, the other mesh's controller with its own."""
    shared = {"host": "reviews.shop.global", "ports": [port()]}
    found = inventory(
        east=exporter(behind("reviews", "west", **shared)),
        west=exporter(behind("rates", "east", **shared), address=WEST),
    )
    entry = spec(found, "east", "ServiceEntry", "reviews.shop.global")
    local, other = entry["endpoints"]
    assert local["address"] == "reviews.books.svc.cluster.local"
    assert "ports" not in local
    assert (other["address"], other["ports"]) == (WEST, {"http": 443})
    assert entry["subjectAltNames"] == [
        "spiffe://east.mesh/ns/books/sa/reviews",
        "spiffe://west.mesh/ns/books/sa/ingress_controller",
    ]


def test_certificates_are_where_the_controller_reads_them() -> None:
    found = inventory(
        east=exporter(behind(), behind("rates", namespace="more"), ingress_secret_namespace="istio-system"), west=host()
    )
    assert [(one["namespace"], one["secret"]) for one in ingress_certificates(found, "east")] == [
        ("istio-system", "multimesh-ingress.reviews.books"),
        ("istio-system", "multimesh-ingress.rates.more"),
    ]


# Addresses

SEEN = {**facts(live("reviews")), "ingress_addresses": [EAST]}


def test_addresses_are_read_from_the_cluster() -> None:
    found = inventory(east=exporter(behind(ports=None, service_accounts=None), address=None, facts=SEEN), west=host())
    [endpoint] = spec(found, "west", "ServiceEntry")["endpoints"]
    assert (endpoint["address"], endpoint["ports"]) == (EAST, {"http-web": 443})


def test_a_mesh_with_both_ways_is_remembered_with_both_addresses() -> None:
    both = {
        **facts(live("reviews"), live("ratings"), address="192.0.2.1"),
        "ingress_addresses": [EAST],
    }
    exports = [
        behind(ports=None, service_accounts=None),
        export("ratings", "west", ports=None, service_accounts=None),
    ]
    found = inventory(east=exporter(*exports, address=None, facts=both), west=host(facts=facts()))
    [memory] = held(found, "west", "ConfigMap")
    remembered = json.loads(memory["data"]["peers.json"])
    assert remembered["east"]["gateway_addresses"] == ["192.0.2.1"]
    assert remembered["east"]["ingress_addresses"] == [EAST]

    later = inventory(east=exporter(*exports, address=None), west=host(facts=facts(remembered=remembered)))
    assert federation(later, "west") == federation(found, "west")


def test_without_any_ingress_nothing_of_it_is_remembered() -> None:
    found = inventory(east=host(export("reviews", "west"), address="192.0.2.1"), west=host())
    [memory] = held(found, "west", "ConfigMap")
    assert list(json.loads(memory["data"]["peers.json"])["east"]) == ["gateway_addresses", "services"]


def test_check_mode_before_there_is_a_controller() -> None:
    found = inventory(True, east=exporter(behind(ports=None), address=None, facts=facts(live("reviews"))), west=host())
    [endpoint] = spec(found, "west", "ServiceEntry")["endpoints"]
    assert endpoint["address"] == "pending.east.invalid"
    [memory] = held(found, "west", "ConfigMap")
    assert json.loads(memory["data"]["peers.json"])["east"]["ingress_addresses"] == []


@pytest.mark.parametrize("service", [None, "edge/controller"])
def test_a_cluster_whose_controller_has_no_address(service: str | None) -> None:
    more = {"ingress_service": service} if service else {}
    with pytest.raises(InventoryError) as caught:
        inventory(east=exporter(behind(ports=None), address=None, facts=facts(live("reviews")), **more), west=host())
    assert [str(problem) for problem in caught.value.problems] == [
        (
            "east: mesh_ingress_addresses: expected the addresses of the ingress controller, found nothing, and Service"
            f" {service or 'istio-system/istio-ingressgateway'} has none in the cluster. Add mesh_ingress_addresses,"
            " because other meshes import from here."
        )
    ]


def test_whom_only_an_ingress_admits_is_refused_at_the_workloads() -> None:
    """The controller does not ask who calls, so nobody comes to a workload as the caller that the export names."""

    def refused(*exports: Any) -> Any:
        found = inventory(east=exporter(*exports, gateway_addresses=["192.0.2.1"]), west=host())
        return spec(found, "east", "AuthorizationPolicy", "multimesh-default-deny")["rules"]

    everybody = {"principals": ["west.mesh/*"]}
    assert refused(behind()) == [{"from": [{"source": everybody}]}]
    ratings = export("ratings", {"mesh": "west", "namespace": "shop"})
    but_shop = {**everybody, "notPrincipals": ["west.mesh/ns/shop/*"]}
    assert refused(behind(), ratings) == [{"from": [{"source": but_shop}]}]
