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
import secrets
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.multimesh.istio.plugins.module_utils import rbac
from ansible_collections.multimesh.istio.plugins.module_utils.federation import compute
from ansible_collections.multimesh.istio.plugins.module_utils.federation.admissions import admissions
from ansible_collections.multimesh.istio.plugins.module_utils.kube import lease
from ansible_collections.multimesh.istio.plugins.module_utils.model.inventory import parse
from ansible_collections.multimesh.istio.plugins.module_utils.pki import ingress
from ansible_collections.multimesh.istio.plugins.module_utils.rbac import Names, Permission, Permissions

from tests.e2e.api.cluster import ApiCluster
from tests.e2e.support import CHECKOUT
from tests.lab import manifests
from tests.lab.api import Lab
from tests.lab.build import ensure_built
from tests.lab.errors import LabError
from tests.lab.kubeapi import ApiError

MESH = "east"
SET = "multimesh-federation"
LEASE = "multimesh-shared-root-ca"
PORTS = [{"number": 80, "name": "http", "protocol": "HTTP"}]
NAMES = Names()


def export(service: str, namespace: str, *consumers: Any, **more: Any) -> dict[str, Any]:
    return {
        "service": service,
        "namespace": namespace,
        "ports": PORTS,
        "service_accounts": [service],
        "consumers": list(consumers),
        **more,
    }


# By the name of its Service, which brings endpoints of other meshes into its namespace.
TAKEN_OVER = export("stock", "shop", "east", "west", host="stock.shop.svc.cluster.local")
EXPORTS = [
    export("reviews", "shop", "west", attributes={"tier": "gold"}),
    export("desk", "shop", "west", via="gateway"),
    export("ledger", "vault", "west", {"mesh": "north", "namespace": "shop"}),
    TAKEN_OVER,
    export("front", "shop", "west", via="ingress"),
]
EXTERNAL = {
    "hosts": ["api.example.com"],
    "ports": PORTS,
    "tls": {"mode": "simple", "credential": "api-ca"},
    "export_to": ["kiosk"],
}
LOOKING = {"exports": EXPORTS, "read_conflicts": True, "namespaces": ["shop"]}
"""What role federation asks mesh_info for."""
CALLERS = [{"mesh": MESH}, {"mesh": MESH, "namespace": "kiosk", "service_account": "till"}]
INVENTORY = parse(
    {
        "hosts": {
            MESH: {
                "groups": ["meshes"],
                "vars": {
                    "mesh_gateway_addresses": ["192.0.2.1"],
                    "mesh_exports": EXPORTS,
                    "mesh_external_services": [EXTERNAL],
                    "mesh_telemetry_attributes": ["tier"],
                },
            },
            "west": {
                "groups": ["meshes"],
                "vars": {
                    "mesh_gateway_addresses": ["192.0.2.2"],
                    "mesh_exports": [
                        export("carts", "shop", CALLERS[0]),
                        export("tills", "shop", CALLERS[1]),
                        TAKEN_OVER,
                    ],
                },
            },
            "north": {"groups": ["meshes"], "vars": {"mesh_gateway_addresses": ["192.0.2.3"]}},
        }
    },
    allow_unknown_addresses=True,
)
OBJECTS = compute.federation(INVENTORY, MESH)
CERTIFICATES = compute.ingress_certificates(INVENTORY, MESH)
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

    @contextlib.contextmanager
    def without(self, *missing: Permission) -> Iterator[None]:
        """Rights are taken away, at once, and given back at the end of the block."""
        namespaces = {permission.namespace for permission in missing}
        self._write(self.needs - set(missing), namespaces, missing, allowed=False)
        try:
            yield
        finally:
            self._write(self.needs, namespaces, missing, allowed=True)

    def _write(
        self, granted: Permissions, namespaces: Iterable[str], changed: Iterable[Permission], *, allowed: bool
    ) -> None:
        for namespace in namespaces:
            kind = "Role" if namespace else "ClusterRole"
            [role], [emptied] = (
                [
                    item
                    for item in rbac.manifests(self.part, some, NAMES)
                    if (item["kind"], item["metadata"].get("namespace", "")) == (kind, namespace)
                ]
                or [None]
                for some in (granted, self.needs)
            )
            self.cluster.lab.apply(MESH, [role or {**emptied, "rules": []}])
        for permission in changed:
            self._wait_until(permission, allowed=allowed)

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
    if missing.verb == "create" and missing.resource == "pods/portforward":
        # here the API server does not say which right it was
        assert f"{MESH}: create portforward of Pod" in failed[0]
        return
    assert f'cannot {missing.verb} resource "{missing.resource}"' in failed[0]
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


