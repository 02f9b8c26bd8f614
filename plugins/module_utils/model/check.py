# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules that hold between clusters, meshes and exports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ansible_collections.multimesh.istio.plugins.module_utils.model import one_mesh
from ansible_collections.multimesh.istio.plugins.module_utils.model.addresses import check_address_ranges
from ansible_collections.multimesh.istio.plugins.module_utils.model.check_cluster_names import check_cluster_names
from ansible_collections.multimesh.istio.plugins.module_utils.model.check_external import check_external
from ansible_collections.multimesh.istio.plugins.module_utils.model.check_gateway import check_gateway
from ansible_collections.multimesh.istio.plugins.module_utils.model.check_ingress import check_ingress
from ansible_collections.multimesh.istio.plugins.module_utils.model.check_policy import check_policy
from ansible_collections.multimesh.istio.plugins.module_utils.model.check_traffic import check_traffic
from ansible_collections.multimesh.istio.plugins.module_utils.model.names import LONGEST_NAME
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Notes, nearest
from ansible_collections.multimesh.istio.plugins.module_utils.model.resolve import EVERYONE, Resolver
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import (
    HTTP_PROTOCOLS,
    Export,
    Site,
)


def check(notes: Notes, sites: Mapping[str, Site], resolver: Resolver) -> None:
    """Note every rule broken. Values that reading already refused are not complained about again."""
    ordered = [site for _host, site in sorted(sites.items())]
    _check_names(notes, sites)
    _check_trust_domains(notes, ordered)
    _check_networks(notes, ordered)
    _check_addresses(notes, ordered)
    check_address_ranges(notes, ordered)
    _check_control_planes(notes, sites)
    for site in ordered:
        own = resolver.exports[site.host]
        _check_once(notes, own)
        _check_narrowing(notes, own)
        # Policies of one control plane select pods in every cluster that it knows.
        _check_shared_pods(notes, one_mesh.seen_from(resolver, site, one_mesh.known(sites, site))[0])
        check_gateway(notes, own)
    exports = [export for site in ordered for export in resolver.exports[site.host]]
    _check_backups(notes, exports)
    check_traffic(notes, sites, [(export, resolver.spec(export)) for export in exports], resolver.live)
    check_ingress(notes, ordered, resolver)
    _check_aliases(notes, exports)
    check_cluster_names(notes, sites, resolver)
    check_policy(notes, ordered, resolver)
    _check_hosts(notes, sites, resolver, exports)
    check_external(notes, sites, resolver, exports)


def _check_names(notes: Notes, sites: Mapping[str, Site]) -> None:
    for site in sites.values():
        if site.mesh == EVERYONE:
            notes.note(site.host, "mesh_name", f"'{EVERYONE}' means every mesh", "Choose another name")
        other = sites.get(site.mesh)
        if other is not None and other.mesh != site.mesh:
            notes.note(
                site.host,
                "mesh_name",
                f"'{site.mesh}' is also a host, whose mesh is '{other.mesh}'",
                "Rename the mesh or the host, so that the name means one thing",
            )


def _check_trust_domains(notes: Notes, sites: list[Site]) -> None:
    owner: dict[str, Site] = {}
    by_mesh: dict[str, Site] = {}
    for site in sites:
        first = by_mesh.setdefault(site.mesh, site)
        if first.trust_domain != site.trust_domain:
            notes.note(
                site.host,
                "mesh_trust_domain",
                f"expected '{first.trust_domain}' as on {first.host}, because a mesh has one trust domain,"
                f" found '{site.trust_domain}'",
                "Set the same on every cluster of the mesh",
            )
            continue
        other = owner.setdefault(site.trust_domain, site)
        if other.mesh != site.mesh:
            notes.note(
                site.host,
                "mesh_trust_domain",
                f"'{site.trust_domain}' is already the trust domain of mesh {other.mesh}",
                "Give each mesh one of its own, such as '<mesh>.mesh'",
            )
    for site in sites:
        labels = site.trust_domain.split(".")
        for cut in range(1, len(labels)):
            outer = owner.get(".".join(labels[cut:]))
            if outer is not None:
                notes.note(
                    site.host,
                    "mesh_trust_domain",
                    f"'{site.trust_domain}' is nested in '{outer.trust_domain}' of mesh {outer.mesh},"
                    " whose CA could then speak for it",
                    "Choose siblings, such as 'east.mesh' and 'west.mesh'",
                )


def _check_networks(notes: Notes, sites: list[Site]) -> None:
    owner: dict[str, Site] = {}
    for site in sites:
        other = owner.setdefault(site.network, site)
        if other.mesh != site.mesh:
            notes.note(
                site.host,
                "mesh_network",
                f"'{site.network}' is already the network of mesh {other.mesh}, whose pods would be called directly",
                "Choose a network of its own, or leave it out",
            )


