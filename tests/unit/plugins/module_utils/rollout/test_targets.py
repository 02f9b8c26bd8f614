# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.rollout.targets import proxy, replica

from tests.unit.plugins.module_utils.rollout.pods import istiod, pod


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (pod("a"), "sidecar"),
        (pod("a", native=True), "sidecar"),
        (pod("a", args=("proxy", "router", "--domain", "x")), "gateway"),
        (pod("a", args=("proxy", "waypoint")), "waypoint"),
        (pod("a", args=("proxy", "ztunnel")), "ztunnel"),
        (pod("a", args=()), "sidecar"),
        (pod("a", phase="Pending"), "sidecar"),
    ],
)
def test_kinds(found, kind):
    target = proxy(found)
    assert target.kind == kind
    assert bool(target.unsupported) is (kind == "ztunnel")
    assert target.port == 15000


@pytest.mark.parametrize(
    "other",
    [
        pod("a", container="app2"),
        pod("a", phase="Succeeded"),
        pod("a", phase="Failed"),
        {
            "metadata": {"name": "a", "namespace": "b", "uid": "c"},
            "spec": {"initContainers": [{"name": "istio-proxy"}]},
        },
    ],
)
def test_pods_without_a_proxy(other):
    assert proxy(other) is None


@pytest.mark.parametrize(
    ("config", "port"),
    [
        ('{"proxyAdminPort": 15099}\n', 15099),
        ("{}\n", 15000),
        ("", 15000),
        ("nonsense", 15000),
        ("[]", 15000),
        ('{"proxyAdminPort": "x"}', 15000),
    ],
)
def test_the_administration_port(config, port):
    assert proxy(pod("a", env={"PROXY_CONFIG": config})).port == port


def test_states():
    target = proxy(pod("a", native=True, state="waiting", restarts=3, deletionTimestamp="2026-11-21T12:00:00Z"))
    assert (target.placed, target.running, target.leaving) == (True, False, True)
    assert target.incarnation == ("uid-a", 3)
    assert not proxy(pod("a", node=None)).placed
    bare = pod("a")
    del bare["status"]
    assert not proxy(bare).running


def test_who_takes_revocation_lists():
    assert proxy(pod("a")).takes_lists
    assert not proxy(pod("a", lists=False)).takes_lists


def test_who_takes_another_root():
    assert proxy(pod("a", env={"PROXY_CONFIG_XDS_AGENT": "true"})).takes_roots
    assert not proxy(pod("a")).takes_roots
    assert replica(istiod("istiod-1", env={"ISTIO_MULTIROOT_MESH": "true"})).takes_roots
    assert not replica(istiod("istiod-1", env={"ISTIO_MULTIROOT_MESH": "false"})).takes_roots


def test_grpc_without_a_proxy():
    assert "no Envoy" in proxy(pod("a", env={"DISABLE_ENVOY": "true"})).unsupported


def test_replicas():
    target = replica(istiod("istiod-1"))
    assert (target.kind, target.port, target.running) == ("istiod", 15012, True)
    assert str(target) == "istiod istio-system/istiod-1"
    assert replica(istiod("istiod-1", phase="Failed")) is None
