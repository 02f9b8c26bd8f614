# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules that hold between external services, and between them and what the meshes export and import."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias

from ansible_collections.multimesh.istio.plugins.module_utils.model.external_consumers import known
from ansible_collections.multimesh.istio.plugins.module_utils.model.names import object_name
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Notes
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Export, ExternalService, Site

if TYPE_CHECKING:
    from ansible_collections.multimesh.istio.plugins.module_utils.model.resolve import Resolver

Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"


def check_external(notes: Notes, sites: Mapping[str, Site], resolver: Resolver, exports: Iterable[Export]) -> None:
    """Note every rule broken."""
    if not resolver.external_services:
        return
    for mesh in resolver.meshes:
        services = known(resolver.external_services, mesh)
        _check_hosts(notes, mesh, services)
        _check_addresses(notes, mesh, services)
    _check_federated(notes, resolver.external_services, dict(_chosen(sites, exports)), dict(_default(sites, exports)))


def _note(notes: Notes, service: ExternalService, key: str, expected: str, way_out: str) -> None:
    notes.note(service.declared_by[0], f"{service.variable}.{key}", expected, way_out)


def _which(service: ExternalService) -> str:
    return f"{service.variable} of {service.declared_by[0]}"


def _check_hosts(notes: Notes, mesh: str, services: Iterable[ExternalService]) -> None:
    owner: dict[str, ExternalService] = {}
    for service in services:
        for host in service.hosts:
            first = owner.setdefault(object_name(host), service)
            if first is not service:
                _note(
                    notes,
                    service,
                    "hosts",
                    f"'{host}' is already a host of {_which(first)}, and mesh {mesh} would know both",
                    "Make one entry of the two, or give them different consumers",
                )


def _check_addresses(notes: Notes, mesh: str, services: Iterable[ExternalService]) -> None:
    by_port: dict[int, list[tuple[Network, ExternalService]]] = defaultdict(list)
    for service in services:
        for address in service.addresses:
            for port in service.ports:
                by_port[port.number].append((ipaddress.ip_network(address), service))
    found: dict[tuple[ExternalService, ExternalService], tuple[Network, Network, int]] = {}
    for number, entries in sorted(by_port.items()):
        for outer, first, inner, second in _overlapping(entries):
            if not _told_apart(first, second, number):
                # Ranges are either nested or apart, so the later entry is complained about, whichever is wider.
                early, late = sorted((first, second), key=lambda service: (service.declared_by[0], service.index))
                found.setdefault((early, late), (outer, inner, number))
    for (early, late), (outer, inner, number) in found.items():
        what = f"'{_text(inner)}'" if outer == inner else f"'{_text(inner)}' within '{_text(outer)}'"
        _note(
            notes,
            late,
            "addresses",
            f"{what} and port {number} are already those of {_which(early)}, and mesh {mesh} would know both",
            "Make one entry of the two, or give them different consumers",
        )


def _overlapping(
    entries: list[tuple[Network, ExternalService]],
) -> Iterator[tuple[Network, ExternalService, Network, ExternalService]]:
    """Pairs of entries of different services of which the first contains the second."""
    around: list[tuple[Network, ExternalService]] = []
    for network, service in sorted(entries, key=lambda entry: (entry[0].version, *_bounds(entry[0]))):
        while around and not _contains(around[-1][0], network):
            around.pop()
        for outer, other in around:
            if other is not service:
                yield outer, other, network, service
        around.append((network, service))


def _bounds(network: Network) -> tuple[int, int]:
    return int(network.network_address), network.prefixlen


def _contains(outer: Network, inner: Network) -> bool:
    return (
        outer.version == inner.version
        and outer.prefixlen <= inner.prefixlen
        and int(outer.network_address) <= int(inner.network_address) <= int(outer.broadcast_address)
    )


def _told_apart(first: ExternalService, second: ExternalService, number: int) -> bool:
    """Whether calls carry a name by which a proxy knows which of the two is meant."""
    protocols = {port.protocol for service in (first, second) for port in service.ports if port.number == number}
    return bool(first.hosts and second.hosts) and "TCP" not in protocols


def _text(network: Network) -> str:
    return str(network.network_address if network.num_addresses == 1 else network)


def _check_federated(
    notes: Notes, services: Iterable[ExternalService], chosen: Mapping[str, str], default: Mapping[str, str]
) -> None:
    federated = {**default, **chosen}
    for service in services:
        for host in service.hosts:
            if host in chosen:
                _note(
                    notes,
                    service,
                    "hosts",
                    f"'{host}' is a name of {chosen[host]}, which is in a mesh",
                    "Remove the host here, or choose another name there",
                )
            elif "*" in host:
                covered = next((name for name in sorted(federated) if name.endswith(host[1:])), None)
                if covered:
                    _note(
                        notes,
                        service,
                        "hosts",
                        f"'{host}' covers '{covered}', a name of {federated[covered]}, which is in a mesh",
                        "Name the hosts one by one",
                    )


def _default(sites: Mapping[str, Site], exports: Iterable[Export]) -> Iterator[tuple[str, str]]:
    """Every name that exports have of themselves, and whose it is."""
    for domain in {site.domain for site in sites.values()}:
        for export in exports:
            if not export.host:
                yield f"{export.qualified_name}.{domain}", f"mesh_exports[{export.index}] of {export.cluster}"


def _chosen(sites: Mapping[str, Site], exports: Iterable[Export]) -> Iterator[tuple[str, str]]:
    """Every name that somebody gave to an export, and whose it is."""
    for export in exports:
        for name in (export.host, *export.aliases):
            if name:
                yield name, f"mesh_exports[{export.index}] of {export.cluster}"
    for site in sites.values():
        for wanted in site.imports or ():
            if wanted.host:
                yield wanted.host, f"{wanted.variable} of {site.host}"