def verbs(requests: Iterable[str], resource: str) -> set[str]:
    """What was asked of a resource, of requests as ``verb uri``."""
    return {request.partition(" ")[0] for request in requests if f"/{resource}" in request}


# Federation


def reset(cluster: ApiCluster) -> None:
    result = cluster.module("applyset", name=SET, state="absent")
    assert "msg" not in result, result["msg"]


def hold(cluster: ApiCluster) -> None:
    result = cluster.module("applyset", name=SET, objects=OBJECTS)
    assert "msg" not in result, result["msg"]


def test_federation_is_green(cluster: ApiCluster, federation: Account) -> None:
    reset(cluster)
    audit = cluster.audit()
    facts = federation.module("mesh_info", **LOOKING)["mesh"]
    assert [service["name"] for service in facts["services"]] == ["desk", "front", "reviews", "stock", "ledger"]
    assert facts["foreign"] == {
        "take_over": False,
        "services": {"shop": ["desk", "front", "reviews", "stock"]},
        "objects": [],
    }
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
    requests = audit.requests()
    assert verbs(requests, "secrets") == set()
    assert verbs(requests, "gateways") == {"list", "patch", "delete"}


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
    with federation.without(missing):
        if missing.verb in ("list", "get"):
            results = [
                federation.module("mesh_info", **LOOKING),
                federation.module("applyset", name=SET, objects=OBJECTS, check=True, diff=True),
            ]
        elif missing.verb == "delete":
            results = [federation.module("applyset", name=SET, state="absent")]
        else:
            results = [federation.module("applyset", name=SET, objects=OBJECTS)]
    names(missing, results)
    if adopts:
        hold(cluster)  # so that the next one can remove them


# CA


class Ca:
    """The account of the CA, and a root that is kept in a directory."""

    def __init__(self, cluster: ApiCluster, folder: Path) -> None:
        self.cluster = cluster
        self.account = Account(cluster, folder, "ca")
        self._folder = folder / "root"
        self._passphrase = secrets.token_hex()

    def reset(self) -> None:
        """As before the first run, though the root is there."""
        for name in ("cacerts", "multimesh-next-ca"):
            remove(self.cluster, f"/api/v1/namespaces/istio-system/secrets/{name}")
        for certificate in CERTIFICATES:
            remove(self.cluster, f"/api/v1/namespaces/{certificate['namespace']}/secrets/{certificate['secret']}")
        remove(self.cluster, f"/api/v1/namespaces/istio-system/configmaps/{ingress.RECORD}")
        remove(self.cluster, f"/apis/coordination.k8s.io/v1/namespaces/istio-system/leases/{LEASE}")

    def module(self, step: str, **options: Any) -> dict[str, Any]:
        root = {"custody": "file", "root_directory": str(self._folder), "passphrase": self._passphrase}
        given = {**root, "trust_domain": "east.mesh", "run": "the test", **options}
        return self.account.module("shared_root_ca", step=step, **given)

    def deed(self, **options: Any) -> list[dict[str, Any]]:
        """What the role does in a mesh without a CA. The successor of a CA is kept in the same way as the first one."""
        return [self.account.module("mesh_info", read_ca=True), self.module("issue", **options), self.module("release")]

    def certify(self) -> list[dict[str, Any]]:
        """What the role does for Ingresses, when there are some and when there are none any more."""
        return [
            self.account.module("ingress_certificates", certificates=wanted, run="the test", diff=True)
            for wanted in (CERTIFICATES, [])
        ]


def remove(cluster: ApiCluster, path: str) -> None:
    try:
        cluster.lab.cluster(MESH).api().request("DELETE", path)
    except ApiError as error:
        if error.status != 404:
            raise


@pytest.fixture(scope="module")
def ca(cluster: ApiCluster, folder: Path) -> Ca:
    return Ca(cluster, folder)


def well(results: list[dict[str, Any]]) -> None:
    assert [result["msg"] for result in results if result.get("failed")] == []


