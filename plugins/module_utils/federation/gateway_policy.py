# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may call exports ``via: gateway``, enforced at the gateway, which is the last to see the caller.

Everybody is denied whom an export does not name: other meshes, and the exporter's own workloads too, whom the gateway
would otherwise lend its identity, past the owner's policies.

One policy has the rules of all exports, and denies what the gateway is asked for under any other name. So a server that
reaches the gateway before its rules, or outlives them, is a closed one.

Semantics: https://istio.io/latest/docs/reference/config/security/authorization-policy/
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from ansible_collections.multimesh.istio.plugins.module_utils.federation.authorization import (
    Admission,
    admissions_on,
    narrowing,
    patterns,
)
from ansible_collections.multimesh.istio.plugins.module_utils.federation.gateway_names import server_names
from ansible_collections.multimesh.istio.plugins.module_utils.federation.objects import (
    GATEWAY_PORT,
    GATEWAY_SELECTOR,
    ROOT_NAMESPACE,
    SECURITY,
    Object,
    build,
)
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Export


def policy(name: str, exports: Iterable[Export], trust_domains: Mapping[str, str]) -> Object:
    """The policy of a gateway with these exports.

    name: of the object. trust_domains: by mesh name.
    """
    alike: dict[frozenset[Admission], list[str]] = defaultdict(list)
    for export in exports:
        for port in export.ports:
            alike[admissions_on(export.offers, port, trust_domains)] += server_names(export, port)
    every = sorted(asked for names in alike.values() for asked in names)
    # Passthrough on the same port is not affected: nothing is authorized there.
    rules: list[Object] = [
        {"to": [{"operation": {"ports": [str(GATEWAY_PORT)]}}], "when": [_asked_for(notValues=every)]}
    ]
    for admissions, names in sorted(alike.items(), key=lambda item: sorted(item[1])):
        rules += _rules(admissions, sorted(names))
    spec = {"selector": {"matchLabels": dict(GATEWAY_SELECTOR)}, "action": "DENY", "rules": rules}
    return build(SECURITY, "AuthorizationPolicy", ROOT_NAMESPACE, name, {"spec": spec})


def _rules(admissions: frozenset[Admission], names: list[str]) -> list[Object]:
    when = [_asked_for(values=names)]
    admitted = patterns(admissions)
    unlisted: Object = {"from": [{"source": {"notPrincipals": admitted}}]} if admitted else {}
    rules = [{**unlisted, "when": when}]
    for source, operations in narrowing(admissions):
        rules.append({"from": [source], "to": [{"operation": one} for one in operations], "when": when})
    return rules


def _asked_for(**names: list[str]) -> Object:
    return {"key": "connection.sni", **names}
