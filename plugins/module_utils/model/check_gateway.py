# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for exports ``via: gateway``, beyond what reading an export alone can tell."""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Notes
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Export

# Callers ask the gateway for the host with the port before it, and a name in DNS has at most 253 characters (RFC 1035).
_LONGEST_HOST = 253 - len("65535.")


def check_gateway(notes: Notes, exports: Iterable[Export]) -> None:
    """Note every rule broken by the exports of one cluster."""
    limits: dict[tuple[str, str, str], tuple[str, object]] = {}
    for export in exports:
        if export.via == "gateway":
            _check_host(notes, export)
            _check_ports(notes, export)
            _check_order(notes, export)
            _check_limits(notes, export, limits)


def _check_host(notes: Notes, export: Export) -> None:
    if export.host and len(export.host) > _LONGEST_HOST:
        notes.note(
            export.cluster,
            f"mesh_exports[{export.index}].host",
            f"expected at most {_LONGEST_HOST} characters, because gateways are asked for '<port>.<host>'",
            "Choose a shorter host",
        )


def _check_ports(notes: Notes, export: Export) -> None:
    if not export.routes or not export.ports:
        return
    http = [port.number for port in export.ports if port.is_http]
    if not http:
        notes.note(
            export.cluster,
            f"mesh_exports[{export.index}].routes",
            f"needs HTTP, and no port of the export is: {export.ports[0].number} is {export.ports[0].protocol}",
            "Remove it; connections go to the exported Service",
        )
        return
    for index, route in enumerate(export.routes):
        if route.match.port is not None and route.match.port not in http:
            notes.note(
                export.cluster,
                f"mesh_exports[{export.index}].routes[{index}].match.port",
                f"expected an HTTP port of the export, found {route.match.port}",
                f"Use one of {', '.join(map(str, http))}",
            )


def _check_order(notes: Notes, export: Export) -> None:
    """Istio leaves out what follows a route that takes every request."""
    taken: dict[int, int] = {}
    for index, route in enumerate(export.routes):
        ports = [port.number for port in export.ports if port.is_http and route.match.port in (None, port.number)]
        if ports and all(port in taken for port in ports):
            notes.note(
                export.cluster,
                f"mesh_exports[{export.index}].routes[{index}]",
                f"no request gets here, because routes[{taken[ports[0]]}] takes all of them",
                "Put it first, or remove one of them",
            )
        elif route.match.anything:
            taken = {**dict.fromkeys(ports, index), **taken}


def _check_limits(notes: Notes, export: Export, limits: dict[tuple[str, str, str], tuple[str, object]]) -> None:
    """A gateway has one limit for each Service: whoever says it has to say the same."""
    for number, route in enumerate(export.routes):
        for index, destination in enumerate(route.destinations):
            path = f"mesh_exports[{export.index}].routes[{number}].destinations[{index}]"
            for key in ("connection_pool", "outlier_detection"):
                said = getattr(destination, key)
                if said == type(said)():
                    continue
                where, first = limits.setdefault((export.namespace, destination.service, key), (path, said))
                if said != first:
                    notes.note(
                        export.cluster,
                        f"{path}.{key}",
                        f"expected what {where} says for Service {export.namespace}/{destination.service},"
                        " because a gateway has one limit for each Service",
                        "Say the same in both, or say it in one of them only",
                    )
