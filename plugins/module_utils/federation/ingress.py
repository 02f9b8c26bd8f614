# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""``via: ingress``: TLS from the caller's proxy to the exporter's ingress controller, which routes by host.

The callers' proxies offer their own certificate as between workloads (``ISTIO_MUTUAL``), which a controller that does
not ask for one ignores. What this brings: they check the controller against the roots and revocation lists that istiod
pushes to them, and a workload of their own mesh may stand behind the same host.

https://kubernetes.io/docs/reference/kubernetes-api/service-resources/ingress-v1/ has the fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.federation import importer
from ansible_collections.multimesh.istio.plugins.module_utils.federation.objects import Object, build
from ansible_collections.multimesh.istio.plugins.module_utils.model.ingress_names import (
    controller_identity,
    secret_name,
    virtual_host,
)
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Cluster, Export, Imported

PORT = 443


def imported(cluster: Cluster, entry: Imported) -> list[Object]:
    """Objects by which a cluster knows one host."""
    asked = entry.exports[-1]  # all of them go by the same names
    identities = [controller_identity(source.export) for source in entry.sources]
    if entry.local:
        identities += entry.local.identities
    way = importer.Way(
        sni=lambda port: virtual_host(asked, port),
        identities=identities,
        route=lambda port: {"rewrite": {"authority": virtual_host(asked, port)}},
        port=PORT,
    )
    return importer.imported(cluster, entry, way)


def exported(cluster: Cluster, exports: Iterable[Export], trust_domains: Mapping[str, str]) -> list[Object]:  # noqa: ARG001
    """One Ingress for each of these exports."""
    return [_ingress(cluster, export) for export in exports]


def certificates(cluster: Cluster) -> list[dict[str, Any]]:
    """The certificates that the Ingresses of a cluster need, as module ingress_certificates takes them."""
    return [
        {
            "namespace": cluster.ingress.secret_namespace or export.namespace,
            "secret": secret_name(export),
            "hosts": _hosts(export),
            "spiffe_id": controller_identity(export),
        }
        for export in cluster.exports
        if export.offers and export.via == "ingress" and export.ports
    ]


def _ingress(cluster: Cluster, export: Export) -> Object:
    spec: Object = {
        "tls": [{"hosts": _hosts(export), "secretName": secret_name(export)}],
        "rules": [
            {
                "host": virtual_host(export, port),
                "http": {
                    "paths": [
                        {
                            "path": "/",
                            "pathType": "Prefix",
                            "backend": {"service": {"name": export.service, "port": {"number": port.number}}},
                        }
                    ]
                },
            }
            for port in export.ports
        ],
    }
    if cluster.ingress.class_name:
        spec["ingressClassName"] = cluster.ingress.class_name
    name = f"multimesh-{export.service}"
    ingress = build("networking.k8s.io/v1", "Ingress", export.namespace, name, {"spec": spec}, [export])
    ingress["metadata"]["annotations"] |= cluster.ingress.annotations
    return ingress


def _hosts(export: Export) -> list[str]:
    return [virtual_host(export, port) for port in export.ports]
