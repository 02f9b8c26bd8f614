# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who else has a hand in an object: what the field managers of a live object tell about a change.

Whoever updates a field takes it away from those who applied it (Kubernetes documentation, "Server-Side Apply"), so the
manager that holds a wanted field with another value is the one that changed it, at the time of its entry or before.
Whoever removes a field leaves no trace.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.applyset.fields import (
    MISSING,
    Verdict,
    compare_whole,
    find_item,
    matching_item,
    owned_fields,
)
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.identity import PART_OF_LABEL


def held_by_others(desired: Mapping[str, Any], live: Mapping[str, Any], manager: str) -> list[dict[str, Any]]:
    """Which wanted fields others hold with other values, an entry for each manager; the latest first.

    Entries have manager, operation, time and fields. Wanted fields that are not there and that nobody holds have an
    entry without manager, if ``manager`` has applied the object before: somebody removed them, or they are new.
    """
    found = []
    for entry in _others(live, manager):
        fields = sorted(set(_differing(entry.get("fieldsV1") or {}, desired, live, "")))
        if fields:
            found.append(_author(entry, fields))
    ours = owned_fields(live, manager)
    lost = sorted(set(_lost(ours, desired, live, ""))) if ours else []
    if lost:
        found.append({"manager": None, "operation": None, "time": None, "fields": lost})
    return found


def labelled_by(live: Mapping[str, Any], manager: str) -> list[dict[str, Any]]:
    """Who made an object a member of the set, if it was not ``manager``: in the same form."""
    if owned_fields(live, manager) is not None:
        return []
    label = f"f:{PART_OF_LABEL}"
    holders = [
        entry
        for entry in _others(live, manager)
        if label in _below(_below(entry.get("fieldsV1") or {}, "f:metadata"), "f:labels")
    ]
    return [_author(entry, [f"metadata.labels.{PART_OF_LABEL}"]) for entry in holders]


def _others(live: Mapping[str, Any], manager: str) -> list[Mapping[str, Any]]:
    entries = [
        entry
        for entry in live["metadata"].get("managedFields") or []
        if not entry.get("subresource") and (entry.get("manager"), entry.get("operation")) != (manager, "Apply")
    ]
    return sorted(entries, key=lambda entry: str(entry.get("time") or ""), reverse=True)


def _author(entry: Mapping[str, Any], fields: list[str]) -> dict[str, Any]:
    return {
        "manager": entry.get("manager"),
        "operation": entry.get("operation"),
        "time": entry.get("time"),
        "fields": fields,
    }


def _below(tree: Any, key: str) -> Mapping[str, Any]:
    found = tree.get(key) if isinstance(tree, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _differing(tree: Mapping[str, Any], desired: Any, live: Any, path: str) -> Iterator[str]:
    """Paths of this tree that are wanted with another value."""
    children = {key: below for key, below in tree.items() if key != "."}
    if not children:
        if desired is not MISSING and compare_whole(desired, live) is Verdict.CHANGED:
            yield path
        return
    for key, below in children.items():
        sort, _colon, name = key.partition(":")
        if sort == "f" and isinstance(desired, Mapping) and name in desired:
            value = live.get(name, MISSING) if isinstance(live, Mapping) else MISSING
            yield from _differing(below, desired[name], value, f"{path}.{name}" if path else name)
        elif sort == "k" and isinstance(desired, list):
            wanted = matching_item(desired, key)
            if wanted is not None:
                yield from _differing(below, wanted, find_item(live, key), f"{path}[{_item(name)}]")


def _lost(tree: Mapping[str, Any], desired: Any, live: Any, path: str) -> Iterator[str]:
    """Paths of wanted fields of maps that are neither there nor in this tree."""
    if not isinstance(desired, Mapping) or not set(tree) - {"."}:
        return
    for name, value in desired.items():
        where = f"{path}.{name}" if path else name
        present = live.get(name, MISSING) if isinstance(live, Mapping) else MISSING
        below = tree.get(f"f:{name}")
        if below is not None:
            yield from _lost(below, value, present, where)
        elif present is MISSING and where not in ("apiVersion", "kind", "metadata.name", "metadata.namespace"):
            yield where


def _item(key: str) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(json.loads(key).items()))
