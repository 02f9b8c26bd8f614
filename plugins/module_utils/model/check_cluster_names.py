# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for hosts inside the cluster domain, whose names a cluster's own Services have or could have."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.multimesh.istio.plugins.module_utils.model import names, one_mesh
from ansible_collections.multimesh.istio.plugins.module_utils.model.imports import Importer
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Notes
from ansible_collections.multimesh.istio.plugins.module_utils.model.resolve import Resolver
from ansible_collections.multimesh.istio.plugins.module_utils.model.takeover import port_names
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import (
    CLUSTER_DOMAIN,
    Export,
    Import,
    Imported,
    ServiceFacts,
    Site,
)

_OUTSIDE = f"or use a host outside '{CLUSTER_DOMAIN}'"


def check_cluster_names(notes: Notes, sites: Mapping[str, Site], resolver: Resolver) -> None:
    """Note every rule broken."""
    _check_domains(notes, sites, resolver)
    taken_over = set()
    for exports in resolver.exports.values():
        for export in exports:
            if export.takes_over:
                taken_over.add(export.fqdn)
                _check_way(notes, export)
    for site in sites.values():
        if one_mesh.primary(sites, site) is not site:
            continue  # what it holds is that of its control plane
        own = {export.fqdn: export for export in resolver.exports[site.host]}
        if taken_over & own.keys() or any(wanted.short_names_in for wanted in site.imports or ()):
            for entry in Importer(resolver, site).resolve()[0]:
                if entry.host in own:
                    _check_own(notes, resolver, site, own[entry.host], entry)


def _check_domains(notes: Notes, sites: Mapping[str, Site], resolver: Resolver) -> None:
    for site in sites.values():
        for mesh in resolver.meshes:
            if f"{mesh}.{site.domain}" == CLUSTER_DOMAIN:
                notes.note(
                    site.host,
                    "mesh_domain",
                    f"imports from mesh {mesh} would end in '{CLUSTER_DOMAIN}', as each cluster's own Services do",
                    "Choose another domain, such as 'global'",
                )


def _check_way(notes: Notes, export: Export) -> None:
    if export.via != "passthrough":
        notes.note(
            export.cluster,
            f"mesh_exports[{export.index}].via",
            f"expected passthrough, because callers ask for the Service itself by '{export.host}',"
            f" found '{export.via}'",
            f"Leave it out, {_OUTSIDE}",
        )
    if export.traffic.weights:
        notes.note(
            export.cluster,
            f"mesh_exports[{export.index}].traffic.weights",
            f"expected none, because behind '{export.host}' the number of pods decides what a cluster's share is",
            f"Remove them, {_OUTSIDE}",
        )


def _check_own(notes: Notes, resolver: Resolver, site: Site, own: Export, entry: Imported) -> None:
    """A host that is the name of a Service of the cluster's own, which it exports."""
    if entry.own_service is None:
        behind = " and ".join(sorted({source.export.origin for source in entry.sources}))
        wanted = _by_short_name(site, entry)
        if wanted:
            notes.note(
                site.host,
                f"{wanted.variable}.short_names_in",
                f"'{entry.host}' is the name of the cluster's own Service, and would be a short name of {behind}",
                "Leave out that namespace",
            )
        else:
            notes.note(
                site.host,
                f"mesh_exports[{own.index}].host",
                f"'{entry.host}' is the name of this Service, and the host of {behind}, which this mesh imports",
                "Give both that host, or import it by another one",
            )
    elif entry.sources and (site.facts or not resolver.live):
        live = site.facts.services.get((own.namespace, own.service)) if site.facts else None
        _check_service(notes, own, live)
        _check_ports(notes, resolver, own, live)
        _check_addresses(notes, site, entry)


def _by_short_name(site: Site, entry: Imported) -> Import | None:
    """The entry of mesh_imports that made this host, if it was not an exporter's."""
    if any(entry.host == source.export.host for source in entry.sources):
        return None
    namespace = entry.host.split(".")[1]
    return next((wanted for wanted in site.imports or () if namespace in wanted.short_names_in), None)


def _check_service(notes: Notes, own: Export, live: ServiceFacts | None) -> None:
    variable = f"mesh_exports[{own.index}].host"
    if live and live.cluster_ip is None:
        notes.note(
            own.cluster,
            variable,
            f"Service {own.namespace}/{own.service} is headless, so callers choose among its pods and nothing else",
            f"Give the Service an address, {_OUTSIDE}",
        )
    if live and not live.selector:
        notes.note(
            own.cluster,
            variable,
            f"Service {own.namespace}/{own.service} has no selector, by which it would find more endpoints",
            f"Give it one, {_OUTSIDE}",
        )
    if live and live.same_pods:
        notes.note(
            own.cluster,
            variable,
            f"{', '.join(live.same_pods)} select{'s' if len(live.same_pods) == 1 else ''} all pods of Service"
            f" {own.namespace}/{own.service}, and would get those of other meshes too",
            f"Make their selectors narrower, {_OUTSIDE}",
        )


def _check_ports(notes: Notes, resolver: Resolver, own: Export, live: ServiceFacts | None) -> None:
    variable = f"mesh_exports[{own.index}].ports"
    exported = {port.number for port in own.ports}
    for found in live.ports if live else ():
        if found.number not in exported and found.protocol != "UDP":
            notes.note(
                own.cluster,
                variable,
                f"expected all ports of Service {own.namespace}/{own.service}, because its callers are sent elsewhere"
                f" on all of them, and {found.number} is missing",
                f"Add port {found.number}, {_OUTSIDE}",
            )
    for port in own.ports:
        if not port_names(port, resolver.spec(own), live):
            notes.note(
                own.cluster,
                variable,
                f"port {port.number} of Service {own.namespace}/{own.service} has no name, by which endpoints in other"
                " meshes say their number",
                f"Name it in the Service{'' if live else ' and here'}, {_OUTSIDE}",
            )


def _check_addresses(notes: Notes, site: Site, entry: Imported) -> None:
    for source in entry.sources:
        for address in source.addresses:
            if not names.ip(address) and not source.pending:
                notes.note(
                    source.export.cluster,
                    "mesh_gateway_addresses",
                    f"expected IP addresses, because they become endpoints of a Service of {site.host},"
                    f" '{entry.host}', found '{address}'",
                    f"Give IP addresses, {_OUTSIDE}",
                )
