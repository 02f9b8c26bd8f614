# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for attributes and for who may call what."""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Notes
from ansible_collections.multimesh.istio.plugins.module_utils.model.resolve import Resolver
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Site


def check_policy(notes: Notes, sites: Iterable[Site], resolver: Resolver) -> None:
    """Note every rule broken."""
    first_of: dict[str, Site] = {}
    for site in sites:
        _check_attributes(notes, site, first_of.setdefault(site.mesh, site))
        _check_ports(notes, site, resolver)


def _check_attributes(notes: Notes, site: Site, first: Site) -> None:
    if site.attributes != first.attributes:
        notes.note(
            site.host,
            "mesh_attributes",
            f"expected those of {first.host}, because consumers are whole meshes, found others",
            f"Set the same on every cluster of mesh {site.mesh}",
        )


def _check_ports(notes: Notes, site: Site, resolver: Resolver) -> None:
    for export in resolver.exports[site.host]:
        exported = [port.number for port in export.ports]
        for variable, entry in resolver.offers.consumers(site, resolver.spec(export)):
            lacking = sorted(set(entry.consumer.ports or ()) - set(exported))
            if lacking and exported:
                notes.note(
                    site.host,
                    f"{variable}.ports",
                    f"expected ports that mesh_exports[{export.index}] has ({', '.join(map(str, exported))}),"
                    f" found {', '.join(map(str, lacking))}",
                    "Name ports of the Service, or leave it out to allow all that are exported",
                )
