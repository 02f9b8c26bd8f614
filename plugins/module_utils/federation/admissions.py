# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may call the exports of a cluster, as the inventory says it, for an audit of what the cluster says."""

from __future__ import annotations

from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Consumer, Export, Inventory, Port


def admissions(inventory: Inventory, host: str) -> list[dict[str, Any]]:
    """One entry for each port of each export that is offered to anybody, sorted.

    host: inventory host name of the cluster.
    """
    found = [
        {
            "namespace": export.namespace,
            "service": export.service,
            "port": port.number,
            "target_port": port.target_port,
            "protocol": port.protocol,
            "via": export.via,
            "callers": _callers(inventory, export, port),
        }
        for export in inventory.clusters[host].exports
        if export.offers
        for port in export.ports
    ]
    return sorted(found, key=lambda entry: (entry["namespace"], entry["service"], entry["port"]))


def _callers(inventory: Inventory, export: Export, port: Port) -> list[dict[str, Any]]:
    callers = [
        {
            "mesh": mesh,
            "trust_domain": inventory.clusters[inventory.meshes[mesh][0]].trust_domain,
            "namespace": entry.namespace,
            "service_account": entry.service_account,
            "methods": _listed(entry.methods),
            "paths": _listed(entry.paths),
        }
        for mesh, entries in sorted(export.offers.items())
        for entry in sorted(entries, key=_order)
        if entry.may_call(port)
    ]
    # The same callers may be named by the export and by a rule.
    return [entry for index, entry in enumerate(callers) if entry not in callers[:index]]


def _listed(values: tuple[str, ...] | None) -> list[str] | None:
    return None if values is None else sorted(values)


def _order(entry: Consumer) -> tuple[str, ...]:
    return tuple(str(value) for value in (entry.namespace, entry.service_account, entry.methods, entry.paths))
