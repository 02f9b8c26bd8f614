# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an export ``via: gateway`` may not say, each with the exact message."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.errors import InventoryError

from tests.unit.plugins.module_utils.model.build import export, host, inventory, port

AT = "east: mesh_exports[0]"
PATTERN = "a pattern: 'exact', 'prefix*', '*suffix' or '*'"


def refused(*others: dict[str, Any], **more: Any) -> list[str]:
    """The problems of an inventory in which east exports ``quotes``, and perhaps more."""
    exports = [export("quotes", "west", **{"via": "gateway", **more}), *others]
    with pytest.raises(InventoryError) as raised:
        inventory(east=host(*exports, address="192.0.2.1"), west=host())
    return [str(problem) for problem in raised.value.problems]


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "no list": (
        {"routes": {}},
        (
            "routes: expected a list, found a mapping."
            " Write a list such as [{match: {paths: ['/v2/*']}, destinations: [{service: reviews-v2}]}]."
        ),
    ),
    "no route": (
        {"routes": []},
        "routes: expected at least one route, found an empty list. Leave it out to take every request.",
    ),
    "unknown key": (
        {"routes": [{"matches": {}}]},
        "routes[0].matches: unknown key. Did you mean 'match'.",
    ),
    "unknown match": (
        {"routes": [{"match": {"path": ["/a"]}}]},
        "routes[0].match.path: unknown key. Did you mean 'paths'.",
    ),
    "match no mapping": (
        {"routes": [{"match": ["/a"]}]},
        (
            "routes[0].match: expected a mapping, found a list."
            " Write for example {paths: ['/v2/*']}, or leave it out to take every request."
        ),
    ),
    "path no pattern": (
        {"routes": [{"match": {"paths": ["v2/*"]}}]},
        (
            "routes[0].match.paths[0]: expected a path pattern: '/exact', '/prefix/*', '*/suffix' or '*', found 'v2/*'."
            " List path patterns, or leave it out to take all paths."
        ),
    ),
    "no method": (
        {"routes": [{"match": {"methods": ["get"]}}]},
        (
            "routes[0].match.methods[0]: expected one of CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, TRACE,"
            " found 'get'. List HTTP methods, or leave it out to take all of them."
        ),
    ),
    "header in upper case": (
        {"routes": [{"match": {"headers": {"X-Stage": "canary"}}}]},
        (
            "routes[0].match.headers.X-Stage: expected the name of a header in lower case."
            " Write names and patterns, for example {x-stage: canary}."
        ),
    ),
    "header no text": (
        {"routes": [{"match": {"headers": {"x-stage": 2}}}]},
        "routes[0].match.headers.x-stage: expected a string, found 2 (a number). Put the value in quotes.",
    ),
    "header no pattern": (
        {"routes": [{"match": {"headers": {"x-stage": "a*b"}}}]},
        (
            f"routes[0].match.headers.x-stage: expected {PATTERN}, found 'a*b'."
            " Write names and patterns, for example {x-stage: canary}."
        ),
    ),
    "header empty": (
        {"routes": [{"match": {"headers": {"x-stage": ""}}}]},
        (
            f"routes[0].match.headers.x-stage: expected {PATTERN}, found ''."
            " Write names and patterns, for example {x-stage: canary}."
        ),
    ),
    "port out of range": (
        {"routes": [{"match": {"port": 0}}]},
        (
            "routes[0].match.port: expected a number from 1 to 65535, found 0 (a number)."
            " Name one of the ports of the export, or leave it out."
        ),
    ),
    "port of nobody": (
        {"routes": [{"match": {"port": 80}}]},
        "routes[0].match.port: expected an HTTP port of the export, found 80. Use one of 9080.",
    ),
    "port of connections": (
        {"routes": [{"match": {"port": 9000}}], "ports": [port(), port(9000, "tcp", "TCP")]},
        "routes[0].match.port: expected an HTTP port of the export, found 9000. Use one of 9080.",
    ),
    "no HTTP": (
        {"routes": [{"timeout": "1s"}], "ports": [port(9000, "tcp", "TCP")]},
        (
            "routes: needs HTTP, and no port of the export is: 9000 is TCP."
            " Remove it; connections go to the exported Service."
        ),
    ),
    "nobody to send to": (
        {"routes": [{"destinations": []}]},
        (
            "routes[0].destinations: expected at least one destination, found an empty list."
            " Write a list such as [{service: reviews-v2}], or leave it out to send requests to the exported Service."
        ),
    ),
    "destination without service": (
        {"routes": [{"destinations": [{"port": 80}]}]},
        "routes[0].destinations[0].service: expected a value, found nothing. Name a Service of the export's namespace.",
    ),
    "destination elsewhere": (
        {"routes": [{"destinations": [{"service": "a.b"}]}]},
        (
            "routes[0].destinations[0].service: expected a DNS label (lower case letters, digits and '-', at most 63"
            " characters), found 'a.b'. Name a Service of the export's namespace."
        ),
    ),
    "weight missing": (
        {"routes": [{"destinations": [{"service": "a", "weight": 90}, {"service": "b"}]}]},
        (
            "routes[0].destinations: expected weights that add up to 100, found 90, none."
            " Give every destination its share of the requests."
        ),
    ),
    "weights that add up to too little": (
        {"routes": [{"destinations": [{"service": "a", "weight": 90}, {"service": "b", "weight": 9}]}]},
        (
            "routes[0].destinations: expected weights that add up to 100, found 90, 9."
            " Give every destination its share of the requests."
        ),
    ),
    "weight of one": (
        {"routes": [{"destinations": [{"service": "a", "weight": 10}]}]},
        (
            "routes[0].destinations: expected weights that add up to 100, found 10."
            " Give every destination its share of the requests."
        ),
    ),
    "weight out of range": (
        {"routes": [{"destinations": [{"service": "a", "weight": 101}]}]},
        (
            "routes[0].destinations[0].weight: expected a number from 0 to 100, found 101 (a number)."
            " Give its share of 100 requests."
        ),
    ),
    "unknown limit": (
        {"routes": [{"destinations": [{"service": "a", "connection_pool": {"max_conns": 1}}]}]},
        "routes[0].destinations[0].connection_pool.max_conns: unknown key. Did you mean 'max_connections'.",
    ),
    "timeout without unit": (
        {"routes": [{"timeout": "2"}]},
        (
            "routes[0].timeout: expected a duration with its unit, for example '10s', found '2'."
            " Write for example '500ms', '10s' or '2m'."
        ),
    ),
    "one try longer than all": (
        {"routes": [{"timeout": "1s", "per_try_timeout": "2s"}]},
        "routes[0].per_try_timeout: expected at most timeout, which ends all tries. Shorten it, or lengthen timeout.",
    ),
    "too many retries": (
        {"routes": [{"retries": 11}]},
        (
            "routes[0].retries: expected a number from 0 to 10, found 11 (a number)."
            " Say how often a failed request is repeated."
        ),
    ),
    "no request gets there": (
        {"routes": [{"timeout": "1s"}, {"match": {"paths": ["/a"]}}]},
        "routes[1]: no request gets here, because routes[0] takes all of them. Put it first, or remove one of them.",
    ),
    "no request of its port gets there": (
        {"routes": [{"match": {"paths": ["/*"]}}, {"match": {"port": 9080, "methods": ["GET"]}}]},
        "routes[1]: no request gets here, because routes[0] takes all of them. Put it first, or remove one of them.",
    ),
    "another way": (
        {"routes": [{}], "via": "passthrough"},
        (
            "routes: needs 'via: gateway', because nobody on the way of 'passthrough' could send requests elsewhere."
            " Add via: gateway, or remove routes."
        ),
    ),
    "host too long": (
        {"host": ".".join(["a" * 60] * 4 + ["global"])},
        "host: expected at most 247 characters, because gateways are asked for '<port>.<host>'. Choose a shorter host.",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal(name: str) -> None:
    more, message = REFUSALS[name]
    assert refused(**more) == [f"{AT}.{message}"]


def test_a_gateway_has_one_limit_for_each_service() -> None:
    def to(requests: int) -> list[Any]:
        return [{"destinations": [{"service": "stock", "connection_pool": {"max_requests": requests}}]}]

    other = export("ratings", "west", via="gateway", routes=to(2))
    assert refused(other, routes=to(1)) == [
        (
            "east: mesh_exports[1].routes[0].destinations[0].connection_pool: expected what"
            " mesh_exports[0].routes[0].destinations[0] says for Service books/stock, because a gateway has one"
            " limit for each Service. Say the same in both, or say it in one of them only."
        )
    ]
    elsewhere = export("ratings", "west", via="gateway", routes=to(2), namespace="films")
    silent = export("reviews", "west", via="gateway", routes=[{"destinations": [{"service": "stock"}]}])
    good = export("quotes", "west", via="gateway", routes=to(1))
    inventory(east=host(good, elsewhere, silent, address="192.0.2.1"), west=host())


def test_pods_of_passthrough_are_not_closed_by_another_export() -> None:
    narrow = export("ratings", "west", selector={"app": "quotes", "version": "v1"})
    assert refused(narrow) == [
        (
            "east: mesh_exports[1].selector: its pods are among those of mesh_exports[0], which has other consumers or"
            " ports, and policies select pods. Give both the same consumers and ports, or selectors that no pod matches"
            " both of."
        )
    ]


def test_all_ways_behind_a_host_are_the_same() -> None:
    with pytest.raises(InventoryError) as raised:
        inventory(
            east=host(export("quotes", "all", host="quotes.global", via="gateway"), address="192.0.2.1"),
            west=host(export("quotes", "all", host="quotes.global"), address="192.0.2.2"),
        )
    assert "west: mesh_exports[0].via: expected 'gateway' as east gives for 'quotes.global'" in str(raised.value)
