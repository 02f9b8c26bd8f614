# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the declared sites mean together: names of meshes resolved, exports completed with facts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from ansible_collections.multimesh.istio.plugins.module_utils.model import external_consumers as external
from ansible_collections.multimesh.istio.plugins.module_utils.model import one_mesh
from ansible_collections.multimesh.istio.plugins.module_utils.model.communities import communities
from ansible_collections.multimesh.istio.plugins.module_utils.model.imports import Importer
from ansible_collections.multimesh.istio.plugins.module_utils.model.offers import Offers
from ansible_collections.multimesh.istio.plugins.module_utils.model.ports import PROTOCOLS, port_name
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Notes, nearest, shown
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import (
    Cluster,
    Export,
    ExportSpec,
    ExternalService,
    PeerFacts,
    Port,
    PortSpec,
    ServiceFacts,
    Site,
    Traffic,
)

EVERYONE = "all"


@dataclass(frozen=True, slots=True)
class Known:
    """Parts of an export that may come from a live cluster; None is what nobody knows."""

    ports: tuple[Port, ...] | None
    service_accounts: tuple[str, ...] | None
    selector: Mapping[str, str] | None
    cluster_ip: str | None


class Resolver:
    """All sites of an inventory, resolved against each other.

    live: at least one cluster was asked, so one that was not is out of reach rather than unknown.
    allow_unknown_addresses: name a gateway without address by a placeholder instead of refusing the inventory.
    without: hosts on their way out: they offer nothing, and a mesh whose clusters all are is nobody's consumer.
    """

    def __init__(
        self, notes: Notes, sites: Mapping[str, Site], allow_unknown_addresses: bool, without: Collection[str] = ()
    ) -> None:
        self.notes = notes
        self.sites = dict(sorted(sites.items()))
        self.allow_unknown_addresses = allow_unknown_addresses
        self.live = any(site.facts is not None for site in sites.values())
        self.meshes = _meshes(self.sites.values())
        self.without = frozenset(without)
        self._leaving = {mesh for mesh, hosts in self.meshes.items() if self.without.issuperset(hosts)}
        self.exports: dict[str, tuple[Export, ...]] = {}
        self.external_services: tuple[ExternalService, ...] = ()
        self._groups = _groups(self.sites.values())
        self._specs = {(host, spec.index): spec for host, site in sites.items() for spec in site.exports}
        self._offered: dict[str, tuple[Export, ...]] = {}
        self.offers = Offers(self)

    def clusters(self) -> dict[str, Cluster]:
        """Every cluster by its host name, sorted."""
        for host, site in self.sites.items():
            self.exports[host] = tuple(self._export(site, spec) for spec in site.exports)
            services = external.declared(self, site)
            if host not in self.without:
                self.external_services += services
        self._join()
        clusters = {host: self._cluster(site) for host, site in self.sites.items()}
        for site in self.sites.values():
            if site.imports is not None:
                # These alone can be wrong, so they are resolved now; the others when somebody asks for them.
                clusters[site.host].resolve()
            self._require_addresses(site)
        return clusters

    def is_read(self, site: Site) -> bool:
        """Whether all is known of a cluster that ever will be in this run."""
        return site.facts is not None or not self.live

    def _cluster(self, site: Site) -> Cluster:
        served = one_mesh.served(self.sites, site)
        known = one_mesh.known(self.sites, site)
        home = one_mesh.primary(self.sites, site)
        exports, _warnings = one_mesh.seen_from(self, site, known)
        return Cluster(
            host=site.host,
            mesh=site.mesh,
            trust_domain=site.trust_domain,
            network=site.network,
            locality=site.locality,
            domain=home.domain,
            address_range=home.address_range,
            ingress=site.ingress,
            control_plane=site.control_plane,
            exports=one_mesh.joined(export for export in exports if export.cluster in served),
            reachable_exports=one_mesh.joined(exports),
            other_exports=tuple(export for export in exports if export.cluster != site.host),
            own_exports=self.exports[site.host],
            served=served,
            known=known,
            telemetry_attributes=home.telemetry_attributes,
            external_services=external.known(self.external_services, site.mesh),
            resolve=Importer(self, home).resolve,
            short_names_in=frozenset(name for wanted in home.imports or () for name in wanted.short_names_in),
        )

    def members(self, site: Site, variable: str, name: str, with_own: bool = False) -> tuple[str, ...]:
        """Meshes that a name stands for, the site's own among them only if asked; an unknown name is noted."""
        found: set[str] = set()
        if name == EVERYONE:
            found = set(self.meshes)
        elif name in self.meshes and self._groups.get(name, {name}) != {name}:
            self.notes.note(
                site.host, variable, f"'{name}' is a mesh and also a group with other meshes", "Rename the group"
            )
        elif name in self.meshes:
            found = {name}
        elif name in self._groups:
            found = self._groups[name]
        elif name in self.sites:
            self.notes.note(
                site.host,
                variable,
                f"expected a mesh, a group or '{EVERYONE}', found the host '{name}'",
                f"Name its mesh, '{self.sites[name].mesh}'",
            )
        else:
            self.notes.note(
                site.host,
                variable,
                f"expected a mesh, a group of meshes or '{EVERYONE}', found '{name}', which this run's inventory lacks",
                nearest(name, {*self.meshes, *self._groups, EVERYONE})
                + "; job slicing takes hosts out of an inventory",
            )
        return tuple(sorted(found - self._leaving - (set() if with_own else {site.mesh})))

    def offered(self, mesh: str) -> tuple[Export, ...]:
        """Everything that other meshes offer to a mesh."""
        if mesh not in self._offered:
            everything = (export for exports in self.exports.values() for export in exports)
            self._offered[mesh] = tuple(export for export in everything if mesh in export.offers)
        return self._offered[mesh]

    def spec(self, export: Export) -> ExportSpec:
        """The export as written."""
        return self._specs[export.cluster, export.index]

    def known(self, spec: ExportSpec, facts: PeerFacts | None) -> Known:
        """What the inventory says of an export, completed with these facts."""
        live = facts.services.get((spec.namespace, spec.service)) if facts else None
        live_ports = {port.number: port for port in live.ports} if live else {}
        specs = spec.ports if spec.ports is not None else tuple(live_ports.values()) or None
        ports = None if specs is None else tuple(_port(port, live_ports.get(port.number)) for port in specs)
        complete = None if ports is None else tuple(port for port in ports if port)
        accounts = spec.service_accounts
        if accounts is None and live and live.service_accounts:
            accounts = live.service_accounts
        selector = spec.selector
        if selector is None:
            selector = live.selector if live else {"app": spec.service}
        cluster_ip = spec.cluster_ip or (live.cluster_ip if live else None)
        return Known(complete if complete == ports else None, accounts, selector, cluster_ip)

    def _export(self, site: Site, spec: ExportSpec) -> Export:
        offers = self.offers.of(site, spec)
        known = self.known(spec, site.facts)
        if self.is_read(site):
            self._require(site, spec, known)
        return Export(
            cluster=site.host,
            mesh=site.mesh,
            index=spec.index,
            namespace=spec.namespace,
            service=spec.service,
            host=spec.host,
            aliases=spec.aliases,
            via=spec.via,
            ports=known.ports or (),
            service_accounts=known.service_accounts or (),
            selector=known.selector or {"app": spec.service},
            cluster_ip=known.cluster_ip,
            attributes=spec.attributes,
            offers={} if site.host in self.without else offers,
            trust_domain=site.trust_domain,
            traffic=spec.traffic or Traffic(),
            routes=spec.routes,
        )

    def _join(self) -> None:
        """Complete exports of a host by what the others say that back them up."""
        everything = [export for exports in self.exports.values() for export in exports]
        community = communities(everything)
        together: dict[tuple[str, str], list[Export]] = defaultdict(list)
        for export in everything:
            together[export.host or export.origin, community.get(id(export), "")].append(export)
        joined: dict[int, Export] = {}
        for (_host, common), found in together.items():
            staying = {(export.namespace, export.service) for export in found if export.cluster not in self.without}
            # That all who say something of it say the same is checked.
            said = [traffic for export in found if export.host and (traffic := self.spec(export).traffic)]
            for export in found:
                traffic = self.spec(export).traffic or (said[-1] if said else export.traffic)
                joined[id(export)] = replace(export, community=common, traffic=traffic, common_host=len(staying) > 1)
        self.exports = {host: tuple(joined[id(export)] for export in found) for host, found in self.exports.items()}

    def _require(self, site: Site, spec: ExportSpec, known: Known) -> None:
        """Note what neither the inventory nor the facts of a cluster that was asked say of its export."""
        service = f"Service {spec.namespace}/{spec.service}"
        live = site.facts.services.get((spec.namespace, spec.service)) if site.facts else None
        where = "no cluster was asked" if site.facts is None else f"{service} has none in the cluster"
        if known.ports is None and spec.ports is None:
            self._note(
                site,
                f"{spec.variable}.ports",
                f"expected ports, found nothing, and {where}",
                "Add ports, for example [{number: 9080, name: http, protocol: HTTP}]",
            )
        for index, declared in enumerate(spec.ports or ()):
            if known.ports is None and declared.protocol is None:
                self._note(
                    site,
                    f"{spec.variable}.ports[{index}].protocol",
                    f"expected a protocol, found nothing, and {where}",
                    f"Use one of {', '.join(sorted(PROTOCOLS))}",
                )
        self._require_usable_ports(site, spec, known.ports or (), live)
        if known.service_accounts is None:
            self._note(
                site,
                f"{spec.variable}.service_accounts",
                f"expected service accounts, found nothing, and {where}",
                "Name the service accounts of the pods behind the Service",
            )
        if known.selector is None:
            self._note(
                site,
                f"{spec.variable}.selector",
                f"expected a selector, found nothing, and {service} has none in the cluster",
                "Add selector with the labels of the pods, because policies select pods",
            )

    def _require_usable_ports(
        self, site: Site, spec: ExportSpec, ports: Iterable[Port], live: ServiceFacts | None
    ) -> None:
        unclear = {port.number for port in live.ports if port.target_port is None} if live else set()
        unclear -= {port.number for port in spec.ports or () if port.target_port is not None}
        service = f"Service {spec.namespace}/{spec.service}"
        for port in ports:
            if port.number in unclear:
                self._note(
                    site,
                    f"{spec.variable}.ports",
                    f"the pods' port behind port {port.number} of {service} is unknown, and policies see that",
                    f"Add target_port to port {port.number}",
                )
            if port.protocol not in PROTOCOLS.values():
                self._note(
                    site,
                    f"{spec.variable}.ports",
                    f"port {port.number} of {service} has protocol {shown(port.protocol)}, which no gateway passes on",
                    "List in ports only those to be exported",
                )

    def _require_addresses(self, site: Site) -> None:
        """Note that nobody knows where calls for an exporter enter, if anybody imports from it."""
        if not self.is_read(site):
            return
        noted: set[str] = set()
        for export in (found for served in one_mesh.served(self.sites, site) for found in self.exports[served]):
            variable, what, service = _entrance(site, export.via)
            if site.addresses(export.via) is None and variable not in noted and self._is_out_of_reach(site, export):
                noted.add(variable)
                where = "no cluster was asked" if site.facts is None else f"{service} has none in the cluster"
                self._note(
                    site,
                    variable,
                    f"expected the addresses of the {what}, found nothing, and {where}",
                    f"Add {variable}, because other meshes import from here",
                )

    def _is_out_of_reach(self, site: Site, export: Export) -> bool:
        """Whether somebody imports this export who cannot know where to call it."""
        importers = (Importer(self, self.sites[host]) for mesh in export.offers for host in self.meshes[mesh])
        return any(importer.wants(export) and not importer.addresses(site, export.via) for importer in importers)

    def _note(self, site: Site, variable: str, expected: str, way_out: str) -> None:
        self.notes.note(site.host, variable, expected, way_out)


def _entrance(site: Site, via: str) -> tuple[str, str, str]:
    """Where calls for exports of this way enter: the variable with its addresses, what it is, where they are read."""
    if via == "ingress":
        service = f"Service {site.ingress.service_namespace}/{site.ingress.service_name}"
        return "mesh_ingress_addresses", "ingress controller", service
    return "mesh_gateway_addresses", "gateway", "its gateway"


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
