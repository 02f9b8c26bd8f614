# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bad names and addresses, each with the exact message that refuses it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.errors import InventoryError
from ansible_collections.multimesh.istio.plugins.module_utils.model.inventory import parse

from tests.unit.plugins.module_utils.model.build import export, facts, host, live, port

EAST = "192.0.2.1"
WEST = "192.0.2.2"
OWN = "reviews.books.svc.cluster.local"
MERGED = "reviews.shop.global"


def takeover(**more: Any) -> Any:
    return export("reviews", "all", host=OWN, **more)


def both(own: Any = None, **more: Any) -> dict[str, Any]:
    """East and west take over the same name; ``own`` and ``more`` change what east says."""
    return {"east": host(own or takeover(), **{"address": EAST, **more}), "west": host(takeover(), address=WEST)}


def ranges(value: Any, **more: Any) -> dict[str, Any]:
    return {"east": host(export("reviews", "west"), address=EAST), "west": host(address_range=value, **more)}


def running(*ports: Any, **more: Any) -> dict[str, Any]:
    """Both with facts; ``ports`` and ``more`` change those of east's Service."""
    service = {"ports": list(ports) or [found()], "cluster_ip": "10.96.0.9", **more}
    other = live("reviews", ports=[found()], cluster_ip="10.96.0.9")
    return {
        "east": host(takeover(), facts=facts(live("reviews", **service), address=EAST)),
        "west": host(takeover(), facts=facts(other, address=WEST)),
    }


def found(**more: Any) -> dict[str, Any]:
    """The port of the live Service."""
    return {**port(target_port=9080), **more}


CHOOSE = "Choose a part of '241.0.0.0/8', which is the default, or 'auto' to leave addresses to istiod."

