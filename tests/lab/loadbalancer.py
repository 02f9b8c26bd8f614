# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Gives Services of type LoadBalancer the node's address; kube-proxy does the rest.

All of them share one address, so a Service waits while another one has one of its ports.
"""

from __future__ import annotations

import http.client
import sys
import time
from collections.abc import Mapping
from typing import Any

from tests.lab.kubeapi import ApiError, KubeApi

_SERVICES = "/api/v1/services"
_RETRY_SECONDS = 1.0


def run(api: KubeApi, address: str) -> None:
    """Never returns; what goes wrong is written to standard error and tried again."""
    while True:
        try:
            _follow(api, address)
        except (ApiError, OSError, http.client.HTTPException, ValueError) as error:
            print(f"load balancer: {error}", file=sys.stderr, flush=True)
            time.sleep(_RETRY_SECONDS)


def _follow(api: KubeApi, address: str) -> None:
    listing = api.request("GET", _SERVICES)
    services = {_key(service): service for service in listing["items"]}
    _serve(api, address, services)
    for event in api.watch(_SERVICES, listing["metadata"]["resourceVersion"]):
        if event["type"] == "ERROR":  # the version is too old: list again
            return
        if event["type"] == "DELETED":
            services.pop(_key(event["object"]), None)
        else:
            services[_key(event["object"])] = event["object"]
        _serve(api, address, services)


def _serve(api: KubeApi, address: str, services: Mapping[str, dict[str, Any]]) -> None:
    for key, ingress in wanted_changes(services, address).items():
        metadata = services[key]["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/services/{metadata['name']}/status"
        api.merge(path, {"status": {"loadBalancer": {"ingress": ingress}}})


def wanted_changes(services: Mapping[str, dict[str, Any]], address: str) -> dict[str, list[dict[str, str]] | None]:
    """New ``status.loadBalancer.ingress`` by key, for those of `services` that need another than they have."""
    wanted = [{"ip": address, "ipMode": "VIP"}]
    holders: dict[tuple[str, int], str] = {}
    changes: dict[str, list[dict[str, str]] | None] = {}
    # Who already has the address keeps it; among newcomers the older goes first.
    order = sorted(services.items(), key=lambda item: (not _ingress(item[1]), item[1]["metadata"]["creationTimestamp"]))
    for key, service in order:
        ports = {(port.get("protocol", "TCP"), port["port"]) for port in service["spec"].get("ports", [])}
        if service["spec"].get("type") != "LoadBalancer" or any(port in holders for port in ports):
            if _ingress(service):
                changes[key] = None
            continue
        holders.update(dict.fromkeys(ports, key))
        if _ingress(service) != wanted:
            changes[key] = wanted
    return changes


def _ingress(service: Mapping[str, Any]) -> list[dict[str, str]]:
    ingress: list[dict[str, str]] = service.get("status", {}).get("loadBalancer", {}).get("ingress") or []
    return ingress


def _key(service: Mapping[str, Any]) -> str:
    return f"{service['metadata']['namespace']}/{service['metadata']['name']}"
