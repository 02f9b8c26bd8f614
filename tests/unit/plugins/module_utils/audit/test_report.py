# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reports on clusters that are as the inventory says, and on such that somebody has changed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.audit.read import admitted_domains
from ansible_collections.multimesh.istio.plugins.module_utils.audit.report import Report, State, audit
from ansible_collections.multimesh.istio.plugins.module_utils.audit.table import table
from ansible_collections.multimesh.istio.plugins.module_utils.federation.admissions import admissions
from ansible_collections.multimesh.istio.plugins.module_utils.federation.compute import federation, mesh_config
from ansible_collections.multimesh.istio.plugins.module_utils.model.inventory import parse
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Inventory
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.federation.test_authorization import export, inventory, worlds

CART = {"mesh": "west", "namespace": "shop", "service_account": "cart", "methods": ["GET"], "paths": ["/a/*"]}
EXPORTS = [export("reviews", "reviews", [8080, 9000], [{**CART, "ports": [7080]}, "north"])]
DEFAULT_DENY = "AuthorizationPolicy istio-system/multimesh-default-deny"
POLICY = "AuthorizationPolicy books/multimesh-reviews"


class Cluster:
    """A cluster that is as the inventory says, until somebody changes it."""

    def __init__(self, exports: list[dict[str, Any]]) -> None:
        self.inventory: Inventory = parse(inventory(exports))
        self.wanted = federation(self.inventory, "east")
        self.objects = copy.deepcopy(self.wanted)
        self.services = {("books", entry["service"]): facts(entry) for entry in exports}
        self.pods = {name: [{**facts["selector"], "version": "v1"}] for name, facts in self.services.items()}
        self.domains = mesh_config(self.inventory, "east")["admitted_trust_domains"]
        self.gateway_pods: list[dict[str, str]] = []

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [item for item in self.objects if item["kind"] == kind]

    def named(self, name: str, kind: str = "") -> dict[str, Any]:
        found, *others = [
            item for item in self.objects if item["metadata"]["name"] == name and kind in ("", item["kind"])
        ]
        assert not others
        return found

    def report(self) -> Report:
        state = State(
            self.domains,
            self.of_kind("AuthorizationPolicy"),
            self.of_kind("Gateway"),
            self.of_kind("ServiceEntry"),
            self.services,
            self.pods,
            self.gateway_pods,
        )
        return audit(state, self.wanted, admissions(self.inventory, "east"))

    def lines(self) -> list[str]:
        return [str(difference) for difference in self.report().differences]


def facts(entry: dict[str, Any]) -> dict[str, Any]:
    return {"namespace": "books", "name": entry["service"], "ports": entry["ports"], "selector": entry["selector"]}


def object_of(kind: str, namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"namespace": namespace, "name": name}, "spec": spec}


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(EXPORTS)


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_what_the_collection_writes_is_what_the_inventory_says(exports: list[dict[str, Any]]) -> None:
    """By the two readings that know nothing of each other: of the inventory, and of the policies."""
    names = {entry["service"]: entry for entry in exports if entry["consumers"]}
    cluster = Cluster(list(names.values()))
    assert cluster.lines() == []


def test_the_table(cluster: Cluster) -> None:
    assert table(cluster.report()).splitlines() == [
        "SERVICE        PORT  VIA          CALLER                     METHODS  PATHS  LIMITED FURTHER BY",
        "books/reviews  7080  passthrough  north.mesh/*               all      all    -",
        "books/reviews  7080  passthrough  west.mesh/ns/shop/sa/cart  GET      /a/*   -",
        "books/reviews  8000  passthrough  north.mesh/*               -        -      -",
    ]


AT_GATEWAY = {**EXPORTS[0], "via": "gateway"}
GATEWAY_PODS = [{"app": "istio-eastwestgateway", "istio": "eastwestgateway"}, {"app": "istiod"}]


