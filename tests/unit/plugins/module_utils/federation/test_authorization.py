# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Generated policies against the contract: every caller, operation and port of small worlds.

Two independent readings are compared: what Istio documents that the policies do, and what the inventory says in words.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.federation.compute import federation
from ansible_collections.multimesh.istio.plugins.module_utils.model.inventory import parse
from hypothesis import example, given, settings
from hypothesis import strategies as st

DOMAINS = ("east.mesh", "west.mesh", "north.mesh", "unknown.mesh")
NAMESPACES = ("shop", "shop-2")
ACCOUNTS = ("cart", "cart-2")
METHODS = ("GET", "POST", "DELETE")
PATHS = ("/a", "/a/", "/a/b", "/b/a", "/c")
PATTERNS = ("/a", "/a/*", "*/a", "/c", "*")
PROTOCOLS = {8080: "HTTP", 8081: "GRPC", 9000: "TCP"}
UNEXPORTED = 7000

PRINCIPALS: tuple[str | None, ...] = (
    None,
    *(f"{domain}/ns/{ns}/sa/{sa}" for domain in DOMAINS for ns in NAMESPACES for sa in ACCOUNTS),
)


# What Istio documents: https://istio.io/latest/docs/reference/config/security/authorization-policy/


def matches(pattern: str, value: str | None) -> bool:
    if value is None:
        return False
    if pattern == "*":
        return value != ""
    if pattern.startswith("*"):
        return value.endswith(pattern[1:])
    if pattern.endswith("*"):
        return value.startswith(pattern[:-1])
    return pattern == value


def field(item: dict[str, Any], name: str, value: str | None) -> bool:
    wanted, unwanted = item.get(name), item.get("not" + name[0].upper() + name[1:])
    if wanted is not None and not any(matches(pattern, value) for pattern in wanted):
        return False
    return unwanted is None or not any(matches(pattern, value) for pattern in unwanted)


def rule_matches(rule: dict[str, Any], principal: str | None, port: int, method: str | None, path: str | None) -> bool:
    assert set(rule) <= {"from", "to"}
    sources = [entry["source"] for entry in rule.get("from", [{"source": {}}])]
    operations = [entry["operation"] for entry in rule.get("to", [{"operation": {}}])]
    assert all(set(source) <= {"principals", "notPrincipals"} for source in sources)
    known = {"ports", "notPorts", "methods", "notMethods", "paths", "notPaths"}
    assert all(set(operation) <= known for operation in operations)
    if not any(field(source, "principals", principal) for source in sources):
        return False
    for operation in operations:
        # On a TCP port a DENY rule loses what needs HTTP, and so denies more.
        http = method is None or (field(operation, "methods", method) and field(operation, "paths", path))
        if field(operation, "ports", str(port)) and http:
            return True
    return False


def denied(
    policies: list[dict[str, Any]],
    labels: dict[str, str],
    principal: str | None,
    port: int,
    method: str | None,
    path: str | None,
) -> bool:
    return any(
        rule_matches(rule, principal, port, method, path)
        for policy in policies
        if policy["spec"].get("selector", {"matchLabels": {}})["matchLabels"].items() <= labels.items()
        for rule in policy["spec"]["rules"]
    )


# What the inventory says, in words.


def domains(entry: Any) -> list[str]:
    mesh = entry if isinstance(entry, str) else entry["mesh"]
    return [f"{name}.mesh" for name in (["west", "north"] if mesh == "all" else [mesh])]


def admits(entry: Any, principal: str, port: int | None, method: str | None, path: str | None) -> bool:
    domain, _ns, namespace, _sa, account = principal.split("/")
    if domain not in domains(entry):
        return False
    if isinstance(entry, str):
        return True
    if port is not None and port not in entry.get("ports", [port]):
        return False
    if entry.get("namespace", namespace) != namespace or entry.get("service_account", account) != account:
        return False
    if method is None:
        return True
    if method not in entry.get("methods", [method]):
        return False
    return any(matches(pattern, path) for pattern in entry.get("paths", ["*"]))


def allowed(
    exports: list[dict[str, Any]], principal: str | None, port: int, method: str | None, path: str | None
) -> bool:
    if principal is None or principal.startswith("east.mesh/"):
        return True
    return any(
        admits(entry, principal, known["number"], method, path)
        for export in exports
        for known in export["ports"]
        if known["target_port"] == port
        for entry in export["consumers"]
    )


def turned_away(exports: list[dict[str, Any]], principal: str | None) -> bool:
    """Whether nothing of the mesh answers, exported or not: a trust domain gets in but not this identity of it."""
    # What else an entry narrows does not matter: it names the caller or not.
    entries = [strip(entry) for export in exports for entry in export["consumers"]]
    admitted = {domain for entry in entries for domain in domains(entry)}
    if principal is None or principal.split("/")[0] not in admitted:
        return False
    return not any(admits(entry, principal, None, None, None) for entry in entries)


def strip(entry: Any) -> Any:
    return entry if isinstance(entry, str) else {k: v for k, v in entry.items() if k not in ("methods", "paths")}


