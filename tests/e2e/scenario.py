# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventory and the services of the end-to-end tests.

Every mesh runs ``greeter`` (exported to all) and ``hidden`` (exported to nobody). East also runs ``ledger``, for one
service account of west only, and leaves its ports, service accounts and pods to be read from the cluster.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.lab import manifests
from tests.lab.api import Lab

MESHES = ("east", "west", "north")
LOCALITIES = {"east": "eu/eu-east", "west": "eu/eu-west", "north": "us/us-north"}
NAMESPACE = "demo"
NAMESPACES = (NAMESPACE, "shop", "vault")
GREETER_PORTS = [
    {"number": 80, "name": "http", "protocol": "HTTP", "target_port": 8080},
    {"number": 8079, "name": "grpc", "protocol": "GRPC"},
    {"number": 9000, "name": "tcp", "protocol": "TCP"},
    {"number": 8081, "name": "tcp-web", "protocol": "TCP"},
]
SERVICE_PORTS = {"http": 80, "grpc": 8079, "tcp": 9000, "tcp-web": 8081, "tls": 8443}
"""Ports of the Services; ``tls`` is exported by nobody."""
LEDGER = {
    "service": "ledger",
    "namespace": "vault",
    "consumers": [
        {"mesh": "west", "namespace": "shop", "service_account": "cart", "methods": ["GET"], "paths": ["/open/*"]},
    ],
}


def greeter() -> dict[str, Any]:
    """The export that every mesh has."""
    return {
        "service": "greeter",
        "namespace": NAMESPACE,
        "ports": [dict(port) for port in GREETER_PORTS],
        "service_accounts": ["greeter"],
        "consumers": ["all"],
    }


def hosts(*meshes: str) -> dict[str, dict[str, Any]]:
    """The hosts of the inventory with their variables."""
    return {mesh: {"mesh_locality": LOCALITIES[mesh], "mesh_exports": [greeter()]} for mesh in meshes or MESHES}


def make_namespaces(lab: Lab) -> None:
    """The namespaces of the services; policies are applied before there is anything to protect."""
    for mesh in MESHES:
        lab.apply(mesh, [manifests.namespace(name, {"istio-injection": "enabled"}) for name in NAMESPACES])


def deploy(lab: Lab) -> None:
    """Deploy the services and callers of all meshes and wait until they are ready."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda mesh: deploy_mesh(lab, mesh), MESHES))


def deploy_mesh(lab: Lab, mesh: str) -> None:
    """Those of one mesh, whose namespaces are there."""
    objects: list[dict[str, Any]] = []
    for service in ("greeter", "hidden"):
        objects += manifests.app(mesh, NAMESPACE, service, ports=SERVICE_PORTS)
    objects += manifests.curl(NAMESPACE, "caller")
    objects += manifests.fortio(NAMESPACE, "load")
    if mesh == "east":
        objects += manifests.app(mesh, "vault", "ledger", ports={"http": 80})
    if mesh == "west":
        objects += manifests.curl("shop", "cart") + manifests.curl("shop", "other")
    lab.apply(mesh, objects)
    lab.wait_ready(mesh, NAMESPACES)
