# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each part works with exactly the rights that are documented, and each right is needed: without it a failure names it.

On an API server without a node, as the ServiceAccount of each part. What takes running pods is shown elsewhere; here
pods are only written, and a request that got past authorization is told from one that did not.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.multimesh.istio.plugins.module_utils import rbac
from ansible_collections.multimesh.istio.plugins.module_utils.federation import compute
from ansible_collections.multimesh.istio.plugins.module_utils.kube import lease
from ansible_collections.multimesh.istio.plugins.module_utils.model.inventory import parse
from ansible_collections.multimesh.istio.plugins.module_utils.rbac import Names, Permission, Permissions

from tests.e2e.api.cluster import ApiCluster
from tests.lab import manifests
from tests.lab.api import Lab

MESH = "east"
SET = "multimesh-federation"
PORTS = [{"number": 80, "name": "http", "protocol": "HTTP"}]
NAMES = Names()


def export(service: str, namespace: str, *consumers: Any) -> dict[str, Any]:
    return {
        "service": service,
        "namespace": namespace,
        "ports": PORTS,
        "service_accounts": [service],
        "consumers": list(consumers),
    }


EXPORTS = [export("reviews", "shop", "west"), export("ledger", "vault", "west")]
CALLERS = [{"mesh": MESH}, {"mesh": MESH, "namespace": "kiosk", "service_account": "till"}]
INVENTORY = parse(
    {
        "hosts": {
            MESH: {
                "groups": ["meshes"],
                "vars": {"mesh_gateway_addresses": ["192.0.2.1"], "mesh_exports": EXPORTS},
            },
            "west": {
                "groups": ["meshes"],
                "vars": {
                    "mesh_gateway_addresses": ["192.0.2.2"],
                    "mesh_exports": [export("carts", "shop", CALLERS[0]), export("tills", "shop", CALLERS[1])],
                },
            },
        }
    }
)
OBJECTS = compute.federation(INVENTORY, MESH)
NAMESPACES = ("istio-system", "shop", "vault", "kiosk", NAMES.verify_namespace, NAMES.root_namespace)


def needs(part: str) -> list[Permission]:
    return sorted(rbac.permissions(INVENTORY, MESH, part, NAMES))


def one_by_one(part: str) -> Any:
    return pytest.mark.parametrize(
        "missing",
        needs(part),
        ids=lambda missing: "-".join(filter(None, (missing.namespace, missing.resource, missing.verb, missing.name))),
    )


class Account:
    """The ServiceAccount of one part, with the rights that rbac gives it."""

    def __init__(self, cluster: ApiCluster, folder: Path, part: str) -> None:
        self.cluster = cluster
        self.part = part
        self.needs: Permissions = frozenset(needs(part))
        self._api = cluster.lab.cluster(MESH).api()
        objects = rbac.manifests(part, self.needs, NAMES)
        cluster.lab.apply(MESH, objects)
        subject = next(item["subjects"][0] for item in objects if "subjects" in item)
        self.user = f"system:serviceaccount:{subject['namespace']}:{subject['name']}"
        token = cluster.kubectl("create", "token", "-n", subject["namespace"], subject["name"]).strip()
        config = yaml.safe_load(cluster.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": token}
        self.kubeconfig = folder / f"{part}.kubeconfig"
        self.kubeconfig.touch(0o600)
        self.kubeconfig.write_text(yaml.safe_dump(config))
        for permission in self.needs:
            self._wait_until(permission, allowed=True)

    def module(self, module: str, **options: Any) -> dict[str, Any]:
        """The result of a module that reaches the cluster with this account's token."""
        return self.cluster.module(module, mesh=MESH, kubeconfig=str(self.kubeconfig), **options)

    def lose(self, missing: Permission) -> Callable[[], None]:
        """Take one right away, at once; what is returned gives it back."""
        self._write(self.needs - {missing}, missing.namespace)
        self._wait_until(missing, allowed=False)

        def give_back() -> None:
            self._write(self.needs, missing.namespace)
            self._wait_until(missing, allowed=True)

        return give_back

    def _write(self, granted: Permissions, namespace: str) -> None:
        kind = "Role" if namespace else "ClusterRole"
        roles = [item for item in rbac.manifests(self.part, granted, NAMES) if item["kind"] == kind]
        mine = [item for item in roles if item["metadata"].get("namespace", "") == namespace]
        [role] = mine or [
            {**item, "rules": []}
            for item in rbac.manifests(self.part, self.needs, NAMES)
            if item["kind"] == kind and item["metadata"].get("namespace", "") == namespace
        ]
        self.cluster.lab.apply(MESH, [role])

    def _wait_until(self, permission: Permission, *, allowed: bool) -> None:
        resource, _slash, subresource = permission.resource.partition("/")
        attributes = {
            "namespace": permission.namespace,
            "group": permission.group,
            "resource": resource,
            "subresource": subresource,
            "verb": permission.verb,
            "name": permission.name,
        }
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": self.user, "resourceAttributes": attributes},
        }
        end = time.monotonic() + 30
        while True:
            answer = self._api.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
            if answer["status"]["allowed"] is allowed:
                return
            assert time.monotonic() < end, f"{permission}: still not {allowed}"
            time.sleep(0.01)


