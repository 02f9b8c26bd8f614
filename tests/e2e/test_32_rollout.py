# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every replica of istiod and every proxy holds is known, and who stays behind."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import create_root, issue_intermediate
from ansible_collections.multimesh.istio.plugins.module_utils.pki.bundle import build
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import fingerprint
from cryptography import x509

from tests.e2e.api.cluster import ApiCluster
from tests.e2e.support import Federation, wait_for

MESH = "east"
NAMESPACE = "istio-system"
ROOT = "root-cert.pem"
SECONDS = 120


MANAGER = "multimesh.istio"


@pytest.fixture(scope="module")
def mesh(federation: Federation) -> SimpleNamespace:
    """One mesh, what its Secret cacerts holds, and the identifiers of its root and of its CA."""
    data = federation.kubectl_json(MESH, "get", "secret", "-n", NAMESPACE, "cacerts")["data"]
    files = {name: base64.b64decode(content) for name, content in data.items()}
    ca = x509.load_pem_x509_certificate(files["ca-cert.pem"])
    key_id = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
    root = fingerprint(x509.load_pem_x509_certificate(files[ROOT]))
    return SimpleNamespace(cluster=ApiCluster(federation.lab, MESH), files=files, root=root, ca=key_id)


@pytest.fixture
def cacerts(mesh: SimpleNamespace) -> Iterator[Any]:
    """Writes other files to the Secret; at the end everybody holds again what they held."""

    def write(**changed: bytes) -> None:
        files = {**mesh.files, **{name.replace("_", "-") + ".pem": content for name, content in changed.items()}}
        data = {name: base64.b64encode(content).decode() for name, content in files.items()}
        metadata = {"name": "cacerts", "namespace": NAMESPACE, "labels": {"app.kubernetes.io/managed-by": MANAGER}}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}
        # as the manager that the collection is; it takes over from no other
        apply = ["apply", "--server-side", f"--field-manager={MANAGER}", "-f", "-"]
        mesh.cluster.kubectl(*apply, stdin=json.dumps(body))

    yield write
    write()
    back = mesh.cluster.module("trust_rollout", roots=[mesh.root], issuer=mesh.ca, hurry=True, timeout=SECONDS)
    assert back["ready"], back.get("msg")


def serials(entries: list[dict[str, Any]]) -> dict[str, str]:
    return {entry["name"]: entry["serial"] for entry in entries}


def test_everybody_holds_the_root(mesh):
    audit = mesh.cluster.audit()
    found = mesh.cluster.module("trust_rollout", roots=[mesh.root], only_roots=True, issuer=mesh.ca, timeout=SECONDS)
    assert found["ready"], found["msg"]
    assert found["changed"] is False
    assert found["counts"]["replicas"]["ready"] == len(found["replicas"]) >= 1
    kinds = {entry["name"].split("-")[0]: entry["kind"] for entry in found["proxies"]}
    assert (kinds["greeter"], kinds["caller"], kinds["istio"]) == ("sidecar", "sidecar", "gateway")
    for entry in found["proxies"]:
        assert entry["roots"] in ([mesh.root], []), entry
    for entry in found["proxies"] + found["replicas"]:
        assert entry["issuer"] in (mesh.ca, None), entry
    assert "PRIVATE" not in json.dumps(found)
    assert all("/portforward" in write for write in audit.writes())


def test_who_is_behind_is_named(mesh):
    found = mesh.cluster.module("trust_rollout", roots=[mesh.root, "0" * 64], timeout=1)
    assert found["failed"] is True
    assert found["msg"].startswith(f"{MESH}: not everybody holds what is wanted")
    assert "sidecar demo/greeter-" in found["msg"]
    assert "it does not trust root 000000000000" in found["msg"]
    look = mesh.cluster.module("trust_rollout", issuer="00", check=True)
    assert (look["ready"], "failed" in look) == (False, False)
    assert all(f"signed by CA {mesh.ca[:12]}, not by 00" in entry["reason"] for entry in look["replicas"])


