# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""One mesh with a control plane in each of its clusters, apart and joined; replicas; one revision after another."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.e2e.load import Burst
from tests.e2e.onemesh.conftest import (
    CLUSTERS,
    FIRST,
    GREETER,
    SECOND,
    WEST,
    answers,
    export,
    from_both,
    pods,
    restart,
    said,
    served_by,
)
from tests.e2e.support import Federation, wait_for

pytestmark = pytest.mark.long

SOUTH_CALLER = "spiffe://south.mesh/ns/demo/sa/caller"
WEST_CALLER = "spiffe://west.mesh/ns/demo/sa/caller"
TAG = '{"control_plane_revision_tags": {"prod": "canary"}}'


def hosts() -> dict[str, dict[str, Any]]:
    south = {"mesh_name": "south", "mesh_exports": [export("greeter")]}
    return {
        FIRST: {**south, "mesh_locality": "eu/eu-a", "control_plane_replicas": 2},
        SECOND: {
            **south,
            "mesh_locality": "eu/eu-b",
            "mesh_exports": [
                *south["mesh_exports"],
                export("ledger", "vault", {"mesh": "west", "namespace": "nobody"}),
            ],
        },
        WEST: {"mesh_locality": "us/us-1", "mesh_exports": [export("greeter")]},
    }


def remote_secrets(federation: Federation, cluster: str) -> list[str]:
    label = "istio/multiCluster=true"
    return federation.lab.kubectl(cluster, "get", "secrets", "-n", "istio-system", "-l", label, "-o", "name").split()


# A control plane in each cluster, which knows nothing of the other


def test_each_cluster_of_the_mesh_is_an_endpoint_for_others(federation):
    found = from_both(federation, WEST, "greeter.demo.svc.south.global")
    assert {answer["caller"] for answer in found} == {WEST_CALLER}


@pytest.mark.parametrize("cluster", [FIRST, SECOND])
def test_apart_they_serve_their_own_callers_and_hold_no_credential(federation, cluster):
    found = answers(federation, cluster, f"http://{GREETER}/")
    assert served_by(found) == {cluster}
    assert {answer["caller"] for answer in found} == {SOUTH_CALLER}
    assert remote_secrets(federation, cluster) == []


def test_each_has_a_ca_of_its_own_for_the_one_trust_domain(federation):
    signers = {
        federation.kubectl_json(one, "get", "secret", "-n", "istio-system", "cacerts")["data"]["ca-cert.pem"]
        for one in (FIRST, SECOND)
    }
    assert len(signers) == 2


# Several replicas


def test_replicas_are_spread_and_guarded(federation):
    deployment = federation.kubectl_json(FIRST, "get", "deployment", "-n", "istio-system", "istiod")
    constraints = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert [one["topologyKey"] for one in constraints] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    budget = federation.kubectl_json(FIRST, "get", "poddisruptionbudget", "-n", "istio-system", "istiod")
    assert (budget["spec"]["minAvailable"], budget["status"]["currentHealthy"]) == (1, 2)
    assert len(pods(federation, FIRST, "app=istiod")) == 2


def test_the_loss_of_a_replica_is_not_noticed(federation):
    victim = pods(federation, FIRST, "app=istiod")[0]
    load = Burst(federation, FIRST, f"http://{GREETER}:80/", 50, 30, "4")
    federation.lab.kubectl(FIRST, "delete", "pod", "-n", "istio-system", victim, "--force", "--grace-period=0")
    begin = time.monotonic()
    federation.lab.kubectl(FIRST, "rollout", "restart", "-n", "demo", "deployment/other")
    status = ["rollout", "status", "-n", "demo", "deployment/other", "--timeout=120s"]
    federation.lab.kubectl(FIRST, *status, timeout=130)
    print(f"a new pod with a sidecar was ready {time.monotonic() - begin:.1f} s after a replica of istiod was killed")
    wait_for(lambda: len(pods(federation, FIRST, "app=istiod")) == 2, "there are two replicas again")
    load.wait()
    print(f"one of two replicas killed: {load.codes}, slowest {load.slowest:.3f} s")
    assert set(load.codes) == {"200"}


