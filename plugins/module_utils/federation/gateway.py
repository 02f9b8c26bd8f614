# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""``via: gateway``: mutual TLS ends at the exporter's gateway, which authorizes, routes, and calls the workload itself.

Callers ask for a port of an export by a name of its own, ``<port>.<host>``, in SNI and as authority alike: for Istio
the hosts of a server are both. So each port has its own filter chain and routes, beside those of passthrough on the
same port of the gateway, whose names begin with ``outbound_``.

https://istio.io/latest/docs/reference/config/networking/gateway/ and virtual-service/ have the fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ansible_collections.multimesh.istio.plugins.module_utils.federation import (
    gateway_limits,
    gateway_policy,
    gateway_routes,
    importer,
)
from ansible_collections.multimesh.istio.plugins.module_utils.federation.gateway_names import label, server_names
from ansible_collections.multimesh.istio.plugins.module_utils.federation.objects import (
    GATEWAY_ACCOUNT,
    GATEWAY_PORT,
    GATEWAY_SELECTOR,
    NETWORKING,
    ROOT_NAMESPACE,
    Object,
    build,
)
from ansible_collections.multimesh.istio.plugins.module_utils.model import object_names
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Cluster, Export, Imported, Port

NAME = object_names.ROUTED_EXPORTS


def imported(cluster: Cluster, entry: Imported) -> list[Object]:
    """Objects by which a cluster knows one host."""
    host = entry.exports[-1].sni_host
    gateways = [
        f"spiffe://{source.export.trust_domain}/ns/{ROOT_NAMESPACE}/sa/{GATEWAY_ACCOUNT}" for source in entry.sources
    ]
    # The local endpoint is a workload: it looks neither at SNI nor, as a proxy, at the authority.
    own = entry.local.identities if entry.local else ()

    def name(port: Port) -> str:
        return f"{port.number}.{host}"

    way = importer.Way(name, [*gateways, *own], lambda port: {"rewrite": {"authority": name(port)}})
    return importer.imported(cluster, entry, way)


def exported(cluster: Cluster, exports: Iterable[Export], trust_domains: Mapping[str, str]) -> list[Object]:
    """What lets in, authorizes and routes calls for exactly these exports; nothing if there are none."""
    exports = sorted(exports, key=lambda export: export.origin)
    if not exports:
        return []
    servers = [_server(export, port) for export in exports for port in export.ports]
    spec = {"selector": dict(GATEWAY_SELECTOR), "servers": servers}
    return [
        build(NETWORKING, "Gateway", ROOT_NAMESPACE, NAME, {"spec": spec}),
        gateway_policy.policy(NAME, exports, trust_domains),
        *(_virtual_service(export, port) for export in exports for port in export.ports),
        *gateway_limits.destination_rules(cluster, exports),
    ]


def _server(export: Export, port: Port) -> Object:
    return {
        # The name begins those of the metrics of the server.
        "name": label(export, port),
        "port": {"number": GATEWAY_PORT, "name": label(export, port), "protocol": "HTTPS" if port.is_http else "TLS"},
        "tls": {"mode": "ISTIO_MUTUAL"},
        "hosts": server_names(export, port),
    }


def _virtual_service(export: Export, port: Port) -> Object:
    spec: Object = {
        "hosts": server_names(export, port),
        "gateways": [f"{ROOT_NAMESPACE}/{NAME}"],
        "exportTo": ["."],
    }
    if port.is_http:
        spec["http"] = gateway_routes.http(export, port)
    else:
        spec["tcp"] = [{"route": [{"destination": {"host": export.fqdn, "port": {"number": port.number}}}]}]
    name = f"{port.number}.{export.fqdn}"
    return build(NETWORKING, "VirtualService", ROOT_NAMESPACE, name, {"spec": spec}, [export])