def test_a_new_bundle_is_seen_everywhere(mesh, cacerts):
    before = mesh.cluster.module("trust_rollout", roots=[mesh.root], timeout=SECONDS)
    other = create_root(timedelta(days=30), "ecdsa-p256", datetime.now(UTC))
    known = fingerprint(other.certificate)
    bundle = mesh.files[ROOT] + build(other, other.certificate)[ROOT]
    cacerts(root_cert=bundle)
    after = mesh.cluster.module("trust_rollout", roots=[mesh.root, known], hurry=True, timeout=SECONDS)
    assert after["ready"], after["msg"]
    assert after["changed"] is bool(after["hurried"])
    for entry in after["proxies"]:
        assert entry["roots"] in (sorted([mesh.root, known]), [])
    for name, serial in serials(after["replicas"]).items():
        assert serial != serials(before["replicas"])[name], (
            "istiod makes itself a certificate for every bundle it takes"
        )
    late = mesh.cluster.module("trust_rollout", roots=[mesh.root], only_roots=True, timeout=1)
    assert f"it still trusts root {known[:12]}" in late["msg"]


def test_a_bundle_that_istiod_refuses_is_seen(mesh, cacerts):
    before = mesh.cluster.module("trust_rollout", roots=[mesh.root], timeout=SECONDS)
    now = datetime.now(UTC)
    other = create_root(timedelta(days=30), "ecdsa-p256", now)
    ca = issue_intermediate(other, MESH, f"{MESH}.mesh", ["svc"], timedelta(days=20), "ecdsa-p256", now)
    # neither holds the other: istiod says so in its log only
    cacerts(
        **{name.removesuffix(".pem").replace("-", "_"): file for name, file in build(ca, other.certificate).items()}
    )
    first = mesh.cluster.module("trust_rollout", roots=[mesh.root], hurry=True, timeout=0)
    assert first["hurried"] == [entry["name"] for entry in first["replicas"]]

    def refused() -> bool:
        logs = [mesh.cluster.kubectl("logs", "-n", NAMESPACE, name) for name in first["hurried"]]
        return all("Updating new ROOT-CA not supported" in log for log in logs)

    wait_for(refused, "istiod refuses the bundle", SECONDS)
    found = mesh.cluster.module("trust_rollout", roots=[mesh.root], timeout=1)
    assert serials(found["replicas"]) == serials(before["replicas"])
    assert {entry["state"] for entry in found["replicas"]} == {"waiting"}
    assert "it has not read that yet, or refused it" in found["msg"]
    assert {entry["state"] for entry in found["proxies"]} == {"ready"}


@pytest.mark.parametrize("missing", ["get", "create", ""])
def test_rights(mesh, missing):
    """Both verbs on pods/portforward are needed, and with them a look is green."""
    verbs = [verb for verb in ("get", "create") if verb != missing]
    name = f"rollout-{missing or 'all'}"
    rules = [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["pods/portforward"], "verbs": verbs},
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["cacerts"], "verbs": ["get"]},
    ]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}}
    mesh.cluster.kubectl("apply", "-f", "-", stdin=json.dumps({**role, "rules": rules}))
    mesh.cluster.kubectl("create", "serviceaccount", "-n", "default", name)
    user = f"--serviceaccount=default:{name}"
    mesh.cluster.kubectl("create", "clusterrolebinding", name, f"--clusterrole={name}", user)
    try:
        server = mesh.cluster.kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
        token = mesh.cluster.kubectl("create", "token", "-n", "default", name).strip()
        options = {"host": server, "api_key": token, "validate_certs": False, "mesh": MESH}
        found = mesh.cluster.module("trust_rollout", kubeconfig=None, roots=[mesh.root], timeout=SECONDS, **options)
        if not missing:
            assert found["ready"], found["msg"]
            return
        assert found["msg"].startswith(f"{MESH}: create portforward of Pod {NAMESPACE}/istiod-")
        assert f'cannot {missing} resource "pods/portforward"' in found["msg"]
        assert token not in json.dumps(found)
    finally:
        mesh.cluster.kubectl("delete", "clusterrolebinding,clusterrole", name)
        mesh.cluster.kubectl("delete", "serviceaccount", "-n", "default", name)
