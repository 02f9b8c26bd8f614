# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of a cluster is read because it could collide, and what is left out."""

from __future__ import annotations

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.identity import ID_LABEL, PART_OF_LABEL
from ansible_collections.multimesh.istio.plugins.module_utils.conflicts import SET_ID
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import ForbiddenError

from tests.unit.plugins.module_utils.test_mesh_info import FakeCluster, exports, facts, gateway, service, thing

OURS = {PART_OF_LABEL: SET_ID, "app.kubernetes.io/managed-by": "multimesh.istio"}


def foreign(*objects, forbidden=(), **request):
    return facts(FakeCluster(*objects, forbidden=forbidden), read_conflicts=True, **request)["foreign"]


def found(*objects, **request):
    """Objects in short: kind, namespace/name, hosts, who sees them."""
    return [
        (item["kind"], f"{item['namespace']}/{item['name']}", item.get("hosts"), item.get("visible"))
        for item in foreign(*objects, **request)["objects"]
    ]


def entry(*hosts, name="entry", namespace="shop", **spec):
    return thing("ServiceEntry", name, namespace, spec={"hosts": list(hosts), **spec})


def rule(host, name="rule", namespace="shop", **spec):
    return thing("DestinationRule", name, namespace, spec={"host": host, **spec})


def routes(*hosts, name="routes", namespace="shop", **spec):
    return thing("VirtualService", name, namespace, spec={"hosts": list(hosts), **spec})


def server(*hosts, number=15443, tls="AUTO_PASSTHROUGH", **more):
    one = {"port": {"number": number}, "hosts": list(hosts), **more}
    return one if tls is None else {**one, "tls": {"mode": tls}}


def listener(*servers, selector=None, namespace="shop"):
    spec = {"servers": list(servers)}
    if selector is not None:
        spec["selector"] = selector
    return thing("Gateway", "others", namespace, spec=spec)


def test_nothing_is_asked_unless_wanted():
    cluster = FakeCluster(entry("a.example"))
    assert facts(cluster, exports=exports("reviews"))["foreign"] is None
    assert "serviceentries" not in {plural for _verb, plural, _namespace in cluster.asked}


def test_a_fixed_number_of_requests():
    cluster = FakeCluster(*(entry(f"{number}.example", name=f"e{number}") for number in range(100)))
    facts(cluster)
    before = len(cluster.asked)
    cluster.asked.clear()
    facts(cluster, read_conflicts=True)
    assert len(cluster.asked) == before + 5
    assert ("list", "serviceentries", None) in cluster.asked
    assert ("get", "configmaps", "istio-system") in cluster.asked


def test_an_empty_cluster_has_nothing_foreign():
    assert foreign(exports=exports("reviews")) == {"take_over": False, "services": {}, "objects": []}
    assert foreign(take_over=True)["take_over"] is True