def test_ca_is_green(cluster: ApiCluster, ca: Ca) -> None:
    ca.reset()
    audit = cluster.audit()
    well(ca.deed())
    assert not ca.module("issue")["changed"]
    assert verbs(audit.requests(), "secrets") == {"get", "patch"}
    certified = ca.certify()
    well(certified)
    assert [[one["action"] for one in result["certificates"]] for result in certified] == [["issued"], ["deleted"]]
    assert verbs(audit.requests(), "secrets") == {"get", "patch", "delete"}


@one_by_one("ca")
def test_ca_needs_each_right(ca: Ca, missing: Permission) -> None:
    ca.reset()
    with ca.account.without(missing):
        results = [*ca.deed(), *ca.certify()]
    names(missing, results)


def test_secrets_are_created_by_name_only(cluster: ApiCluster, ca: Ca) -> None:
    ca.reset()
    for name in ("cacerts", "other"):
        with pytest.raises(LabError, match='cannot create resource "secrets"'):
            cluster.kubectl(
                f"--kubeconfig={ca.account.kubeconfig}", "-n", "istio-system", "create", "secret", "generic", name
            )
    other = '{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "other", "namespace": "istio-system"}}'
    with pytest.raises(LabError, match='cannot patch resource "secrets"'):
        cluster.kubectl(f"--kubeconfig={ca.account.kubeconfig}", "apply", "--server-side", "-f", "-", stdin=other)


def test_without_any_right_to_create_when_everything_is_there_empty(cluster: ApiCluster, ca: Ca) -> None:
    """The way that docs/rights.md names."""
    ca.reset()
    page = (CHECKOUT / "docs/rights.md").read_text().partition("## Creating Secrets")[2]
    for name in ("cacerts", "multimesh-next-ca"):
        assert name in page
        cluster.kubectl("-n", "istio-system", "create", "secret", "generic", name)
    manifest = page.partition("```yaml\n")[2].partition("```")[0]
    cluster.kubectl("create", "-f", "-", stdin=manifest)
    with ca.account.without(*(permission for permission in ca.account.needs if permission.verb == "create")):
        well(ca.deed())


# The root in a management cluster, which is the same one here


@pytest.fixture(scope="module")
def custody(cluster: ApiCluster, folder: Path) -> Account:
    return Account(cluster, folder, "custody")


def keep_in_cluster(ca: Ca, custody: Account) -> list[dict[str, Any]]:
    ca.reset()
    options = {"custody": "secret", "root_kubeconfig": str(custody.kubeconfig), "root_directory": None}
    return [ca.module("issue", **options), ca.module("release", **options)]


def forget_root(cluster: ApiCluster) -> None:
    home = f"/api/v1/namespaces/{NAMES.root_namespace}"
    remove(cluster, f"{home}/secrets/{NAMES.root_secret}")
    remove(cluster, f"{home}/configmaps/{NAMES.root_secret}-ledger-0001")


def test_custody_is_green(cluster: ApiCluster, ca: Ca, custody: Account) -> None:
    forget_root(cluster)
    audit = cluster.audit()
    well(keep_in_cluster(ca, custody))
    assert verbs(audit.requests(), "secrets") == {"get", "patch"}


@one_by_one("custody")
def test_custody_needs_each_right(cluster: ApiCluster, ca: Ca, custody: Account, missing: Permission) -> None:
    forget_root(cluster)
    with custody.without(missing):
        results = keep_in_cluster(ca, custody)
    names(missing, results)


# DNS


@pytest.fixture(scope="module")
def dns(cluster: ApiCluster, folder: Path) -> Account:
    metadata = {"name": NAMES.dns_config_map, "namespace": NAMES.dns_namespace}
    data = {"Corefile": ".:53 {\n    reload\n}\n"}
    cluster.lab.apply(MESH, [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}])
    return Account(cluster, folder, "dns")


def make_names_known(cluster: ApiCluster, dns: Account) -> list[dict[str, Any]]:
    well([cluster.module("coredns_hosts", state="absent")])
    hosts = {name: [address] for name, address in INVENTORY.clusters[MESH].addresses.items()}
    return [dns.module("mesh_info", exports=EXPORTS), dns.module("coredns_hosts", hosts=hosts)]


def test_dns_is_green(cluster: ApiCluster, dns: Account) -> None:
    audit = cluster.audit()
    results = make_names_known(cluster, dns)
    well(results)
    assert results[1]["changed"]
    assert verbs(audit.requests(), "secrets") == set()