def inventory(exports: list[dict[str, Any]]) -> dict[str, Any]:
    hosts = {
        "east": {"vars": {"mesh_exports": exports, "mesh_gateway_addresses": ["192.0.2.1"]}, "groups": ["meshes"]},
        "west": {"vars": {}, "groups": ["meshes"]},
        "north": {"vars": {}, "groups": ["meshes"]},
    }
    return {"hosts": hosts}


def export(service: str, selector: str, ports: list[int], consumers: list[Any]) -> dict[str, Any]:
    return {
        "service": service,
        "namespace": "books",
        "selector": {"app": selector},
        "service_accounts": ["books"],
        # Policies must speak of the pods' ports, so the Service's are different ones.
        "ports": [{"number": port - 1000, "protocol": PROTOCOLS[port], "target_port": port} for port in ports],
        "consumers": consumers,
    }


def check(exports: list[dict[str, Any]]) -> int:
    """Compare both readings of every request; returns how many there were."""
    objects = federation(parse(inventory(exports)), "east")
    policies = [item for item in objects if item["kind"] == "AuthorizationPolicy"]
    names = {policy["metadata"]["name"] for policy in policies} - {"multimesh-default-deny"}
    assert names == {f"multimesh-{export['service']}" for export in exports if export["consumers"]}
    compared = 0
    for principal in PRINCIPALS:
        found = denied(policies, {"app": "private"}, principal, UNEXPORTED, "GET", "/")
        assert found == turned_away(exports, principal), (principal, policies)
    for app in sorted({export["selector"]["app"] for export in exports}):
        offered = [export for export in exports if export["selector"]["app"] == app and export["consumers"]]
        if not offered:
            continue
        for port in (*PROTOCOLS, UNEXPORTED):
            requests: list[tuple[str | None, str | None]] = [(None, None)]
            if PROTOCOLS.get(port) != "TCP":
                requests = list(itertools.product(METHODS, PATHS))
            for principal, (method, path) in itertools.product(PRINCIPALS, requests):
                expected = allowed(offered, principal, port, method, path)
                found = not denied(policies, {"app": app, "version": "v1"}, principal, port, method, path)
                assert found == expected, (app, principal, port, method, path, policies)
                compared += 1
    return compared


def consumer(exported: list[int]) -> st.SearchStrategy[Any]:
    numbers = [port - 1000 for port in exported]

    def build(
        mesh: str,
        namespace: str | None,
        account: str | None,
        methods: list[str] | None,
        paths: list[str] | None,
        ports: list[int] | None,
    ) -> Any:
        entry: dict[str, Any] = {"mesh": mesh}
        narrowed = all(PROTOCOLS[port + 1000] != "TCP" for port in ports or numbers)
        if namespace:
            entry["namespace"] = namespace
            if account:
                entry["service_account"] = account
        if narrowed and methods:
            entry["methods"] = methods
        if narrowed and paths:
            entry["paths"] = paths
        if ports:
            entry["ports"] = ports
        return entry["mesh"] if len(entry) == 1 else entry

    return st.builds(
        build,
        st.sampled_from(["west", "north", "all"]),
        st.sampled_from([None, *NAMESPACES]),
        st.sampled_from([None, *ACCOUNTS]),
        st.none() | st.lists(st.sampled_from(METHODS), unique=True, max_size=2),
        st.none() | st.lists(st.sampled_from(PATTERNS), unique=True, max_size=2),
        st.none() | st.lists(st.sampled_from(numbers), unique=True, max_size=2),
    )


@st.composite
def worlds(draw: st.DrawFn) -> list[dict[str, Any]]:
    exports = []
    for index in range(draw(st.integers(1, 3))):
        ports = draw(st.lists(st.sampled_from(sorted(PROTOCOLS)), min_size=1, unique=True))
        consumers = draw(st.lists(consumer(ports), max_size=4))
        exports.append(export(f"svc-{index}", draw(st.sampled_from(["one", "two"])), ports, consumers))
    return exports


@settings(max_examples=40, deadline=None)
@given(worlds())
@example(
    [
        export(
            "overlap",
            "one",
            [8080],
            [
                {"mesh": "west", "methods": ["GET"]},
                {"mesh": "west", "namespace": "shop", "paths": ["/a/*"]},
                {"mesh": "west", "namespace": "shop", "service_account": "cart"},
                {"mesh": "west", "namespace": "shop-2", "methods": ["POST"], "paths": ["/c"]},
            ],
        )
    ]
)
def test_policies_mean_what_the_inventory_says(exports: list[dict[str, Any]]) -> None:
    check(exports)


def test_the_comparison_is_not_empty() -> None:
    assert check([export("one", "one", [8080, 9000], ["west"])]) == len(PRINCIPALS) * (2 * 15 + 1 + 15)


