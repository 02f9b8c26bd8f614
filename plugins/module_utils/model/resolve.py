# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the declared sites mean together: names resolved, facts filled in, imports computed.

Every value of an export is the inventory's, else that of the exporter's facts, else, for an exporter that was not
asked, what the consumer remembers of it. One walk over the exports and one over the edges.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.model.declare import PROTOCOLS, port_name
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Notes, nearest, shown
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import (
    Cluster,
    Consumer,
    Export,
    ExportSpec,
    ExternalService,
    Import,
    Imported,
    PeerFacts,
    Port,
    PortSpec,
    Site,
    Source,
)

try:
    import jmespath
    from jmespath.exceptions import JMESPathError

    HAS_JMESPATH = True
except ImportError:
    HAS_JMESPATH = False

EVERYONE = "all"


@dataclass(frozen=True, slots=True)
class Known:
    """Parts of an export that may come from a live cluster; None is what nobody knows."""

    ports: tuple[Port, ...] | None
    service_accounts: tuple[str, ...] | None
    selector: Mapping[str, str] | None


class Resolver:
    """All sites of an inventory, resolved against each other.

    live: at least one cluster was asked, so one that was not is out of reach rather than unknown.
    allow_unknown_addresses: name a gateway without address by a placeholder instead of refusing the inventory.
    """

    def __init__(self, notes: Notes, sites: Mapping[str, Site], allow_unknown_addresses: bool) -> None:
        self.notes = notes
        self.sites = sites
        self.allow_unknown_addresses = allow_unknown_addresses
        self.live = any(site.facts is not None for site in sites.values())
        self.meshes = _meshes(sites.values())
        self.groups = _groups(sites.values())
        self.common_hosts = _common_hosts(sites.values())
        self.exports: dict[str, tuple[Export, ...]] = {}
        self.warnings: dict[str, list[str]] = defaultdict(list)
        self._specs: dict[tuple[str, int], ExportSpec] = {}
        self._offered: dict[str, list[Export]] = defaultdict(list)

    def clusters(self) -> dict[str, Cluster]:
        """Every cluster by its host name, sorted."""
        for host, site in sorted(self.sites.items()):
            self.exports[host] = tuple(self._export(site, spec) for spec in site.exports)
            for export in self.exports[host]:
                for mesh in export.offers:
                    self._offered[mesh].append(export)
        return {host: self._cluster(site) for host, site in sorted(self.sites.items())}

    def _cluster(self, site: Site) -> Cluster:
        return Cluster(
            host=site.host,
            mesh=site.mesh,
            trust_domain=site.trust_domain,
            network=site.network,
            locality=site.locality,
            domain=site.domain,
            control_plane=site.control_plane,
            exports=self.exports[site.host],
            imports=self._imports(site),
            external_services=tuple(self._external(site, service) for service in site.external_services),
            warnings=tuple(dict.fromkeys(self.warnings[site.host])),
        )

    # Names of meshes and groups

    def members(self, site: Site, variable: str, name: str) -> tuple[str, ...]:
        """Meshes that a name stands for, without the site's own; an unknown name is noted."""
        if name == EVERYONE:
            found = set(self.meshes)
        elif name in self.meshes and self.groups.get(name, {name}) != {name}:
            self.notes.note(
                site.host, variable, f"'{name}' is a mesh and also a group with other meshes", "Rename the group"
            )
            return ()
        elif name in self.meshes:
            found = {name}
        elif name in self.groups:
            found = self.groups[name]
        elif name in self.sites:
            mesh = self.sites[name].mesh
            self.notes.note(
                site.host,
                variable,
                f"expected a mesh, a group or '{EVERYONE}', found the host '{name}'",
                f"Name its mesh, '{mesh}'",
            )
            return ()
        else:
            self.notes.note(
                site.host,
                variable,
                f"expected a mesh, a group of meshes or '{EVERYONE}', found '{name}', which this run's inventory lacks",
                nearest(name, {*self.meshes, *self.groups, EVERYONE}) + "; job slicing takes hosts out of an inventory",
            )
            return ()
        return tuple(sorted(found - {site.mesh}))

    # Exports

    def _export(self, site: Site, spec: ExportSpec) -> Export:
        offers: dict[str, dict[Consumer, None]] = defaultdict(dict)
        for index, consumer in enumerate(spec.consumers):
            for mesh in self.members(site, f"{spec.variable}.consumers[{index}]", consumer.mesh):
                offers[mesh][replace(consumer, mesh=mesh)] = None
        known = self._known(spec, site.facts)
        if site.facts is not None or not self.live:
            self._require(site, spec, known)
        export = Export(
            cluster=site.host,
            mesh=site.mesh,
            index=spec.index,
            namespace=spec.namespace,
            service=spec.service,
            host=spec.host,
            via=spec.via,
            ports=known.ports or (),
            service_accounts=known.service_accounts or (),
            selector=known.selector or {"app": spec.service},
            offers={mesh: tuple(entries) for mesh, entries in sorted(offers.items())},
            trust_domain=site.trust_domain,
            common_host=spec.host in self.common_hosts,
        )
        self._specs[site.host, spec.index] = spec
        return export

    def _known(self, spec: ExportSpec, facts: PeerFacts | None) -> Known:
        live = facts.services.get((spec.namespace, spec.service)) if facts else None
        live_ports = {port.number: port for port in live.ports} if live else {}
        specs = spec.ports if spec.ports is not None else tuple(live_ports.values()) or None
        ports = None if specs is None else tuple(_port(port, live_ports.get(port.number)) for port in specs)
        complete = None if ports is None else tuple(port for port in ports if port is not None)
        if ports is not None and complete is not None and len(complete) < len(ports):
            complete = None
        accounts = spec.service_accounts
        if accounts is None and live and live.service_accounts:
            accounts = live.service_accounts
        selector = spec.selector
        if selector is None:
            selector = live.selector if live else {"app": spec.service}
        return Known(complete, accounts, selector)

    def _require(self, site: Site, spec: ExportSpec, known: Known) -> None:
        """Note what neither the inventory nor the facts of a cluster that was asked say of its export."""
        service = f"Service {spec.namespace}/{spec.service}"
        where = f"{service} has none in the cluster" if site.facts is not None else "no cluster was asked"
        if known.ports is None and spec.ports is None:
            self.notes.note(
                site.host,
                f"{spec.variable}.ports",
                f"expected ports, found nothing, and {where}",
                "Add ports, for example [{number: 9080, name: http, protocol: HTTP}]",
            )
        elif known.ports is None:
            for index, declared in enumerate(spec.ports or ()):
                if declared.protocol is None:
                    self.notes.note(
                        site.host,
                        f"{spec.variable}.ports[{index}].protocol",
                        f"expected a protocol, found nothing, and {where}",
                        f"Use one of {', '.join(sorted(PROTOCOLS))}",
                    )
        live = site.facts.services.get((spec.namespace, spec.service)) if site.facts else None
        unclear = {port.number for port in live.ports if port.target_port is None} if live else set()
        unclear -= {port.number for port in spec.ports or () if port.target_port is not None}
        for port in known.ports or ():
            if port.number in unclear:
                self.notes.note(
                    site.host,
                    f"{spec.variable}.ports",
                    f"the pods' port behind port {port.number} of {service} is unknown, and policies see that",
                    f"Add target_port to port {port.number}",
                )
            if port.protocol not in PROTOCOLS.values():
                self.notes.note(
                    site.host,
                    f"{spec.variable}.ports",
                    f"port {port.number} of {service} has protocol {shown(port.protocol)}, which no gateway passes on",
                    "List in ports only those to be exported",
                )
        if known.service_accounts is None:
            self.notes.note(
                site.host,
                f"{spec.variable}.service_accounts",
                f"expected service accounts, found nothing, and {where}",
                "Name the service accounts of the pods behind the Service",
            )
        if known.selector is None:
            self.notes.note(
                site.host,
                f"{spec.variable}.selector",
                f"expected a selector, found nothing, and {service} has none in the cluster",
                "Add selector with the labels of the pods, because policies select pods",
            )

    # Imports

    def _imports(self, site: Site) -> tuple[Imported, ...]:
        named: dict[str, dict[tuple[str, int], Export]] = defaultdict(dict)
        visible: dict[str, set[str]] = defaultdict(set)
        renamed: dict[str, Import] = {}
        for export, wanted in self._selected(site):
            host = (wanted and wanted.host) or self.default_host(site, export)
            named[host][export.cluster, export.index] = export
            visible[host].update(wanted.export_to if wanted else ("*",))
            if wanted and wanted.host:
                renamed[host] = wanted
        own = {export.host: export for export in self.exports[site.host] if export.host}
        for host in own:
            named.setdefault(host, {})
        result = []
        for host, exports in sorted(named.items()):
            local = own.get(host)
            identities = {export.host or export.origin for export in exports.values()} | ({host} if local else set())
            if len(identities) > 1:
                if host in renamed:
                    self._collision(site, host, identities, renamed[host])
                continue
            sources = [self._source(site, export) for _key, export in sorted(exports.items())]
            found = self._imported(site, host, local, [source for source in sources if source], visible[host])
            if found:
                result.append(found)
        return tuple(result)

    def default_host(self, site: Site, export: Export) -> str:
        """Name of an export in a consumer: its ``host``, or the name qualified by its mesh."""
        return export.host or f"{export.service}.{export.namespace}.svc.{export.mesh}.{site.domain}"

    def _selected(self, site: Site) -> Iterable[tuple[Export, Import | None]]:
        offered = self._offered[site.mesh]
        if site.imports is None:
            return [(export, None) for export in offered]
        by_mesh: dict[str, list[Export]] = defaultdict(list)
        for export in offered:
            by_mesh[export.mesh].append(export)
        result: list[tuple[Export, Import | None]] = []
        for wanted in site.imports:
            meshes = self.members(site, f"{wanted.variable}.from", wanted.source)
            found = [export for mesh in meshes for export in self._matches(site, wanted, mesh, by_mesh[mesh])]
            if not found and meshes:
                self.warnings[site.host].append(
                    f"{site.host}: {wanted.variable}: nothing that {wanted.source} offers to {site.mesh} is selected"
                )
            hosts = {self.default_host(site, export) for export in found}
            if wanted.host and len(hosts) > 1:
                self.notes.note(
                    site.host,
                    f"{wanted.variable}.host",
                    f"one host cannot stand for {len(hosts)} selected exports: {', '.join(sorted(hosts))}",
                    "Narrow from and select to one export, or leave out host",
                )
                continue
            result += [(export, wanted) for export in found]
        return result

    def _matches(self, site: Site, wanted: Import, mesh: str, offered: list[Export]) -> list[Export]:
        if wanted.select is None:
            return offered
        variable = f"{wanted.variable}.select"
        if not HAS_JMESPATH:
            self.notes.note(
                site.host, variable, "the Python library jmespath is missing", "Install it, or leave out select"
            )
            return []
        exports = [spec.raw for host in self.meshes[mesh] for spec in self.sites[host].exports]
        try:
            found: Any = jmespath.search(wanted.select, exports)
        except JMESPathError as error:
            reason = str(error).splitlines()[0].strip(" :")
            reason = reason if len(reason) <= 120 else reason[:117] + "..."
            self.notes.note(
                site.host,
                variable,
                f"expected a JMESPath expression over exports: {reason}",
                "See https://jmespath.org",
            )
            return []
        try:
            chosen = _chosen(exports, found)
        except ValueError as error:
            self.notes.note(
                site.host,
                variable,
                f"expected a list of exports of {mesh}, found {error}",
                "Select whole exports, for example [?attributes.tier=='gold']",
            )
            return []
        return [export for export in offered if id(self._specs[export.cluster, export.index].raw) in chosen]

    def _source(self, site: Site, export: Export) -> Source | None:
        """An export as the site reaches it, or None if too little is known of an exporter that was not asked."""
        exporter = self.sites[export.cluster]
        spec = self._specs[export.cluster, export.index]
        asked = exporter.facts is not None
        remembered = site.facts.remembered.get(exporter.host) if site.facts else None
        known = self._known(spec, exporter.facts if asked else remembered)
        addresses = exporter.gateway_addresses
        if addresses is None:
            facts = exporter.facts if exporter.facts and exporter.facts.gateway_addresses else remembered
            addresses = facts.gateway_addresses if facts else None
        pending = not addresses and self.allow_unknown_addresses and (asked or not self.live)
        if pending:
            addresses = (f"pending.{exporter.mesh}.invalid",)
        if known.ports is None or known.service_accounts is None or not addresses:
            if self.live and not asked:
                self.warnings[site.host].append(
                    f"{site.host}: {exporter.host} was not reached and nothing is remembered of it:"
                    f" {export.origin} is left out"
                )
            elif addresses is None or (not addresses and exporter.gateway_addresses is None):
                where = "its gateway has none in the cluster" if asked else "no cluster was asked"
                self.notes.note(
                    exporter.host,
                    "mesh_gateway_addresses",
                    f"expected the addresses of the gateway, found nothing, and {where}",
                    "Add mesh_gateway_addresses, because other meshes import from here",
                )
            return None
        complete = replace(export, ports=known.ports, service_accounts=known.service_accounts)
        return Source(complete, tuple(sorted(addresses)), exporter.network, exporter.locality, pending)

    def _imported(
        self, site: Site, host: str, local: Export | None, sources: list[Source], visible: set[str]
    ) -> Imported | None:
        """One host of a site. A source that contradicts the others is left out: only an outdated memory can."""
        if local is None and not sources:
            return None
        first = local or sources[0].export
        ports = {(port.number, port.protocol) for port in first.ports}
        fitting = []
        for source in sorted(sources, key=lambda source: (source.export.mesh, source.export.cluster)):
            if {(port.number, port.protocol) for port in source.export.ports} == ports:
                fitting.append(source)
            else:
                self.warnings[site.host].append(
                    f"{site.host}: the ports of {source.export.origin} differ from those of {first.origin}:"
                    f" {source.export.cluster} is left out of {host}"
                )
        export_to = {"*"} if "*" in visible else set(visible)
        if local and "*" not in export_to:
            # The gateway lives in the namespace of the entry and must see it to pass calls on to the local Service.
            export_to.add(".")
        return Imported(host, first.ports, tuple(fitting), local, tuple(sorted(export_to or {"*"})))

    def _collision(self, site: Site, host: str, identities: set[str], renamed: Import) -> None:
        self.notes.note(
            site.host,
            f"{renamed.variable}.host",
            f"host '{host}' would stand for {' and '.join(sorted(identities))}",
            "Choose another host; exports that back each other up say so with a host of their own",
        )

    def _external(self, site: Site, service: ExternalService) -> ExternalService:
        meshes = {site.mesh} if not service.consumers else set()
        for index, name in enumerate(service.consumers):
            variable = f"mesh_external_services[{service.index}].consumers[{index}]"
            found = self.members(site, variable, name)
            own = name in (site.mesh, EVERYONE) or name in site.groups
            meshes |= set(found) | ({site.mesh} if own else set())
        return replace(service, consumers=tuple(sorted(meshes)))


