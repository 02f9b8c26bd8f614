# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading of ``routes``: where the gateway of an exporter sends the requests for an export."""

from __future__ import annotations

from ansible_collections.multimesh.istio.plugins.module_utils.model import names
from ansible_collections.multimesh.istio.plugins.module_utils.model.durations import read_seconds
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Fields, shown
from ansible_collections.multimesh.istio.plugins.module_utils.model.traffic import (
    read_connection_pool,
    read_outlier_detection,
)
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Destination, Route, RouteMatch

# Patterns of paths that every request has.
_EVERY_PATH = ("*", "/*")
_WHOLE = 100


def read_routes(fields: Fields, service: str | None, via: str) -> tuple[Route, ...]:
    """Key ``routes`` of an export; empty if left out or wrong.

    service: of the export, to which a route without destinations leads.
    """
    if not fields.has("routes"):
        return ()
    if via != "gateway":
        fields.note(
            "routes",
            f"needs 'via: gateway', because nobody on the way of '{via}' could send requests elsewhere",
            "Add via: gateway, or remove routes",
        )
    way_out = "Write a list such as [{match: {paths: ['/v2/*']}, destinations: [{service: reviews-v2}]}]"
    if fields.items("routes", way_out) == []:
        fields.note("routes", "expected at least one route, found an empty list", "Leave it out to take every request")
    return tuple(fields.each("routes", lambda _index, route: _route(route, service or ""), way_out))


def _route(fields: Fields, service: str) -> Route:
    timeout, per_try_timeout = read_seconds(fields, "timeout"), read_seconds(fields, "per_try_timeout")
    if timeout and per_try_timeout and per_try_timeout > timeout:
        fields.note(
            "per_try_timeout", "expected at most timeout, which ends all tries", "Shorten it, or lengthen timeout"
        )
    return Route(
        match=_match(fields),
        destinations=_destinations(fields, service),
        timeout=timeout,
        per_try_timeout=per_try_timeout,
        retries=fields.number("retries", 0, 10, "Say how often a failed request is repeated"),
    )


def _match(route: Fields) -> RouteMatch:
    found = route.mapping("match", "Write for example {paths: ['/v2/*']}, or leave it out to take every request")
    fields = Fields(route.notes, route.mesh, route.at("match"), found or {})
    paths = fields.texts("paths", names.path, "List path patterns, or leave it out to take all paths") or ()
    match = RouteMatch(
        port=fields.number("port", 1, 65535, "Name one of the ports of the export, or leave it out"),
        paths=() if set(paths) & set(_EVERY_PATH) else paths,
        methods=fields.texts("methods", names.method, "List HTTP methods, or leave it out to take all of them") or (),
        headers=_headers(fields),
    )
    fields.done()
    return match


def _headers(match: Fields) -> dict[str, str]:
    way_out = "Write names and patterns, for example {x-stage: canary}"
    headers = {}
    for name, pattern in (match.mapping("headers", way_out) or {}).items():
        expected = names.header(str(name))
        if expected:
            match.note(f"headers.{name}", f"expected {expected}", way_out)
        elif not isinstance(pattern, str):
            match.note(f"headers.{name}", f"expected a string, found {shown(pattern)}", "Put the value in quotes")
        elif expected := names.pattern(pattern):
            match.note(f"headers.{name}", f"expected {expected}, found {shown(pattern)}", way_out)
        else:
            headers[str(name)] = pattern
    return headers


def _destinations(route: Fields, service: str) -> tuple[Destination, ...]:
    way_out = "Write a list such as [{service: reviews-v2}], or leave it out to send requests to the exported Service"
    if not route.has("destinations"):
        return (Destination(service),)
    if route.items("destinations", way_out) == []:
        route.note("destinations", "expected at least one destination, found an empty list", way_out)
    found = tuple(route.each("destinations", _destination, way_out))
    weights = [destination.weight for destination in found]
    if (len(found) > 1 or any(weights)) and sum(weight or 0 for weight in weights) != _WHOLE:
        route.note(
            "destinations",
            f"expected weights that add up to {_WHOLE}, found {', '.join(str(weight or 'none') for weight in weights)}",
            "Give every destination its share of the requests",
        )
    return found


def _destination(_index: int, fields: Fields) -> Destination | None:
    service = fields.text("service", names.label, "Name a Service of the export's namespace", required=True)
    destination = Destination(
        service=service or "",
        port=fields.number("port", 1, 65535, "Name a port of that Service, or leave it out if it has the same number"),
        weight=fields.number("weight", 0, _WHOLE, f"Give its share of {_WHOLE} requests"),
        outlier_detection=read_outlier_detection(fields),
        connection_pool=read_connection_pool(fields),
    )
    return destination if service else None
