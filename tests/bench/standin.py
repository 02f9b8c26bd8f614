# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Kubernetes' controllers would do on a cluster that is an API server alone, as far as Helm waits for it.

Deployments count as ready and have a ReplicaSet, Services of type LoadBalancer have an address. Istio's validating
webhooks, which nobody answers, are deleted: every write would wait for them.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from tests.lab.api import Lab
from tests.lab.kubeapi import ApiError, KubeApi

_EVERY = 0.5
_DEPLOYMENTS = "/apis/apps/v1/deployments"
_WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


@contextlib.contextmanager
def controllers(lab: Lab, meshes: Sequence[str]) -> Iterator[None]:
    """They work within the block."""
    stop = threading.Event()
    threads = [threading.Thread(target=_run, args=[lab, mesh, stop]) for mesh in meshes]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _run(lab: Lab, mesh: str, stop: threading.Event) -> None:
    api, address = lab.cluster(mesh).api(), lab.node_address(mesh)
    while not stop.wait(_EVERY):
        with contextlib.suppress(ApiError, OSError, http.client.HTTPException):
            for webhook in api.request("GET", _WEBHOOKS)["items"]:
                api.request("DELETE", f"{_WEBHOOKS}/{webhook['metadata']['name']}")
            for deployment in api.request("GET", _DEPLOYMENTS)["items"]:
                _roll_out(api, deployment)
            for service in api.request("GET", "/api/v1/services")["items"]:
                _give_address(api, service, address)


def _roll_out(api: KubeApi, deployment: dict[str, Any]) -> None:
    metadata, spec = deployment["metadata"], deployment["spec"]
    replicas = spec.get("replicas", 1)
    ready = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), replicas)
    status = {"observedGeneration": metadata["generation"], **ready}
    if deployment.get("status", {}).get("observedGeneration") == metadata["generation"]:
        return
    folder = f"/apis/apps/v1/namespaces/{metadata['namespace']}"
    name = f"{metadata['name']}-{metadata['generation']}"
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": metadata["name"], "uid": metadata["uid"]}
    labels = spec["template"]["metadata"]["labels"] | {"pod-template-hash": name}
    replica_set = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "labels": labels,
            "ownerReferences": [owner | {"controller": True}],
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": spec["selector"]["matchLabels"] | {"pod-template-hash": name}},
            "template": spec["template"] | {"metadata": spec["template"]["metadata"] | {"labels": labels}},
        },
    }
    with contextlib.suppress(ApiError):  # it is there
        api.request("POST", f"{folder}/replicasets", replica_set)
    in_set = {name: ready[name] for name in ("replicas", "readyReplicas", "availableReplicas")}
    api.merge(f"{folder}/replicasets/{name}/status", {"status": in_set | {"observedGeneration": 1}})
    api.merge(f"{folder}/deployments/{metadata['name']}/status", {"status": status})


def _give_address(api: KubeApi, service: dict[str, Any], address: str) -> None:
    metadata = service["metadata"]
    if service["spec"].get("type") == "LoadBalancer" and not service["status"].get("loadBalancer", {}).get("ingress"):
        path = f"/api/v1/namespaces/{metadata['namespace']}/services/{metadata['name']}/status"
        api.merge(path, {"status": {"loadBalancer": {"ingress": [{"ip": address}]}}})
