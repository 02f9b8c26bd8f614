# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Policies of any author, and what they let a caller do."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.audit.patterns import contains, overlap, simplest
from ansible_collections.multimesh.istio.plugins.module_utils.audit.reading import (
    NO_PATHS,
    OTHER,
    Admitted,
    Paths,
    Policy,
    admitted,
    callers_named,
)

PATTERNS = ["*", "/a", "/a/b", "/a*", "/a/*", "/b*", "*a", "*/b", "*c"]
VALUES = ["/a", "/a/b", "/b", "/b/a", "/a/b/c", "/ab", "/c", "/aa"]
WEST, SHOP, CART = "west.mesh/*", "west.mesh/ns/shop/*", "west.mesh/ns/shop/sa/cart"
ALL = Paths()


def test_patterns_contain_and_overlap_as_their_values_do() -> None:
    for first in PATTERNS:
        for second in PATTERNS:
            of_first = {value for value in VALUES if contains(first, value)}
            of_second = {value for value in VALUES if contains(second, value)}
            assert not contains(first, second) or of_second <= of_first, (first, second)
            assert overlap(first, second) or not of_first & of_second, (first, second)
            assert overlap(first, second) == overlap(second, first)
    assert simplest(["/a/b", "/a/*", "/c", "/a/*"]) == ("/a/*", "/c")


def policy(*rules: Any, action: str = "DENY", name: str = "own", **spec: Any) -> Policy:
    body = {"metadata": {"namespace": "shop", "name": name}, "spec": {"action": action, "rules": list(rules), **spec}}
    found = Policy.read(body)
    assert found
    return found


