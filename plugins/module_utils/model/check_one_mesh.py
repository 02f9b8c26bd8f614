# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for clusters that are one mesh: what belongs to the control plane, and what has to be alike in all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.model import one_mesh
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Notes
from ansible_collections.multimesh.istio.plugins.module_utils.model.resolve import Resolver
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Export, Site

# A served cluster has none of its own: its control plane, and the gateway beside that one, do all of it.
_OF_THE_CONTROL_PLANE = {
    "mesh_address_range": "whose control plane gives imported hosts their addresses",
    "mesh_domain": "whose control plane names what is imported",
    "mesh_gateway_addresses": "whose gateway lets in the calls for both",
    "mesh_imports": "whose control plane imports for both",
    "mesh_telemetry_attributes": "whose control plane says what proxies show",
}


def check_one_mesh(notes: Notes, variables: Mapping[str, Mapping[str, Any]], resolver: Resolver) -> None:
    """Note every rule broken.

    variables: of every host, as written.
    """
    sites = resolver.sites
    for host, site in sites.items():
        primary = one_mesh.primary(sites, site)
        if primary is not site and primary.mesh == site.mesh:
            _check_served(notes, variables, site, primary)
        _check_discovery(notes, sites, site)
        known = [other for other in one_mesh.known(sites, site) if other not in resolver.without]
        if len(known) > 1:
            exports = [export for other in known for export in resolver.exports[other]]
            _check_alike(notes, host, exports, {other for other in known if resolver.is_read(sites[other])})
            _check_hosts(notes, known, exports)
        if len(one_mesh.served(sites, site)) > 1:
            _check_order(notes, resolver.exports[host])


def _check_served(notes: Notes, variables: Mapping[str, Mapping[str, Any]], site: Site, primary: Site) -> None:
    if site.network != primary.network:
        notes.note(
            site.host,
            "mesh_network",
            f"expected '{primary.network}' as on {primary.host}, whose control plane serves this cluster,"
            f" found '{site.network}'",
            "Let the pods of both reach each other directly and set the same network, or give this cluster a control"
            " plane of its own",
        )
    for variable, reason in _OF_THE_CONTROL_PLANE.items():
        given = variables[site.host].get(variable)
        if given is not None and given != variables[primary.host].get(variable):
            notes.note(
                site.host,
                variable,
                f"expected nothing, or the same as on {primary.host}, {reason}, found something else",
                f"Set it for {primary.host}, or for a group of both",
            )
    for export in site.exports:
        if export.via == "ingress":
            notes.note(
                site.host,
                f"{export.variable}.via",
                f"expected passthrough or gateway, because the gateway of {primary.host} lets in the calls for both,"
                " found 'ingress'",
                f"Leave it out, or give {site.host} a control plane of its own",
            )


def _check_discovery(notes: Notes, sites: Mapping[str, Site], site: Site) -> None:
    first = next(other for other in sites.values() if other.mesh == site.mesh)
    if site.endpoint_discovery != first.endpoint_discovery:
        notes.note(
            site.host,
            "mesh_endpoint_discovery",
            f"expected {str(first.endpoint_discovery).lower()} as on {first.host}, because the clusters of a mesh know"
            f" each other or do not, found {str(site.endpoint_discovery).lower()}",
            "Set the same on every cluster of the mesh",
        )
    elif site.endpoint_discovery and site.network != first.network:
        notes.note(
            site.host,
            "mesh_endpoint_discovery",
            f"needs one network, and '{site.network}' is not '{first.network}' of {first.host}: a gateway between them"
            " would let callers of other meshes in to every Service",
            "Let the pods reach each other directly and set the same mesh_network, or leave it out",
        )


def _check_alike(notes: Notes, host: str, exports: Iterable[Export], read: Iterable[str]) -> None:
    """Exports of one Service: there is one policy for it and one server of the gateway.

    read: clusters of which is known what the inventory leaves to them.
    """
    firsts: dict[str, Export] = {}
    hosts: dict[str, Export] = {}
    for export in exports:
        first = firsts.setdefault(export.origin, export)
        differing = [key for key, value in _said(export).items() if value != _said(first)[key]]
        if {export.cluster, first.cluster} <= set(read) and _numbers(export) == _numbers(first):
            differing += [key for key, value in _found(export).items() if value != _found(first)[key]]
        for key in differing:
            notes.note(
                export.cluster,
                f"mesh_exports[{export.index}].{key}",
                f"expected what {first.cluster} says of Service {export.namespace}/{export.service}, which is one"
                f" Service for the control plane of {host}, found something else",
                "Say the same in both, for example by one export for a group of both",
            )
        if export.host:
            other = hosts.setdefault(export.host, export)
            if other.origin != export.origin:
                notes.note(
                    export.cluster,
                    f"mesh_exports[{export.index}].host",
                    f"host '{export.host}' is already that of {other.origin} of {other.cluster}, and the control plane"
                    f" of {host} knows both",
                    "Give each Service its own host; one host is shared by exports of different meshes",
                )


def _said(export: Export) -> dict[str, Any]:
    return {
        "host": export.host,
        "aliases": sorted(export.aliases),
        "consumers": {mesh: frozenset(entries) for mesh, entries in export.offers.items()},
    }


def _found(export: Export) -> dict[str, Any]:
    return {
        "ports": {port.number: port.target_port for port in export.ports},
        "selector": dict(export.selector),
    }


def _numbers(export: Export) -> set[tuple[int, str]]:
    return {(port.number, port.protocol) for port in export.ports}


def _check_hosts(notes: Notes, known: Iterable[str], exports: Iterable[Export]) -> None:
    exporters: dict[str, dict[str, Export]] = {}
    for export in exports:
        if export.host:
            exporters.setdefault(export.host, {})[export.cluster] = export
    for name, found in exporters.items():
        first = min(found.values(), key=lambda export: export.cluster)
        for cluster in sorted(set(known) - set(found)):
            notes.note(
                cluster,
                "mesh_exports",
                f"expected an export of '{name}' as on {first.cluster}, for callers here would look for Service"
                f" {first.namespace}/{first.service} in their own cluster, found none",
                "Export it here too, for example by one export for a group of both, or leave out host there",
            )


def _check_order(notes: Notes, exports: Iterable[Export]) -> None:
    for export in exports:
        if export.host and export.traffic.order and not export.takes_over:
            notes.note(
                export.cluster,
                f"mesh_exports[{export.index}].host",
                f"'{export.host}' has an order of meshes, which needs one address of the Service in the mesh, and one"
                " control plane serves several clusters",
                "Leave out traffic.order in all exports of the host",
            )
