# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Istio objects as a federation has them, half of them ServiceEntries and half DestinationRules."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]


def objects(count: int, namespace: str, timeout: str = "10s") -> list[Object]:
    """timeout: of connections in the first DestinationRule, to change one object."""
    found: list[Object] = []
    for index in range(count // 2):
        host = f"service-{index}.shop.svc.east.global"
        endpoint = {
            "address": "203.0.113.1",
            "ports": {"http": 15443},
            "network": "east",
            "labels": {"security.istio.io/tlsMode": "istio"},
        }
        identities = [f"spiffe://east.mesh/ns/shop/sa/service-{index}"]
        entry = {
            "hosts": [host],
            "location": "MESH_INTERNAL",
            "resolution": "STATIC",
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "endpoints": [endpoint],
            "subjectAltNames": identities,
            "exportTo": ["*"],
        }
        sni = f"outbound_.80_._.service-{index}.shop.svc.cluster.local"
        policy = {
            "tls": {"mode": "ISTIO_MUTUAL", "sni": sni, "subjectAltNames": identities},
            "connectionPool": {"tcp": {"connectTimeout": "10s" if index else timeout}},
        }
        rule = {"host": host, "trafficPolicy": policy, "exportTo": ["*"]}
        for kind, spec in (("ServiceEntry", entry), ("DestinationRule", rule)):
            metadata = {"name": host, "namespace": namespace}
            found.append({"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec})
    return found
