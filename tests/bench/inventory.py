# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Inventories of any size: every mesh exports as much as every other, and every export has as many consumers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Size:
    """How large a federation is."""

    meshes: int
    exports: int
    consumers: int

    @property
    def edges(self) -> int:
        """Pairs of an export and a mesh that may call it."""
        return self.meshes * self.exports * self.consumers

    def __str__(self) -> str:
        return f"{self.meshes} meshes, {self.exports} exports each, {self.consumers} consumers each"


def names(count: int) -> list[str]:
    """Names of meshes, in their order."""
    return [f"mesh-{index:03}" for index in range(count)]


def hosts(size: Size) -> dict[str, dict[str, Any]]:
    """Variables of every host; offline, so they say everything."""
    meshes = names(size.meshes)
    return {
        mesh: {
            "mesh_gateway_addresses": [f"198.51.{number // 250}.{number % 250 + 1}"],
            "mesh_exports": [_export(meshes, number, index, size.consumers) for index in range(size.exports)],
        }
        for number, mesh in enumerate(meshes)
    }


def _export(meshes: list[str], exporter: int, index: int, consumers: int) -> dict[str, Any]:
    others = len(meshes) - 1
    # spread evenly over the others: seven shares no factor with most numbers of them
    chosen = dict.fromkeys((exporter + 1 + (index + step * 7) % others) % len(meshes) for step in range(consumers))
    for more in range(others):
        if len(chosen) < consumers:
            chosen[(exporter + 1 + more) % len(meshes)] = None
    return {
        "service": f"service-{index}",
        "namespace": f"team-{index % 10}",
        "ports": [{"number": 8080, "name": "http", "protocol": "HTTP"}],
        "service_accounts": [f"service-{index}"],
        "consumers": [meshes[number] for number in chosen],
    }


def raw(size: Size) -> dict[str, Any]:
    """The same as the model reads it."""
    return {"hosts": {host: {"vars": own, "groups": ["meshes"]} for host, own in hosts(size).items()}}


def write(path: Path, found: Mapping[str, Mapping[str, Any]], **settings: Any) -> Path:
    """An inventory file of these hosts. JSON, which Ansible reads much sooner than YAML."""
    local = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    path.write_text(json.dumps({"meshes": {"hosts": found, "vars": local | settings}}))
    return path