def test_members_of_the_set_are_ours_and_their_labels_alone_are_not():
    ours = entry("a.example", name="ours")
    ours["metadata"]["labels"] = OURS
    rendered = entry("b.example", name="rendered")
    rendered["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "multimesh.istio"}
    of_others = entry("c.example", name="set")
    of_others["metadata"]["labels"] = {PART_OF_LABEL: "applyset-other-v1"}
    items = foreign(ours, rendered, of_others)["objects"]
    assert [(item["name"], item["owner"], item["part_of"]) for item in items] == [
        ("rendered", "multimesh.istio", ""),
        ("set", "", "applyset-other-v1"),
    ]


@pytest.mark.parametrize(
    ("export_to", "expected"),
    [
        (None, ["*"]),
        ([], ["*"]),
        (["*", "shop"], ["*"]),
        (["."], ["shop"]),
        (["shop", ".", "vault"], ["shop", "vault"]),
        (["~"], []),
    ],
)
def test_who_sees_it(export_to, expected):
    assert found(entry("a.example", exportTo=export_to))[0][3] == expected


def test_names_are_completed_and_those_of_own_services_left_out():
    objects = [
        entry("A.Example", "reviews.shop.svc.cluster.local"),
        rule("reviews"),
        rule("*.svc.cluster.local", name="every"),
        routes("reviews", "a.example"),
        rule("cart.shop.svc.cluster.local", name="elsewhere", namespace="vault"),
    ]
    assert found(*objects) == [
        ("DestinationRule", "shop/every", ["*.svc.cluster.local"], ["*"]),
        ("ServiceEntry", "shop/entry", ["a.example"], ["*"]),
        ("VirtualService", "shop/routes", ["a.example"], ["*"]),
    ]
    assert [name for _kind, name, _hosts, _visible in found(*objects, namespaces=["shop"])] == [
        "shop/every",
        "shop/rule",
        "vault/elsewhere",
        "shop/entry",
        "shop/routes",
    ]


def test_in_istios_namespace_names_matter_as_well():
    assert found(rule("reviews", namespace="istio-system")) == [("DestinationRule", "istio-system/rule", [], ["*"])]


def test_a_rule_for_some_pods_stays_in_its_namespace():
    assert found(rule("a.example", workloadSelector={"matchLabels": {"app": "a"}}))[0][3] == ["shop"]


def test_routes_that_are_not_the_sidecars_are_left_out():
    assert found(routes("a.example", gateways=["shop/web"])) == []
    assert len(found(routes("a.example", gateways=["shop/web", "mesh"]))) == 1


@pytest.mark.parametrize(
    ("spec", "http", "ports"),
    [
        ({"http": [{}]}, True, None),
        ({"tcp": [{}]}, False, []),
        (
            {"tcp": [{"match": [{"port": 5432}]}], "tls": [{"match": [{"port": 443, "sniHosts": ["a"]}]}]},
            False,
            [443, 5432],
        ),
        ({"http": [{}], "tls": [{"match": [{"port": 443}, {"sniHosts": ["a"]}]}]}, True, []),
    ],
)
def test_what_a_virtual_service_routes(spec, http, ports):
    [item] = foreign(routes("a.example", **spec))["objects"]
    assert (item["http"], item["ports"]) == (http, ports)


@pytest.mark.parametrize("selector", [None, {}, {"istio": "eastwestgateway"}, {"app": "gw"}])
def test_servers_of_the_east_west_gateway(selector):
    own = gateway(ips=["198.51.100.1"])
    own["spec"]["selector"] = {"app": "gw", "istio": "eastwestgateway"}
    servers = [server("shop/*.local"), server("*", number=443), server("a", bind="10.0.0.1"), server("b", tls=None)]
    items = foreign(own, listener(*servers, selector=selector))["objects"]
    assert [(item["hosts"], item["tls"]) for item in items] == [(["*.local"], "AUTO_PASSTHROUGH"), (["b"], "")]


def test_gateways_of_other_workloads():
    assert foreign(listener(server("*"), selector={"istio": "ingressgateway"}))["objects"] == []
    assert len(foreign(listener(server("*"), selector={"istio": "eastwestgateway"}))["objects"]) == 1


def test_policies_and_maps_that_have_our_names():
    objects = [
        thing("AuthorizationPolicy", "multimesh-reviews", "shop"),
        thing("AuthorizationPolicy", "multimesh-reviews", "vault"),
        thing("AuthorizationPolicy", "multimesh-reviews-too", "shop"),
        thing("AuthorizationPolicy", "multimesh-default-deny"),
        thing("AuthorizationPolicy", "multimesh-default-deny", "shop"),
        thing("ConfigMap", "multimesh-peers", data={}),
        thing("ConfigMap", "multimesh-federation", data={}),
        thing("ConfigMap", "other", data={}),
    ]
    assert [name for _kind, name, _hosts, _visible in found(*objects, exports=exports("reviews"))] == [
        "istio-system/multimesh-default-deny",
        "shop/multimesh-reviews",
        "istio-system/multimesh-federation",
        "istio-system/multimesh-peers",
    ]
    mine = [
        thing("ConfigMap", "multimesh-peers", labels=OURS, data={}),
        thing("ConfigMap", "multimesh-federation", labels={ID_LABEL: SET_ID}, data={}),
    ]
    assert found(*mine) == []


def test_policies_with_rights_in_single_namespaces():
    policy = thing("AuthorizationPolicy", "multimesh-reviews", "shop")
    everywhere = ("list", "authorizationpolicies", None)
    assert len(found(policy, exports=exports("reviews"), forbidden={everywhere})) == 1
    with pytest.raises(ForbiddenError):
        found(policy, exports=exports("reviews"), forbidden={everywhere, ("list", "authorizationpolicies", "shop")})


def test_without_the_right_to_look_nobody_pretends():
    with pytest.raises(ForbiddenError):
        foreign(forbidden={("list", "virtualservices", None)})


def test_services_where_their_names_matter():
    objects = [service("till"), service("cart"), service("ledger", namespace="vault")]
    assert foreign(*objects, namespaces=["shop"])["services"] == {"shop": ["cart", "till"]}
    assert foreign(*objects)["services"] == {}
    assert foreign(*objects, namespaces=["vault", "none"])["services"] == {"none": [], "vault": ["ledger"]}