def _chosen(exports: list[Mapping[str, Any]], found: Any) -> set[int]:
    """Identities of the exports that an expression gave. Raises ValueError saying what else it gave."""
    if not isinstance(found, list):
        raise ValueError(shown(found))
    known = {id(export) for export in exports}
    chosen: set[int] = set()
    for entry in found:
        # Filters hand on the very objects; an expression that builds an equal one means the same export.
        same = {id(entry)} & known or {id(export) for export in exports if export == entry}
        if not same:
            raise ValueError(f"a list with {shown(entry)}")
        chosen |= same
    return chosen


def _port(spec: PortSpec, live: PortSpec | None) -> Port | None:
    protocol = spec.protocol or (live.protocol if live else None)
    if protocol is None:
        return None
    name = spec.name or (live.name if live else None)
    target = spec.target_port or (live.target_port if live else None) or spec.number
    return Port(spec.number, port_name(replace(spec, name=name), protocol), protocol, target)


def _meshes(sites: Iterable[Site]) -> dict[str, tuple[str, ...]]:
    meshes: dict[str, list[str]] = defaultdict(list)
    for site in sites:
        meshes[site.mesh].append(site.host)
    return {mesh: tuple(sorted(hosts)) for mesh, hosts in sorted(meshes.items())}


def _groups(sites: Iterable[Site]) -> dict[str, set[str]]:
    groups: dict[str, set[str]] = defaultdict(set)
    for site in sites:
        for group in site.groups:
            groups[group].add(site.mesh)
    return dict(groups)


def _common_hosts(sites: Iterable[Site]) -> set[str]:
    """Hosts whose exporters call their Service differently: no Service name fits all of them in one SNI."""
    services: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for site in sites:
        for spec in site.exports:
            if spec.host:
                services[spec.host].add((spec.namespace, spec.service))
    return {host for host, found in services.items() if len(found) > 1}
