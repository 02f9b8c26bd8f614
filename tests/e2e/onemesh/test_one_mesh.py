# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""One mesh over two clusters, the second without istiod and gateway: served by the first, federated with a third.

An answer of 200 is no proof of mutual TLS, so every call is judged by the identity that the callee saw.
"""

from __future__ import annotations

import base64
import json
import time
from collections import Counter
from typing import Any

import pytest

from tests.canary import Canary
from tests.e2e.load import Burst
from tests.e2e.onemesh.conftest import CLUSTERS, GREETER, WEST, answers, export, from_both, pods, said, served_by
from tests.e2e.onemesh.conftest import FIRST as PRIMARY
from tests.e2e.onemesh.conftest import SECOND as SERVED
from tests.e2e.support import ISTIO_KINDS, AuditLog, Federation, wait_for
from tests.e2e.test_10_site import changed_tasks

pytestmark = pytest.mark.long

SOUTH_CALLER = "spiffe://south.mesh/ns/demo/sa/caller"
WEST_CALLER = "spiffe://west.mesh/ns/demo/sa/caller"
LEDGER_IN_WEST = "ledger.vault.svc.south.global"
SECRET = f"istio-remote-secret-{SERVED}"


def hosts() -> dict[str, dict[str, Any]]:
    south = {"mesh_name": "south"}
    return {
        PRIMARY: {**south, "mesh_locality": "eu/eu-a", "mesh_exports": [export("greeter")]},
        SERVED: {
            **south,
            "mesh_locality": "eu/eu-b",
            "mesh_control_plane": PRIMARY,
            "mesh_exports": [
                export("greeter"),
                export("ledger", "vault", {"mesh": "west", "namespace": "demo", "service_account": "caller"}),
            ],
        },
        WEST: {"mesh_locality": "us/us-1", "mesh_exports": [export("greeter")]},
    }


def remote_secret(federation: Federation) -> dict[str, Any]:
    data = federation.kubectl_json(PRIMARY, "get", "secret", "-n", "istio-system", SECRET)["data"]
    config: dict[str, Any] = json.loads(base64.b64decode(data[SERVED]))
    return config


def token(federation: Federation) -> str:
    return str(remote_secret(federation)["users"][0]["user"]["token"])


def canary_of(held: str) -> Canary:
    """Knows a token: as a whole, and what it says and its signature alone; its head is that of many."""
    _head, claims, signature = held.split(".")
    return Canary({}, {"token": held, "claims": claims, "signature": signature})


# What is where


def test_check_mode_on_empty_clusters_announces_what_the_run_does(first_check, first_run):
    assert first_check.run.ok().recap.keys() == set(CLUSTERS)
    assert first_check.writes == {cluster: [] for cluster in CLUSTERS}
    assert changed_tasks(first_check.run.output) == changed_tasks(first_run.run.output)


def test_the_credential_is_announced_and_never_shown(federation, first_check, first_run):
    for run in (first_check.run, first_run.run):
        assert "south-a: this cluster holds a credential for cluster south-b" in said(run)
    canary = canary_of(token(federation))
    assert "Using module file" in first_run.run.output, "the run was as talkative as can be"
    assert canary.find(first_run.run.output.encode()) == set()
    assert first_run.watch.seen > 100
    assert first_run.watch.find(canary) == {}
    assert canary.find_in_files(federation.temporary) == {}


def test_the_served_cluster_has_no_control_plane_no_gateway_and_no_ca(federation):
    names = federation.lab.kubectl(SERVED, "get", "deployments,services", "-n", "istio-system", "-o", "name").split()
    assert names == ["service/istiod"]
    assert federation.kubectl_json(SERVED, "get", ISTIO_KINDS, "-A")["items"] == []
    secrets = federation.kubectl_json(SERVED, "get", "secrets", "-n", "istio-system")["items"]
    assert {secret["type"] for secret in secrets} == {"helm.sh/release.v1"}
    assert not federation.lab.kubectl(SERVED, "get", "configmaps", "-n", "istio-system", "-o", "name").count(
        "multimesh-peers"
    )


def test_second_run_changes_nothing(federation):
    logs = {cluster: AuditLog(federation.lab.audit_log(cluster)) for cluster in CLUSTERS}
    run = federation.play("site").ok()
    assert {host: counts["changed"] for host, counts in run.recap.items()} == dict.fromkeys(CLUSTERS, 0)
    assert {cluster: log.writes() for cluster, log in logs.items()} == {cluster: [] for cluster in CLUSTERS}


def test_the_credential_can_read_and_write_next_to_nothing(federation):
    config = federation.folder / "remote.json"
    config.write_text(json.dumps(remote_secret(federation)))
    kubectl = federation.lab.kubectl_command(SERVED)[0]

    def can(*question: str) -> bool:
        done = federation.lab.exec_in_node(
            SERVED, [kubectl, f"--kubeconfig={config}", "auth", "can-i", *question, "-A"]
        )
        return done.stdout.strip() == "yes"

    try:
        for verb in ("get", "list", "watch"):
            assert can(verb, "services")
            assert can(verb, "endpointslices.discovery.k8s.io")
        for question in (
            ("create", "pods"),
            ("delete", "pods"),
            ("create", "pods/exec"),
            ("update", "secrets"),
            ("create", "serviceaccounts/token"),
            ("update", "clusterroles"),
            ("impersonate", "users"),
        ):
            assert not can(*question)
        assert not can("create", "mutatingwebhookconfigurations")
    finally:
        config.unlink()


def test_istiod_lacks_no_right(federation):
    logs = federation.lab.kubectl(PRIMARY, "logs", "-n", "istio-system", "deploy/istiod", "--tail=-1")
    assert [line for line in logs.splitlines() if "forbidden" in line.lower()] == []


# Calls inside the mesh


@pytest.mark.parametrize("cluster", [PRIMARY, SERVED])
def test_pods_of_both_clusters_answer_directly_and_see_who_calls(federation, cluster):
    found = from_both(federation, cluster)
    print(f"{cluster}: {Counter(answer['mesh'] for answer in found)}, seen as {found[0]['caller']}")
    assert {answer["caller"] for answer in found} == {SOUTH_CALLER}
    for answer in found:
        # Both ends of mutual TLS, in the words of the callee's proxy.
        assert "By=spiffe://south.mesh/ns/demo/sa/greeter;" in answer["xfcc"]
    # Pods of both, and no gateway. Proxies write their logs every few seconds.
    pods = {"10.244.0", "10.245.0"}
    wait_for(lambda: networks(federation, cluster) == pods, f"calls to {pods} alone in the caller's log")


def networks(federation: Federation, cluster: str) -> set[str]:
    """First three numbers of the addresses that the caller's proxy sent its last requests to."""
    log = federation.lab.kubectl(cluster, "logs", "-n", "demo", "deploy/caller", "-c", "istio-proxy", "--tail=12")
    lines = [line for line in log.splitlines() if f'host="{GREETER}"' in line]
    return {line.partition('upstream="')[2].partition(":")[0].rpartition(".")[0] for line in lines}