@pytest.fixture
def at_gateway() -> Cluster:
    cluster = Cluster([AT_GATEWAY])
    cluster.gateway_pods = GATEWAY_PODS
    return cluster


@settings(max_examples=60, deadline=None)
@given(worlds(), st.lists(st.sampled_from(["passthrough", "gateway"]), min_size=3, max_size=3))
def test_whichever_way_exports_go(exports: list[dict[str, Any]], ways: list[str]) -> None:
    named = [entry | {"via": way} for entry, way in zip(exports, ways, strict=False) if entry["consumers"]]
    cluster = Cluster(named)
    assert cluster.lines() == []
    ways_of = {entry["service"]: entry["via"] for entry in named}
    assert all(grant.via == ways_of[grant.service] for grant in cluster.report().grants)


def test_a_gateway_judges_what_it_serves(at_gateway: Cluster) -> None:
    assert table(at_gateway.report()).splitlines() == [
        "SERVICE        PORT  VIA      CALLER                     METHODS  PATHS  LIMITED FURTHER BY",
        "books/reviews  7080  gateway  north.mesh/*               all      all    -",
        "books/reviews  7080  gateway  west.mesh/ns/shop/sa/cart  GET      /a/*   -",
        "books/reviews  8000  gateway  north.mesh/*               -        -      -",
    ]


def test_a_policy_of_a_gateway_that_somebody_opened(at_gateway: Cluster) -> None:
    policy = at_gateway.named("multimesh-gateway-exports", "AuthorizationPolicy")
    # The rules for everybody who is not named stay; the one for cart's methods and paths goes.
    policy["spec"]["rules"] = [
        rule for rule in policy["spec"]["rules"] if "principals" not in rule.get("from", [{}])[0].get("source", {})
    ]
    changed, opened = at_gateway.lines()
    assert changed.startswith("changed: AuthorizationPolicy istio-system/multimesh-gateway-exports: ")
    assert opened == (
        "open: books/reviews:7080: west.mesh/ns/shop/sa/cart may use GET, other methods on all paths,"
        " and the inventory does not say so"
    )


def test_a_gateway_without_policies(at_gateway: Cluster) -> None:
    for name in ("multimesh-gateway-exports", "multimesh-default-deny"):
        at_gateway.objects.remove(at_gateway.named(name, "AuthorizationPolicy"))
    kinds = [line.rpartition(": ")[0] for line in at_gateway.lines() if line.startswith("no_policy")]
    assert kinds == ["no_policy: books/reviews:7080", "no_policy: books/reviews:8000"]


def test_policies_select_pods_of_a_gateway_by_any_of_their_labels(at_gateway: Cluster) -> None:
    selector = {"matchLabels": {"app": "istio-eastwestgateway"}}
    deny = {"from": [{"source": {"principals": ["north.mesh/*"]}}]}
    policy = object_of("AuthorizationPolicy", "istio-system", "ban", selector=selector, action="DENY", rules=[deny])
    at_gateway.objects.append(policy)
    assert [line.partition(" may")[0] for line in at_gateway.lines()] == [
        "refused: books/reviews:7080: north.mesh/*",
        "refused: books/reviews:8000: north.mesh/*",
    ]
    policy["spec"]["selector"] = {"matchLabels": {"app": "other"}}
    assert at_gateway.lines() == []


def test_conditions_about_the_server_name(at_gateway: Cluster) -> None:
    asked = {"key": "connection.sni", "values": ["8000.*"], "notValues": ["*.global"]}
    policy = object_of("AuthorizationPolicy", "istio-system", "ban", action="DENY", rules=[{"when": [asked]}])
    at_gateway.objects.append(policy)
    assert [line.partition(" may")[0] for line in at_gateway.lines()] == ["refused: books/reviews:8000: north.mesh/*"]
    asked["notValues"] = ["*.local"]
    assert at_gateway.lines() == []
    # Nobody can tell what else holds for a call.
    policy["spec"]["rules"] = [{"when": [{"key": "request.headers[x-stage]", "values": ["canary"]}]}]
    assert {grant.limited_by for grant in at_gateway.report().grants} == {("istio-system/ban",)}