@one_by_one("dns")
def test_dns_needs_each_right(cluster: ApiCluster, dns: Account, missing: Permission) -> None:
    with dns.without(missing):
        results = make_names_known(cluster, dns)
    names(missing, results)


# Rotation


@pytest.fixture(scope="module")
def rotation(cluster: ApiCluster, folder: Path, ca: Ca) -> Account:
    """A replica of istiod that does not run, and a Secret that it should have."""
    ca.reset()
    well(ca.deed())
    container = {"name": "discovery", "image": "pilot:none"}
    metadata = {"name": "istiod", "namespace": "istio-system", "labels": {"app": "istiod"}}
    cluster.lab.apply(MESH, [account("istio-system", "replica"), pod(metadata, container, "replica")])
    return Account(cluster, folder, "rotation")


def account(namespace: str, name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}


def pod(metadata: dict[str, Any], container: dict[str, Any], service_account: str) -> dict[str, Any]:
    spec = {"containers": [container], "serviceAccountName": service_account}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def roll_out(rotation: Account) -> dict[str, Any]:
    return rotation.module("trust_rollout", issuer="00" * 20, hurry=True, timeout=0)


def test_rotation_is_refused_nothing(rotation: Account) -> None:
    result = roll_out(rotation)
    assert "HTTP 403" not in result["msg"]
    assert result["changed"]  # the annotation


@one_by_one("rotation")
def test_rotation_needs_each_right(cluster: ApiCluster, rotation: Account, missing: Permission) -> None:
    cluster.kubectl("annotate", "pod", "-n", "istio-system", "istiod", "multimesh.istio/cacerts-")
    with rotation.without(missing):
        names(missing, [roll_out(rotation)])


# Adoption


ISTIOD = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "istiod", "namespace": "istio-system", "labels": {"app": "istiod"}},
    "spec": {
        "selector": {"matchLabels": {"app": "istiod"}},
        "template": {
            "metadata": {"labels": {"app": "istiod"}},
            "spec": {"containers": [{"name": "discovery", "image": "pilot:none"}]},
        },
    },
}


@pytest.fixture
def adoption(cluster: ApiCluster, folder: Path, ca: Ca) -> Iterator[Account]:  # noqa: ARG001, which may list them
    cluster.lab.apply(MESH, [ISTIOD])
    yield Account(cluster, folder, "adoption")
    cluster.kubectl("delete", "deployment", "-n", "istio-system", "istiod")


def restart(adoption: Account, value: str) -> subprocess.CompletedProcess[str]:
    """What tasks/restarted.yml does, but for waiting: here nothing would come of it."""
    annotations = {"multimesh.istio/plugged-in": value}
    where = {"kubeconfig": str(adoption.kubeconfig), "api_version": "apps/v1", "kind": "Deployment"}
    patch = {"name": "istiod", "namespace": "istio-system", "state": "patched"}
    definition = {"spec": {"template": {"metadata": {"annotations": annotations}}}}
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": sys.executable},
        "tasks": [
            {"kubernetes.core.k8s_info": {**where, "namespace": "istio-system", "label_selectors": ["app=istiod"]}},
            {"kubernetes.core.k8s": {**where, **patch, "definition": definition}},
        ],
    }
    playbook = adoption.kubeconfig.with_suffix(".yml")
    playbook.write_text(yaml.safe_dump([play]))
    return subprocess.run(["ansible-playbook", str(playbook)], capture_output=True, text=True, check=False)


def test_adoption_is_refused_nothing(adoption: Account) -> None:
    done = restart(adoption, "first")
    assert done.returncode == 0, done.stdout
    assert "changed=1" in done.stdout


@one_by_one("adoption")
def test_adoption_needs_each_right(adoption: Account, missing: Permission) -> None:
    with adoption.without(missing):
        done = restart(adoption, f"without {missing.verb}")
    assert done.returncode != 0, done.stdout
    assert f"cannot {missing.verb} resource" in done.stdout.replace("\\", "")


# Verify


@pytest.fixture(scope="module")
def verify(cluster: ApiCluster, folder: Path) -> Account:
    cluster.lab.apply(MESH, [account(NAMES.verify_namespace, "default"), account("kiosk", "till")])
    return Account(cluster, folder, "verify")