def _check_addresses(notes: Notes, sites: list[Site]) -> None:
    owner: dict[str, Site] = {}
    for site in sites:
        for index, address in enumerate(site.gateway_addresses or ()):
            other = owner.setdefault(address, site)
            if other.mesh != site.mesh:
                notes.note(
                    site.host,
                    f"mesh_gateway_addresses[{index}]",
                    f"'{address}' is already the gateway of {other.host}, where its callers would end up",
                    "Give each mesh the address of its own gateway",
                )


def _check_control_planes(notes: Notes, sites: Mapping[str, Site]) -> None:
    for site in sites.values():
        primary = sites.get(site.control_plane)
        if primary is None:
            notes.note(
                site.host,
                "mesh_control_plane",
                f"expected a host of group 'meshes', found '{site.control_plane}'",
                nearest(site.control_plane, sites),
            )
        elif primary.mesh != site.mesh:
            notes.note(
                site.host,
                "mesh_control_plane",
                f"expected a cluster of mesh {site.mesh}, found '{primary.host}' of mesh {primary.mesh}",
                "Give both the same mesh_name, or leave it out",
            )
        elif primary.control_plane != primary.host:
            notes.note(
                site.host,
                "mesh_control_plane",
                f"expected a cluster with its own control plane, found '{primary.host}',"
                f" which is served by '{primary.control_plane}'",
                f"Name '{primary.control_plane}'",
            )


def _check_once(notes: Notes, exports: Iterable[Export]) -> None:
    services: dict[str, Export] = {}
    hosts: dict[str, Export] = {}
    for export in exports:
        first = services.setdefault(export.origin, export)
        if first is not export:
            notes.note(
                export.cluster,
                f"mesh_exports[{export.index}].service",
                f"Service {export.namespace}/{export.service} is already exported by mesh_exports[{first.index}]",
                "Make one export of the two",
            )
        if export.host:
            first = hosts.setdefault(export.host, export)
            if first is not export:
                notes.note(
                    export.cluster,
                    f"mesh_exports[{export.index}].host",
                    f"host '{export.host}' is already that of mesh_exports[{first.index}] in the same cluster",
                    "Give each export its own host; one host is shared by exports of different clusters",
                )


def _check_narrowing(notes: Notes, exports: Iterable[Export]) -> None:
    for export in exports:
        narrowed = [entry for entries in export.offers.values() for entry in entries if entry.narrowed]
        opaque = [port for port in export.ports if not port.is_http and any(entry.may_call(port) for entry in narrowed)]
        if opaque:
            notes.note(
                export.cluster,
                f"mesh_exports[{export.index}].consumers",
                f"methods and paths need HTTP, and port {opaque[0].number} is {opaque[0].protocol}",
                "Give the consumer ports that are HTTP, or admit it without methods and paths",
            )


def _check_shared_pods(notes: Notes, exports: Iterable[Export]) -> None:
    by_selector: dict[tuple[str, frozenset[tuple[str, str]]], list[Export]] = defaultdict(list)
    by_label: dict[tuple[str, tuple[str, str]], list[frozenset[tuple[str, str]]]] = defaultdict(list)
    for export in exports:
        if export.offers:
            selector = frozenset(export.selector.items())
            if (export.namespace, selector) not in by_selector:
                by_label[export.namespace, min(selector)].append(selector)
            by_selector[export.namespace, selector].append(export)
    for (namespace, selector), sharing in by_selector.items():
        _check_target_ports(notes, sharing)
        # Selectors of more pods are subsets, so each is found by a label that this one has too.
        for wider in (other for label in sorted(selector) for other in by_label[namespace, label] if other < selector):
            first, export = by_selector[namespace, wider][0], sharing[0]
            if _admissions(by_selector[namespace, wider]) != _admissions(sharing):
                notes.note(
                    export.cluster,
                    f"mesh_exports[{export.index}].selector",
                    f"its pods are among those of {_entry(first, export)}, which has other consumers or ports,"
                    " and policies select pods",
                    "Give both the same consumers and ports, or selectors that no pod matches both of",
                )


def _entry(export: Export, seen_from: Export) -> str:
    return f"mesh_exports[{export.index}]" + ("" if export.cluster == seen_from.cluster else f" of {export.cluster}")


def _admissions(exports: Iterable[Export]) -> set[object]:
    return {
        (port.target_port, mesh, replace(entry, ports=None))
        for export in exports
        for port in export.ports
        for mesh, entries in export.direct_offers.items()
        for entry in entries
        if entry.may_call(port)
    }


