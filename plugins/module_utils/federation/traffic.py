# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How proxies call an imported host: time limits, health, sharing out, repetition.

https://istio.io/latest/docs/reference/config/networking/destination-rule/ and virtual-service/ have the fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from ansible_collections.multimesh.istio.plugins.module_utils.federation.endpoints import RANKED, Endpoints
from ansible_collections.multimesh.istio.plugins.module_utils.federation.objects import Object
from ansible_collections.multimesh.istio.plugins.module_utils.model.durations import written
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import (
    OutlierDetection,
    Port,
    Route,
    Traffic,
)

# So short that whoever waits for a gateway that is gone has another's answer within a second. It covers the two round
# trips of TCP and TLS between continents, not a lost SYN, for which there is the other endpoint too.
CONNECT_TIMEOUT = 0.8
# Where there is no other endpoint to turn to: Istio's own default. A connection that is late is better than none.
LONE_CONNECT_TIMEOUT = 10.0

# A peer that vanished is noticed on a kept connection after some 25 s instead of the kernel's two hours.
KEEPALIVE = {"time": "10s", "interval": "5s", "probes": 3}

# Only errors that speak of the way there eject an endpoint, for behind one stands a whole mesh: answers of 500 are
# the application's. All endpoints may be ejected, but if they are, all are tried again rather than none.
CONSECUTIVE_GATEWAY_ERRORS = 3
INTERVAL = 1.0
BASE_EJECTION_TIME = 10.0

# RFC 9110 section 9.2.2: repeating these is harmless, even if the first attempt was carried out.
IDEMPOTENT_METHODS = "GET|HEAD|OPTIONS|TRACE|PUT|DELETE"

# The caller's network, if it is the first label. Among endpoints outside it Istio goes on with the others, and does so
# among those within (pilot/pkg/networking/core/loadbalancer, applyFailoverPriorityPerLocality).
OWN_NETWORK = "topology.istio.io/network"

RETRIES = 3
RETRY_IDEMPOTENT = "connect-failure,refused-stream,reset,gateway-error"
# Only what certainly never reached the application. "unavailable" and "cancelled" may come from it.
RETRY_UNSENT = "connect-failure,refused-stream,reset-before-request"
# A stream is not held back for repetition: Istio leaves reset-before-request out for gRPC as well.
RETRY_STREAM = "connect-failure,refused-stream"


class Called(Protocol):
    """A host, and how it is called."""

    @property
    def host(self) -> str: ...

    @property
    def ports(self) -> tuple[Port, ...]: ...

    @property
    def traffic(self) -> Traffic: ...


def policy(traffic: Traffic, port: Port, tls: Object, endpoints: Endpoints) -> Object:
    """``trafficPolicy`` of one port. tls: its ``tls``."""
    several = len(endpoints.items) > 1
    found: Object = {"tls": tls, "connectionPool": _connection_pool(traffic, port, several)}
    if several:
        # With a single endpoint there is nowhere else to go, so nothing is ejected.
        found["outlierDetection"] = outlier_detection(traffic.outlier_detection)
        found["loadBalancer"] = {"localityLbSetting": _locality_lb_setting(traffic, endpoints)}
    return found


def by_port(policies: Iterable[tuple[Port, Object]]) -> Object:
    """``trafficPolicy`` of a host from those of its ports."""
    found = list(policies)
    if len(found) == 1:
        return found[0][1]
    # Settings of a port inherit nothing from those above them, so each port has all of them.
    return {"portLevelSettings": [{"port": {"number": port.number}, **one} for port, one in found]}


def _connection_pool(traffic: Traffic, port: Port, several: bool) -> Object:
    default = CONNECT_TIMEOUT if several else LONE_CONNECT_TIMEOUT
    tcp: Object = {"connectTimeout": written(traffic.connect_timeout or default), "tcpKeepalive": dict(KEEPALIVE)}
    pool: Object = {"tcp": tcp}
    limits = traffic.connection_pool
    if limits.max_connections:
        tcp["maxConnections"] = limits.max_connections
    http = {"http2MaxRequests": limits.max_requests, "http1MaxPendingRequests": limits.max_pending_requests}
    if port.is_http and any(http.values()):
        pool["http"] = {key: value for key, value in http.items() if value}
    return pool


def outlier_detection(wanted: OutlierDetection) -> Object:
    """When an endpoint is left alone, and for how long."""
    return {
        "consecutive5xxErrors": 0,
        "consecutiveGatewayErrors": wanted.consecutive_gateway_errors or CONSECUTIVE_GATEWAY_ERRORS,
        "interval": written(wanted.interval or INTERVAL),
        "baseEjectionTime": written(wanted.base_ejection_time or BASE_EJECTION_TIME),
        "maxEjectionPercent": 100,
        "minHealthPercent": 1,
    }


def _locality_lb_setting(traffic: Traffic, endpoints: Endpoints) -> Object:
    if traffic.weights:
        # Weights stand at the endpoints, and localities would come before them.
        return {"enabled": False}
    if endpoints.rank_labels:
        ranks = [f"{label}={RANKED}" for label in endpoints.rank_labels]
        return {"enabled": True, "failoverPriority": [OWN_NETWORK, *ranks] if endpoints.own_pods else ranks}
    return {"enabled": True}


# Repetition


def routes(entry: Called, extra: Callable[[Port], Object]) -> list[Object]:
    """HTTP routes of a host, one or two for each port.

    extra: more keys of the routes of a port.
    """
    found = []
    for port in entry.ports:
        if port.protocol == "GRPC":
            found.append(_route(entry, port, extra(port), RETRY_STREAM))
        elif port.is_http:
            found.append(_route(entry, port, extra(port), RETRY_IDEMPOTENT, IDEMPOTENT_METHODS))
            found.append(_route(entry, port, extra(port), RETRY_UNSENT))
    return found


def _route(entry: Called, port: Port, extra: Object, retry_on: str, methods: str | None = None) -> Object:
    traffic = entry.traffic
    match: Object = {"port": port.number}
    if methods:
        match["method"] = {"regex": methods}
    return {
        "match": [match],
        "route": destination(entry, port),
        **tries(traffic, retry_on),
        **extra,
    }


def tries(wanted: Traffic | Route, retry_on: str) -> Object:
    """``retries`` and ``timeout`` of an HTTP route.

    retry_on: what is repeated.
    """
    retries: Object = {"attempts": RETRIES if wanted.retries is None else wanted.retries}
    if retries["attempts"]:
        retries |= {"retryOn": retry_on, "retryRemoteLocalities": True}
        if wanted.per_try_timeout:
            retries["perTryTimeout"] = written(wanted.per_try_timeout)
    # By default no timeout, neither of all tries nor of one: it would end streams, downloads and long polls, whose
    # length only their owner knows.
    return {"retries": retries, **({"timeout": written(wanted.timeout)} if wanted.timeout else {})}


def destination(entry: Called, port: Port) -> list[Object]:
    """``route`` that leads to a port of the host itself."""
    return [{"destination": {"host": entry.host, "port": {"number": port.number}}}]
