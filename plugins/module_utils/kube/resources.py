# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of things in the Kubernetes API."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, order=True)
class Resource:
    """A kind as one API server serves it. ``group`` is empty for the core group."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """URL path of the collection, or of one object when ``name`` is given."""
        parts = [f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name:
            parts.append(quote(name, safe=""))
        return "/".join(parts)


# Kinds that are read without asking the API server how it serves them.
CONFIG_MAPS = Resource("", "v1", "ConfigMap", "configmaps", namespaced=True)
NAMESPACES = Resource("", "v1", "Namespace", "namespaces", namespaced=False)
PODS = Resource("", "v1", "Pod", "pods", namespaced=True)
SECRETS = Resource("", "v1", "Secret", "secrets", namespaced=True)
SERVICES = Resource("", "v1", "Service", "services", namespaced=True)
SERVICE_ACCOUNTS = Resource("", "v1", "ServiceAccount", "serviceaccounts", namespaced=True)

SERVICE_ENTRIES = Resource("networking.istio.io", "v1", "ServiceEntry", "serviceentries", namespaced=True)
DESTINATION_RULES = Resource("networking.istio.io", "v1", "DestinationRule", "destinationrules", namespaced=True)
VIRTUAL_SERVICES = Resource("networking.istio.io", "v1", "VirtualService", "virtualservices", namespaced=True)
GATEWAYS = Resource("networking.istio.io", "v1", "Gateway", "gateways", namespaced=True)
AUTHORIZATION_POLICIES = Resource(
    "security.istio.io", "v1", "AuthorizationPolicy", "authorizationpolicies", namespaced=True
)


def split_api_version(api_version: str) -> tuple[str, str]:
    """``apps/v1`` -> ``("apps", "v1")``, ``v1`` -> ``("", "v1")``."""
    group, _slash, version = api_version.rpartition("/")
    return group, version


def describe(kind: str, namespace: str | None, name: str | None) -> str:
    """``ServiceEntry istio-system/reviews``, ``Namespace shop``; a collection is ``ServiceEntry in istio-system``."""
    if name:
        return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"
    return f"{kind} in {namespace}" if namespace else kind
