# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Objects of the federation as the inventory wants them, against those that a cluster has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.audit.difference import Difference

Body = Mapping[str, Any]

MANAGED_BY = ("app.kubernetes.io/managed-by", "multimesh.istio")
MANAGER = "multimesh.istio"


def compare(wanted: Iterable[Body], live: Iterable[Body]) -> Iterator[Difference]:
    """What of these is missing, was changed, or should not be there. Others' objects are not looked at."""
    present = {_key(item): item for item in live}
    expected = {_key(item): item for item in wanted}
    for key, item in expected.items():
        if key not in present:
            yield Difference("missing", key, "the inventory asks for it, and the cluster lacks it")
        elif item["spec"] != present[key].get("spec"):
            others = _other_managers(present[key])
            by = f" by {', '.join(others)}" if others else ""
            yield Difference("changed", key, f"its spec is not what the inventory says; it was changed{by}")
    label, value = MANAGED_BY
    for key, item in present.items():
        if key not in expected and (item["metadata"].get("labels") or {}).get(label) == value:
            yield Difference("unexpected", key, "the inventory does not ask for it")


def _key(item: Body) -> str:
    return f"{item['kind']} {item['metadata']['namespace']}/{item['metadata']['name']}"


def _other_managers(item: Body) -> list[str]:
    """Who else than the collection has written to the spec."""
    entries = item["metadata"].get("managedFields") or ()
    return sorted(
        {
            str(entry.get("manager"))
            for entry in entries
            if entry.get("manager") != MANAGER and "f:spec" in (entry.get("fieldsV1") or {})
        }
    )