@pytest.mark.parametrize("cluster", [PRIMARY, SERVED])
def test_callers_take_only_the_identity_of_the_mesh_for_the_callee(federation, cluster):
    """The other cluster's pods are in the mesh's trust domain also for the proxies that call them."""
    command = ["pilot-agent", "request", "GET", "config_dump?resource=dynamic_active_clusters"]
    dump = json.loads(
        federation.lab.kubectl(cluster, "exec", "-n", "demo", "deploy/caller", "-c", "istio-proxy", "--", *command)
    )
    [found] = [one for one in dump["configs"] if one["cluster"]["name"] == f"outbound|80||{GREETER}"]
    text = json.dumps(found)
    assert "spiffe://south.mesh/ns/demo/sa/greeter" in text
    assert "spiffe://cluster.local" not in text


@pytest.mark.parametrize(("caller", "callee"), [(PRIMARY, SERVED), (SERVED, PRIMARY)])
def test_a_caller_without_certificate_is_refused_across_clusters(federation, caller, callee):
    pods = federation.kubectl_json(callee, "get", "pods", "-n", "demo", "-l", "app=greeter")["items"]
    [address] = [pod["status"]["podIP"] for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    status, _body = federation.call(caller, "outside", "stranger", f"http://{address}:8080/")
    assert status == 0


def test_a_service_of_the_other_cluster_alone(federation):
    found = wait_for(
        lambda: answers(federation, PRIMARY, "http://ledger.vault.svc.cluster.local/", 3), "south-a calls ledger"
    )
    assert served_by(found) == {SERVED}
    assert {answer["caller"] for answer in found} == {SOUTH_CALLER}


# Calls between meshes


def test_another_mesh_reaches_both_clusters_through_the_one_gateway(federation):
    found = from_both(federation, WEST, "greeter.demo.svc.south.global")
    assert {answer["caller"] for answer in found} == {WEST_CALLER}


def test_an_export_of_the_served_cluster_alone_is_for_its_consumer_alone(federation):
    found = wait_for(lambda: answers(federation, WEST, f"http://{LEDGER_IN_WEST}/", 3), "west calls ledger")
    assert served_by(found) == {SERVED}
    assert {answer["caller"] for answer in found} == {WEST_CALLER}
    status, body = federation.call(WEST, "demo", "other", f"http://{LEDGER_IN_WEST}/")
    assert (status, body) == (403, "RBAC: access denied")


def test_the_served_cluster_calls_another_mesh(federation):
    found = wait_for(
        lambda: answers(federation, SERVED, "http://greeter.demo.svc.west.global/", 3), "south-b calls west"
    )
    assert served_by(found) == {WEST}
    assert {answer["caller"] for answer in found} == {SOUTH_CALLER}


def test_verify_calls_from_the_served_cluster_too(federation):
    run = federation.play("verify").ok()
    assert run.recap[SERVED]["failed"] == 0
    assert run.output.count("south -> west") >= 4


# What the credential and the control plane's life mean


def test_a_new_credential_is_taken_over_without_a_failure(federation):
    before = token(federation)
    load = Burst(federation, PRIMARY, f"http://{GREETER}:80/", 50, 60, "4")
    run = federation.play("site", "--diff", "-e", "control_plane_token_lifetime_days=30").ok()
    assert {host: counts["changed"] for host, counts in run.recap.items()} == {PRIMARY: 1, SERVED: 0, WEST: 0}
    after = token(federation)
    assert after != before
    for held in (before, after):
        assert canary_of(held).find(run.output.encode()) == set()
    wait_for(lambda: _says(federation, "replacing registry"), "istiod takes the new credential")
    load.wait()
    print(f"renewal under load: {load.codes}, slowest {load.slowest:.3f} s")
    assert set(load.codes) == {"200"}
    found = answers(federation, PRIMARY, f"http://{GREETER}/")
    assert served_by(found) == {PRIMARY, SERVED}


def _says(federation: Federation, words: str) -> bool:
    return words in federation.lab.kubectl(PRIMARY, "logs", "-n", "istio-system", "deploy/istiod", "--tail=-1")


def test_calls_go_on_without_the_control_plane(federation):
    load = {cluster: Burst(federation, cluster, f"http://{GREETER}:80/", 50, 45, "4") for cluster in (PRIMARY, SERVED)}
    federation.lab.kubectl(PRIMARY, "scale", "-n", "istio-system", "deployment/istiod", "--replicas=0")
    wait_for(lambda: not pods(federation, PRIMARY, "app=istiod"), "istiod is gone")
    started = time.monotonic()
    federation.lab.kubectl(SERVED, "rollout", "restart", "-n", "vault", "deployment/ledger-v1")
    time.sleep(10)  # that nothing happens can only be seen by looking for a while
    assert len(pods(federation, SERVED, "app=ledger", "vault")) == 1, "no pod is made without injection"
    federation.lab.kubectl(PRIMARY, "scale", "-n", "istio-system", "deployment/istiod", "--replicas=1")
    federation.lab.kubectl(
        SERVED, "rollout", "status", "-n", "vault", "deployment/ledger-v1", "--timeout=120s", timeout=130
    )
    print(f"new pods came {time.monotonic() - started:.1f} s after istiod was gone")
    for cluster, burst in load.items():
        burst.wait()
        print(f"{cluster} without istiod: {burst.codes}, slowest {burst.slowest:.3f} s")
        assert set(burst.codes) == {"200"}


# Leaving


def test_the_served_cluster_leaves_the_federation(federation):
    run = federation.play("remove", "-e", f'{{"remove_meshes": ["{PRIMARY}"]}}')
    assert run.returncode != 0
    assert "south-b would be left without the control plane that serves them" in said(run)
    federation.play("remove", "-e", f'{{"remove_meshes": ["{SERVED}"], "remove_control_plane": true}}').ok()
    assert SECRET not in federation.lab.kubectl(PRIMARY, "get", "secrets", "-n", "istio-system", "-o", "name")
    names = federation.lab.kubectl(
        SERVED, "get", "serviceaccounts,services", "-n", "istio-system", "-o", "name"
    ).split()
    assert names == ["serviceaccount/default"]
    namespace = federation.kubectl_json(SERVED, "get", "namespace", "istio-system")["metadata"]
    assert not [key for key in (*namespace["labels"], *namespace.get("annotations", {})) if "istio.io" in key]
    policies = federation.kubectl_json(PRIMARY, "get", "authorizationpolicies", "-A")["items"]
    assert {policy["metadata"]["name"] for policy in policies} == {"multimesh-greeter"}
