# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the inventory says against what the clusters say, and clusters against each other.

What the inventory says wins over what was read. So where the two contradict each other, the federation would follow the
inventory past the Service that is there: calls would fail, or pods would be without a policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.model import names
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Notes
from ansible_collections.multimesh.istio.plugins.module_utils.model.resolve import Resolver
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import ExportSpec, ServiceFacts, Site


def check_live(notes: Notes, hosts: Mapping[str, Any], sites: Mapping[str, Site], resolver: Resolver) -> None:
    """Note every contradiction. hosts: of the raw inventory."""
    ordered = [site for _host, site in sorted(sites.items())]
    _check_connections(notes, hosts)
    _check_addresses(notes, ordered)
    _check_gateway_names(notes, ordered)
    for site in ordered:
        for export in resolver.exports[site.host]:
            live = site.facts.services.get((export.namespace, export.service)) if site.facts else None
            if export.offers and live:
                _check_service(notes, site.host, resolver.spec(export), live)


def _check_connections(notes: Notes, hosts: Mapping[str, Any]) -> None:
    """Two hosts with one API would each take away what the other one applies."""
    first: dict[tuple[str, str], str] = {}
    for host, entry in sorted(hosts.items()):
        variables = entry.get("vars") or {}
        kubeconfig, context = (str(variables.get(key) or "") for key in ("mesh_kubeconfig", "mesh_context"))
        if not kubeconfig and not context:
            continue
        other = first.setdefault((kubeconfig, context), host)
        if other != host:
            notes.note(
                host,
                "mesh_context" if context else "mesh_kubeconfig",
                f"expected a cluster of its own, found the kubeconfig and context of {other}",
                "Give every host its own cluster",
            )


def _check_addresses(notes: Notes, sites: Iterable[Site]) -> None:
    """Of gateways as the clusters tell; what the inventory says is compared in check.py."""
    owner: dict[str, Site] = {}
    for site in sites:
        told = site.facts.gateway_addresses if site.facts and site.gateway_addresses is None else ()
        for address in site.gateway_addresses or told:
            other = owner.setdefault(address, site)
            if other.mesh != site.mesh and (site.gateway_addresses is None or other.gateway_addresses is None):
                notes.note(
                    site.host,
                    "mesh_gateway_addresses",
                    f"the gateway's address is {address}, which is also that of {other.host}, where its callers"
                    " would end up",
                    "Say at which address other clusters reach this gateway",
                )


def _check_gateway_names(notes: Notes, sites: Iterable[Site]) -> None:
    """A sidecar that takes a gateway's name for an imported host would look for the gateway behind itself."""
    sites = list(sites)
    gateways = {
        address: site
        for site in reversed(sites)
        for address in site.gateway_addresses or (site.facts.gateway_addresses if site.facts else ())
        if not names.ip(address)
    }
    chosen = [
        (site.host, f"{export.variable}.{key}", name)
        for site in sites
        for export in site.exports
        for key, name in [("host", export.host), *((f"aliases[{i}]", alias) for i, alias in enumerate(export.aliases))]
    ]
    chosen += [(site.host, f"{wanted.variable}.host", wanted.host) for site in sites for wanted in site.imports or ()]
    for host, variable, name in chosen:
        if name in gateways:
            notes.note(
                host,
                variable,
                f"'{name}' is the address of the gateway of {gateways[name].host}, which callers would no longer find",
                "Choose another host",
            )


def _check_service(notes: Notes, host: str, spec: ExportSpec, live: ServiceFacts) -> None:
    service = f"Service {spec.namespace}/{spec.service}"
    ports = {port.number: port for port in live.ports}
    for declared in spec.ports or ():
        known = ports.get(declared.number)
        if known is None and ports:
            has = ", ".join(map(str, ports))
            notes.note(
                host,
                f"{spec.variable}.ports",
                f"expected ports of {service} ({has}), found {declared.number}",
                "Correct the number, or add the port to the Service",
            )
        if known and declared.target_port and known.target_port not in (None, declared.target_port):
            # The policy would guard a port on which nobody listens, and refuse everybody on the right one.
            notes.note(
                host,
                f"{spec.variable}.ports",
                f"expected target_port {known.target_port} for port {declared.number} as {service} has,"
                f" found {declared.target_port}",
                "Correct it, or leave it out to have it read",
            )
