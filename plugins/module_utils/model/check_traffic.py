# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for what exports that stand behind one host say of its way and its traffic.

Istio would take most of what is refused here and do something else than what it reads like, without a word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ansible_collections.multimesh.istio.plugins.module_utils.model import names
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Notes, nearest
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Export, ExportSpec, Site, Traffic


def check_traffic(
    notes: Notes, sites: Mapping[str, Site], exports: Iterable[tuple[Export, ExportSpec]], live: bool
) -> None:
    """Note every rule broken.

    live: some cluster was asked, so what is unknown of one that was not is of no interest.
    """
    behind: dict[tuple[str, str], list[tuple[Export, ExportSpec]]] = {}
    for export, spec in exports:
        behind.setdefault((export.host or export.origin, export.community), []).append((export, spec))
    for (host, _community), found in behind.items():
        _check_via(notes, host, [export for export, _spec in found])
        _check_agreement(notes, host, found)
        meshes = {export.mesh for export, _spec in found}
        if len(found) > 1 and found[0][0].traffic.order:
            for export, _spec in found:
                _check_addresses(notes, export, sites[export.cluster], live)
        for export, spec in found:
            if spec.traffic:
                _check_meshes(notes, export, spec.traffic, host, meshes)
                _check_http(notes, export, spec.traffic)


def _check_via(notes: Notes, host: str, exports: list[Export]) -> None:
    first = exports[0]
    for export in exports:
        if export.via != first.via:
            notes.note(
                export.cluster,
                f"mesh_exports[{export.index}].via",
                f"expected '{first.via}' as {first.cluster} gives for '{host}', found '{export.via}'",
                "Choose one way for all exporters of a host, because callers ask all of them in the same way",
            )


def _check_agreement(notes: Notes, host: str, found: list[tuple[Export, ExportSpec]]) -> None:
    saying = [(export, spec.traffic) for export, spec in found if spec.traffic]
    for export, traffic in saying[1:]:
        first, expected = saying[0]
        if traffic != expected:
            notes.note(
                export.cluster,
                f"mesh_exports[{export.index}].traffic",
                f"expected what {first.cluster} says for '{host}', found something else",
                "Say the same in all exports of the host, or say it in one of them only",
            )


def _check_meshes(notes: Notes, export: Export, traffic: Traffic, host: str, meshes: set[str]) -> None:
    for key, named in (("order", traffic.order), ("weights", traffic.weights)):
        path = f"mesh_exports[{export.index}].traffic.{key}"
        if not named:
            continue
        if export.host is None:
            notes.note(
                export.cluster,
                path,
                "expected a host that several meshes export, found an export without host",
                f"Add host, or remove {key}",
            )
            continue
        for mesh in named:
            if mesh not in meshes:
                notes.note(
                    export.cluster, path, f"expected meshes that export '{host}', found '{mesh}'", nearest(mesh, meshes)
                )
        for mesh in sorted(meshes - set(named)):
            notes.note(
                export.cluster,
                path,
                f"expected every mesh that exports '{host}', and {mesh} is missing",
                f"Add {mesh}" if isinstance(named, Mapping) else f"Add {mesh} where its turn is",
            )


def _check_addresses(notes: Notes, export: Export, site: Site, live: bool) -> None:
    """Order goes by labels of endpoints, which istiod honours for addresses and not for DNS names."""
    addresses = site.gateway_addresses or (site.facts.gateway_addresses if site.facts else ())
    for address in addresses:
        if not names.ip(address):
            notes.note(
                site.host,
                "mesh_gateway_addresses",
                f"'{export.host}' has an order, which Istio keeps for IP addresses only, and '{address}' is a name",
                "Give the gateway's IP addresses, or leave out order",
            )
    if export.cluster_ip is None and not export.takes_over and (site.facts is not None or not live):
        notes.note(
            site.host,
            f"mesh_exports[{export.index}].cluster_ip",
            f"'{export.host}' has an order, which Istio keeps for IP addresses only, and that of Service"
            f" {export.namespace}/{export.service} is {'none' if site.facts else 'unknown'}",
            "Export a Service that is not headless, or leave out order" if site.facts else "Add cluster_ip",
        )


def _check_http(notes: Notes, export: Export, traffic: Traffic) -> None:
    opaque = [port for port in export.ports if not port.is_http]
    if not export.ports or len(opaque) < len(export.ports):
        return
    pool = traffic.connection_pool
    for key, value in (
        ("timeout", traffic.timeout),
        ("per_try_timeout", traffic.per_try_timeout),
        ("retries", traffic.retries),
        ("connection_pool.max_requests", pool.max_requests),
        ("connection_pool.max_pending_requests", pool.max_pending_requests),
    ):
        if value is not None:
            notes.note(
                export.cluster,
                f"mesh_exports[{export.index}].traffic.{key}",
                f"needs HTTP, and no port of the export is: {opaque[0].number} is {opaque[0].protocol}",
                "Remove it; connect_timeout, outlier_detection and max_connections work for connections",
            )
