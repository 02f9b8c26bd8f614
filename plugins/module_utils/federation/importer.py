# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a cluster holds to know a host of other meshes, whichever way leads there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ansible_collections.multimesh.istio.plugins.module_utils.federation import traffic
from ansible_collections.multimesh.istio.plugins.module_utils.federation.endpoints import Endpoints, endpoints_of
from ansible_collections.multimesh.istio.plugins.module_utils.federation.objects import (
    GATEWAY_PORT,
    NETWORKING,
    ROOT_NAMESPACE,
    Object,
    build,
)
from ansible_collections.multimesh.istio.plugins.module_utils.federation.takeover import workload_entries
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Cluster, Imported, Port


@dataclass(frozen=True)
class Way:
    """What is particular to the way to a host.

    sni: what the callers' proxies ask the exporter's gateway for, by port.
    identities: SPIFFE IDs that may answer them.
    route: more keys of the HTTP routes of a port.
    port: where the exporters' gateways listen.
    """

    sni: Callable[[Port], str]
    identities: Iterable[str]
    route: Callable[[Port], Object] = lambda _port: {}
    port: int = GATEWAY_PORT


def imported(cluster: Cluster, entry: Imported, way: Way) -> list[Object]:
    """ServiceEntry, DestinationRule and, if anything in it is HTTP, VirtualService of a host.

    Instead of the first, WorkloadEntries for a host that is a Service of the cluster's own.
    """
    if entry.own_service and not entry.sources:
        return []
    endpoints = endpoints_of(cluster, entry, way.port)
    known = workload_entries(entry, endpoints) or [_service_entry(cluster, entry, way, endpoints)]
    objects = [*known, _destination_rule(entry, way, endpoints)]
    if any(port.is_http for port in entry.ports):
        routes = traffic.routes(entry, way.route)
        objects.append(_object("VirtualService", entry, {"hosts": [entry.host], "http": routes}))
    return objects


def _object(kind: str, entry: Imported, spec: Object) -> Object:
    spec["exportTo"] = list(entry.export_to)
    return build(NETWORKING, kind, ROOT_NAMESPACE, entry.host, {"spec": spec}, entry.exports)


def _service_entry(cluster: Cluster, entry: Imported, way: Way, endpoints: Endpoints) -> Object:
    spec: Object = {
        "hosts": [entry.host],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC" if endpoints.static else "DNS",
        "ports": [{"number": port.number, "name": port.name, "protocol": port.protocol} for port in entry.ports],
        "endpoints": endpoints.items,
        "subjectAltNames": sorted(set(way.identities)),
    }
    if address := cluster.addresses.get(entry.host):
        spec["addresses"] = [address]
    return _object("ServiceEntry", entry, spec)


def _destination_rule(entry: Imported, way: Way, endpoints: Endpoints) -> Object:
    policy = traffic.by_port(
        (port, traffic.policy(entry.traffic, port, _tls(way, port), endpoints)) for port in entry.ports
    )
    return _object("DestinationRule", entry, {"host": entry.host, "trafficPolicy": policy})


def _tls(way: Way, port: Port) -> Object:
    return {"mode": "ISTIO_MUTUAL", "sni": way.sni(port), "subjectAltNames": sorted(set(way.identities))}
