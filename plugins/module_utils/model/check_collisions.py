# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What others keep in a cluster and what the federation would write there, where Istio could not have both.

Istio reports hardly any of this. It takes both and uses one: which, depends on their age, their namespaces and the
caller's. docs/collisions.md says it for users; the comments here say where it can be read in Istio 1.31. What is
harmless passes: a ServiceEntry or an HTTP VirtualService for a wildcard around our hosts, because Istio and Envoy
prefer the exact host, and whatever is visible only where ours is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ansible_collections.multimesh.istio.plugins.module_utils.model import object_names, one_mesh
from ansible_collections.multimesh.istio.plugins.module_utils.model.foreign import EVERYWHERE, Foreign, ForeignObject
from ansible_collections.multimesh.istio.plugins.module_utils.model.imports import Importer
from ansible_collections.multimesh.istio.plugins.module_utils.model.names import object_name
from ansible_collections.multimesh.istio.plugins.module_utils.model.object_names import GATEWAY_PORT, ROOT_NAMESPACE
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Notes
from ansible_collections.multimesh.istio.plugins.module_utils.model.resolve import Resolver
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import (
    CLUSTER_DOMAIN,
    Cluster,
    Export,
    ExternalService,
    Imported,
    Port,
    Site,
)

OURS = "multimesh.istio"
_SERVICES = f".svc.{CLUSTER_DOMAIN}"
_SHOWN = 3


def check_collisions(
    notes: Notes, sites: Mapping[str, Site], resolver: Resolver, clusters: Mapping[str, Cluster]
) -> None:
    """Note what collides in every cluster in which somebody looked."""
    looked = [(site, site.facts.foreign) for site in sites.values() if site.facts and site.facts.foreign]
    known = _Known(sites.values(), resolver) if looked else None
    for site, foreign in looked:
        cluster = clusters[site.host]
        suspects: list[ForeignObject] = []
        if cluster.served:
            _check_gateways(notes, site, [export for export in cluster.exports if export.offers], foreign)
            _check_policies(notes, site, [export for export in cluster.reachable_exports if export.offers], foreign)
            _check_maps(notes, site, foreign)
            suspects = [item for item in foreign.objects if item.kind in _RULES and known and known.may_concern(item)]
        # Of a cluster that it serves from elsewhere, a control plane reads no more than Services.
        if suspects or foreign.services:
            _Hosts(notes, site, resolver, cluster, foreign).check(suspects)


class _Known:
    """All hosts that the federation makes known anywhere.

    It spares working out those of a cluster where nothing there has any of these names, which is the rule.
    """

    def __init__(self, sites: Iterable[Site], resolver: Resolver) -> None:
        exports = [export for found in resolver.exports.values() for export in found]
        self._hosts = {name for export in exports for name in (export.host, *export.aliases) if name}
        for service in resolver.external_services:
            self._hosts.update(name for host in service.hosts for name in (host, object_name(host)))
        self._stems = {export.qualified_name for export in exports if not export.host}
        self._domains: set[str] = set()
        for site in sites:
            self._hosts.update(wanted.host for wanted in site.imports or () if wanted.host)
            self._domains.add(f".{site.domain}")

    def may_concern(self, item: ForeignObject) -> bool:
        return any(self._may_be(name) for name in (*item.hosts, item.name))

    def _may_be(self, name: str) -> bool:
        if not name.startswith("*"):
            return name in self._hosts or ".".join(name.split(".")[:4]) in self._stems or name.endswith(_SERVICES)
        end = name[1:]
        if any(host.endswith(end) for host in self._hosts) or _SERVICES.endswith(end) or end.endswith(_SERVICES):
            return True
        return bool(self._stems) and any(domain.endswith(end) or end.endswith(domain) for domain in self._domains)


def _written(site: Site, export: Export, key: str = "") -> str:
    """Where the inventory has what is applied in the site's cluster, perhaps for another one of the mesh."""
    variable = f"mesh_exports[{export.index}]{key}"
    return variable if export.cluster == site.host else f"{variable} of {export.cluster}"


# Names of objects


def _owner(item: ForeignObject) -> str:
    if item.part_of:
        return "another ApplySet"
    return f"'{item.owner}'" if item.owner else "somebody else"


def _check_name(
    notes: Notes, site: Site, foreign: Foreign, item: ForeignObject, variable: str, adoptable: bool = True
) -> None:
    """One that has a name of ours: written over, its owner would lose it, and write it over again."""
    if not item.part_of and adoptable and (foreign.take_over or item.owner == OURS):
        return
    way_out = "Rename or remove it"
    if adoptable and not item.part_of:
        way_out += ", or have it taken over with federation_force_conflicts"
    notes.note(
        site.host, variable, f"{item} exists and belongs to {_owner(item)}, and the federation needs that name", way_out
    )


