# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.multimesh.istio.plugins.module_utils.audit.read import read_state

from tests.unit.plugins.module_utils.test_mesh_info import FakeCluster, pod, service, thing

PORT = {"port": 80, "name": "http", "targetPort": "web"}
WEB = {"name": "web", "containerPort": 8080}


def test_only_what_others_can_ask_for_and_what_is_exported_is_looked_at() -> None:
    passed_on = {
        "tls": {"mode": "AUTO_PASSTHROUGH"},
        "hosts": ["b.shop.svc.cluster.local", "gone.shop.svc.cluster.local"],
    }
    cluster = FakeCluster(
        service("a", PORT),
        service("b", PORT),
        service("c", PORT),
        service("d", PORT, namespace="elsewhere"),
        pod("a-1", "a", ports=[WEB]),
        pod("a-2", "a", ports=[WEB], deletionTimestamp="2026-11-21T09:00:00Z"),
        thing("Gateway", "way", spec={"servers": [passed_on]}),
        thing("AuthorizationPolicy", "own", "shop", spec={}),
        thing("ServiceEntry", "entry", spec={}),
        thing("ConfigMap", "istio", data={"mesh": "caCertificates: [{trustDomains: [west.mesh]}]"}),
    )
    state = read_state(cluster, [("shop", "a"), ("shop", "missing")])
    assert list(state.services) == [("shop", "a"), ("shop", "b")]
    assert [port["target_port"] for port in state.services["shop", "a"]["ports"]] == [8080]
    assert state.pods == {("shop", "a"): [{"app": "a"}], ("shop", "b"): []}
    assert state.trust_domains == ["west.mesh"]
    assert [item["metadata"]["name"] for item in (*state.policies, *state.gateways, *state.entries)] == [
        "own",
        "way",
        "entry",
    ]
    assert ("list", "pods", "elsewhere") not in cluster.asked
    assert {verb for verb, _plural, _namespace in cluster.asked} == {"list"}
    assert "secrets" not in {plural for _verb, plural, _namespace in cluster.asked}


def test_pods_of_gateways_are_read_where_they_serve_something() -> None:
    serving = {"tls": {"mode": "ISTIO_MUTUAL"}, "hosts": ["80.a.shop.svc.cluster.local"]}
    way = thing("Gateway", "way", spec={"servers": [serving]})
    found = [service("a", PORT), pod("gateway-1", "gateway", namespace="istio-system")]
    state = read_state(FakeCluster(*found, way), [])
    assert list(state.services) == [("shop", "a")]
    assert state.gateway_pods == [{"app": "gateway"}]
    cluster = FakeCluster(*found)
    assert read_state(cluster, [("shop", "a")]).gateway_pods == []
    assert ("list", "pods", "istio-system") not in cluster.asked
