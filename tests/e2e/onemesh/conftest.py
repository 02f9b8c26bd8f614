# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A lab of its own: mesh ``south`` over two clusters whose pods reach each other, and mesh ``west`` beside it.

Every cluster runs ``greeter``; ``ledger`` and namespace vault are in the second one alone. The inventory is that of the
module, in its function ``hosts``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.canary import Watch
from tests.e2e.support import AuditLog, Federation, Run, wait_for
from tests.lab import manifests
from tests.lab.api import Lab

REUSE = os.environ.get("MULTIMESH_REUSE_LAB") == "1"

FIRST, SECOND, WEST = CLUSTERS = ("south-a", "south-b", "west")
NAMESPACES = {FIRST: ["demo"], SECOND: ["demo", "vault"], WEST: ["demo"]}
GREETER = "greeter.demo.svc.cluster.local"
PORTS = {"http": 80, "tcp": 9000}


def export(service: str, namespace: str = "demo", *consumers: Any) -> dict[str, Any]:
    return {"service": service, "namespace": namespace, "consumers": list(consumers) or ["all"]}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Three fresh clusters, each with a pod range of its own, because a route leads to one place."""
    lab = Lab(os.environ.get("MULTIMESH_LAB", "onemesh"))
    if not REUSE:
        lab.down()
    lab.up(list(CLUSTERS), pod_cidrs={SECOND: "10.245.0.0/24", WEST: "10.246.0.0/24"})
    yield lab
    if not REUSE:
        lab.down()


@pytest.fixture(scope="module")
def unfederated(request: pytest.FixtureRequest, lab: Lab) -> Federation:
    folder = Path(lab.place.published) / "e2e"
    if not REUSE:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    for cluster, names in NAMESPACES.items():
        lab.apply(cluster, [manifests.namespace(name, {"istio-injection": "enabled"}) for name in names])
        lab.apply(cluster, [manifests.namespace("outside")])
        _deploy(lab, cluster)
    federation = Federation(lab, folder)
    federation.write_inventory(request.module.hosts())
    return federation


@pytest.fixture(scope="module")
def first_check(unfederated: Federation) -> SimpleNamespace:
    """``site --check --diff`` on empty clusters: the run and the write requests it sent."""
    logs = {cluster: AuditLog(unfederated.lab.audit_log(cluster)) for cluster in CLUSTERS}
    run = unfederated.play("site", "--check", "--diff")
    return SimpleNamespace(run=run, writes={cluster: log.writes() for cluster, log in logs.items()})


@pytest.fixture(scope="module")
def first_run(unfederated: Federation, first_check: SimpleNamespace) -> SimpleNamespace:  # noqa: ARG001, for its order
    """The first real ``site``, watched for secrets; pods get their sidecars afterwards."""
    with Watch(unfederated.temporary) as watch:
        run = unfederated.play("site", "--diff", "-vvvv").ok()
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda cluster: restart(unfederated.lab, cluster), CLUSTERS))
    return SimpleNamespace(run=run, watch=watch)


@pytest.fixture(scope="module")
def federation(request: pytest.FixtureRequest, unfederated: Federation) -> Federation:
    if not REUSE:
        request.getfixturevalue("first_run")
    return unfederated


def _deploy(lab: Lab, cluster: str) -> None:
    """Services and callers, without sidecars as long as there is no control plane."""
    objects = manifests.app(cluster, "demo", "greeter", ports=PORTS)
    objects += (
        manifests.curl("demo", "caller") + manifests.curl("demo", "other") + manifests.curl("outside", "stranger")
    )
    objects += manifests.fortio("demo", "load")
    if cluster == SECOND:
        objects += manifests.app(cluster, "vault", "ledger", ports={"http": 80})
    lab.apply(cluster, objects)


def restart(lab: Lab, cluster: str) -> None:
    """Start all pods of a cluster anew, and wait until they are ready."""
    for namespace in NAMESPACES[cluster]:
        lab.kubectl(cluster, "rollout", "restart", "deployment", "-n", namespace)
    for namespace in NAMESPACES[cluster]:
        for name in lab.kubectl(cluster, "get", "deployments", "-n", namespace, "-o", "name").split():
            lab.kubectl(cluster, "rollout", "status", "-n", namespace, name, "--timeout=120s", timeout=130)


# What tests ask


def answers(federation: Federation, cluster: str, url: str, count: int = 12) -> list[dict[str, Any]]:
    """Answers to so many calls of the pod ``caller``; all of them have to come."""
    script = 'for n in $(seq "$1"); do curl -sS -m 5 -w "%{http_code}\\n" "$2"; done'  # an answer ends its line itself
    output = federation.lab.kubectl(
        cluster, "exec", "-n", "demo", "deploy/caller", "-c", "caller", "--", "sh", "-c", script, "sh", str(count), url
    ).splitlines()
    assert len(output) == 2 * count, output
    found = list(zip(output[::2], output[1::2], strict=True))
    assert [status for _body, status in found] == ["200"] * count, found
    return [json.loads(body) for body, _status in found]


def said(run: Run) -> str:
    """The output in one line: Ansible breaks messages."""
    return " ".join(run.output.split())


def served_by(found: list[dict[str, Any]]) -> set[str]:
    return {answer["mesh"] for answer in found}


def from_both(federation: Federation, cluster: str, host: str = GREETER) -> list[dict[str, Any]]:
    """Answers of a host, once both clusters of south give some."""

    def both() -> list[dict[str, Any]]:
        found = answers(federation, cluster, f"http://{host}/")
        assert served_by(found) == {FIRST, SECOND}
        return found

    return list(wait_for(both, f"{cluster} is answered by both clusters"))


def pods(federation: Federation, cluster: str, selector: str, namespace: str = "istio-system") -> list[str]:
    """Names of pods that are not about to end."""
    items = federation.kubectl_json(cluster, "get", "pods", "-n", namespace, "-l", selector)["items"]
    return sorted(item["metadata"]["name"] for item in items if not item["metadata"].get("deletionTimestamp"))