def _check_policies(notes: Notes, site: Site, own: Iterable[Export], foreign: Foreign) -> None:
    names = {
        (export.namespace, object_names.policy(export.service)): _written(site, export, ".service")
        for export in own
        if export.direct_offers
    }
    if any(export.via == "gateway" for export in own):
        names[ROOT_NAMESPACE, object_names.ROUTED_EXPORTS] = "mesh_exports"
    if own:
        names[ROOT_NAMESPACE, object_names.DEFAULT_DENY] = "mesh_exports"
    for item in foreign.objects:
        variable = names.get((item.namespace, item.name))
        if item.kind == "AuthorizationPolicy" and variable:
            _check_name(notes, site, foreign, item, variable)


def _check_maps(notes: Notes, site: Site, foreign: Foreign) -> None:
    for item in foreign.objects:
        if item.kind == "ConfigMap":
            _check_name(notes, site, foreign, item, "mesh_imports", item.name != object_names.FEDERATION_SET)


# The east-west gateway


def _check_gateways(notes: Notes, site: Site, own: Iterable[Export], foreign: Foreign) -> None:
    """Istio puts the servers of all Gateways that select a workload together (pilot/pkg/model/gateway.go)."""
    names = {"passthrough": object_names.EXPORTS_GATEWAY, "gateway": object_names.ROUTED_EXPORTS}
    ours = {(ROOT_NAMESPACE, names[export.via]) for export in own if export.via in names}
    for item in {item for item in foreign.objects if ours and item.kind == "Gateway"}:
        if (item.namespace, item.name) in ours:
            _check_name(notes, site, foreign, item, "mesh_exports")
        elif item.hosts:
            _check_server(notes, site, [export for export in own if export.via == "passthrough"], item)


def _check_server(notes: Notes, site: Site, exports: Iterable[Export], item: ForeignObject) -> None:
    where = f"port {GATEWAY_PORT} of the east-west gateway"
    way_out = "Take it out of that Gateway, or have that Gateway select another workload"
    if not item.tls:
        notes.note(
            site.host,
            "mesh_exports",
            f"{item} serves plaintext on {where}, and Istio drops the younger of it and the server of the exports",
            "Choose another port there, or have that Gateway select another workload",
        )
        return
    for export in exports:
        variable = _written(site, export, ".service")
        for host in dict.fromkeys((export.fqdn, export.sni_host)):
            pattern = next((pattern for pattern in item.hosts if _matches(pattern, host)), None)
            if pattern == host:
                # CheckDuplicates drops the whole server of the younger Gateway, with all its hosts.
                notes.note(
                    site.host,
                    variable,
                    f"'{host}' is also a host of {item} on {where}, and Istio drops the younger server with all its"
                    " hosts",
                    way_out,
                )
                return
            if pattern and item.tls == "AUTO_PASSTHROUGH":
                # Both servers give the listener a filter chain for the same SNI (builtAutoPassthroughFilterChains in
                # pilot/pkg/networking/core/gateway.go); Envoy refuses such a listener.
                notes.note(
                    site.host,
                    variable,
                    f"'{host}' also falls under '{pattern}' of {item} on {where}, whose proxy refuses a listener that"
                    " knows a name twice",
                    way_out,
                )
                return


# Hosts


@dataclass(frozen=True)
class _Cause:
    """Why a cluster knows a host: the variable, what is meant, and how to have another name."""

    variable: str
    meaning: str
    way_out: str


@dataclass(frozen=True)
class _Host:
    """A host that the federation makes known in a cluster.

    visible: namespaces that see it, or ``*``. home: namespace of what has the host, for Istio.
    rules_in: namespaces of its DestinationRule.
    is_service: it is a Service of the cluster's own, which gets endpoints elsewhere.
    """

    host: str
    ports: tuple[Port, ...]
    visible: frozenset[str]
    has_routes: bool
    home: str = ROOT_NAMESPACE
    rules_in: frozenset[str] = field(default=frozenset({ROOT_NAMESPACE}))
    is_service: bool = False

    @property
    def objects(self) -> Iterator[tuple[str, str, str]]:
        """Kind, namespace and name of what makes it known."""
        name = object_name(self.host)
        if not self.is_service:
            yield "ServiceEntry", ROOT_NAMESPACE, name
        if self.has_routes:
            yield "VirtualService", ROOT_NAMESPACE, name
        for namespace in self.rules_in:
            yield "DestinationRule", namespace, name