def names(missing: Permission, results: list[dict[str, Any]]) -> None:
    """The first failure says in which mesh which right is missing."""
    failed = [result["msg"] for result in results if result.get("failed")]
    assert failed, f"nothing failed without {missing}"
    assert MESH in failed[0]
    assert "HTTP 403" in failed[0]
    resource, _slash, subresource = missing.resource.partition("/")
    what = f'cannot {missing.verb} resource "{resource}{"/" + subresource if subresource else ""}"'
    assert what in failed[0]
    if missing.namespace:
        assert f'in the namespace "{missing.namespace}"' in failed[0]
    if missing.name and missing.verb != "list":
        assert missing.name in failed[0]


@pytest.fixture(scope="module")
def cluster() -> Iterator[ApiCluster]:
    lab = Lab(os.environ.get("MULTIMESH_RIGHTS_LAB", "rights"))
    if os.environ.get("MULTIMESH_REUSE_LAB") != "1":
        lab.down()
        lab.up([MESH], api_only=True)
        lab.install_istio_definitions(MESH)
    lab.apply(MESH, [manifests.namespace(name) for name in NAMESPACES])
    found = ApiCluster(lab, MESH)
    service = {"spec": {"ports": [{"port": 80, "name": "http"}], "selector": {"app": "any"}}}
    for entry in EXPORTS:
        metadata = {"name": entry["service"], "namespace": entry["namespace"]}
        lab.apply(MESH, [{"apiVersion": "v1", "kind": "Service", "metadata": metadata, **service}])
    yield found
    if os.environ.get("MULTIMESH_REUSE_LAB") != "1":
        lab.down()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("accounts")


@pytest.fixture(scope="module")
def federation(cluster: ApiCluster, folder: Path) -> Account:
    return Account(cluster, folder, "federation")


def asked(cluster: ApiCluster, user: str) -> set[tuple[str, str, str]]:
    """Verb, resource and namespace of everything that a user asked for since the lab is up."""
    found = set()
    with Path(cluster.lab.audit_log(MESH)).open() as log:
        for line in log:
            event = json.loads(line)
            if event["user"]["username"] == user and "objectRef" in event:
                reference = event["objectRef"]
                resource = "/".join(filter(None, (reference["resource"], reference.get("subresource", ""))))
                found.add((event["verb"], resource, reference.get("namespace", "")))
    return found


# Federation


def reset(cluster: ApiCluster) -> None:
    result = cluster.module("applyset", name=SET, state="absent")
    assert "msg" not in result, result["msg"]


def hold(cluster: ApiCluster) -> None:
    result = cluster.module("applyset", name=SET, objects=OBJECTS)
    assert "msg" not in result, result["msg"]


def test_federation_is_green(cluster: ApiCluster, federation: Account) -> None:
    reset(cluster)
    facts = federation.module("mesh_info", exports=EXPORTS)["mesh"]
    assert [service["name"] for service in facts["services"]] == ["reviews", "ledger"]
    planned = federation.module("applyset", name=SET, objects=OBJECTS, check=True, diff=True)
    first = federation.module("applyset", name=SET, objects=OBJECTS, diff=True)
    assert first["plan"] == planned["plan"]
    assert len(first["plan"]["create"]) == len(OBJECTS) + 1
    assert not federation.module("applyset", name=SET, objects=OBJECTS)["changed"]
    changed = federation.module("applyset", name=SET, objects=OBJECTS[1:], diff=True)
    assert len(changed["plan"]["delete"]) == 1
    cluster.lab.apply(MESH, OBJECTS[:1])
    adopted = federation.module("applyset", name=SET, objects=OBJECTS, diff=True, force_conflicts=True)
    assert len(adopted["plan"]["change"]) >= 1
    removed = federation.module("applyset", name=SET, state="absent", diff=True)
    assert len(removed["plan"]["delete"]) == len(OBJECTS) + 1
    assert "secrets" not in {resource for _verb, resource, _namespace in asked(cluster, federation.user)}


