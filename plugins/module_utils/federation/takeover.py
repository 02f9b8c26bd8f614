# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Gateways of other meshes as endpoints of a Service of the cluster's own.

A ServiceEntry of the same name as a Service would make every proxy refuse the listener of both
(https://github.com/istio/istio/issues/44356). A WorkloadEntry is taken by the Service like a pod, if its labels fit
the selector, and istiod looks up its port by name. It has no proxy here, so policies that select pods do not concern
it. Without a health check of its own it counts as healthy: who is gone is found out by outlier detection. A gateway
passes no calls on to it, because it sees the endpoints of its own network only.
"""

from __future__ import annotations

from ipaddress import ip_address

from ansible_collections.multimesh.istio.plugins.module_utils.federation.endpoints import Endpoints
from ansible_collections.multimesh.istio.plugins.module_utils.federation.objects import (
    GATEWAY_PORT,
    NETWORKING,
    Object,
    build,
)
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Imported


def workload_entries(entry: Imported, endpoints: Endpoints) -> list[Object]:
    """Those of a host that is a Service of the cluster's own; nothing for other hosts."""
    local, service = entry.local, entry.own_service
    if local is None or service is None:
        return []
    found = {item["address"]: item for item in endpoints.items}
    # Clusters of one mesh may share a gateway, which is one endpoint.
    behind = {address: source.export for source in entry.sources for address in source.addresses}
    return [
        build(
            NETWORKING,
            "WorkloadEntry",
            local.namespace,
            f"multimesh-{local.service}-{_label(address)}",
            {
                "spec": {
                    **found[address],
                    "labels": {**service.selector, **found[address]["labels"]},
                    "ports": dict.fromkeys(service.port_names, GATEWAY_PORT),
                }
            },
            [export],
        )
        for address, export in behind.items()
    ]


def _label(address: str) -> str:
    """An address as part of an object's name; a placeholder stays as it is."""
    try:
        return ip_address(address).exploded.replace(".", "-").replace(":", "-")
    except ValueError:
        return address
