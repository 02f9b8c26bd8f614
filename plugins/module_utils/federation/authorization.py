# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may call an export, enforced at its workloads.

The gateway passes TLS through and cannot authorize. So every export denies the callers of other meshes that it does
not name. DENY leaves the owner's own policies what they are: local callers and ALLOW policies are not touched.

Policies select pods, and several exports may share pods. A port of these pods then admits what any export of that
port admits, and ports that nobody exports admit no other mesh at all.

Semantics: https://istio.io/latest/docs/reference/config/security/authorization-policy/
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ansible_collections.multimesh.istio.plugins.module_utils.federation.objects import SECURITY, Object, build
from ansible_collections.multimesh.istio.plugins.module_utils.model import object_names
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import (
    HTTP_PROTOCOLS,
    Cluster,
    Consumer,
    Export,
    Port,
)


@dataclass(frozen=True, order=True, slots=True)
class Callers:
    """A set of identities: a trust domain, a namespace in it, or one service account. '' is every one."""

    trust_domain: str
    namespace: str = ""
    service_account: str = ""

    @property
    def pattern(self) -> str:
        """As Istio writes principals, without the scheme."""
        if not self.namespace:
            return f"{self.trust_domain}/*"
        if not self.service_account:
            return f"{self.trust_domain}/ns/{self.namespace}/*"
        return f"{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"

    def contains(self, other: Callers) -> bool:
        return self in (
            other,
            Callers(other.trust_domain, other.namespace),
            Callers(other.trust_domain),
        )


@dataclass(frozen=True, slots=True)
class Admission:
    """Callers that may do something; None is everything."""

    callers: Callers
    methods: tuple[str, ...] | None
    paths: tuple[str, ...] | None


def policies(cluster: Cluster, trust_domains: Mapping[str, str]) -> list[Object]:
    """One policy per export that is offered to anybody.

    Whom only a gateway of this mesh lets in gets no further than there: to the pods that gateway is a local caller, and
    every other mesh a stranger.

    trust_domains: by mesh name.
    """
    sharing: dict[tuple[str, frozenset[tuple[str, str]]], list[Export]] = defaultdict(list)
    for export in cluster.exports:
        if export.offers:
            sharing[export.namespace, frozenset(export.selector.items())].append(export)
    result = []
    for exports in sharing.values():
        admitted = _admitted(exports, trust_domains)
        http = {port.target_port for export in exports for port in export.ports if port.protocol in HTTP_PROTOCOLS}
        for export in exports:
            rules = _rules(cluster.trust_domain, export, admitted, http)
            result.append(_policy(export, rules))
    return result


def _policy(export: Export, rules: list[Object]) -> Object:
    spec = {"selector": {"matchLabels": dict(sorted(export.selector.items()))}, "action": "DENY", "rules": rules}
    name = object_names.policy(export.service)
    return build(SECURITY, "AuthorizationPolicy", export.namespace, name, {"spec": spec}, [export])


def _admitted(exports: Iterable[Export], trust_domains: Mapping[str, str]) -> dict[int, frozenset[Admission]]:
    """What each port of the pods admits, over all exports of these pods."""
    ports: dict[int, set[Admission]] = defaultdict(set)
    for export in exports:
        if export.direct_offers:
            for port in export.ports:
                ports[port.target_port] |= admissions_on(export.direct_offers, port, trust_domains)
    return {port: frozenset(admissions) for port, admissions in ports.items()}


def admissions_on(
    offers: Mapping[str, Iterable[Consumer]], port: Port, trust_domains: Mapping[str, str]
) -> frozenset[Admission]:
    """What an export admits on one of its ports.

    offers: the entries that admit somebody, by mesh.
    """
    return frozenset(
        Admission(
            Callers(trust_domains[mesh], entry.namespace or "", entry.service_account or ""), entry.methods, entry.paths
        )
        for mesh, entries in offers.items()
        for entry in entries
        if entry.may_call(port)
    )


