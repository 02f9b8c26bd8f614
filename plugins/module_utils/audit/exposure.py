# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which Services the Gateways of a cluster lead other meshes to, whoever wrote them.

A server with ``AUTO_PASSTHROUGH`` leads to every port of every host that it names, and workloads judge who calls
them. One with ``ISTIO_MUTUAL`` is itself what is called, here under ``<port>.<host>``, and the gateway judges.
https://istio.io/latest/docs/reference/config/networking/gateway/.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
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
        key = _key(gateway)
        for _port, pattern in _hosts(gateway, "AUTO_PASSTHROUGH"):
            for host, behind in hosts.items():
                if contains(pattern, host):
                    for service in behind:
                        found.setdefault(service, set()).add(key)
    return found


def _addresses(entry: Body) -> list[str]:
    return [str(endpoint.get("address")) for endpoint in (entry.get("spec") or {}).get("endpoints") or ()]


@dataclass(frozen=True)
class Served:
    """A port of a Service that a gateway serves itself.

    gateway: ``namespace/name``. listens_on: its port for this. selector: labels that all of its pods have.
    """

    service: Service
    port: int
    server_name: str
    gateway: str
    listens_on: int
    selector: Mapping[str, str]


def served(gateways: Iterable[Body]) -> Iterator[Served]:
    """What is served under the name of a Service and a port."""
    for gateway in gateways:
        selector = (gateway.get("spec") or {}).get("selector") or {}
        for listens_on, host in _hosts(gateway, "ISTIO_MUTUAL"):
            port, _dot, name = host.partition(".")
            if port.isdigit() and name.endswith(_LOCAL) and name.count(".") == _LOCAL.count(".") + 1:
                service, namespace = name.removesuffix(_LOCAL).split(".")
                yield Served((namespace, service), int(port), host, _key(gateway), listens_on, selector)


def _hosts(gateway: Body, mode: str) -> Iterator[tuple[int, str]]:
    """Ports of a gateway, each with a host that it knows there."""
    for server in (gateway.get("spec") or {}).get("servers") or ():
        if (server.get("tls") or {}).get("mode") == mode:
            for host in server.get("hosts") or ():
                # The namespace before a host says whose VirtualServices may bind.
                yield (server.get("port") or {}).get("number") or 0, host.rpartition("/")[2]


def _key(gateway: Body) -> str:
    return f"{gateway['metadata']['namespace']}/{gateway['metadata']['name']}"
