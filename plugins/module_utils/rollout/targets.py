# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which pods of a cluster have a proxy, and how each is asked. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Body = Mapping[str, Any]

ISTIOD_PORT = 15012
ISTIOD_TAKES_ROOTS = "ISTIO_MULTIROOT_MESH"
PROXY_TAKES_ROOTS = "PROXY_CONFIG_XDS_AGENT"
"""Variables of the environment without which a changed trust bundle is refused, or not passed on to what runs."""

_DISCOVERY = "discovery"
_CONTAINER = "istio-proxy"
_ADMIN_PORT = 15000
_KINDS = {"sidecar": "sidecar", "router": "gateway", "waypoint": "waypoint", "ztunnel": "ztunnel"}
_ENDED = ("Succeeded", "Failed")
LISTS = "/var/run/secrets/istio/crl"  # pkg/security/security.go, CACRLFilePath


@dataclass(frozen=True)
class Target:
    """Somebody who may have to hold something.

    kind: istiod, sidecar, gateway, waypoint or ztunnel.
    incarnation: what is another one after every restart, so that what was read before counts no more.
    port: what is asked: Envoy's administration, or istiod's port for proxies.
    placed: it is on a node.
    running: it runs, as far as the kubelet has told.
    leaving: it has been told to end.
    takes_roots: it takes a changed trust bundle while it runs.
    takes_lists: revocation lists reach it. Istio's injector gives gateways no volume for them (1.31).
    unsupported: why it cannot be asked; empty if it can.
    """

    namespace: str
    name: str
    kind: str
    incarnation: tuple[str, int]
    port: int
    placed: bool
    running: bool
    leaving: bool
    takes_roots: bool
    takes_lists: bool = True
    unsupported: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


def proxy(pod: Body) -> Target | None:
    """The proxy of a pod; None if it has none, or has ended for good."""
    spec = pod["spec"]
    native = [one for one in spec.get("initContainers") or [] if one.get("restartPolicy") == "Always"]
    container = next((one for one in [*(spec.get("containers") or []), *native] if one["name"] == _CONTAINER), None)
    if container is None or _has_ended(pod):
        return None
    arguments = container.get("args") or []
    kind = _KINDS.get(str(arguments[1]) if len(arguments) > 1 else "", "sidecar")
    environment = _environment(container)
    unsupported = ""
    if kind == "ztunnel":
        unsupported = "ambient mode: ztunnel takes a new root when it renews its certificates, up to half a day later"
    elif environment.get("DISABLE_ENVOY") == "true":
        unsupported = "it has no Envoy (gRPC without proxy), so nobody can tell what it holds"
    return _target(
        pod,
        kind,
        _CONTAINER,
        _admin_port(environment),
        takes_roots=_is_on(environment, PROXY_TAKES_ROOTS),
        takes_lists=any(mount.get("mountPath") == LISTS for mount in container.get("volumeMounts") or []),
        unsupported=unsupported,
    )


def replica(pod: Body) -> Target | None:
    """A replica of istiod; None if it has ended for good."""
    if _has_ended(pod):
        return None
    own: Body = next((one for one in pod["spec"].get("containers") or [] if one["name"] == _DISCOVERY), {})
    return _target(pod, "istiod", _DISCOVERY, ISTIOD_PORT, takes_roots=_is_on(_environment(own), ISTIOD_TAKES_ROOTS))


def _target(
    pod: Body,
    kind: str,
    container: str,
    port: int,
    *,
    takes_roots: bool,
    takes_lists: bool = True,
    unsupported: str = "",
) -> Target:
    metadata, status = pod["metadata"], pod.get("status") or {}
    statuses = [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]
    own: Body = next((one for one in statuses if one["name"] == container), {})
    return Target(
        namespace=metadata["namespace"],
        name=metadata["name"],
        kind=kind,
        incarnation=(metadata["uid"], int(own.get("restartCount") or 0)),
        port=port,
        placed=bool(pod["spec"].get("nodeName")),
        running="running" in (own.get("state") or {}),
        leaving="deletionTimestamp" in metadata,
        takes_roots=takes_roots,
        takes_lists=takes_lists,
        unsupported=unsupported,
    )


def _environment(container: Body) -> dict[str, str]:
    return {str(one["name"]): str(one.get("value") or "") for one in container.get("env") or []}


def _is_on(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "").lower() == "true"


def _has_ended(pod: Body) -> bool:
    return (pod.get("status") or {}).get("phase") in _ENDED


def _admin_port(environment: Mapping[str, str]) -> int:
    """``proxyAdminPort`` of the pod's ProxyConfig, which the injector hands on as JSON."""
    try:
        return int(json.loads(environment.get("PROXY_CONFIG") or "{}").get("proxyAdminPort") or _ADMIN_PORT)
    except (ValueError, TypeError, AttributeError):
        return _ADMIN_PORT