@one_by_one("federation")
def test_federation_needs_each_right(cluster: ApiCluster, federation: Account, missing: Permission) -> None:
    """list and get: nothing is written. create and patch: on an empty cluster. delete: of all there is."""
    adopts = missing.verb == "get" and missing.group
    if missing.verb == "delete":
        hold(cluster)
    elif adopts or missing.verb in ("create", "patch"):
        reset(cluster)
    if adopts:
        cluster.lab.apply(MESH, OBJECTS)  # somebody else's, which a diff shows before they are taken over
    give_back = federation.lose(missing)
    try:
        if missing.verb in ("list", "get"):
            results = [
                federation.module("mesh_info", exports=EXPORTS),
                federation.module("applyset", name=SET, objects=OBJECTS, check=True, diff=True),
            ]
        elif missing.verb == "delete":
            results = [federation.module("applyset", name=SET, state="absent")]
        else:
            results = [federation.module("applyset", name=SET, objects=OBJECTS)]
    finally:
        give_back()
    names(missing, results)
    if adopts:
        hold(cluster)  # so that the next one can remove them


# The Lease


def test_a_lease_on_a_real_server(cluster: ApiCluster) -> None:
    """Dry runs tell the server's time, and the resourceVersion decides: what fakes only claim."""
    client, now = cluster.client(), datetime.now(UTC)
    name, minutes = "multimesh-shared-root-ca", timedelta(minutes=5)

    def acquire(holder: str, duration: timedelta = minutes, **options: Any) -> str | None:
        # a clock that is a year wrong
        return lease.acquire(client, name, holder, duration, now + timedelta(days=365), **options)

    cluster.kubectl("delete", "lease", "-n", "istio-system", name, "--ignore-not-found")
    assert acquire("run A") is None
    with pytest.raises(lease.LeaseHeldError, match="run A"):
        acquire("run B")
    lease.release(client, name, "run B")
    assert acquire("run A", timedelta(seconds=1)) is None
    taken_from = None
    while taken_from is None:
        with contextlib.suppress(lease.LeaseHeldError):
            taken_from = acquire("run B")
    assert taken_from == "run A"
    lease.release(client, name, "run B")
    freeze = '{"spec": {"holderIdentity": "change freeze, ask Alice", "leaseDurationSeconds": 604800}}'
    cluster.kubectl("patch", "lease", "-n", "istio-system", name, "--type=merge", "-p", freeze)
    with pytest.raises(lease.LeaseHeldError, match=r"change freeze, ask Alice, since .*, until 20") as caught:
        acquire("run C")
    days_left = (datetime.fromisoformat(re.search(r"until (\S+)", str(caught.value))[1]) - now).days
    assert days_left in (6, 7)
    assert acquire("run C", break_held=True) == "change freeze, ask Alice"
    lease.release(client, name, "run C")
    held = cluster.get("lease", "istio-system", name)
    assert held["spec"]["holderIdentity"] == ""
    assert held["spec"]["leaseTransitions"] == 2


def test_of_runs_that_find_no_lease_one_wins(cluster: ApiCluster) -> None:
    now, name = datetime.now(UTC), "multimesh-race"
    clients = [cluster.client() for _number in range(6)]

    def compete(number: int) -> str:
        try:
            lease.acquire(clients[number], name, f"run {number}", timedelta(minutes=5), now)
        except lease.LeaseHeldError as error:
            return error.holder
        return f"run {number}"

    for _round in range(5):
        cluster.kubectl("delete", "lease", "-n", "istio-system", name, "--ignore-not-found")
        with ThreadPoolExecutor(len(clients)) as pool:
            winners = set(pool.map(compete, range(len(clients))))
        assert len(winners) == 1
        assert winners == {cluster.get("lease", "istio-system", name)["spec"]["holderIdentity"]}
