# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible's variables as the raw inventory that the model reads: plain data, and only what it asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from ansible.errors import AnsibleError

GROUP = "meshes"
PREFIX = "mesh_"
FACTS = "federation_mesh_info"


def raw_inventory(hostvars: Mapping[str, Any], groups: Mapping[str, Sequence[str]] | None = None) -> dict[str, Any]:
    """Raw inventory of every host in group ``meshes``, see docs/architecture.md.

    hostvars: Ansible's ``hostvars``, or plain mappings of the same shape. Plain hosts without ``group_names`` count
        as members of ``meshes``.
    groups: Ansible's ``groups``, if at hand; it spares looking at hosts that are no clusters.
    Raises AnsibleError naming host and variable if a value cannot be templated.
    """
    names: Iterable[str] = hostvars if groups is None else groups.get(GROUP, ())
    hosts = {}
    for name in names:
        variables = hostvars[name]
        member_of = _read(name, variables, "group_names", [GROUP])
        if GROUP in member_of:
            hosts[str(name)] = _host(str(name), variables, member_of)
    if not hosts:
        raise AnsibleError(f"The inventory has no host in group '{GROUP}'. Add one host per cluster to this group.")
    return {"hosts": hosts}


def _host(name: str, variables: Mapping[str, Any], member_of: list[str]) -> dict[str, Any]:
    found = {}
    for key in list(variables):
        if key.startswith(PREFIX):
            value = _read(name, variables, key)
            if not _is_result(value):
                found[str(key)] = value
    entry: dict[str, Any] = {"vars": found, "groups": sorted(member_of)}
    result = _read(name, variables, FACTS)
    if _is_result(result) and isinstance(result.get("mesh"), dict) and not _is_useless(result):
        entry["facts"] = result["mesh"]
    return entry


def _read(host: str, variables: Mapping[str, Any], key: str, default: Any = None) -> Any:
    try:
        # Values may be templated no earlier than they are looked at.
        return plain(variables.get(key, default))
    except AnsibleError as error:
        raise AnsibleError(f"{host}: {key}: cannot be resolved: {error}") from error


def _is_result(value: Any) -> bool:
    """Whether a variable is the registered result of a task, such as ``register: mesh_info``, and no inventory."""
    return isinstance(value, dict) and bool({"changed", "failed", "skipped", "unreachable"} & set(value))


def _is_useless(result: dict[str, Any]) -> bool:
    return any(result.get(key) for key in ("failed", "unreachable", "skipped"))


def plain(value: Any) -> Any:
    """What JSON has: templated lazily, tagged, marked unsafe or vaulted values become what they stand for.

    Dates, which YAML makes of text that looks like one, become text again.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if hasattr(value, "__ENCRYPTED__"):
        return str(value)
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, date):
        return value.isoformat()
    return value
