# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bad inventories with exports ``via: ingress``, each with the exact message that refuses it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.errors import InventoryError

from tests.unit.plugins.module_utils.model.build import export, host, inventory, port


def behind(*consumers: Any, **more: Any) -> dict[str, Any]:
    return export("reviews", *(consumers or ("west",)), via="ingress", **more)


def exporter(*exports: Any, **more: Any) -> Any:
    return host(*(exports or [behind()]), **{"ingress_addresses": ["192.0.2.21"], **more})


NARROWED = (
    "and nobody can enforce that behind an Ingress, where all callers look alike. Use via: gateway or via: passthrough,"
    " or admit the whole mesh."
)
WHOLE = "expected a mesh or a group alone for mesh_exports[0], found"
CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no addresses": (
        {"east": exporter(ingress_addresses=None)},
        [
            (
                "east: mesh_ingress_addresses: expected the addresses of the ingress controller, found nothing,"
                " and no cluster was asked. Add mesh_ingress_addresses, because other meshes import from here."
            )
        ],
    ),
    "neither address": (
        {"east": exporter(behind(), export("rates", "west"), ingress_addresses=None)},
        [
            (
                "east: mesh_gateway_addresses: expected the addresses of the gateway, found nothing, and no"
                " cluster was asked. Add mesh_gateway_addresses, because other meshes import from here."
            ),
            (
                "east: mesh_ingress_addresses: expected the addresses of the ingress controller, found nothing,"
                " and no cluster was asked. Add mesh_ingress_addresses, because other meshes import from here."
            ),
        ],
    ),
    "address with a port": (
        {"east": exporter(ingress_addresses=["192.0.2.21:443"])},
        [
            (
                "east: mesh_ingress_addresses[0]: expected a bare IP address or a DNS name, without scheme, port"
                " or brackets, found '192.0.2.21:443'. Give what other clusters can reach, for example"
                " '192.0.2.20'."
            )
        ],
    ),
    "address of another controller": (
        {"east": exporter(), "west": host(ingress_addresses=["192.0.2.9", "192.0.2.21"])},
        [
            (
                "west: mesh_ingress_addresses[1]: '192.0.2.21' is already the ingress controller of east, where"
                " its callers would end up. Give each mesh the address of its own controller."
            )
        ],
    ),
    "address of another gateway": (
        {"east": exporter(), "west": host(address="192.0.2.21")},
        [
            (
                "east: mesh_ingress_addresses[0]: '192.0.2.21' is the gateway of west, where its callers would"
                " end up. Give each mesh the address of its own controller."
            )
        ],
    ),
    "no class name": (
        {"east": exporter(ingress_class="My Class")},
        [
            (
                "east: mesh_ingress_class: expected a DNS name (lower case labels joined by '.', at most 253"
                " characters), found 'My Class'. Name an IngressClass, or leave it out."
            )
        ],
    ),
    "no service": (
        {"east": exporter(ingress_service="ingress")},
        [
            (
                "east: mesh_ingress_service: expected '<namespace>/<name>' of a Service, found 'ingress'. Write"
                " namespace and name, for example 'istio-system/istio-ingressgateway'."
            )
        ],
    ),
    "no namespace": (
        {"east": exporter(ingress_secret_namespace="a.b")},
        [
            (
                "east: mesh_ingress_secret_namespace: expected a DNS label (lower case letters, digits and '-',"
                " at most 63 characters), found 'a.b'. Name the namespace of Istio's ingress gateway, or leave"
                " it out."
            )
        ],
    ),
    "annotations": (
        {"east": exporter(ingress_annotations={"example.com/a": True, "a b": "c"})},
        [
            (
                "east: mesh_ingress_annotations.a b: expected a key of an annotation (an optional DNS name and"
                " '/', then at most 63 letters, digits, '-', '_' and '.'). Write names and values, for example"
                " {nginx.ingress.kubernetes.io/backend-protocol: GRPC}."
            ),
            (
                "east: mesh_ingress_annotations.example.com/a: expected a string, found True (a boolean). Put"
                " the value in quotes."
            ),
        ],
    ),
    "annotations as a list": (
        {"east": exporter(ingress_annotations=["a"])},
        [
            (
                "east: mesh_ingress_annotations: expected a mapping, found a list. Write names and values, for"
                " example {nginx.ingress.kubernetes.io/backend-protocol: GRPC}."
            )
        ],
    ),
    "ports that are not HTTP": (
        {"east": exporter(behind(ports=[port(), port(9000, "tcp", "TCP"), port(9443, "tls", "TLS")]))},
        [
            (
                "east: mesh_exports[0].via: an Ingress passes on HTTP alone, and port 9000 is TCP. List in ports"
                " only those with HTTP, HTTP2 or GRPC, or use via: gateway or via: passthrough."
            ),
            (
                "east: mesh_exports[0].via: an Ingress passes on HTTP alone, and port 9443 is TLS. List in ports"
                " only those with HTTP, HTTP2 or GRPC, or use via: gateway or via: passthrough."
            ),
        ],
    ),
    "a name that is too long at the Ingress": (
        {"east": exporter(behind(host=".".join(["a" * 61] * 4) + ".bc"))},
        [
            (
                "east: mesh_exports[0].host: the name of port 9080 at the Ingress would be longer than 253"
                " characters. Choose a shorter host."
            )
        ],
    ),
    "a host that is the name of the Service": (
        {"east": exporter(behind(host="reviews.books.svc.cluster.local"))},
        [
            (
                "east: mesh_exports[0].via: expected passthrough, because callers ask for the Service itself by"
                " 'reviews.books.svc.cluster.local', found 'ingress'. Leave it out, or use a host outside"
                " 'cluster.local'."
            )
        ],
    ),
    "consumers narrower than a mesh": (
        {
            "east": exporter(
                behind(
                    "west",
                    {"mesh": "west"},
                    {"mesh": "west", "namespace": "shop"},
                    {"mesh": "west", "namespace": "shop", "service_account": "cart", "methods": ["GET"]},
                    {"mesh": "west", "paths": ["/a"]},
                )
            )
        },
        [
            f"east: mesh_exports[0].consumers[2]: {WHOLE} namespace, {NARROWED}",
            (f"east: mesh_exports[0].consumers[3]: {WHOLE} namespace and service_account and methods, {NARROWED}"),
            f"east: mesh_exports[0].consumers[4]: {WHOLE} paths, {NARROWED}",
        ],
    ),
    "narrower consumers by a rule": (
        {
            "east": exporter(
                behind(), export_rules=[{"select": "[*]", "consumers": ["west", {"mesh": "west", "ports": [9080]}]}]
            )
        },
        [
            f"east: mesh_export_rules[0].consumers[1]: {WHOLE} ports, {NARROWED}",
        ],
    ),
    "two ways to one host": (
        {
            "east": exporter(behind("north", host="reviews.shop.global")),
            "west": host(export("reviews", "north", host="reviews.shop.global"), address="192.0.2.2"),
            "north": host(),
        },
        [
            (
                "west: mesh_exports[0].via: expected 'ingress' as east gives for 'reviews.shop.global', found"
                " 'passthrough'. Choose one way for all exporters of a host, because callers ask all of them in"
                " the same way."
            )
        ],
    ),
    "some of the same pods by another way": (
        {
            "east": exporter(
                behind(selector={"app": "a"}),
                export("rates", "west", selector={"app": "a", "version": "v2"}),
                gateway_addresses=["192.0.2.1"],
            )
        },
        [
            (
                "east: mesh_exports[1].selector: its pods are among those of mesh_exports[0], which has other"
                " consumers or ports, and policies select pods. Give both the same consumers and ports, or"
                " selectors that no pod matches both of."
            )
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_refusal(case: str) -> None:
    hosts, expected = CASES[case]
    with pytest.raises(InventoryError) as caught:
        inventory(**{"west": host(), **hosts})
    assert [str(problem) for problem in caught.value.problems] == expected


def test_the_ways_of_one_mesh_may_have_one_address() -> None:
    inventory(east=exporter(gateway_addresses=["192.0.2.21"]), west=host())
