# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading of ``traffic``: how consumers share out, limit, repeat and give up calls of an export."""

from __future__ import annotations

from ansible_collections.multimesh.istio.plugins.module_utils.model import names
from ansible_collections.multimesh.istio.plugins.module_utils.model.durations import read_seconds
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Fields, shown
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import (
    ConnectionPool,
    OutlierDetection,
    Traffic,
)

_MOST = 2**31 - 1


def read_traffic(fields: Fields) -> Traffic | None:
    """Key ``traffic`` of an export; None if left out or no mapping."""
    found = fields.mapping("traffic", "Write for example {connect_timeout: 500ms, retries: 2}")
    if found is None:
        return None
    traffic = Fields(fields.notes, fields.mesh, fields.at("traffic"), found)
    order = traffic.texts("order", names.label, "Name meshes that export the host, the preferred one first")
    weights = _weights(traffic)
    if order and weights:
        traffic.note(
            "weights", "expected order or weights, found both", "Remove one: weights share out, order backs up"
        )
    read = Traffic(
        order=order or (),
        weights=weights,
        connect_timeout=read_seconds(traffic, "connect_timeout"),
        timeout=read_seconds(traffic, "timeout"),
        per_try_timeout=read_seconds(traffic, "per_try_timeout"),
        retries=traffic.number("retries", 0, 10, "Say how often a failed request is repeated"),
        outlier_detection=read_outlier_detection(traffic),
        connection_pool=read_connection_pool(traffic),
    )
    if read.timeout and read.per_try_timeout and read.per_try_timeout > read.timeout:
        traffic.note(
            "per_try_timeout", "expected at most timeout, which ends all tries", "Shorten it, or lengthen timeout"
        )
    traffic.done()
    return read


def _weights(traffic: Fields) -> dict[str, int]:
    way_out = "Give every mesh a share of the calls, for example {east: 90, west: 10}"
    weights = {}
    for mesh, weight in (traffic.mapping("weights", way_out) or {}).items():
        if isinstance(weight, int) and not isinstance(weight, bool) and 1 <= weight <= 100:
            weights[str(mesh)] = weight
        else:
            traffic.note(f"weights.{mesh}", f"expected a number from 1 to 100, found {shown(weight)}", way_out)
    return weights


def read_outlier_detection(traffic: Fields) -> OutlierDetection:
    """Key ``outlier_detection`` of a mapping."""
    found = traffic.mapping("outlier_detection", "Write for example {consecutive_gateway_errors: 5}")
    fields = Fields(traffic.notes, traffic.mesh, traffic.at("outlier_detection"), found or {})
    read = OutlierDetection(
        consecutive_gateway_errors=fields.number(
            "consecutive_gateway_errors", 1, 1000, "Say after how many errors in a row an endpoint is left alone"
        ),
        interval=read_seconds(fields, "interval"),
        base_ejection_time=read_seconds(fields, "base_ejection_time"),
    )
    fields.done()
    return read


def read_connection_pool(traffic: Fields) -> ConnectionPool:
    """Key ``connection_pool`` of a mapping."""
    found = traffic.mapping("connection_pool", "Write for example {max_connections: 100}")
    fields = Fields(traffic.notes, traffic.mesh, traffic.at("connection_pool"), found or {})
    limits = {
        key: fields.number(key, 1, _MOST, "Say how many a proxy may have at once, or leave it out")
        for key in ("max_connections", "max_requests", "max_pending_requests")
    }
    fields.done()
    return ConnectionPool(**limits)
