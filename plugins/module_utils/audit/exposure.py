# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which Services the Gateways of a cluster lead other meshes to, whoever wrote them.

A server with ``AUTO_PASSTHROUGH`` leads to every port of every host that it names:
https://istio.io/latest/docs/reference/config/networking/gateway/.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.audit.patterns import contains

Body = Mapping[str, Any]
Service = tuple[str, str]
"""Namespace and name."""

_LOCAL = ".svc.cluster.local"


def exposed(gateways: Iterable[Body], entries: Iterable[Body], services: Iterable[Service]) -> dict[Service, set[str]]:
    """Services that can be asked for through a gateway, each with the Gateways, ``namespace/name``, that lead there.

    entries: ServiceEntries, which stand for a Service where exporters of a common host call it differently.
    """
    hosts: dict[str, set[Service]] = {
        f"{name}.{namespace}{_LOCAL}": {(namespace, name)} for namespace, name in services
    }
    for entry in entries:
        behind = {service for address in _addresses(entry) for service in hosts.get(address, ())}
        for host in (entry.get("spec") or {}).get("hosts") or ():
            if not host.endswith(_LOCAL):
                hosts.setdefault(host, set()).update(behind)
    found: dict[Service, set[str]] = {}
    for gateway in gateways:
        key = f"{gateway['metadata']['namespace']}/{gateway['metadata']['name']}"
        for pattern in _passed_on(gateway):
            for host, behind in hosts.items():
                if contains(pattern, host):
                    for service in behind:
                        found.setdefault(service, set()).add(key)
    return found


def _addresses(entry: Body) -> list[str]:
    return [str(endpoint.get("address")) for endpoint in (entry.get("spec") or {}).get("endpoints") or ()]


def _passed_on(gateway: Body) -> Iterator[str]:
    for server in (gateway.get("spec") or {}).get("servers") or ():
        if (server.get("tls") or {}).get("mode") == "AUTO_PASSTHROUGH":
            for host in server.get("hosts") or ():
                yield host.rpartition("/")[2]  # the namespace before it says whose VirtualServices may bind
