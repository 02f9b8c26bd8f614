# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an export may not say of its traffic and its names, each with the exact message."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.errors import InventoryError

from tests.unit.plugins.module_utils.model.build import export, host, inventory, port

EAST, NORTH = "192.0.2.1", "192.0.2.3"
HOST = "quotes.shop.global"
AT = "east: mesh_exports[0]"


def refused(east: dict[str, Any], north: dict[str, Any] | None = None, **hosts: Any) -> list[str]:
    """The problems of an inventory in which east, and perhaps north, export ``quotes``."""
    others = {"north": host(export("quotes", "all", **north), address=NORTH)} if north else {}
    with pytest.raises(InventoryError) as raised:
        inventory(east=host(export("quotes", "all", **east), address=EAST), west=host(), **others, **hosts)
    return [str(problem) for problem in raised.value.problems]


@pytest.mark.parametrize(
    ("traffic", "message"),
    [
        (
            7,
            (
                f"{AT}.traffic: expected a mapping, found 7 (a number)."
                " Write for example {connect_timeout: 500ms, retries: 2}."
            ),
        ),
        ({"retrys": 2}, f"{AT}.traffic.retrys: unknown key. Did you mean 'retries'."),
        (
            {"connect_timeout": "5"},
            (
                f"{AT}.traffic.connect_timeout: expected a duration with its unit, for example '10s', found '5'."
                " Write for example '500ms', '10s' or '2m'."
            ),
        ),
        (
            {"timeout": "1s", "per_try_timeout": "2s"},
            (
                f"{AT}.traffic.per_try_timeout: expected at most timeout, which ends all tries."
                " Shorten it, or lengthen timeout."
            ),
        ),
        (
            {"retries": 11},
            (
                f"{AT}.traffic.retries: expected a number from 0 to 10, found 11 (a number)."
                " Say how often a failed request is repeated."
            ),
        ),
        (
            {"outlier_detection": {"consecutive_errors": 3}},
            (
                f"{AT}.traffic.outlier_detection.consecutive_errors: unknown key."
                " Did you mean 'consecutive_gateway_errors'."
            ),
        ),
        (
            {"connection_pool": {"max_connections": 0}},
            (
                f"{AT}.traffic.connection_pool.max_connections: expected a number from 1 to 2147483647,"
                " found 0 (a number)."
                " Say how many a proxy may have at once, or leave it out."
            ),
        ),
        (
            {"order": ["east"]},
            (
                f"{AT}.traffic.order: expected a host that several meshes export, found an export without host."
                " Add host, or remove order."
            ),
        ),
        (
            {"weights": {"east": 0}},
            (
                f"{AT}.traffic.weights.east: expected a number from 1 to 100, found 0 (a number)."
                " Give every mesh a share of the calls, for example {east: 90, west: 10}."
            ),
        ),
    ],
)
def test_traffic(traffic: Any, message: str) -> None:
    assert refused({"traffic": traffic}) == [message]


def test_requests_need_http() -> None:
    found = refused({"ports": [port(5432, "tcp-db", "TCP")], "traffic": {"timeout": "1s", "retries": 2}})
    assert found == [
        f"{AT}.traffic.{key}: needs HTTP, and no port of the export is: 5432 is TCP."
        " Remove it; connect_timeout, outlier_detection and max_connections work for connections."
        for key in ("retries", "timeout")
    ]


def test_order_and_weights_are_of_the_exporters_of_the_host() -> None:
    found = refused(
        {"host": HOST, "cluster_ip": "10.96.0.9", "traffic": {"order": ["east", "nort"]}},
        {"host": HOST, "cluster_ip": "10.96.0.9"},
    )
    assert found == [
        (
            f"{AT}.traffic.order: expected every mesh that exports '{HOST}', and north is missing."
            " Add north where its turn is."
        ),
        f"{AT}.traffic.order: expected meshes that export '{HOST}', found 'nort'. Did you mean 'north'.",
    ]
    found = refused({"host": HOST, "traffic": {"weights": {"east": 1}}}, {"host": HOST})
    assert found == [
        f"{AT}.traffic.weights: expected every mesh that exports '{HOST}', and north is missing. Add north."
    ]