def call_everything(verify: Account) -> list[dict[str, Any]]:
    """No pod runs here, so the last thing that is said is that they did not start."""
    edges = compute.edges(INVENTORY, MESH)
    inspected = verify.module("mesh_info", exports=EXPORTS)
    return [inspected] if inspected.get("failed") else [verify.module("connectivity_test", edges=edges, timeout=1)]


def test_verify_is_refused_nothing(cluster: ApiCluster, verify: Account) -> None:
    audit = cluster.audit()
    [result] = call_everything(verify)
    assert "did not start" in result["msg"]
    assert cluster.names("pods", "kiosk") == cluster.names("pods", NAMES.verify_namespace) == []
    assert verbs(audit.requests(), "secrets") == set()


@one_by_one("verify")
def test_verify_needs_each_right(verify: Account, missing: Permission) -> None:
    with verify.without(missing):
        names(missing, call_everything(verify))


# Audit


@pytest.fixture(scope="module")
def audit(cluster: ApiCluster, folder: Path) -> Account:
    hold(cluster)
    return Account(cluster, folder, "audit")


def audit_everything(audit: Account) -> list[dict[str, Any]]:
    inspected = audit.module("mesh_info", exports=EXPORTS)
    if inspected.get("failed"):
        return [inspected]
    return [audit.module("policy_audit", objects=OBJECTS, admissions=admissions(INVENTORY, MESH))]


def test_audit_is_green_and_writes_nothing(cluster: ApiCluster, audit: Account) -> None:
    requests = cluster.audit()
    [result] = audit_everything(audit)
    # No control plane runs here that would admit anybody.
    assert {difference["kind"] for difference in result["differences"]} == {"refused"}
    assert requests.writes() == []
    assert verbs(requests.requests(), "secrets") == set()


@one_by_one("audit")
def test_audit_needs_each_right(audit: Account, missing: Permission) -> None:
    with audit.without(missing):
        names(missing, audit_everything(audit))


# The Lease


def test_a_lease_on_a_real_server(cluster: ApiCluster) -> None:
    """Dry runs tell the server's time, and the resourceVersion decides: what fakes only claim."""
    client, now = cluster.client(), datetime.now(UTC)
    name, minutes = LEASE, timedelta(minutes=5)

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


# Control plane


def test_control_plane_is_green(cluster: ApiCluster, folder: Path) -> None:
    """Helm with Istio's charts: not the fewest rights, but enough of them."""
    helmsman = Account(cluster, folder, "control-plane")
    artifacts = ensure_built()

    def helm(action: str, *arguments: str) -> None:
        reach = [f"--kubeconfig={helmsman.kubeconfig}", "--namespace=istio-system"]
        command = [str(artifacts.bin["helm"]), action, *reach, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def install(release: str, chart: str, *options: str) -> None:
        helm("upgrade", "--install", "--disable-openapi-validation", release, str(artifacts.charts / chart), *options)

    peer = {"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "spec": {"mtls": {"mode": "STRICT"}}}
    peer["metadata"] = {"name": "default", "namespace": "istio-system"}
    name = "multimesh-control-plane"
    # Before istiod is there: its webhook would be asked, and nothing runs here.
    well(
        [
            helmsman.module("mesh_info", read_ca=True),
            helmsman.module("applyset", name=name, objects=[peer], diff=True),
            helmsman.module("applyset", name=name, state="absent"),
        ]
    )
    # The definitions are there already, so that they are changed too.
    install("istio-base", "base", "--take-ownership")
    install("istiod", "istiod")
    install("istiod", "istiod", "--set=autoscaleMin=2")
    install("istio-eastwestgateway", "gateway")
    helm("uninstall", "istio-eastwestgateway", "istiod", "istio-base")


def test_nobody_has_listed_secrets(cluster: ApiCluster) -> None:
    """In all the tests above, none of the collection's own requests did, whoever made it."""
    with Path(cluster.lab.audit_log(MESH)).open() as log:
        events = [json.loads(line) for line in log]
    ours = [event for event in events if event.get("userAgent") == "multimesh.istio" and "objectRef" in event]
    assert len(ours) > 500
    verbs = {event["verb"] for event in ours if event["objectRef"].get("resource") == "secrets"}
    assert verbs == {"get", "patch", "delete"}, "the last is for certificates of Ingresses"
