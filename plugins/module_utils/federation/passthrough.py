# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""``via: passthrough``: mutual TLS from workload to workload, routed by SNI at the exporter's east-west gateway.

https://istio.io/latest/docs/reference/config/networking/ has the fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ansible_collections.multimesh.istio.plugins.module_utils.federation import importer
from ansible_collections.multimesh.istio.plugins.module_utils.federation.objects import (
    GATEWAY_PORT,
    GATEWAY_SELECTOR,
    NETWORKING,
    ROOT_NAMESPACE,
    Object,
    build,
)
from ansible_collections.multimesh.istio.plugins.module_utils.model import object_names
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Cluster, Export, Imported


def imported(cluster: Cluster, entry: Imported) -> list[Object]:
    """Objects by which a cluster knows one host."""
    # A gateway routes by SNI alone. The local endpoint, a workload, does not look at it.
    host = entry.exports[-1].sni_host
    identities = [identity for export in entry.exports for identity in export.identities]
    return importer.imported(
        cluster, entry, importer.Way(lambda port: f"outbound_.{port.number}_._.{host}", identities)
    )


def exported(cluster: Cluster, exports: Iterable[Export], trust_domains: Mapping[str, str]) -> list[Object]:  # noqa: ARG001
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
    return [build(NETWORKING, "Gateway", ROOT_NAMESPACE, object_names.EXPORTS_GATEWAY, {"spec": spec})]
