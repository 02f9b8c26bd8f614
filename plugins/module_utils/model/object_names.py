# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of what the federation writes, where they are not those of imported hosts."""

from __future__ import annotations

ROOT_NAMESPACE = "istio-system"

GATEWAY_PORT = 15443
"""Of the east-west gateway, as Istio's own chart and samples have it."""

FEDERATION_SET = "multimesh-federation"
"""The ApplySet, by its parent, a ConfigMap."""
PEERS = "multimesh-peers"
"""ConfigMap with what a cluster remembers of its peers."""
EXPORTS_GATEWAY = "multimesh-exports"
"""Gateway of the exports ``via: passthrough``."""
ROUTED_EXPORTS = "multimesh-gateway-exports"
"""Gateway and AuthorizationPolicy of those ``via: gateway``."""
DEFAULT_DENY = "multimesh-default-deny"
"""AuthorizationPolicy of the whole mesh."""


def policy(service: str) -> str:
    """AuthorizationPolicy of an exported Service, in the Service's namespace."""
    return f"multimesh-{service}"
