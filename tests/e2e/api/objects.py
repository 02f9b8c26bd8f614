# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Objects that the tests of this folder apply."""

from __future__ import annotations

from typing import Any


def config_map(namespace: str, name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def service(namespace: str, name: str, ports: list[dict[str, Any]], **selector: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"ports": ports, "selector": selector or {"app": name}},
    }


def deployment(namespace: str, name: str, containers: list[dict[str, Any]], **pod: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers, **pod}},
        },
    }


def service_entry(namespace: str, host: str, address: str = "192.0.2.1", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": host, "namespace": namespace},
        "spec": {
            "hosts": [host],
            "location": "MESH_INTERNAL",
            "resolution": "STATIC",
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "endpoints": [
                {"address": address, "ports": {"http": 15443}, "labels": {"security.istio.io/tlsMode": "istio"}}
            ],
            **spec,
        },
    }


def destination_rule(namespace: str, host: str) -> dict[str, Any]:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": host, "namespace": namespace},
        "spec": {
            "host": host,
            "trafficPolicy": {
                "tls": {"mode": "ISTIO_MUTUAL", "subjectAltNames": ["spiffe://east.mesh/ns/shop/sa/cart"]},
                "connectionPool": {"tcp": {"connectTimeout": "1s"}},
                "outlierDetection": {"consecutive5xxErrors": 2, "interval": "60s", "maxEjectionPercent": 100},
            },
        },
    }