def rule(source: Any = None, when: Any = None, **operation: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if source:
        entry["from"] = [{"source": source}]
    if operation:
        entry["to"] = [{"operation": operation}]
    if when:
        entry["when"] = when
    return entry


def but(*principals: str) -> dict[str, Any]:
    return {"principals": ["*"], "notPrincipals": ["east.mesh/*", *principals]}


def of(*principals: str) -> dict[str, Any]:
    return {"principals": list(principals)}


CASES: dict[str, tuple[list[Policy], Admitted | None]] = {
    "no policy": ([], Admitted({OTHER: ALL})),
    "not left out of a DENY": ([policy(rule(but(SHOP)))], None),
    "left out of a DENY": ([policy(rule(but(WEST)))], Admitted({OTHER: ALL})),
    "another port": ([policy(rule(but(), ports=["9000"]))], Admitted({OTHER: ALL})),
    "a port that is left out": ([policy(rule(but(), notPorts=["8080"]))], Admitted({OTHER: ALL})),
    "paths": ([policy(rule(of(WEST), notPaths=["/a", "/a/*"]))], Admitted({OTHER: Paths(("/a", "/a/*"))})),
    "a path": ([policy(rule(of(WEST), paths=["/admin*"]))], Admitted({OTHER: Paths(None, ("/admin*",))})),
    "a method": (
        [policy(rule(of(WEST), methods=["GET"], notPaths=["/a"]), rule(of(WEST), notMethods=["GET"]))],
        Admitted({"GET": Paths(("/a",))}),
    ),
    "all but a method": ([policy(rule(of(WEST), methods=["POST"]))], Admitted({OTHER: ALL, "POST": NO_PATHS})),
    "paths of two policies": (
        [policy(rule(of("*"), notPaths=["/a/*", "/b"])), policy(rule(of(WEST), notPaths=["/a/b", "/c"]), name="two")],
        Admitted({OTHER: Paths(("/a/b",))}),
    ),
    "paths that leave nothing": (
        [policy(rule(of("*"), notPaths=["/a"])), policy(rule(of(WEST), paths=["*a"]), name="two")],
        None,
    ),
    "a condition": (
        [policy(rule(of(WEST), when=[{"key": "request.headers[x]", "values": ["y"]}]))],
        Admitted({OTHER: ALL}, ("shop/own",)),
    ),
    "a source of another sort": (
        [policy(rule({"principals": [WEST], "ipBlocks": ["192.0.2.0/24"]}))],
        Admitted({OTHER: ALL}, ("shop/own",)),
    ),
    "a pattern that is no caller": ([policy(rule(of("west.mesh/ns/sh*")))], Admitted({OTHER: ALL}, ("shop/own",))),
    "a pattern that is left out": ([policy(rule(but("west.mesh/ns/sh*")))], Admitted({OTHER: ALL}, ("shop/own",))),
    "hosts": ([policy(rule(of(WEST), hosts=["a"]))], Admitted({OTHER: ALL}, ("shop/own",))),
    "a template": ([policy(rule(of(WEST), paths=["/a/{*}"]))], Admitted({OTHER: ALL}, ("shop/own",))),
    "another filter": ([policy(rule(of(WEST)), action="CUSTOM")], Admitted({OTHER: ALL}, ("shop/own",))),
    "another filter for others": ([policy(rule(of("north.mesh/*")), action="CUSTOM")], Admitted({OTHER: ALL})),
    "an audit": ([policy(rule(), action="AUDIT")], Admitted({OTHER: ALL})),
    "ALLOW for others": ([policy(rule(of("east.mesh/*")), action="ALLOW")], None),
    "ALLOW of nothing": ([policy(action="ALLOW")], None),
    "ALLOW of everything": ([policy({}, action="ALLOW")], Admitted({OTHER: ALL})),
    "ALLOW of a method and a path": (
        [policy(rule(of(WEST), methods=["GET"], paths=["/a*"]), action="ALLOW")],
        Admitted({"GET": Paths(("/a*",))}),
    ),
    "ALLOW beside DENY": (
        [
            policy(rule(of("*"), paths=["/a/admin*"])),
            policy(rule(of(WEST), paths=["/a/*"]), action="ALLOW", name="two"),
        ],
        Admitted({OTHER: Paths(("/a/*",), ("/a/admin*",))}),
    ),
    "ALLOW of two policies": (
        [
            policy(rule(of(WEST), methods=["GET"]), action="ALLOW"),
            policy(rule(of(SHOP)), action="ALLOW", name="two"),
            policy(rule({"namespaces": ["x"]}, methods=["PUT"]), action="ALLOW", name="three"),
        ],
        Admitted({"GET": ALL, "PUT": ALL}, ("shop/three",)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_whole_mesh_may_do(name: str) -> None:
    policies, expected = CASES[name]
    assert admitted(policies, WEST, 8080, http=True) == expected


def test_a_narrower_caller_is_one_of_its_own() -> None:
    policies = [
        policy(
            rule(but(SHOP)),
            rule({"principals": [SHOP], "notPrincipals": [CART]}, notPaths=["/a"]),
            rule(of(CART), notPaths=["/b"]),
        )
    ]
    assert callers_named(policies) == {"east.mesh/*", SHOP, CART}
    assert admitted(policies, WEST, 80, http=True) is None
    assert admitted(policies, SHOP, 80, http=True) == Admitted({OTHER: Paths(("/a",))})
    assert admitted(policies, CART, 80, http=True) == Admitted({OTHER: Paths(("/b",))})


def test_a_port_that_is_not_http() -> None:
    assert admitted([policy(rule(of(WEST), notPaths=["/a"]))], WEST, 80, http=False) is None
    assert admitted([policy(rule(of(WEST), methods=["GET"]), action="ALLOW")], WEST, 80, http=False) is None
    assert admitted([policy(rule(of(WEST), ports=["80"]), action="ALLOW")], WEST, 80, http=False) == Admitted(
        {OTHER: ALL}
    )


@pytest.mark.parametrize(
    ("principal", "is_caller"),
    [
        ("west.mesh/*", True),
        ("west.mesh/ns/shop/*", True),
        ("west.mesh/ns/shop/sa/cart", True),
        ("*", False),
        ("west.*", False),
        ("*/ns/shop/sa/cart", False),
        ("west.mesh/ns/shop/sa/*", False),
        ("west.mesh/ns/shop*", False),
        ("west.mesh", False),
    ],
)
def test_shapes_of_callers(principal: str, is_caller: bool) -> None:
    assert callers_named([policy(rule(of(principal)))]) == ({principal} if is_caller else set())


def test_policies_that_no_sidecar_enforces() -> None:
    metadata = {"namespace": "shop", "name": "own"}
    assert Policy.read({"metadata": {**metadata, "annotations": {"istio.io/dry-run": "true"}}, "spec": {}}) is None
    assert Policy.read({"metadata": metadata, "spec": {"targetRefs": [{"kind": "Gateway", "name": "way"}]}}) is None


def test_which_pods_a_policy_selects() -> None:
    some = policy(selector={"matchLabels": {"app": "a"}})
    assert some.selects("shop", {"app": "a", "version": "v1"}, "istio-system")
    assert not some.selects("shop", {"app": "b"}, "istio-system")
    assert not some.selects("books", {"app": "a"}, "istio-system")
    assert policy().selects("books", {}, "shop")
