# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Policies of exports ``via: gateway`` against the contract, at the gateway and at the workloads.

The readings that are compared are those of ``test_authorization``.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.federation import gateway_policy
from ansible_collections.multimesh.istio.plugins.module_utils.federation.compute import federation
from ansible_collections.multimesh.istio.plugins.module_utils.model.inventory import parse
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Consumer
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.federation.test_authorization import (
    METHODS,
    PATHS,
    PRINCIPALS,
    PROTOCOLS,
    UNEXPORTED,
    admits,
    allowed,
    denied,
    export,
    inventory,
    rule_matches,
    worlds,
)

TRUST_DOMAINS = {mesh: f"{mesh}.mesh" for mesh in ("east", "west", "north")}
GATEWAY = {"istio": "eastwestgateway"}
STRANGE = ("outbound_.80_._.svc-0.books.svc.cluster.local", "7000.svc-0.books.svc.cluster.local", "", "x.example.com")


def requests(port: int) -> list[tuple[str | None, str | None]]:
    return [(None, None)] if PROTOCOLS.get(port) == "TCP" else list(itertools.product(METHODS, PATHS))


def denied_at_gateway(
    policy: dict[str, Any], sni: str, principal: str | None, method: str | None, path: str | None
) -> bool:
    """As Istio documents it, for a connection to port 15443."""
    return any(
        rule_matches({key: rule[key] for key in rule if key != "when"}, principal, 15443, method, path)
        and all(matches(condition, sni) for condition in rule.get("when", []))
        for rule in policy["spec"]["rules"]
    )


def matches(condition: dict[str, Any], sni: str) -> bool:
    assert condition["key"] == "connection.sni"
    assert set(condition) <= {"key", "values", "notValues"}
    return sni in condition.get("values", [sni]) and sni not in condition.get("notValues", [])


def check(exports: list[dict[str, Any]]) -> int:
    """Compare both readings of every request, at the gateway and at the pods; returns how many there were."""
    objects = federation(parse(inventory(exports)), "east")
    policies = [item for item in objects if item["kind"] == "AuthorizationPolicy"]
    guard = [item for item in policies if item["spec"].get("selector") == {"matchLabels": GATEWAY}]
    offered = [one for one in exports if one["consumers"]]
    assert len(guard) == any(one["via"] == "gateway" for one in offered)
    compared = 0
    for one in offered:
        for known in one["ports"]:
            sni = f"{known['number']}.{one['service']}.books.svc.cluster.local"
            if one["via"] != "gateway":
                assert all(denied_at_gateway(policy, sni, "west.mesh/ns/a/sa/b", None, None) for policy in guard)
                continue
            for principal, (method, path) in itertools.product(PRINCIPALS, requests(known["target_port"])):
                expected = principal is not None and any(
                    admits(entry, principal, known["number"], method, path) for entry in one["consumers"]
                )
                assert denied_at_gateway(guard[0], sni, principal, method, path) != expected, (sni, principal, policies)
                compared += 1
    for policy, sni, principal in itertools.product(guard, STRANGE, PRINCIPALS):
        assert denied_at_gateway(policy, sni, principal, "GET", "/a")
        compared += 1
    for app in {one["selector"]["app"] for one in offered}:
        direct = [one for one in offered if one["selector"]["app"] == app and one["via"] == "passthrough"]
        for port in (*PROTOCOLS, UNEXPORTED):
            for principal, (method, path) in itertools.product(PRINCIPALS, requests(port)):
                found = not denied(policies, {"app": app}, principal, port, method, path)
                assert found == allowed(direct, principal, port, method, path), (app, principal, port, policies)
                compared += 1
    return compared


@st.composite
def mixed(draw: st.DrawFn) -> list[dict[str, Any]]:
    return [{**one, "via": draw(st.sampled_from(["gateway", "passthrough"]))} for one in draw(worlds())]


@settings(max_examples=40, deadline=None)
@given(mixed())
def test_policies_mean_what_the_inventory_says(exports: list[dict[str, Any]]) -> None:
    check(exports)


def test_the_comparison_is_not_empty() -> None:
    both = [
        {**export("one", "one", [8080], ["west"]), "via": "gateway"},
        {**export("two", "one", [9000], ["north"]), "via": "passthrough"},
    ]
    people = len(PRINCIPALS)
    assert check(both) == people * 15 + people * len(STRANGE) + people * (15 + 15 + 1 + 15)


@pytest.mark.parametrize("lost", ["narrowing", "patterns"])
def test_the_comparison_notices_what_is_lost(monkeypatch: pytest.MonkeyPatch, lost: str) -> None:
    monkeypatch.setattr(gateway_policy, lost, lambda *_: [])
    with pytest.raises(AssertionError):
        check([{**export("one", "one", [8080], [{"mesh": "west", "methods": ["GET"]}]), "via": "gateway"}])


def test_pods_shared_with_passthrough_admit_its_callers_only() -> None:
    exports = [
        {**export("one", "one", [8080], ["west"]), "via": "passthrough"},
        {**export("two", "one", [8080, 9000], ["north"]), "via": "gateway"},
    ]
    policies = {
        item["metadata"]["name"]: item["spec"]["rules"]
        for item in federation(parse(inventory(exports)), "east")
        if item["kind"] == "AuthorizationPolicy" and item["metadata"]["namespace"] == "books"
    }
    assert policies["multimesh-one"] == policies["multimesh-two"]
    assert [rule["from"][0]["source"]["notPrincipals"] for rule in policies["multimesh-two"]] == [
        ["east.mesh/*", "west.mesh/*"],
        ["east.mesh/*"],
    ]
    check(exports)


def test_a_port_that_admits_nobody_is_closed() -> None:
    cluster = parse(inventory([{**export("one", "one", [8080, 9000], ["west"]), "via": "gateway"}])).clusters["east"]
    narrowed = replace(cluster.exports[0], offers={"west": (Consumer(ports=(7080,)),)})
    policy = gateway_policy.policy("guard", [narrowed], TRUST_DOMAINS)
    names = [f"{number}.one.books.svc.cluster.local" for number in (7080, 8000)]
    caller = "west.mesh/ns/shop/sa/cart"
    assert [denied_at_gateway(policy, sni, caller, None, None) for sni in names] == [False, True]
