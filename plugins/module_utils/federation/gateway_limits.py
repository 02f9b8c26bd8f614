# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much an exporter's gateway may have under way to one Service, so that a stuck one does not take it from the rest.

https://istio.io/latest/docs/reference/config/networking/destination-rule/ has the fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ansible_collections.multimesh.istio.plugins.module_utils.federation import traffic
from ansible_collections.multimesh.istio.plugins.module_utils.federation.gateway_routes import routes_of
from ansible_collections.multimesh.istio.plugins.module_utils.federation.objects import (
    NETWORKING,
    ROOT_NAMESPACE,
    Object,
    build,
)
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import (
    CLUSTER_DOMAIN,
    Cluster,
    ConnectionPool,
    Destination,
    Export,
    OutlierDetection,
)

# Envoy's own limits, which Istio lifts.
MOST = 1024

# Rules of the root namespace come last, after one that the Service's owner has made: but only if they are exported to
# more than that namespace itself, and then also to proxies of the others. In this namespace Kubernetes keeps Leases of
# nodes, and nobody runs pods.
SEEN_BY = (ROOT_NAMESPACE, "kube-node-lease")


def destination_rules(cluster: Cluster, exports: Iterable[Export]) -> list[Object]:
    """One rule for each Service that a gateway sends calls of these exports to.

    None for a Service that other meshes stand behind: what importers hold is a rule of its name already.
    """
    shared = {entry.host for entry in cluster.imports if entry.own_service and entry.sources}
    leading: dict[tuple[str, str], list[tuple[Export, Destination]]] = {}
    for export in exports:
        for destination in _destinations(export):
            leading.setdefault((export.namespace, destination.service), []).append((export, destination))
    return [
        _rule(namespace, service, found)
        for (namespace, service), found in sorted(leading.items())
        if f"{service}.{namespace}.svc.{CLUSTER_DOMAIN}" not in shared
    ]


def _destinations(export: Export) -> Iterator[Destination]:
    for port in export.ports:
        if not port.is_http:
            yield Destination(export.service)
            continue
        for _name, route in routes_of(export, port):
            yield from route.destinations


def _rule(namespace: str, service: str, leading: list[tuple[Export, Destination]]) -> Object:
    pools = [destination.connection_pool for _export, destination in leading]
    detections = [destination.outlier_detection for _export, destination in leading]
    pool = next((pool for pool in pools if pool != ConnectionPool()), ConnectionPool())
    policy = {
        "connectionPool": {
            "tcp": {"maxConnections": pool.max_connections or MOST},
            "http": {
                "http2MaxRequests": pool.max_requests or MOST,
                "http1MaxPendingRequests": pool.max_pending_requests or MOST,
            },
        },
        "outlierDetection": traffic.outlier_detection(
            next((one for one in detections if one != OutlierDetection()), OutlierDetection())
        ),
        # With outlier detection Istio would keep all calls in the zone of the gateway's pod.
        "loadBalancer": {"localityLbSetting": {"enabled": False}},
    }
    spec = {"host": f"{service}.{namespace}.svc.{CLUSTER_DOMAIN}", "exportTo": list(SEEN_BY), "trafficPolicy": policy}
    exports = [export for export, _destination in leading]
    return build(
        NETWORKING, "DestinationRule", ROOT_NAMESPACE, f"multimesh-{service}.{namespace}", {"spec": spec}, exports
    )
