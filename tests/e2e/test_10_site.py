# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The main job: check mode tells the truth, the meshes call each other, a second run does nothing."""

from __future__ import annotations

import itertools
import json
import re

import pytest

from tests.e2e.scenario import MESHES, NAMESPACE
from tests.e2e.support import AuditLog, wait_for

DIRECTIONS = list(itertools.permutations(MESHES, 2))
PLANNED = re.compile(r"^\+\+\+ after: (.+)$", re.MULTILINE)


def changed_tasks(output: str) -> list[tuple[str, str]]:
    """(task, host) of every task that reports a change, in order of host and task."""
    task = ""
    found = []
    for line in output.splitlines():
        if line.startswith("TASK ["):
            task = line[6 : line.rindex("]")]
        elif line.startswith("changed: ["):
            found.append((task, line[10 : line.index("]")]))
    return sorted(found)


def test_check_mode_on_empty_clusters_writes_nothing(first_check):
    assert first_check.run.ok().recap.keys() == set(MESHES)
    assert first_check.writes == {mesh: [] for mesh in MESHES}


def test_check_mode_announces_what_the_run_then_does(first_check, first_run):
    announced, done = changed_tasks(first_check.run.output), changed_tasks(first_run.run.output)
    assert announced == done
    assert len(done) >= 5 * len(MESHES)
    assert set(PLANNED.findall(first_check.run.output)) == set(PLANNED.findall(first_run.run.output))


@pytest.mark.parametrize(("caller", "callee"), DIRECTIONS)
def test_every_mesh_calls_every_other_with_its_own_identity(federation, caller, callee):
    host = f"greeter.{NAMESPACE}.svc.{callee}.global"

    def answer():
        status, body = federation.call(caller, NAMESPACE, "caller", f"http://{host}/hello")
        return json.loads(body) if status == 200 else None

    answer = wait_for(answer, f"{caller} calls {host}")
    assert answer["mesh"] == callee
    assert answer["host"] == host
    assert answer["caller"] == f"spiffe://{caller}.mesh/ns/{NAMESPACE}/sa/caller"


@pytest.mark.parametrize(("caller", "callee"), DIRECTIONS)
def test_tcp_and_grpc_cross_the_meshes(federation, caller, callee):
    host = f"greeter.{NAMESPACE}.svc.{callee}.global"

    def grpc_health():
        command = ["fortio", "grpcping", "-health", "-n", "3", f"{host}:8079"]
        return "SERVING" in federation.lab.kubectl(
            caller, "exec", "-n", NAMESPACE, "deploy/load", "-c", "load", "--", *command
        )

    def tcp_line():
        shell = f"echo hello | timeout 3 curl -s -m 2 telnet://{host}:9000 || true"
        return callee in federation.lab.kubectl(
            caller, "exec", "-n", NAMESPACE, "deploy/caller", "-c", "caller", "--", "sh", "-c", shell
        )

    wait_for(grpc_health, f"{caller} asks {callee} over gRPC")
    wait_for(tcp_line, f"{caller} talks to {callee} over TCP")


def test_meshes_share_pod_ranges_and_no_credentials(federation):
    ranges = set()
    for mesh in MESHES:
        pods = federation.kubectl_json(mesh, "get", "pods", "-n", NAMESPACE)["items"]
        ranges |= {pod["status"]["podIP"].rpartition(".")[0] for pod in pods}
        secrets = federation.kubectl_json(mesh, "get", "secrets", "-A")["items"]
        remote = [secret for secret in secrets if "istio/multiCluster" in secret["metadata"].get("labels", {})]
        assert remote == []
        assert not [secret for secret in secrets if "kubeconfig" in json.dumps(secret).lower()]
    assert len(ranges) == 1


def test_second_run_changes_nothing_and_writes_nothing(federation):
    logs = {mesh: AuditLog(federation.lab.audit_log(mesh)) for mesh in MESHES}
    run = federation.play("site").ok()
    assert {mesh: counts["changed"] for mesh, counts in run.recap.items()} == dict.fromkeys(MESHES, 0)
    for mesh, log in logs.items():
        events = list(log.events())
        assert events, "the audit log saw the run"
        print(f"{mesh}: {len(events)} requests, {len(log.writes())} writes")
        assert log.writes() == []
        # Helm keeps its records in Secrets and has to find them. Nobody looks for any others.
        listed = [
            event["requestURI"]
            for event in events
            if event["verb"] == "list" and event["objectRef"].get("resource") == "secrets"
        ]
        assert listed
        assert [uri for uri in listed if "labelSelector=owner%3Dhelm" not in uri] == []


def test_helm_runs_for_what_is_to_be_changed_and_for_nothing_else(federation):
    run = federation.play("site", "--check", "-e", "gateway_replicas=2", "-vv").ok()
    assert {mesh: counts["changed"] for mesh, counts in run.recap.items()} == dict.fromkeys(MESHES, 1)
    upgraded = [line for line in run.output.splitlines() if " upgrade -i " in line]
    assert upgraded
    assert all("istio-eastwestgateway" in line for line in upgraded)


def test_verify_says_every_edge_is_as_the_inventory_says(federation):
    run = federation.play("verify").ok()
    lines = re.findall(r"ok   (\w+) -> (\w+) ", run.output)
    assert set(lines) == set(DIRECTIONS)
    assert "FAIL" not in run.output