def test_order_and_weights_exclude_each_other() -> None:
    both = {"order": ["east", "north"], "weights": {"east": 1, "north": 1}}
    exported = {"host": HOST, "cluster_ip": "10.96.0.9"}
    assert refused({**exported, "traffic": both}, exported) == [
        f"{AT}.traffic.weights: expected order or weights, found both. Remove one: weights share out, order backs up."
    ]


def test_order_is_for_addresses() -> None:
    with pytest.raises(InventoryError) as raised:
        inventory(
            east=host(
                export("quotes", "all", host=HOST, cluster_ip="10.96.0.9", traffic={"order": ["east", "north"]}),
                address="gateway.east.example.com",
            ),
            north=host(export("quotes", "all", host=HOST), address=NORTH),
        )
    assert [str(problem) for problem in raised.value.problems] == [
        (
            f"east: mesh_gateway_addresses: '{HOST}' has an order, which Istio keeps for IP addresses only, and"
            " 'gateway.east.example.com' is a name. Give the gateway's IP addresses, or leave out order."
        ),
        (
            f"north: mesh_exports[0].cluster_ip: '{HOST}' has an order, which Istio keeps for IP addresses only, and"
            " that of Service books/quotes is unknown. Add cluster_ip."
        ),
    ]


def test_exporters_of_a_host_agree() -> None:
    found = refused({"host": HOST, "traffic": {"retries": 1}}, {"host": HOST, "traffic": {"retries": 2}})
    assert found == [
        (
            f"north: mesh_exports[0].traffic: expected what east says for '{HOST}', found something else."
            " Say the same in all exports of the host, or say it in one of them only."
        )
    ]
    found = refused({"host": HOST}, {"host": HOST, "via": "gateway"})
    assert (
        f"north: mesh_exports[0].via: expected 'passthrough' as east gives for '{HOST}', found 'gateway'."
        " Choose one way for all exporters of a host, because callers ask all of them in the same way."
    ) in found


@pytest.mark.parametrize(
    ("east", "north", "message"),
    [
        (
            {"host": HOST, "aliases": [HOST]},
            None,
            (
                f"{AT}.aliases[0]: '{HOST}' is already a name of east/books/quotes of east."
                " Remove it, because it is the host."
            ),
        ),
        (
            {"aliases": [HOST]},
            {"host": HOST},
            f"{AT}.aliases[0]: '{HOST}' is already a name of north/books/quotes of north. Choose another alias.",
        ),
        (
            {"aliases": [HOST]},
            {"aliases": [HOST]},
            (
                f"north: mesh_exports[0].aliases[0]: '{HOST}' is already a name of east/books/quotes of east."
                " Choose another alias."
            ),
        ),
        (
            {"aliases": ["quotes.books.svc.north.global"]},
            {},
            (
                f"{AT}.aliases[0]: 'quotes.books.svc.north.global' is the name of north/books/quotes"
                " in consumer meshes."
                " Choose another host."
            ),
        ),
    ],
)
def test_one_name_means_one_thing(east: dict[str, Any], north: dict[str, Any] | None, message: str) -> None:
    assert refused(east, north if north != {} else {"traffic": None}) == [message]


def test_a_short_name_stands_for_one_export() -> None:
    found = refused(
        {},
        {"traffic": None},
        south=host(imports=[{"from": "all", "short_names_in": ["shop"]}]),
    )
    assert found == [
        (
            "south: mesh_imports[0].short_names_in: host 'quotes.shop.svc.cluster.local' would stand for"
            " east/books/quotes and north/books/quotes."
            " Narrow from and select, or leave out short_names_in: a short name stands for one export."
        )
    ]