# Joined


def test_joined_they_share_their_endpoints(federation):
    inventory = hosts()
    for cluster in (FIRST, SECOND):
        inventory[cluster]["mesh_endpoint_discovery"] = True
    federation.write_inventory(inventory)
    run = federation.play("site", "--diff").ok()
    output = said(run)
    for one, other in ((FIRST, SECOND), (SECOND, FIRST)):
        assert f"{one}: this cluster holds a credential for cluster {other}" in output
        assert remote_secrets(federation, one) == [f"secret/istio-remote-secret-{other}"]
    again = federation.play("site").ok()
    assert {host: counts["changed"] for host, counts in again.recap.items()} == dict.fromkeys(CLUSTERS, 0)


@pytest.mark.parametrize("cluster", [FIRST, SECOND])
def test_joined_their_callers_use_the_pods_of_both(federation, cluster):
    found = from_both(federation, cluster)
    assert {answer["caller"] for answer in found} == {SOUTH_CALLER}
    for answer in found:
        assert "By=spiffe://south.mesh/ns/demo/sa/greeter;" in answer["xfcc"]


def test_joined_each_guards_what_the_others_gateway_may_lead_to_it(federation):
    for cluster in (FIRST, SECOND):
        policies = federation.kubectl_json(cluster, "get", "authorizationpolicies", "-A")["items"]
        names = {(item["metadata"]["namespace"], item["metadata"]["name"]) for item in policies}
        assert names == {("demo", "multimesh-greeter"), ("vault", "multimesh-ledger")}


def test_apart_again_nobody_holds_a_credential(federation):
    federation.write_inventory(hosts())
    federation.play("site").ok()
    for cluster in (FIRST, SECOND):
        assert remote_secrets(federation, cluster) == []
        accounts = federation.lab.kubectl(cluster, "get", "serviceaccounts", "-n", "istio-system", "-o", "name")
        assert "multimesh-remote-reader" not in accounts
        assert served_by(wait_for(lambda name=cluster: own(federation, name), "each for itself")) == {cluster}


def own(federation: Federation, cluster: str) -> list[dict[str, Any]]:
    found = answers(federation, cluster, f"http://{GREETER}/")
    assert served_by(found) == {cluster}
    return found


# One revision after another


def test_a_revision_takes_over_namespace_by_namespace(federation):
    load = Burst(federation, SECOND, "http://greeter.demo.svc.west.global:80/", 20, 120, "2")
    canary = ["-e", "control_plane_revision=canary", "-e", TAG]
    federation.play("site", "--limit", WEST, *canary).ok()
    assert len(pods(federation, WEST, "app=istiod,istio.io/rev=canary")) == 1
    assert len(pods(federation, WEST, "app=istiod,istio.io/rev=default")) == 1
    federation.lab.kubectl(WEST, "label", "namespace", "demo", "istio-injection-", "istio.io/rev=prod")
    retire = [*canary, "-e", '{"control_plane_retired_revisions": [""]}']
    refused = federation.play("site", "--limit", WEST, *retire)
    assert refused.returncode != 0
    assert "pods are still of revision default" in said(refused)
    restart(federation.lab, WEST)
    assert revision(federation, "app=greeter", "demo") == {"canary"}
    federation.play("site", "--limit", WEST, "-e", "gateway_revision=canary", *canary).ok()
    assert revision(federation, "istio=eastwestgateway", "istio-system") == {"canary"}
    federation.play("site", "--limit", WEST, "-e", "gateway_revision=canary", *retire).ok()
    assert pods(federation, WEST, "app=istiod,istio.io/rev=default") == []
    load.wait()
    print(f"revision exchanged: {load.codes}, slowest {load.slowest:.3f} s")
    assert set(load.codes) == {"200"}


def revision(federation: Federation, selector: str, namespace: str) -> set[str]:
    items = federation.kubectl_json(WEST, "get", "pods", "-n", namespace, "-l", selector)["items"]
    return {
        item["metadata"]["annotations"]["istio.io/rev"]
        for item in items
        if not item["metadata"].get("deletionTimestamp")
    }