def _imported(entries: Iterable[Imported]) -> Iterator[_Host]:
    for entry in entries:
        visible = frozenset(ROOT_NAMESPACE if namespace == "." else namespace for namespace in entry.export_to)
        has_routes = any(port.is_http for port in entry.ports)
        if entry.own_service is None:
            yield _Host(entry.host, entry.ports, visible, has_routes)
        elif entry.local and entry.sources:
            yield _Host(entry.host, entry.ports, visible, has_routes, entry.local.namespace, is_service=True)


def _external(services: Iterable[ExternalService]) -> Iterator[_Host]:
    for service in services:
        visible = frozenset(service.export_to)
        rules_in = visible if service.tls.credential else frozenset({ROOT_NAMESPACE})
        for host in service.hosts:
            yield _Host(host, service.ports, visible, has_routes=True, rules_in=rules_in)


class _Hosts:
    """Hosts of one cluster against what is there."""

    def __init__(self, notes: Notes, site: Site, resolver: Resolver, cluster: Cluster, foreign: Foreign) -> None:
        self._notes = notes
        self._site = site
        self._resolver = resolver
        self._external = cluster.external_services
        self._foreign = foreign
        self._hosts = [*_imported(cluster.imports), *_external(cluster.external_services)]
        self._names = {key: host.host for host in self._hosts for key in host.objects}
        self._reasons: dict[str, _Cause] = {}

    def check(self, suspects: Iterable[ForeignObject]) -> None:
        for item in suspects:
            host = self._names.get((item.kind, item.namespace, item.name))
            if host:
                _check_name(self._notes, self._site, self._foreign, item, self._cause(host).variable)
            else:
                rule, way_out = _RULES[item.kind]
                met = [(host, *said) for host in self._hosts if (said := rule(item, host))]
                self._report(item, met, way_out)
        self._check_services()

    def _report(self, item: ForeignObject, found: list[tuple[_Host, str, str]], way_out: str) -> None:
        """One problem for each object, however many hosts it meets."""
        if not found:
            return
        host, pattern, happens = found[0]
        others = len(found) - 1
        alike = f", as {'do' if others > 1 else 'does'} {others} more host{'s' if others > 1 else ''}" if others else ""
        falls = f"is also a host of {item}" if pattern == host.host else f"also falls under '{pattern}' of {item}"
        self._note(host.host, f" {falls}{alike}, {happens}", way_out)

    def _note(self, host: str, problem: str, way_out: str) -> None:
        cause = self._cause(host)
        meaning = f" ({cause.meaning})" if cause.meaning else ""
        self._notes.note(
            self._site.host, cause.variable, f"'{host}'{meaning}{problem}", f"{way_out}, or {cause.way_out}"
        )

    def _check_services(self) -> None:
        """Istio prefers a cluster's Services to any ServiceEntry (appendSidecarServices in pilot/pkg/model/sidecar.go).

        Our DestinationRule would be that of the Service then, and so break calls to it.
        """
        for host in (known.host for known in self._hosts if not known.is_service):
            name, _dot, rest = host.partition(".")
            namespace, _dot, end = rest.partition(".")
            if name not in self._foreign.services.get(namespace, ()):
                continue
            problem = ""
            if f".{end}" == _SERVICES:
                problem = f" is the name of Service {namespace}/{name} here, which Istio prefers"
            elif end in ("", "svc") and (namespace, name) not in (
                self._site.facts.services if self._site.facts else {}
            ):
                problem = f" is a short name of Service {namespace}/{name} here, which it would hide"
            if problem:
                self._note(host, problem, "Remove that Service")

    def _cause(self, host: str) -> _Cause:
        if not self._reasons:
            for found, cause in _causes(self._site, self._resolver, self._external):
                self._reasons.setdefault(found, cause)
        return self._reasons[host]


def _causes(site: Site, resolver: Resolver, external: Iterable[ExternalService]) -> Iterator[tuple[str, _Cause]]:
    home = one_mesh.primary(resolver.sites, site)
    served = one_mesh.served(resolver.sites, home)
    for export in (one for host in (site.host, *served) for one in resolver.exports[host]):
        if export.host:
            yield export.host, _Cause(_written(site, export, ".host"), "", "choose another host")
            for index, alias in enumerate(export.aliases):
                yield alias, _Cause(_written(site, export, f".aliases[{index}]"), "", "choose another alias")
    for host, export, wanted, key in Importer(resolver, home).named():
        variable = wanted.variable if wanted else "mesh_imports"
        meaning = f"mesh_exports[{export.index}] of {export.cluster}"
        if key == "host":
            yield host, _Cause(f"{variable}.host", meaning, "choose another host")
        elif key:
            yield host, _Cause(f"{variable}.{key}", meaning, f"leave {host.split('.')[1]} out")
        elif host in export.aliases:
            yield host, _Cause(variable, f"an alias of {meaning}", "remove the alias there")
        else:
            yield host, _Cause(variable, meaning, "import it under another name with key host of mesh_imports")
    for service in external:
        meaning = "" if site.host in service.declared_by else f"{service.variable} of {service.declared_by[0]}"
        variable = "mesh_external_services" if meaning else f"{service.variable}.hosts"
        for host in service.hosts:
            yield host, _Cause(variable, meaning, "remove the host there" if meaning else "remove the host here")


