# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""By which names and identity an export ``via: ingress`` is known at its ingress controller."""

from __future__ import annotations

from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Export, Port

SERVICE_ACCOUNT = "ingress_controller"
"""In the identity of ingress controllers. No ServiceAccount can have a name with '_', so istiod never signs for it."""


def virtual_host(export: Export, port: Port) -> str:
    """Host of one port at the Ingress, the same for all consumers and for all exporters of a host.

    A virtual host knows no port, so the port is part of the name. It ends in ``svc`` because the CAs of the meshes may
    sign for no other DNS names, and begins with digits because no Service in Kubernetes does: it is never the name of
    one, istiod's least of all.
    """
    name = export.host or f"{export.service}.{export.namespace}"
    return f"{port.number}.{name}.svc"


def secret_name(export: Export) -> str:
    """Secret with the certificate; unique in the cluster, since some controllers read all of them in one namespace."""
    return f"multimesh-ingress.{export.service}.{export.namespace}"


def controller_identity(export: Export) -> str:
    """SPIFFE ID in the certificate, by which callers know that the controller is this mesh's."""
    return f"spiffe://{export.trust_domain}/ns/{export.namespace}/sa/{SERVICE_ACCOUNT}"