def _rules(
    own_domain: str, export: Export, admitted: Mapping[int, frozenset[Admission]], http: set[int]
) -> list[Object]:
    alike: dict[frozenset[Admission], list[int]] = defaultdict(list)
    for port in sorted({port.target_port for port in export.ports} & set(admitted)):
        alike[admitted[port]].append(port)
    everywhere = len(set(admitted.values())) == 1
    rules = []
    for admissions, ports in sorted(alike.items(), key=lambda item: item[1]):
        rule = {"from": [_source(["*"], [_own(own_domain), *patterns(admissions)])]}
        if not everywhere:
            rule["to"] = [{"operation": {"ports": _texts(ports)}}]
        rules.append(rule)
    unlisted: Object = {"from": [_source(["*"], [_own(own_domain)])]}
    if admitted:
        unlisted["to"] = [{"operation": {"notPorts": _texts(sorted(admitted))}}]
    rules.append(unlisted)
    for admissions, ports in sorted(alike.items(), key=lambda item: item[1]):
        # On a TCP port Istio would drop methods and paths from the rule and deny everything.
        if limits := _texts(port for port in ports if port in http):
            for source, operations in narrowing(admissions):
                to = [{"operation": {"ports": limits, **operation}} for operation in operations]
                rules.append({"from": [source], "to": to})
    return rules


def patterns(admissions: Iterable[Admission]) -> list[str]:
    """All who may do anything, as Istio writes principals."""
    return [callers.pattern for callers in sorted({admission.callers for admission in admissions})]


def _own(trust_domain: str) -> str:
    return Callers(trust_domain).pattern


def _source(principals: list[str], but_not: list[str]) -> Object:
    source = {"principals": principals}
    if but_not:
        source["notPrincipals"] = but_not
    return {"source": source}


def _texts(ports: Iterable[int]) -> list[str]:
    return [str(port) for port in ports]


def narrowing(admissions: frozenset[Admission]) -> list[tuple[Object, list[Object]]]:
    """What admitted callers may not do: sources, each with the operations that are denied to them.

    Every caller belongs to exactly one set of callers: the smallest that names it. What that set may do is what any
    set around it may do, so each set needs one rule, which leaves out the smaller sets within it.
    """
    found: list[tuple[Object, list[Object]]] = []
    if all(admission.methods is None and admission.paths is None for admission in admissions):
        return found
    sets = sorted({admission.callers for admission in admissions})
    for callers in sets:
        operations = _denied(admission for admission in admissions if admission.callers.contains(callers))
        if operations:
            inner = [other.pattern for other in sets if other != callers and callers.contains(other)]
            found.append((_source([callers.pattern], inner), operations))
    return found


def _denied(applying: Iterable[Admission]) -> list[Object]:
    """Operations that none of the admissions allows: per named method the paths left over, then all other methods."""
    paths_of: dict[str | None, list[tuple[str, ...] | None]] = defaultdict(list)
    applying = list(applying)
    named = sorted({method for admission in applying for method in admission.methods or ()})
    for admission in applying:
        for method in [*named, None] if admission.methods is None else admission.methods:
            paths_of[method].append(admission.paths)
    operations: list[Object] = []
    methods_by_paths: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for method in named:
        allowed = _union(paths_of[method])
        if allowed is not None:
            methods_by_paths[allowed].append(method)
    for allowed, methods in sorted(methods_by_paths.items()):
        operations.append({"methods": methods, "notPaths": list(allowed)})
    others = _union(paths_of[None])
    if others is not None:
        operation: Object = {}
        if named:
            operation["notMethods"] = named
        if others:
            operation["notPaths"] = list(others)
        operations.append(operation)
    return operations


def _union(paths: Iterable[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """All paths of any of these; None is every path."""
    found: set[str] = set()
    for some in paths:
        if some is None:
            return None
        found.update(some)
    return tuple(sorted(found))
