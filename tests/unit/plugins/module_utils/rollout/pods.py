# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pods as the API server lists them."""

from __future__ import annotations

from typing import Any


def pod(
    name: str,
    namespace: str = "shop",
    *,
    container: str = "istio-proxy",
    args: tuple[str, ...] = ("proxy", "sidecar"),
    env: dict[str, str] | None = None,
    native: bool = False,
    phase: str = "Running",
    state: str = "running",
    restarts: int = 0,
    node: str | None = "node",
    lists: bool = True,
    **metadata: Any,
) -> dict[str, Any]:
    """A pod with a container of its own and one of Istio's."""
    istio: dict[str, Any] = {"name": container, "args": list(args)}
    istio["env"] = [{"name": key, "value": value} for key, value in (env or {}).items()]
    if lists:
        istio["volumeMounts"] = [{"name": "istio-ca-crl", "mountPath": "/var/run/secrets/istio/crl"}]
    spec: dict[str, Any] = {"containers": [{"name": "app"}]}
    if native:
        spec["initContainers"] = [{"name": "istio-init"}, {**istio, "restartPolicy": "Always"}]
    else:
        spec["containers"].append(istio)
    if node:
        spec["nodeName"] = node
    own = {"name": container, "state": {state: {}}, "restartCount": restarts}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}", **metadata},
        "spec": spec,
        "status": {"phase": phase, "initContainerStatuses" if native else "containerStatuses": [own]},
    }


def istiod(name: str, **options: Any) -> dict[str, Any]:
    return pod(name, "istio-system", container="discovery", args=("discovery",), labels={"app": "istiod"}, **options)
