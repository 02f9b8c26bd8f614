# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible's variables as the raw inventory that the model reads: plain data, and only what it asks for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from multiprocessing import current_process
from typing import Any

from ansible.errors import AnsibleError
from ansible.executor.process.worker import WorkerProcess

GROUP = "meshes"
PREFIX = "mesh_"
FACTS = "federation_mesh_info"
_TEMPLATE = ("{{", "{%", "{#")

# What was read last: templates of one task ask ten times, and with a hundred hosts each time takes a tenth of a second.
_last: tuple[object, object, dict[str, str]] | None = None


def decoded(texts: Mapping[str, str]) -> dict[str, Any]:
    """Raw inventory out of the JSON texts of its hosts."""
    return {"hosts": {name: json.loads(text) for name, text in texts.items()}}


def inventory_texts(hostvars: Mapping[str, Any], groups: Mapping[str, Sequence[str]] | None = None) -> dict[str, str]:
    """The raw inventory as one JSON text for each host: most who ask only want to know whether it is still the same.

    hostvars: Ansible's ``hostvars``, or plain mappings of the same shape. Plain hosts without ``group_names`` count
        as members of ``meshes``.
    groups: Ansible's ``groups``, if at hand; it spares looking at hosts that are no clusters.
    Raises AnsibleError naming host and variable if a value cannot be templated.
    """
    global _last
    if _last is not None and _last[0] is hostvars and _last[1] is groups:
        return _last[2]
    texts = _texts(hostvars, groups)
    if isinstance(current_process(), WorkerProcess):  # which runs one task for one host, and ends
        _last = (hostvars, groups, texts)
    return texts


def _texts(hostvars: Mapping[str, Any], groups: Mapping[str, Sequence[str]] | None) -> dict[str, str]:
    names: Iterable[str] = hostvars if groups is None else groups.get(GROUP, ())
    texts = {}
    for name in names:
        variables = hostvars[name]
        member_of = _read(name, variables, "group_names", [GROUP])
        if GROUP in member_of:
            texts[str(name)] = _host(str(name), variables, member_of)
    if not texts:
        raise AnsibleError(f"The inventory has no host in group '{GROUP}'. Add one host per cluster to this group.")
    return texts


def _host(name: str, variables: Mapping[str, Any], member_of: list[str]) -> str:
    wanted = [key for key in variables if key.startswith(PREFIX)]
    # What Ansible's view of a host reads from, not templated yet: looking at every value through the view takes a
    # hundred times as long as turning the whole into JSON.
    source = getattr(variables, "_vars", None)
    if isinstance(source, Mapping):
        text = _literal(_entry(source, wanted, member_of))
        if text is not None:
            return text
        # Most values need no template even where one of them does.
        literals = {key: text for key in (*wanted, FACTS) if key in source and (text := _literal(source[key]))}
    else:
        literals = {}
    values = {
        key: json.loads(literals[key]) if key in literals else _read(name, variables, key) for key in (*wanted, FACTS)
    }
    return json.dumps(_entry(values, wanted, member_of), default=repr)


def _entry(values: Mapping[str, Any], wanted: Iterable[str], member_of: list[str]) -> dict[str, Any]:
    found = {str(key): values[key] for key in wanted if not _is_result(values[key])}
    entry: dict[str, Any] = {"vars": found, "groups": sorted(member_of)}
    result: Any = values.get(FACTS)
    if _is_result(result) and isinstance(result.get("mesh"), dict) and not _is_useless(result):
        entry["facts"] = result["mesh"]
    return entry


def _literal(value: Any) -> str | None:
    """JSON of a value in which there is nothing to template or to decrypt, None of any other."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        return None
    return None if any(mark in text for mark in _TEMPLATE) else text


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
