# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for exports ``via: ingress``: what a Kubernetes Ingress cannot do is refused rather than left undone."""

from __future__ import annotations

from collections.abc import Collection

from ansible_collections.multimesh.istio.plugins.module_utils.model.ingress_names import virtual_host
from ansible_collections.multimesh.istio.plugins.module_utils.model.names import LONGEST_NAME
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Notes
from ansible_collections.multimesh.istio.plugins.module_utils.model.resolve import Resolver
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Export, Site

_OTHER_WAYS = "via: gateway or via: passthrough"
_NARROWING = ("namespace", "service_account", "methods", "paths", "ports")


def check_ingress(notes: Notes, sites: Collection[Site], resolver: Resolver) -> None:
    """Note every rule broken. sites: in a stable order."""
    _check_addresses(notes, sites)
    for site in sites:
        for export in resolver.exports[site.host]:
            if export.via == "ingress":
                _check_ports(notes, export)
                _check_consumers(notes, site, export, resolver)


def _check_addresses(notes: Notes, sites: Collection[Site]) -> None:
    """Where two controllers would share an address, the callers of one mesh would end up at another."""
    gateways = {address: site for site in sites for address in site.gateway_addresses or ()}
    owner: dict[str, Site] = {}
    for site in sites:
        for index, address in enumerate(site.ingress.addresses or ()):
            other = owner.setdefault(address, site)
            if other.mesh != site.mesh:
                notes.note(
                    site.host,
                    f"mesh_ingress_addresses[{index}]",
                    f"'{address}' is already the ingress controller of {other.host}, where its callers would end up",
                    "Give each mesh the address of its own controller",
                )
            elif address in gateways and gateways[address].mesh != site.mesh:
                notes.note(
                    site.host,
                    f"mesh_ingress_addresses[{index}]",
                    f"'{address}' is the gateway of {gateways[address].host}, where its callers would end up",
                    "Give each mesh the address of its own controller",
                )


def _check_ports(notes: Notes, export: Export) -> None:
    for port in export.ports:
        if not port.is_http:
            notes.note(
                export.cluster,
                f"mesh_exports[{export.index}].via",
                f"an Ingress passes on HTTP alone, and port {port.number} is {port.protocol}",
                f"List in ports only those with HTTP, HTTP2 or GRPC, or use {_OTHER_WAYS}",
            )
        elif len(virtual_host(export, port)) > LONGEST_NAME:
            notes.note(
                export.cluster,
                f"mesh_exports[{export.index}].host",
                f"the name of port {port.number} at the Ingress would be longer than {LONGEST_NAME} characters",
                "Choose a shorter host",
            )


def _check_consumers(notes: Notes, site: Site, export: Export, resolver: Resolver) -> None:
    """The controller ends the callers' connections and asks nobody who they are."""
    for variable, entry in resolver.offers.consumers(site, resolver.spec(export)):
        keys = [key for key in _NARROWING if getattr(entry.consumer, key) is not None]
        if keys:
            notes.note(
                site.host,
                variable,
                f"expected a mesh or a group alone for mesh_exports[{export.index}], found {' and '.join(keys)}, and"
                " nobody can enforce that behind an Ingress, where all callers look alike",
                f"Use {_OTHER_WAYS}, or admit the whole mesh",
            )
