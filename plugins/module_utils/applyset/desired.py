# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The wanted objects: checked, freed of what only a server may say, and labelled as members."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.applyset.identity import (
    PART_OF_LABEL,
    GroupKind,
    ObjectKey,
)
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import split_api_version

_SERVER_METADATA = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
)


class ObjectsError(MultimeshError):
    """Entries of ``objects`` that can not be applied, all of them at once."""

    def __init__(self, mesh: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join([f"{mesh}: objects can not be applied:", *(f"  - {text}" for text in problems)]))


@dataclass(frozen=True)
class Desired:
    """One wanted object: ``body`` is exactly what is sent."""

    key: ObjectKey
    version: str
    body: dict[str, Any]

    @property
    def api_version(self) -> str:
        group = self.key.group_kind.group
        return f"{group}/{self.version}" if group else self.version


def read_objects(mesh: str, objects: Sequence[Any], set_id: str, parent: ObjectKey) -> list[Desired]:
    """All wanted objects of the set, sorted by key. Raises ObjectsError."""
    problems: list[str] = []
    found: dict[ObjectKey, tuple[int, Desired]] = {}
    for index, item in enumerate(objects):
        problem = _problem(item, set_id)
        if problem:
            problems.append(f"objects[{index}]: {problem}")
            continue
        wanted = _read(item, set_id)
        if wanted.key == parent:
            problems.append(f"objects[{index}]: {wanted.key} is the parent of this set. Rename the set or the object.")
        elif wanted.key in found:
            first = found[wanted.key][0]
            problems.append(f"objects[{index}]: {wanted.key} is objects[{first}] already. Leave one of them out.")
        else:
            found[wanted.key] = (index, wanted)
    if problems:
        raise ObjectsError(mesh, problems)
    return [wanted for _key, (_index, wanted) in sorted(found.items())]


def _problem(item: Any, set_id: str) -> str | None:
    if not isinstance(item, Mapping):
        return f"a mapping was expected, not {type(item).__name__}. Give one Kubernetes object per entry."
    metadata = item.get("metadata")
    if not isinstance(metadata, Mapping):
        return "metadata is missing. Give at least metadata.name."
    for path, value in (
        ("apiVersion", item.get("apiVersion")),
        ("kind", item.get("kind")),
        ("metadata.name", metadata.get("name")),
    ):
        if not isinstance(value, str) or not value:
            return f"{path} must be a text that is not empty (generateName can not be applied twice)."
    labels = metadata.get("labels") or {}
    if not isinstance(labels, Mapping):
        return "metadata.labels must be a mapping."
    if labels.get(PART_OF_LABEL) not in (None, set_id):
        return f"{item['kind']} {metadata['name']} carries the label {PART_OF_LABEL} of another set. Remove the label."
    return None


def _read(item: Mapping[str, Any], set_id: str) -> Desired:
    body = _without_nulls(item)
    body.pop("status", None)  # a status is what a controller saw, not what a user wants
    metadata = {key: value for key, value in body["metadata"].items() if key not in _SERVER_METADATA}
    metadata["labels"] = {**metadata.get("labels", {}), PART_OF_LABEL: set_id}
    if not metadata.get("annotations", True):
        del metadata["annotations"]
    if not metadata.get("namespace", True):
        del metadata["namespace"]
    body["metadata"] = metadata
    group, version = split_api_version(body["apiVersion"])
    if (group, body["kind"]) == ("", "Secret"):
        body = _secret(body)
    key = ObjectKey(GroupKind(group, body["kind"]), metadata.get("namespace", ""), metadata["name"])
    return Desired(key, version, body)


def _without_nulls(value: Any) -> Any:
    # null means "not set" in manifests, but would be owned as a field by server-side apply
    if isinstance(value, str):
        return value  # as most values are
    if isinstance(value, Mapping):
        return {str(key): _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_without_nulls(item) for item in value]
    return value


def _secret(body: dict[str, Any]) -> dict[str, Any]:
    # stringData is write-only: it never comes back, so it could not be compared
    plain = body.get("stringData")
    if not isinstance(plain, Mapping):
        return body
    encoded = {key: base64.b64encode(str(text).encode()).decode() for key, text in plain.items()}
    rest = {key: value for key, value in body.items() if key != "stringData"}
    return {**rest, "data": {**rest.get("data", {}), **encoded}}
