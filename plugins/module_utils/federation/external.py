# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a cluster holds to know the services outside every mesh.

Every host, and without hosts every address, has objects of its own: a DestinationRule and a route name one host.

- A host is resolved by the callers' proxies, or has the addresses that the inventory says (DNS, STATIC).
- A wildcard and an address lead where the application has turned to (NONE). DYNAMIC_DNS would resolve the names below
  a wildcard in the proxy, but Istio, which has it for sidecars since 1.31, takes its filter away from TLS where a
  VirtualService routes by SNI, refuses HTTPS, and overlooks a port of the server's own.

https://istio.io/latest/docs/reference/config/networking/service-entry/ has the fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ansible_collections.multimesh.istio.plugins.module_utils.federation import traffic
from ansible_collections.multimesh.istio.plugins.module_utils.federation.endpoints import Endpoints
from ansible_collections.multimesh.istio.plugins.module_utils.federation.objects import (
    NETWORKING,
    ROOT_NAMESPACE,
    Object,
    build,
)
from ansible_collections.multimesh.istio.plugins.module_utils.model.external import TLS_PROTOCOLS
from ansible_collections.multimesh.istio.plugins.module_utils.model.names import object_name
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Cluster, ExternalService, Port, Traffic


@dataclass(frozen=True)
class Place:
    """One host or address of a service.

    addresses: those that a call is recognised by; without them it is the host. endpoints: where the host is served.
    """

    service: ExternalService
    host: str
    resolution: str
    addresses: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()

    @property
    def ports(self) -> tuple[Port, ...]:
        return self.service.ports

    @property
    def traffic(self) -> Traffic:
        return Traffic(timeout=self.service.timeout, retries=self.service.retries)


def known(cluster: Cluster) -> list[Object]:
    """ServiceEntry, DestinationRule and VirtualService of every host and address that the cluster must know."""
    return [
        item
        for service in cluster.external_services
        for place in _places(service, cluster.domain)
        for item in (_service_entry(place), *_destination_rules(place), _virtual_service(place))
    ]


def _places(service: ExternalService, domain: str) -> Iterator[Place]:
    for host in service.hosts:
        if "*" in host:
            yield Place(service, host, "NONE")
        elif service.addresses:
            yield Place(service, host, "STATIC", endpoints=service.addresses)
        else:
            yield Place(service, host, "DNS")
    if not service.hosts:
        for address in service.addresses:
            yield Place(service, _address_host(address, service.ports, domain), "NONE", addresses=(address,))


def _address_host(address: str, ports: Iterable[Port], domain: str) -> str:
    """A host for what has none: Istio knows everything by one. Services may share an address, but not a port of it."""
    words = address.replace(".", "-").replace(":", "-").replace("/", "-")
    return f"ip-{words}-{min(port.number for port in ports)}.external.{domain}"


def _object(kind: str, place: Place, spec: Object, namespace: str = ROOT_NAMESPACE) -> Object:
    spec["exportTo"] = list(place.service.export_to) if namespace == ROOT_NAMESPACE else ["."]
    origins = [f"{host}/{(place.addresses or (place.host,))[0]}" for host in place.service.declared_by]
    return build(NETWORKING, kind, namespace, object_name(place.host), {"spec": spec}, external=origins)


def _service_entry(place: Place) -> Object:
    spec: Object = {
        "hosts": [place.host],
        "location": "MESH_EXTERNAL",
        "resolution": place.resolution,
        "ports": [_port(place, port) for port in place.ports],
    }
    if place.addresses:
        spec["addresses"] = list(place.addresses)
    if place.endpoints:
        spec["endpoints"] = _endpoints(place)
    return _object("ServiceEntry", place, spec)


def _endpoints(place: Place) -> list[Object]:
    return [{"address": address} for address in place.endpoints]


def _port(place: Place, port: Port) -> Object:
    found: Object = {"number": port.number, "name": port.name, "protocol": _protocol(place, port)}
    if port.target_port != port.number:
        found["targetPort"] = port.target_port
    return found


def _protocol(place: Place, port: Port) -> str:
    """Without a name to route by, TLS is bytes like any other: Istio would wait for the host above as SNI."""
    return "TCP" if place.addresses and port.protocol in TLS_PROTOCOLS else port.protocol


# How it is called


def _destination_rules(place: Place) -> list[Object]:
    endpoints = Endpoints(_endpoints(place), static=True, rank_labels=[])
    policy = traffic.by_port(
        (port, traffic.policy(place.traffic, port, _tls(place, port), endpoints)) for port in place.ports
    )
    spec: Object = {"host": place.host, "trafficPolicy": policy}
    if not place.service.tls.credential:
        return [_object("DestinationRule", place, spec)]
    # Sidecars take a credential from rules with a selector alone, and such rules from their own namespace alone. The
    # selector is empty: a pod that it left out would send plaintext.
    return [
        _object("DestinationRule", place, {**spec, "workloadSelector": {}}, namespace)
        for namespace in place.service.export_to
    ]


def _tls(place: Place, port: Port) -> Object:
    wanted = place.service.tls
    if not wanted.originates or port.protocol in TLS_PROTOCOLS:
        return {"mode": "DISABLE"}
    found: Object = {"mode": wanted.mode.upper()}
    if "*" not in place.host:
        # Below a wildcard Istio asks for, and verifies, the name that is called.
        name = wanted.sni or place.host
        found |= {"sni": name, "subjectAltNames": [name]}
    if wanted.credential:
        found["credentialName"] = wanted.credential
    return found


def _virtual_service(place: Place) -> Object:
    spec: Object = {"hosts": [place.host]}
    if http := traffic.routes(place, lambda _port: {}):
        spec["http"] = http
    for port in place.ports:
        match: Object = {"port": port.number}
        kind = "tcp"
        if _protocol(place, port) in TLS_PROTOCOLS:
            kind, match["sniHosts"] = "tls", [place.host]
        if not port.is_http:
            spec.setdefault(kind, []).append({"match": [match], "route": traffic.destination(place, port)})
    return _object("VirtualService", place, spec)