REFUSALS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "address range no text": (
        ranges(241),
        [f"west: mesh_address_range: expected a string, found 241 (a number). {CHOOSE}"],
    ),
    "address range no range": (
        ranges("automatic"),
        [
            (
                "west: mesh_address_range: expected an IPv4 range such as '241.0.0.0/8', or 'auto', found 'automatic'."
                f" {CHOOSE}"
            )
        ],
    ),
    "address range with bits of a host": (
        ranges("241.0.0.1/8"),
        [
            (
                "west: mesh_address_range: expected an IPv4 range such as '241.0.0.0/8', or 'auto', found"
                f" '241.0.0.1/8'. {CHOOSE}"
            )
        ],
    ),
    "address range of IPv6": (
        ranges("fd00::/64"),
        [
            (
                "west: mesh_address_range: expected an IPv4 range such as '241.0.0.0/8', or 'auto', found 'fd00::/64'."
                f" {CHOOSE}"
            )
        ],
    ),
    "address range too small": (
        ranges("241.0.0.0/17"),
        [
            (
                "west: mesh_address_range: expected a range of 65536 addresses or more ('/16'), found '241.0.0.0/17'."
                f" {CHOOSE}"
            )
        ],
    ),
    **{
        f"address range over {taken}": (
            ranges(value),
            [f"west: mesh_address_range: expected a range without {taken}, which {why}, found '{value}'. {CHOOSE}"],
        )
        for value, taken, why in (
            ("0.0.0.0/8", "0.0.0.0/8", "no packet is sent to"),
            ("127.1.0.0/16", "127.0.0.0/8", "is each machine itself"),
            ("169.254.0.0/16", "169.254.0.0/16", "is link-local"),
            ("239.0.0.0/8", "224.0.0.0/4", "is multicast"),
            ("240.0.0.0/8", "240.240.0.0/16", "istiod takes for hosts that nobody gave an address"),
            ("255.0.0.0/8", "255.255.255.255/32", "is broadcast"),
        )
    },
    "address range with gateways in it": (
        ranges("192.0.0.0/16", address=WEST),
        [
            f"west: mesh_address_range: expected a range with nothing real in it, and 192.0.0.0/16 holds the gateway of"
            f" {other}, {address}. Choose another range."
            for other, address in (("east", EAST), ("west", WEST))
        ],
    ),
    "alias no host": (
        {"east": host(export("reviews", "west", aliases=["reviews"]), address=EAST), "west": host()},
        [
            (
                "east: mesh_exports[0].aliases[0]: expected a fully qualified DNS name in lower case with at least"
                " one '.', found 'reviews'. Write for example ['reviews.shop.global']."
            )
        ],
    ),
    "alias in the cluster": (
        {"east": host(export("reviews", "west", aliases=[OWN]), address=EAST), "west": host()},
        [
            (
                "east: mesh_exports[0].aliases[0]: expected a host outside 'cluster.local', whose names belong to each"
                f" cluster's own Services, found '{OWN}'. Write for example ['reviews.shop.global']."
            )
        ],
    ),
    "alias that is the host": (
        {"east": host(export("reviews", "west", host=MERGED, aliases=[MERGED]), address=EAST), "west": host()},
        [
            (
                f"east: mesh_exports[0].aliases[0]: '{MERGED}' is already a name of east/books/reviews of east."
                " Remove it, because it is the host."
            )
        ],
    ),
    "alias of two exports": (
        {
            "east": host(export("reviews", "west", aliases=[MERGED]), address=EAST),
            "west": host(export("ratings", "east", aliases=[MERGED]), address=WEST),
        },
        [
            (
                f"west: mesh_exports[0].aliases[0]: '{MERGED}' is already a name of east/books/reviews of east."
                " Choose another alias."
            )
        ],
    ),
    "alias that is another's host": (
        {
            "east": host(export("reviews", "west", aliases=[MERGED]), address=EAST),
            "west": host(export("ratings", "east", host=MERGED), address=WEST),
        },
        [
            (
                f"east: mesh_exports[0].aliases[0]: '{MERGED}' is already a name of west/books/ratings of west."
                " Choose another alias."
            )
        ],
    ),
    "alias that is another's default name": (
        {
            "east": host(export("reviews", "west"), address=EAST),
            "west": host(export("ratings", "east", aliases=["reviews.books.svc.east.global"]), address=WEST),
        },
        [
            (
                "west: mesh_exports[0].aliases[0]: 'reviews.books.svc.east.global' is the name of east/books/reviews in"
                " consumer meshes. Choose another host."
            )
        ],
    ),
    "short names in no namespace": (
        {
            "east": host(export("reviews", "west"), address=EAST),
            "west": host(imports=[{"from": "east", "short_names_in": ["Shop"]}]),
        },
        [
            (
                "west: mesh_imports[0].short_names_in[0]: expected a DNS label (lower case letters, digits and '-',"
                " at most 63 characters), found 'Shop'. Name namespaces of this mesh, or leave it out."
            )
        ],
    ),
    "one short name of two exports": (
        {
            "east": host(export("reviews", "west"), export("reviews", "west", namespace="films"), address=EAST),
            "west": host(imports=[{"from": "east", "short_names_in": ["shop"]}]),
        },
        [
            (
                "west: mesh_imports[0].short_names_in: host 'reviews.shop.svc.cluster.local' would stand for"
                " east/books/reviews and east/films/reviews. Narrow from and select, or leave out short_names_in: a"
                " short name stands for one export."
            )
        ],
    ),
    "a short name that is the cluster's own Service": (
        {
            "east": host(export("reviews", "west"), address=EAST),
            "west": host(
                export("reviews", "east"), address=WEST, imports=[{"from": "east", "short_names_in": ["books"]}]
            ),
        },
        [
            (
                f"west: mesh_imports[0].short_names_in: '{OWN}' is the name of the cluster's own Service, and would"
                " be a short name of east/books/reviews. Leave out that namespace."
            )
        ],
    ),
    "a short name that is the cluster's own Service behind the same host": (
        {
            "east": host(export("reviews", "west", host=MERGED), address=EAST),
            "west": host(
                export("reviews", "east", host=MERGED),
                address=WEST,
                imports=[{"from": "east", "short_names_in": ["books"]}],
            ),
        },
        [
            (
                f"west: mesh_imports[0].short_names_in: '{OWN}' is the name of the cluster's own Service, and would"
                " be a short name of east/books/reviews. Leave out that namespace."
            )
        ],
    ),
    "a name taken over from a Service with another host": (
        {
            "east": host(takeover(), address=EAST),
            "west": host(export("reviews", "east"), address=WEST),
        },
        [
            (
                f"west: mesh_exports[0].host: '{OWN}' is the name of this Service, and the host of"
                " east/books/reviews, which this mesh imports. Give both that host, or import it by another one."
            )
        ],
    ),
    "a name taken over not by passthrough": (
        both(takeover(via="gateway")),
        [
            (
                f"east: mesh_exports[0].via: expected passthrough, because callers ask for the Service itself by"
                f" '{OWN}', found 'gateway'. Leave it out, or use a host outside 'cluster.local'."
            ),
            (
                f"west: mesh_exports[0].via: expected 'gateway' as east gives for '{OWN}', found 'passthrough'."
                " Choose one way for all exporters of a host, because callers ask all of them in the same way."
            ),
        ],
    ),
    "a name taken over with weights": (
        both(takeover(traffic={"weights": {"east": 1, "west": 1}})),
        [
            f"{mesh}: mesh_exports[0].traffic.weights: expected none, because behind '{OWN}' the number of pods decides"
            " what a cluster's share is. Remove them, or use a host outside 'cluster.local'."
            for mesh in ("east", "west")
        ],
    ),
    "a name taken over by gateways with names": (
        both(address="gateway.east.example.com"),
        [
            (
                "east: mesh_gateway_addresses: expected IP addresses, because they become endpoints of a Service of"
                f" west, '{OWN}', found 'gateway.east.example.com'. Give IP addresses, or use a host outside"
                " 'cluster.local'."
            )
        ],
    ),
    "a name taken over with a nameless port, offline": (
        {
            "east": host(takeover(ports=[{"number": 9080, "protocol": "HTTP"}]), address=EAST),
            "west": host(takeover(), address=WEST),
        },
        [
            (
                "east: mesh_exports[0].ports: port 9080 of Service books/reviews has no name, by which endpoints in"
                " other meshes say their number. Name it in the Service and here, or use a host outside"
                " 'cluster.local'."
            )
        ],
    ),
    "a name taken over with a nameless port": (
        running(found(name=None)),
        [
            (
                "east: mesh_exports[0].ports: port 9080 of Service books/reviews has no name, by which endpoints in"
                " other meshes say their number. Name it in the Service, or use a host outside 'cluster.local'."
            )
        ],
    ),
    "a name taken over with a part of the ports": (
        running(found(), found(number=9090, name="metrics"), found(number=53, name="dns", protocol="UDP")),
        [
            (
                "east: mesh_exports[0].ports: expected all ports of Service books/reviews, because its callers are sent"
                " elsewhere on all of them, and 9090 is missing. Add port 9090, or use a host outside 'cluster.local'."
            )
        ],
    ),
    "a name taken over from a headless Service": (
        running(cluster_ip=None),
        [
            (
                "east: mesh_exports[0].host: Service books/reviews is headless, so callers choose among its pods and"
                " nothing else. Give the Service an address, or use a host outside 'cluster.local'."
            )
        ],
    ),
    "a name taken over from a Service without selector": (
        running(selector=None),
        [
            (
                "east: mesh_exports[0].host: Service books/reviews has no selector, by which it would find more"
                " endpoints. Give it one, or use a host outside 'cluster.local'."
            ),
            (
                "east: mesh_exports[0].selector: expected a selector, found nothing, and Service books/reviews has"
                " none in the cluster. Add selector with the labels of the pods, because policies select pods."
            ),
        ],
    ),
    "a name taken over where another Service has the pods": (
        running(same_pods=["all"]),
        [
            (
                "east: mesh_exports[0].host: all selects all pods of Service books/reviews, and would get those of"
                " other meshes too. Make their selectors narrower, or use a host outside 'cluster.local'."
            )
        ],
    ),
    "a mesh whose names would be in the cluster": (
        {"cluster": host(export("reviews", "west"), address=EAST), "west": host(domain="local")},
        [
            (
                "west: mesh_domain: imports from mesh cluster would end in 'cluster.local', as each cluster's own"
                " Services do. Choose another domain, such as 'global'."
            )
        ],
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal(name: str) -> None:
    hosts, messages = REFUSALS[name]
    with pytest.raises(InventoryError) as caught:
        parse({"hosts": hosts})
    assert [str(problem) for problem in caught.value.problems] == messages


@pytest.mark.parametrize("hosts", [both(), running(), ranges("241.7.0.0/16"), ranges("10.0.0.0/8"), ranges("auto")])
def test_what_is_good(hosts: dict[str, Any]) -> None:
    assert parse({"hosts": hosts}).warnings == ()


def test_a_cluster_that_was_not_asked_is_not_asked_for_more() -> None:
    hosts = running(found(name=None))
    del hosts["east"]["facts"]
    hosts["east"]["vars"]["mesh_gateway_addresses"] = [EAST]
    assert parse({"hosts": hosts})


def test_placeholders_are_no_names() -> None:
    hosts = running()
    hosts["west"]["facts"]["gateway_addresses"] = []
    assert parse({"hosts": hosts}, allow_unknown_addresses=True)