Said: TypeAlias = "tuple[str, str] | None"
"""The host or wildcard of the foreign object that meets ours, and what comes of it."""


def _service_entry(item: ForeignObject, ours: _Host) -> Said:
    """Of several with one host in sight, Istio takes that of the caller's namespace, else one: the oldest.

    selectServices in pilot/pkg/model/sidecar.go. Our DestinationRule and VirtualService go by the host and would be
    those of the other one too. A Service comes before all of them.
    """
    common = _common(item.visible, ours.visible)
    if ours.is_service or ours.host not in item.hosts or not common:
        return None
    return ours.host, f"and Istio knows only one of the two {_where(common)}"


def _destination_rule(item: ForeignObject, ours: _Host) -> Said:
    """The rules of the caller's namespace come first, even a wildcard, then those of the host's, then Istio's.

    destinationRule in pilot/pkg/model/push_context.go. Within a namespace the exact host comes first, and of two rules
    for one host the older one's policy counts (mergeDestinationRule). Without ours, callers ask the gateway for the
    wrong name, and believe anybody.
    """
    pattern = _pattern(item, ours)
    common = _common(item.visible, ours.visible)
    if pattern is None or not common:
        return None
    if item.namespace in ours.rules_in:
        # Those for this namespace alone come before all others there, where that is Istio's own.
        alone = item.namespace == ROOT_NAMESPACE and item.visible == {ROOT_NAMESPACE}
        common = common if pattern == ours.host or alone else frozenset()
    elif item.namespace == ROOT_NAMESPACE:
        common = frozenset()  # callers find ours in their own namespace
    elif item.namespace != ours.home:
        # It matters to nobody but its own callers.
        common = frozenset({item.namespace}) if common & {item.namespace, EVERYWHERE} else frozenset()
    return (pattern, f"and Istio applies only one of the two rules {_where(common)}") if common else None


def _virtual_service(item: ForeignObject, ours: _Host) -> Said:
    """Requests go by the exact host first, of two by the older one; connections by whatever matches.

    BuildSidecarVirtualHostWrapper and buildVirtualHost in pilot/pkg/networking/core for HTTP; getConfigsForHost in
    tls.go for the rest, for which we have no routes that could come first.
    """
    pattern = _pattern(item, ours)
    common = _common(item.visible, ours.visible)
    if pattern is None or not common:
        return None
    if item.http and pattern == ours.host and any(port.is_http for port in ours.ports):
        return pattern, f"and Istio follows the routes of only one of the two {_where(common)}"
    if item.ports is not None:
        taken = [
            port.number for port in ours.ports if not port.is_http and (not item.ports or port.number in item.ports)
        ]
        if taken:
            return pattern, f"whose routes take connections to port {_listed(map(str, taken))} {_where(common)}"
    return None


_RULES: dict[str, tuple[Callable[[ForeignObject, _Host], Said], str]] = {
    "ServiceEntry": (_service_entry, "Take the host out of that ServiceEntry"),
    "DestinationRule": (_destination_rule, "Narrow or remove that DestinationRule"),
    "VirtualService": (_virtual_service, "Narrow or remove that VirtualService"),
}


def _pattern(item: ForeignObject, ours: _Host) -> str | None:
    found = [pattern for pattern in item.hosts if _matches(pattern, ours.host)]
    return max(found, key=len, default=None)  # the exact one, if there is


def _matches(pattern: str, host: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*") else host == pattern


def _common(one: frozenset[str], other: frozenset[str]) -> frozenset[str]:
    if EVERYWHERE in one:
        return other
    return one if EVERYWHERE in other else one & other


def _where(namespaces: frozenset[str]) -> str:
    if EVERYWHERE in namespaces:
        return "in every namespace"
    return f"in namespace{'s' if len(namespaces) > 1 else ''} {_listed(sorted(namespaces))}"


def _listed(texts: Iterable[str]) -> str:
    found = list(texts)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more