def _check_target_ports(notes: Notes, exports: Iterable[Export]) -> None:
    owner: dict[int, tuple[Export, bool]] = {}
    for export in exports:
        for port in export.ports:
            http = port.protocol in HTTP_PROTOCOLS
            first, first_http = owner.setdefault(port.target_port, (export, http))
            if first_http != http:
                notes.note(
                    export.cluster,
                    f"mesh_exports[{export.index}].ports",
                    f"port {port.target_port} of the pods is {port.protocol} here and"
                    f" {'HTTP' if first_http else 'not HTTP'} in {_entry(first, export)}",
                    "Give a port of the same pods the same protocol in both",
                )


def _check_backups(notes: Notes, exports: Iterable[Export]) -> None:
    """Exports behind one host, be it their own or that of one Service in several clusters, must look the same."""
    first_of: dict[tuple[str, str], Export] = {}
    for export in exports:
        if not export.ports:
            continue
        host = export.host or export.origin
        first = first_of.setdefault((host, export.community), export)
        if _ports(first) != _ports(export):
            notes.note(
                export.cluster,
                f"mesh_exports[{export.index}].ports",
                f"expected the ports that {first.cluster} gives for '{host}' ({_ports(first)}), found {_ports(export)}",
                "Export the same port numbers and protocols everywhere, or use another host",
            )


def _ports(export: Export) -> str:
    return ", ".join(f"{port.number} {port.protocol}" for port in sorted(export.ports, key=lambda port: port.number))


def _check_aliases(notes: Notes, exports: Iterable[Export]) -> None:
    """One name means one thing in every mesh that it is offered to."""
    exports = list(exports)
    owner = {
        (mesh, export.host): (export.host, export)
        for export in exports
        if export.host
        for mesh in (export.mesh, *export.offers)
    }
    for export in exports:
        for index, alias in enumerate(export.aliases):
            meaning = export.host or export.origin
            known = [owner.setdefault((mesh, alias), (meaning, export)) for mesh in (export.mesh, *export.offers)]
            others = [other for known_meaning, other in known if known_meaning != meaning or alias == export.host]
            for other in others[:1]:
                notes.note(
                    export.cluster,
                    f"mesh_exports[{export.index}].aliases[{index}]",
                    f"'{alias}' is already a name of {other.origin} of {other.cluster}",
                    "Choose another alias" if alias != export.host else "Remove it, because it is the host",
                )


def _check_hosts(notes: Notes, sites: Mapping[str, Site], resolver: Resolver, exports: Iterable[Export]) -> None:
    domains = {site.domain: site for _host, site in sorted(sites.items(), reverse=True)}
    unnamed = {e.qualified_name: e for e in exports if not e.host}
    longest = max(domains, key=len, default="")
    for name, export in unnamed.items():
        if len(name) + 1 + len(longest) > LONGEST_NAME:
            notes.note(
                domains[longest].host,
                "mesh_domain",
                f"the name of {export.origin} in consumer meshes would be longer than {LONGEST_NAME} characters",
                "Choose a shorter domain, or give the export a host",
            )
    services: dict[str, str] = {}
    for site in sites.values():
        known = {(export.namespace, export.service) for export in resolver.exports[site.host]}
        known |= set(site.facts.services) if site.facts else set()
        for namespace, service in known:
            for short in (f"{service}.{namespace}", f"{service}.{namespace}.svc"):
                services.setdefault(short, f"Service {namespace}/{service} of {site.host}")
    chosen = [(e.cluster, f"mesh_exports[{e.index}].host", e.host) for e in exports if e.host]
    chosen += [
        (e.cluster, f"mesh_exports[{e.index}].aliases[{index}]", alias)
        for e in exports
        for index, alias in enumerate(e.aliases)
    ]
    chosen += [
        (site.host, f"{wanted.variable}.host", wanted.host)
        for site in sites.values()
        for wanted in site.imports or ()
        if wanted.host
    ]
    chosen += [(s.declared_by[0], f"{s.variable}.hosts", host) for s in resolver.external_services for host in s.hosts]
    for cluster, variable, host in chosen:
        labels = host.split(".")
        namesake = unnamed.get(".".join(labels[:4]))
        if namesake and ".".join(labels[4:]) in domains:
            notes.note(
                cluster,
                variable,
                f"'{host}' is the name of {namesake.origin} in consumer meshes",
                "Choose another host",
            )
        elif host in services:
            notes.note(
                cluster,
                variable,
                f"'{host}' is a short name of {services[host]}, which it would hide",
                "Choose a host of its own, such as 'reviews.shop.global'",
            )
