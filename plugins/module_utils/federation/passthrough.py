# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""``via: passthrough``: mutual TLS from workload to workload, routed by SNI at the exporter's east-west gateway.

https://istio.io/latest/docs/reference/config/networking/ has the fields.
"""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.multimesh.istio.plugins.module_utils.federation.objects import (
    GATEWAY_PORT,
    GATEWAY_SELECTOR,
    NETWORKING,
    ROOT_NAMESPACE,
    Object,
    build,
)
from ansible_collections.multimesh.istio.plugins.module_utils.model import names
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import (
    HTTP_PROTOCOLS,
    Cluster,
    Export,
    Imported,
    Port,
    Source,
)

# Covers one lost SYN (sent again after 1 s, RFC 6298) and the two round trips of TCP and TLS between continents.
CONNECT_TIMEOUT = "2s"
# Where there is no other endpoint to turn to: Istio's own default. A connection that is late is better than none.
LONE_CONNECT_TIMEOUT = "10s"

# A peer that vanished is noticed on a kept connection after some 25 s instead of the kernel's two hours.
KEEPALIVE = {"time": "10s", "interval": "5s", "probes": 3}

# Only errors that speak of the way there eject an endpoint, for behind one stands a whole mesh: answers of 500 are
# the application's. All endpoints may be ejected, but if they are, all are tried again rather than none.
OUTLIER_DETECTION = {
    "consecutive5xxErrors": 0,
    "consecutiveGatewayErrors": 3,
    "interval": "1s",
    "baseEjectionTime": "10s",
    "maxEjectionPercent": 100,
    "minHealthPercent": 1,
}

# The nearest locality first. Not by failoverPriority: with endpoints named by DNS in several localities it crashes
# istiod 1.30 and 1.31 (https://github.com/istio/istio/issues/61857), and older ones ignore it.
LOCALITY = {"enabled": True}

# RFC 9110 section 9.2.2: repeating these is harmless, even if the first attempt was carried out.
IDEMPOTENT_METHODS = "GET|HEAD|OPTIONS|TRACE|PUT|DELETE"

RETRY_ATTEMPTS = 3
RETRY_IDEMPOTENT = "connect-failure,refused-stream,reset,gateway-error"
# Only what certainly never reached the application. "unavailable" and "cancelled" may come from it.
RETRY_UNSENT = "connect-failure,refused-stream,reset-before-request"
# A stream is not held back for repetition: Istio leaves reset-before-request out for gRPC as well.
RETRY_STREAM = "connect-failure,refused-stream"


def imported(cluster: Cluster, entry: Imported) -> list[Object]:
    """Objects by which a cluster knows one host."""
    objects = [_service_entry(cluster, entry), _destination_rule(entry)]
    if any(port.protocol in HTTP_PROTOCOLS for port in entry.ports):
        objects.append(_virtual_service(entry))
    return objects


def gateway(exports: Iterable[Export]) -> list[Object]:
    """The gateway server that lets in calls for exactly these exports; none if there are none."""
    hosts = {host for export in exports for host in (export.fqdn, export.sni_host)}
    if not hosts:
        return []
    server = {
        "port": {"number": GATEWAY_PORT, "name": "tls", "protocol": "TLS"},
        "tls": {"mode": "AUTO_PASSTHROUGH"},
        "hosts": sorted(hosts),
    }
    spec = {"selector": dict(GATEWAY_SELECTOR), "servers": [server]}
    return [build(NETWORKING, "Gateway", ROOT_NAMESPACE, "multimesh-exports", {"spec": spec})]


def _object(kind: str, entry: Imported, spec: Object) -> Object:
    spec["exportTo"] = list(entry.export_to)
    return build(NETWORKING, kind, ROOT_NAMESPACE, entry.host, {"spec": spec}, entry.exports)


def _identities(entry: Imported) -> list[str]:
    return sorted({identity for export in entry.exports for identity in export.identities})


def _endpoints(cluster: Cluster, entry: Imported) -> list[Object]:
    endpoints = []
    if entry.local:
        endpoints.append(_endpoint(entry.local.fqdn, cluster.locality))
    for source in entry.sources:
        for address in source.addresses:
            endpoint = _endpoint(address, _locality(cluster, entry, source))
            endpoint["network"] = source.network
            endpoint["ports"] = {port.name: GATEWAY_PORT for port in entry.ports}
            endpoints.append(endpoint)
    return endpoints


def _endpoint(address: str, locality: str | None) -> Object:
    # Without this label Istio takes the endpoint for one without sidecar and sends plaintext.
    endpoint: Object = {"address": address, "labels": {"security.istio.io/tlsMode": "istio"}}
    if locality:
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


def _service_entry(cluster: Cluster, entry: Imported) -> Object:
    endpoints = _endpoints(cluster, entry)
    spec: Object = {
        "hosts": [entry.host],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC" if all(names.ip(endpoint["address"]) for endpoint in endpoints) else "DNS",
        "ports": [{"number": port.number, "name": port.name, "protocol": port.protocol} for port in entry.ports],
        "endpoints": endpoints,
        "subjectAltNames": _identities(entry),
    }
    return _object("ServiceEntry", entry, spec)


def _destination_rule(entry: Imported) -> Object:
    endpoints = (1 if entry.local else 0) + sum(len(source.addresses) for source in entry.sources)
    policies = [_traffic_policy(entry, port, endpoints) for port in entry.ports]
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


def _traffic_policy(entry: Imported, port: Port, endpoints: int) -> Object:
    connect_timeout = CONNECT_TIMEOUT if endpoints > 1 else LONE_CONNECT_TIMEOUT
    policy: Object = {
        "tls": {
            "mode": "ISTIO_MUTUAL",
            "sni": f"outbound_.{port.number}_._.{_sni_host(entry)}",
            "subjectAltNames": _identities(entry),
        },
        "connectionPool": {"tcp": {"connectTimeout": connect_timeout, "tcpKeepalive": dict(KEEPALIVE)}},
    }
    if endpoints > 1:
        # With a single endpoint there is nowhere else to go, so nothing is ejected.
        policy["outlierDetection"] = dict(OUTLIER_DETECTION)
        policy["loadBalancer"] = {"localityLbSetting": dict(LOCALITY)}
    return policy


def _sni_host(entry: Imported) -> str:
    # A gateway routes by SNI alone. The local endpoint, a workload, does not look at it.
    return entry.exports[-1].sni_host


def _virtual_service(entry: Imported) -> Object:
    routes = []
    for port in entry.ports:
        if port.protocol == "GRPC":
            routes.append(_route(entry, port, RETRY_STREAM))
        elif port.protocol in HTTP_PROTOCOLS:
            routes.append(_route(entry, port, RETRY_IDEMPOTENT, IDEMPOTENT_METHODS))
            routes.append(_route(entry, port, RETRY_UNSENT))
    return _object("VirtualService", entry, {"hosts": [entry.host], "http": routes})


def _route(entry: Imported, port: Port, retry_on: str, methods: str | None = None) -> Object:
    # No timeout, neither of all tries nor of one: it would end streams, downloads and long polls, whose length only
    # their owner knows.
    match: Object = {"port": port.number}
    if methods:
        match["method"] = {"regex": methods}
    return {
        "match": [match],
        "route": [{"destination": {"host": entry.host, "port": {"number": port.number}}}],
        "retries": {"attempts": RETRY_ATTEMPTS, "retryOn": retry_on, "retryRemoteLocalities": True},
    }
