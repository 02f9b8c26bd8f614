# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a cluster holds to know a host of other meshes, whichever way leads there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ansible_collections.multimesh.istio.plugins.module_utils.federation import traffic
from ansible_collections.multimesh.istio.plugins.module_utils.federation.objects import (
    GATEWAY_PORT,
    NETWORKING,
    ROOT_NAMESPACE,
    Object,
    build,
)
from ansible_collections.multimesh.istio.plugins.module_utils.model import names
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Cluster, Imported, Port, Source


@dataclass(frozen=True)
class Way:
    """What is particular to the way to a host.

    sni: what the callers' proxies ask the exporter's gateway for, by port.
    identities: SPIFFE IDs that may answer them.
    route: more keys of the HTTP routes of a port.
    """

    sni: Callable[[Port], str]
    identities: Iterable[str]
    route: Callable[[Port], Object] = lambda _port: {}


def imported(cluster: Cluster, entry: Imported, way: Way) -> list[Object]:
    """ServiceEntry, DestinationRule and, if anything in it is HTTP, VirtualService of a host."""
    objects = [_service_entry(cluster, entry, way), _destination_rule(entry, way)]
    if any(port.is_http for port in entry.ports):
        routes = traffic.routes(entry, way.route)
        objects.append(_object("VirtualService", entry, {"hosts": [entry.host], "http": routes}))
    return objects


def _object(kind: str, entry: Imported, spec: Object) -> Object:
    spec["exportTo"] = list(entry.export_to)
    return build(NETWORKING, kind, ROOT_NAMESPACE, entry.host, {"spec": spec}, entry.exports)


def _service_entry(cluster: Cluster, entry: Imported, way: Way) -> Object:
    endpoints = _endpoints(cluster, entry)
    spec: Object = {
        "hosts": [entry.host],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC" if all(names.ip(endpoint["address"]) for endpoint in endpoints) else "DNS",
        "ports": [{"number": port.number, "name": port.name, "protocol": port.protocol} for port in entry.ports],
        "endpoints": endpoints,
        "subjectAltNames": sorted(set(way.identities)),
    }
    return _object("ServiceEntry", entry, spec)


def _endpoints(cluster: Cluster, entry: Imported) -> list[Object]:
    endpoints = []
    if entry.local:
        endpoints.append(_endpoint(entry, entry.local.fqdn, cluster.mesh, cluster.locality, own=True))
    for source in entry.sources:
        for address in source.addresses:
            locality = _locality(cluster, entry, source)
            endpoint = _endpoint(entry, address, source.export.mesh, locality, own=False)
            endpoint["network"] = source.network
            endpoint["ports"] = {port.name: GATEWAY_PORT for port in entry.ports}
            endpoints.append(endpoint)
    return endpoints


def _endpoint(entry: Imported, address: str, mesh: str, locality: str | None, own: bool) -> Object:
    labels, weight = traffic.endpoint_settings(entry, mesh, own)
    # Without tlsMode Istio takes the endpoint for one without sidecar and sends plaintext.
    endpoint: Object = {"address": address, "labels": {"security.istio.io/tlsMode": "istio", **labels}}
    if weight:
        endpoint["weight"] = weight
    if locality and entry.traffic.by_locality:
        endpoint["locality"] = locality
    return endpoint


def _locality(cluster: Cluster, entry: Imported, source: Source) -> str | None:
    """Locality of a gateway, made to look farther away than a Service of the cluster's own behind the same host.

    Istio shares calls out among endpoints of equal distance, and everything is as far away as nothing is known of it.
    """
    if entry.local is None:
        return source.locality
    if cluster.locality is None:
        return source.locality or source.network
    own = cluster.locality.split("/")
    if (source.locality or "").split("/")[: len(own)] == own:
        return "/".join([*own[:2], source.network])
    return source.locality


def _destination_rule(entry: Imported, way: Way) -> Object:
    endpoints = (1 if entry.local else 0) + sum(len(source.addresses) for source in entry.sources)
    policies = [traffic.policy(entry, port, _tls(way, port), endpoints) for port in entry.ports]
    if len(entry.ports) == 1:
        policy = policies[0]
    else:
        # Settings of a port inherit nothing from those above them, so each port has all of them.
        policy = {
            "portLevelSettings": [
                {"port": {"number": port.number}, **settings}
                for port, settings in zip(entry.ports, policies, strict=True)
            ]
        }
    return _object("DestinationRule", entry, {"host": entry.host, "trafficPolicy": policy})


def _tls(way: Way, port: Port) -> Object:
    return {"mode": "ISTIO_MUTUAL", "sni": way.sni(port), "subjectAltNames": sorted(set(way.identities))}
