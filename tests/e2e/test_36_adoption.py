# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A mesh whose CA istiod has made for itself is led under the shared root while everything in it runs."""

from __future__ import annotations

import itertools

import pytest

from tests.e2e import scenario
from tests.e2e.load import Load
from tests.e2e.scenario import MESHES, NAMESPACE, NAMESPACES
from tests.e2e.support import AuditLog, cacerts, wait_for

pytestmark = pytest.mark.long

ADOPTED = "north"
ADOPT = ("adopt", "-e", f'{{"adopt_meshes": ["{ADOPTED}"]}}')


@pytest.fixture(scope="module", autouse=True)
def self_signed(federation):
    """The mesh as somebody has it who has never given Istio a CA."""
    federation.write_inventory(scenario.hosts())
    kubectl = federation.lab.kubectl
    secrets = ("cacerts", "multimesh-next-ca", "istio-ca-secret")
    kubectl(ADOPTED, "delete", "secret", "-n", "istio-system", "--ignore-not-found", *secrets)
    for namespace in (*NAMESPACES, "istio-system"):
        kubectl(ADOPTED, "delete", "configmap", "-n", namespace, "--ignore-not-found", "istio-ca-crl")
    for namespace, workloads in (("istio-system", ["deploy/istiod"]), ("istio-system", []), (NAMESPACE, [])):
        kubectl(ADOPTED, "rollout", "restart", "-n", namespace, *(workloads or ["deploy"]))
        for workload in workloads or kubectl(ADOPTED, "get", "deploy", "-n", namespace, "-o", "name").split():
            kubectl(ADOPTED, "rollout", "status", "-n", namespace, workload, "--timeout=180s")


def test_site_refuses_it_and_says_what_to_do(federation):
    run = federation.play("site")
    assert run.returncode != 0
    assert "north: istiod of this cluster has made a CA of its own" in run.output
    assert "multimesh.istio.adopt" in run.output


def test_another_trust_domain_is_refused(federation):
    hosts = scenario.hosts()
    hosts[ADOPTED]["mesh_trust_domain"] = "other.mesh"
    federation.write_inventory(hosts)
    audit = AuditLog(federation.lab.audit_log(ADOPTED))
    run = federation.play(*ADOPT)
    federation.write_inventory(scenario.hosts())
    assert run.returncode != 0
    assert "its identity is of trust domain north.mesh, expected other.mesh" in run.output
    assert [write for write in audit.writes() if "/portforward" not in write] == []


def test_it_is_adopted_while_everything_runs(federation):
    shared = cacerts(federation, "east").roots
    predicted = federation.play(*ADOPT, "--check").ok()
    with Load(federation, [(ADOPTED, ADOPTED), ("east", "west")], qps=60) as load:
        run = federation.play(*ADOPT).ok()
    print(f"{load.total} requests, failed: {load.failed or 'none'}", *load.failures, sep="\n")
    assert load.problems == []
    assert load.failed == {}
    assert load.total > 1000
    found = cacerts(federation, ADOPTED)
    assert found.roots == shared
    changed = {mesh: counts["changed"] for mesh, counts in run.recap.items()}
    assert {mesh: counts["changed"] for mesh, counts in predicted.recap.items()} == changed


def test_again_there_is_nothing_to_do(federation):
    again = federation.play(*ADOPT).ok()
    assert {mesh: counts["changed"] for mesh, counts in again.recap.items()} == dict.fromkeys(MESHES, 0)


def test_then_it_is_a_mesh_like_any_other(federation):
    federation.play("site").ok()
    for caller, callee in itertools.permutations(MESHES, 2):
        url = f"http://greeter.{NAMESPACE}.svc.{callee}.global/"
        wait_for(
            lambda caller=caller, url=url: federation.call(caller, NAMESPACE, "caller", url)[0] == 200,
            f"{caller} -> {callee}",
            120,
        )
    again = federation.play("site").ok()
    assert {mesh: counts["changed"] for mesh, counts in again.recap.items()} == dict.fromkeys(MESHES, 0)