def test_a_gateway_that_serves_what_nobody_exports_there(at_gateway: Cluster) -> None:
    at_gateway.services["books", "private"] = facts(export("private", "private", [8080], []))
    at_gateway.pods["books", "private"] = []
    hosts = ["./7080.private.books.svc.cluster.local", "private.books.svc.cluster.local", "7080.shop.global"]
    server = {"port": {"number": 15443}, "tls": {"mode": "ISTIO_MUTUAL"}, "hosts": hosts}
    door = object_of("Gateway", "books", "door", servers=[server], selector={"istio": "eastwestgateway"})
    at_gateway.objects.append(door)
    text = "Gateway books/door leads other meshes there, and the inventory does not export it via gateway"
    assert at_gateway.lines() == [f"exposed: books/private: {text}"]
    at_gateway.objects.remove(at_gateway.named("multimesh-gateway-exports", "Gateway"))
    text = "the inventory exports it via gateway, and no Gateway leads there, or the Service does not exist"
    assert f"not_exposed: books/reviews: {text}" in at_gateway.lines()


def test_nobody_needs_no_table() -> None:
    assert table(Cluster([]).report()) == ""


def test_a_policy_that_somebody_opened(cluster: Cluster) -> None:
    policy = cluster.named("multimesh-reviews")
    policy["spec"]["rules"] = [
        rule for rule in policy["spec"]["rules"] if rule["from"][0]["source"]["principals"] == ["*"]
    ]
    policy["metadata"]["managedFields"] = [
        {"manager": "multimesh.istio", "fieldsV1": {"f:spec": {}}},
        {"manager": "kubectl-edit", "fieldsV1": {"f:spec": {}}},
        {"manager": "kubectl-label", "fieldsV1": {"f:metadata": {}}},
    ]
    assert cluster.lines() == [
        f"changed: {POLICY}: its spec is not what the inventory says; it was changed by kubectl-edit",
        (
            "open: books/reviews:7080: west.mesh/ns/shop/sa/cart may use GET, other methods on all paths,"
            " and the inventory does not say so"
        ),
    ]


def test_a_policy_that_is_gone(cluster: Cluster) -> None:
    cluster.objects.remove(cluster.named("multimesh-reviews"))
    cluster.objects.remove(cluster.named("multimesh-default-deny"))
    nobody = "no policy refuses anybody, so that every identity of an admitted trust domain may call it"
    assert cluster.lines() == [
        f"missing: {POLICY}: the inventory asks for it, and the cluster lacks it",
        f"missing: {DEFAULT_DENY}: the inventory asks for it, and the cluster lacks it",
        f"no_policy: books/reviews:7080: {nobody}",
        f"no_policy: books/reviews:8000: {nobody}",
    ]


def test_an_owner_who_refuses_more(cluster: Cluster) -> None:
    selector = {"matchLabels": {"app": "reviews", "version": "v1"}}
    deny = {"to": [{"operation": {"paths": ["/a/admin*"]}}]}
    cluster.objects.append(
        object_of("AuthorizationPolicy", "books", "no-admin", selector=selector, action="DENY", rules=[deny])
    )
    assert cluster.lines() == [
        (
            "refused: books/reviews:7080: north.mesh/* may use all methods on all paths by the inventory,"
            " and the cluster refuses some of it"
        ),
        (
            "refused: books/reviews:7080: west.mesh/ns/shop/sa/cart may use GET on /a/* by the inventory,"
            " and the cluster refuses some of it"
        ),
        "refused: books/reviews:8000: north.mesh/* may call it by the inventory, and the cluster refuses some of it",
    ]
    line = "books/reviews  7080  passthrough  north.mesh/*               all      all but /a/admin*   -"
    assert line in table(cluster.report())


