# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Raw inventories for tests, in few words."""

from __future__ import annotations

from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.model.inventory import parse
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Inventory


def port(number: int = 9080, name: str = "http", protocol: str = "HTTP", **more: Any) -> dict[str, Any]:
    return {"number": number, "name": name, "protocol": protocol, **more}


def export(service: str, *consumers: Any, **more: Any) -> dict[str, Any]:
    """An export of namespace ``books``; a value of None leaves the key out."""
    entry = {
        "service": service,
        "namespace": "books",
        "ports": [port()],
        "service_accounts": [service],
        "consumers": list(consumers),
        **more,
    }
    return {key: value for key, value in entry.items() if value is not None}


def host(
    *exports: Any, address: str | None = None, groups: tuple[str, ...] = (), facts: Any = None, **more: Any
) -> Any:
    """A host of the raw inventory; ``more`` are variables without their prefix."""
    variables = {f"mesh_{key}": value for key, value in more.items()}
    if exports:
        variables["mesh_exports"] = list(exports)
    if address:
        variables["mesh_gateway_addresses"] = [address]
    entry: dict[str, Any] = {"vars": variables, "groups": ["meshes", *groups]}
    if facts is not None:
        entry["facts"] = facts
    return entry


def facts(*services: Any, address: str | None = None, remembered: Any = None) -> dict[str, Any]:
    return {
        "gateway_addresses": [address] if address else [],
        "services": list(services),
        "remembered": remembered or {},
    }


def live(name: str, **more: Any) -> dict[str, Any]:
    """A Service as ``mesh_info`` reads it."""
    return {
        "namespace": "books",
        "name": name,
        "ports": [port(80, "http-web", target_port=8080)],
        "selector": {"app.kubernetes.io/name": name},
        "service_accounts": [f"{name}-account"],
        **more,
    }


def inventory(allow_unknown_addresses: bool = False, /, **hosts: Any) -> Inventory:
    """Parsed; the names of hosts write ``_`` for ``-``."""
    return parse({"hosts": {name.replace("_", "-"): entry for name, entry in hosts.items()}}, allow_unknown_addresses)
