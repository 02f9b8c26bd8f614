# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What nobody exports: remote identities that no export names are refused by every workload of the mesh.

A trust domain that is admitted for one caller is admitted with all its identities, at all workloads. Behind gateways
they reach exported Services only, whose policies judge them; where a network lets pods call pods, they reach the rest.

It is one DENY of the root namespace, which holds for all namespaces. It leaves out whom any export admits, because a
policy that overrides those of the exports would refuse them there too: https://istio.io/latest/docs/concepts/security/.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ansible_collections.multimesh.istio.plugins.module_utils.federation.authorization import Callers
from ansible_collections.multimesh.istio.plugins.module_utils.federation.objects import (
    ROOT_NAMESPACE,
    SECURITY,
    Object,
    build,
)
from ansible_collections.multimesh.istio.plugins.module_utils.model import object_names
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Export

NAME = object_names.DEFAULT_DENY


def policies(exports: Iterable[Export], admitted: Iterable[str], trust_domains: Mapping[str, str]) -> list[Object]:
    """One policy, or none where exports admit every identity that gets through the handshake.

    exports: of all clusters of the mesh, because pods behind a Service can be in any of them.
    admitted: trust domains of other meshes. trust_domains: by mesh name.
    """
    named = {
        Callers(trust_domains[mesh], entry.namespace or "", entry.service_account or "")
        for export in exports
        if export.via != "ingress"  # where callers are not known by their identities
        for mesh, entries in export.offers.items()
        for entry in entries
    }
    refused = [domain for domain in map(Callers, sorted(admitted)) if domain not in named]
    if not refused:
        return []
    source = {"principals": [domain.pattern for domain in refused]}
    but_not = [callers.pattern for callers in sorted(named) if any(domain.contains(callers) for domain in refused)]
    if but_not:
        source["notPrincipals"] = but_not
    spec = {"action": "DENY", "rules": [{"from": [{"source": source}]}]}
    return [build(SECURITY, "AuthorizationPolicy", ROOT_NAMESPACE, NAME, {"spec": spec})]