def test_the_comparison_notices_a_lost_exclusion(monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.multimesh.istio.plugins.module_utils.federation import authorization

    monkeypatch.setattr(authorization, "narrowing", lambda *_: [])
    with pytest.raises(AssertionError):
        check([export("one", "one", [8080], [{"mesh": "west", "methods": ["GET"]}])])


def rules(exports: list[dict[str, Any]], service: str) -> Any:
    found = [
        item
        for item in federation(parse(inventory(exports)), "east")
        if item["metadata"]["name"] == f"multimesh-{service}"
    ]
    assert len(found) == 1
    assert found[0]["metadata"]["namespace"] == "books"
    assert found[0]["spec"]["action"] == "DENY"
    return found[0]["spec"]["rules"]


def test_a_mesh_a_namespace_and_an_account() -> None:
    consumers: list[Any] = [
        "north",
        {"mesh": "west", "namespace": "shop"},
        {"mesh": "west", "namespace": "ops", "service_account": "cron"},
    ]
    assert rules([export("one", "one", [8080], consumers)], "one") == [
        {
            "from": [
                {
                    "source": {
                        "principals": ["*"],
                        "notPrincipals": [
                            "east.mesh/*",
                            "north.mesh/*",
                            "west.mesh/ns/ops/sa/cron",
                            "west.mesh/ns/shop/*",
                        ],
                    }
                }
            ]
        },
        {
            "from": [{"source": {"principals": ["*"], "notPrincipals": ["east.mesh/*"]}}],
            "to": [{"operation": {"notPorts": ["8080"]}}],
        },
    ]


def test_narrowed_callers_get_a_rule_of_their_own() -> None:
    consumers = [
        {"mesh": "west", "namespace": "shop", "methods": ["GET", "HEAD"], "paths": ["/a/*"]},
        {"mesh": "west", "namespace": "shop", "service_account": "cart"},
    ]
    assert rules([export("one", "one", [8080], consumers)], "one")[2:] == [
        {
            "from": [
                {"source": {"principals": ["west.mesh/ns/shop/*"], "notPrincipals": ["west.mesh/ns/shop/sa/cart"]}}
            ],
            "to": [
                {"operation": {"ports": ["8080"], "methods": ["GET", "HEAD"], "notPaths": ["/a/*"]}},
                {"operation": {"ports": ["8080"], "notMethods": ["GET", "HEAD"]}},
            ],
        }
    ]


def test_ports_of_a_consumer_are_those_of_the_service() -> None:
    consumers = ["north", {"mesh": "west", "ports": [7081]}]
    assert rules([export("one", "one", [8080, 8081], consumers)], "one")[:2] == [
        {
            "from": [{"source": {"principals": ["*"], "notPrincipals": ["east.mesh/*", "north.mesh/*"]}}],
            "to": [{"operation": {"ports": ["8080"]}}],
        },
        {
            "from": [
                {"source": {"principals": ["*"], "notPrincipals": ["east.mesh/*", "north.mesh/*", "west.mesh/*"]}}
            ],
            "to": [{"operation": {"ports": ["8081"]}}],
        },
    ]


def default_deny(consumers: list[Any]) -> Any:
    objects = federation(parse(inventory([export("one", "one", [8080], consumers)])), "east")
    return [item for item in objects if item["metadata"]["name"] == "multimesh-default-deny"]


def test_whom_no_export_names_nobody_answers() -> None:
    [policy] = default_deny(["north", {"mesh": "west", "namespace": "shop", "ports": [7080]}])
    assert policy["metadata"]["namespace"] == "istio-system"
    assert policy["spec"] == {
        "action": "DENY",
        "rules": [
            {"from": [{"source": {"principals": ["west.mesh/*"], "notPrincipals": ["west.mesh/ns/shop/*"]}}]},
        ],
    }


def test_whom_another_cluster_of_the_mesh_admits_is_let_through() -> None:
    world = inventory([export("one", "one", [8080], [{"mesh": "west", "namespace": "shop"}])])
    world["hosts"]["east-2"] = {"vars": {"mesh_name": "east"}, "groups": ["meshes"]}
    found = parse(world)
    first, second = (
        [item for item in federation(found, name) if item["metadata"]["name"] == "multimesh-default-deny"]
        for name in ("east", "east-2")
    )
    assert first == second != []


def test_whole_meshes_leave_nothing_to_deny() -> None:
    assert default_deny(["north", "west", {"mesh": "west", "namespace": "shop"}]) == []


def test_exports_that_share_pods_admit_per_port() -> None:
    exports = [export("one", "one", [8080], ["west"]), export("two", "one", [9000], ["north"])]
    assert [rule["to"] for rule in rules(exports, "one")] == [
        [{"operation": {"ports": ["8080"]}}],
        [{"operation": {"notPorts": ["8080", "9000"]}}],
    ]


def test_many_narrow_entries_stay_linear() -> None:
    consumers = [{"mesh": "west", "methods": [METHODS[index % 3]], "paths": [f"/{index}/*"]} for index in range(60)]
    assert len(rules([export("one", "one", [8080], consumers)], "one")[2]["to"]) == 4


def test_nobody_admitted_needs_no_policy() -> None:
    objects = federation(parse(inventory([export("one", "one", [8080], ["east"])])), "east")
    assert objects == []