def test_a_trust_domain_that_the_control_plane_does_not_admit(cluster: Cluster) -> None:
    cluster.domains.remove("west.mesh")
    [line] = cluster.lines()
    assert line.startswith(
        "refused: books/reviews:7080: west.mesh/ns/shop/sa/cart may use GET on /a/* by the inventory"
    )


def test_gateways_that_lead_elsewhere(cluster: Cluster) -> None:
    cluster.objects.remove(cluster.named("multimesh-exports"))
    cluster.services["books", "private"] = facts(export("private", "private", [8080], []))
    cluster.pods["books", "private"] = []
    server = {"tls": {"mode": "AUTO_PASSTHROUGH"}, "hosts": ["./private.books.svc.cluster.local"]}
    other = {"tls": {"mode": "SIMPLE"}, "hosts": ["*"]}
    cluster.objects.append(object_of("Gateway", "books", "back-door", servers=[other, server]))
    assert [line.partition(", and")[0] for line in cluster.lines()] == [
        "exposed: books/private: Gateway books/back-door leads other meshes there",
        "missing: Gateway istio-system/multimesh-exports: the inventory asks for it",
        "not_exposed: books/reviews: the inventory exports it via passthrough",
        # Whom another export admits, the default deny has to let through.
        "open: books/private:7080: north.mesh/* may use all methods on all paths",
        "open: books/private:7080: west.mesh/ns/shop/sa/cart may use all methods on all paths",
    ]
    server["hosts"] = ["*.local"]
    assert [line for line in cluster.lines() if line.startswith("not_exposed")] == []


def test_a_service_behind_a_common_host_is_exposed_by_it(cluster: Cluster) -> None:
    gateway = cluster.named("multimesh-exports")
    gateway["spec"]["servers"][0]["hosts"] = ["reviews.shop.global"]
    endpoints = [{"address": "reviews.books.svc.cluster.local"}, {"address": "192.0.2.1"}]
    cluster.objects.append(
        object_of("ServiceEntry", "istio-system", "r", hosts=["reviews.shop.global"], endpoints=endpoints)
    )
    assert [line.partition(":")[0] for line in cluster.lines()] == ["changed"]


def test_what_the_inventory_no_longer_asks_for(cluster: Cluster) -> None:
    entry = object_of("ServiceEntry", "istio-system", "old.shop.global", hosts=["old.shop.global"])
    cluster.objects.append(entry)
    assert cluster.lines() == []
    entry["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "multimesh.istio"}
    assert cluster.lines() == [
        "unexpected: ServiceEntry istio-system/old.shop.global: the inventory does not ask for it"
    ]


def test_callers_who_are_treated_otherwise_are_named() -> None:
    exports = [export("one", "one", [8080], ["west", "north"])]
    cluster = Cluster(exports)
    deny = {"from": [{"source": {"principals": ["west.mesh/ns/evil/*"]}}]}
    cluster.objects.append(object_of("AuthorizationPolicy", "books", "ban", action="DENY", rules=[deny]))
    [_north, west] = cluster.report().grants
    assert (west.caller, west.except_callers) == ("west.mesh/*", ("west.mesh/ns/evil/*",))


def test_trust_domains_are_those_of_all_control_planes() -> None:
    def config_map(name: str, text: str) -> dict[str, Any]:
        return {"metadata": {"name": name}, "data": {"mesh": text}}

    mesh = "trustDomain: east.mesh\ncaCertificates:\n- trustDomains: [west.mesh]\n- trustDomains: [{}]\n"
    found = [
        config_map("istio", mesh.format("north.mesh")),
        config_map("istio-canary", mesh.format("south.mesh")),
        config_map("other", mesh.format("other.mesh")),
        config_map("istio-empty", ""),
        {"metadata": {"name": "istio-ca-root-cert"}},
    ]
    assert admitted_domains(found) == ["north.mesh", "south.mesh", "west.mesh"]
