# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clusters that are one mesh, and which of them a control plane knows.

A control plane takes Services of the same namespace and name, in whichever of the clusters that it knows, for one
Service: it joins their endpoints, and its gateway passes calls on to all of them.
https://istio.io/latest/docs/ops/deployment/deployment-models/ has the models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Fields, shown
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Export, Site

if TYPE_CHECKING:
    from ansible_collections.multimesh.istio.plugins.module_utils.model.resolve import Resolver


def read_discovery(fields: Fields) -> bool:
    """Variable ``mesh_endpoint_discovery``."""
    key = "mesh_endpoint_discovery"
    if not fields.has(key):
        return False
    value = fields.raw[key]
    if isinstance(value, bool):
        return value
    fields.note(key, f"expected a boolean, found {shown(value)}", "Write true or false without quotes")
    return False


def primary(sites: Mapping[str, Site], site: Site) -> Site:
    """The cluster with the control plane and the gateway of this one; that there is one is checked elsewhere."""
    return sites.get(site.control_plane, site)


def served(sites: Mapping[str, Site], site: Site) -> tuple[str, ...]:
    """Hosts that get their configuration from this one's control plane, itself included; none if it has none."""
    return tuple(host for host, other in sites.items() if other.control_plane == site.host)


def known(sites: Mapping[str, Site], site: Site) -> tuple[str, ...]:
    """Hosts whose Services this one's control plane knows, itself included; none if it has none."""
    own = served(sites, site)
    if not own or not site.endpoint_discovery:
        return own
    return tuple(host for host, other in sites.items() if other.mesh == site.mesh)


def seen_from(resolver: Resolver, site: Site, hosts: Iterable[str]) -> tuple[tuple[Export, ...], tuple[str, ...]]:
    """Exports of these clusters, those of the site first, and warnings of what is left out.

    site: a cluster with a control plane. It remembers the others' exports as they were when it last applied them.
    """
    found = []
    warnings = []
    for host in sorted(hosts, key=lambda one: (one != site.host, one)):
        for export in resolver.exports[host]:
            complete = _complete(resolver, site, export)
            if complete:
                found.append(complete)
            else:
                warnings.append(
                    f"{site.host}: {host} was not reached and nothing is remembered of it: {export.origin} is left out"
                )
    return tuple(found), tuple(warnings)


def joined(exports: Iterable[Export]) -> tuple[Export, ...]:
    """Each Service once, with the identities that it has in any cluster."""
    found: dict[str, Export] = {}
    for export in exports:
        first = found.setdefault(export.origin, export)
        accounts = {*first.service_accounts, *export.service_accounts}
        if accounts != set(first.service_accounts):
            found[export.origin] = replace(first, service_accounts=tuple(sorted(accounts)))
    return tuple(found.values())


def _complete(resolver: Resolver, site: Site, export: Export) -> Export | None:
    if resolver.is_read(resolver.sites[export.cluster]) or export.cluster == site.host:
        return export
    remembered = site.facts.remembered.get(export.cluster) if site.facts else None
    if remembered is None or (export.namespace, export.service) not in remembered.services:
        return None
    about = resolver.known(resolver.spec(export), remembered)
    if not (about.ports and about.service_accounts and about.selector):
        return None
    return replace(export, ports=about.ports, service_accounts=about.service_accounts, selector=about.selector)
