# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where an exporter's gateway sends requests.

https://istio.io/latest/docs/reference/config/networking/virtual-service/ has the fields.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ansible_collections.multimesh.istio.plugins.module_utils.federation import traffic
from ansible_collections.multimesh.istio.plugins.module_utils.federation.gateway_names import label
from ansible_collections.multimesh.istio.plugins.module_utils.federation.objects import Object
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import (
    CLUSTER_DOMAIN,
    Destination,
    Export,
    Port,
    Route,
    RouteMatch,
)


def routes_of(export: Export, port: Port) -> list[tuple[str, Route]]:
    """The routes of an HTTP port with their names; without any, one that takes every request to the Service itself."""
    name = label(export, port)
    found = []
    for index, route in enumerate(export.routes):
        if route.match.port in (None, port.number):
            found.append((f"{name}/{index}", route))
            if route.match.anything:
                break
    return found or [(name, Route(RouteMatch(), (Destination(export.service),)))]


def http(export: Export, port: Port) -> list[Object]:
    """``http`` of the VirtualService of a port. A request that no route takes is answered 404."""
    return [_route(export, port, name, route) for name, route in routes_of(export, port)]


def _route(export: Export, port: Port, name: str, route: Route) -> Object:
    found: Object = {"name": name}
    if not route.match.anything:
        found["match"] = _matches(route.match)
    found["route"] = [_destination(export, port, destination) for destination in route.destinations]
    # To the workloads it is a call of the Service, as those of their own mesh are.
    found["rewrite"] = {"authority": export.fqdn}
    # The caller's proxy repeats what is harmless to repeat. What never reached a pod only this gateway knows.
    retry_on = traffic.RETRY_STREAM if port.protocol == "GRPC" else traffic.RETRY_UNSENT
    return found | traffic.tries(route, retry_on)


def _destination(export: Export, port: Port, destination: Destination) -> Object:
    host = f"{destination.service}.{export.namespace}.svc.{CLUSTER_DOMAIN}"
    found: Object = {"destination": {"host": host, "port": {"number": destination.port or port.number}}}
    if destination.weight is not None:
        found["weight"] = destination.weight
    return found


def _matches(match: RouteMatch) -> list[Object]:
    """One of these has to fit: each has a path of its own and all of the rest."""
    rest: Object = {}
    if match.methods:
        rest["method"] = {"regex": "|".join(sorted(match.methods))}
    if match.headers:
        rest["headers"] = _headers(match.headers)
    return [{**rest, "uri": _string(path)} for path in match.paths] or [rest]


def _headers(headers: Mapping[str, str]) -> Object:
    return {name: _string(pattern) for name, pattern in sorted(headers.items())}


def _string(pattern: str) -> Object:
    """A pattern as Istio's StringMatch."""
    if pattern.startswith("*"):
        stem = pattern[1:]
        end = ".*" if stem.endswith("*") else ""
        return {"regex": f".*{re.escape(stem.removesuffix('*'))}{end}"}
    if pattern.endswith("*"):
        return {"prefix": pattern[:-1]}
    return {"exact": pattern}
