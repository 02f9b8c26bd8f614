# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The parent object: a ConfigMap that says which kinds and namespaces the set reaches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.applyset.identity import (
    ID_LABEL,
    KINDS_ANNOTATION,
    NAMESPACES_ANNOTATION,
    TOOLING_ANNOTATION,
    GroupKind,
    ObjectKey,
    applyset_id,
)
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError

CONFIG_MAP = GroupKind("", "ConfigMap")

# kubectl works only on sets whose tooling is "kubectl/<version>" (kubectl/pkg/cmd/apply/applyset.go, fetchParent).
# The rules here are kubectl's own, so the set may say so: ``kubectl apply --prune --applyset`` then takes it over, and
# whatever version kubectl leaves behind is kept. v1.27 is the first release with these rules.
_TOOL = "kubectl"
_TOOLING = f"{_TOOL}/v1.27.0"


class ParentError(MultimeshError):
    """The parent's name is taken by something that is not this set."""


@dataclass(frozen=True)
class Parent:
    """What a parent object declares.

    namespaces: those besides the parent's own.
    """

    key: ObjectKey
    kinds: frozenset[GroupKind] = frozenset()
    namespaces: frozenset[str] = frozenset()
    tooling: str = _TOOLING

    @property
    def set_id(self) -> str:
        return applyset_id(self.key)

    @property
    def scope(self) -> frozenset[str]:
        """All namespaces that may hold members."""
        return self.namespaces | {self.key.namespace}

    def declaring(self, keys: Iterable[ObjectKey]) -> Parent:
        """The same parent for exactly these members."""
        members = list(keys)
        namespaces = {key.namespace for key in members} - {"", self.key.namespace}
        kinds = frozenset(key.group_kind for key in members)
        return Parent(self.key, kinds, frozenset(namespaces), self.tooling)

    def joined(self, other: Parent) -> Parent:
        """The same parent for the members of both."""
        return Parent(self.key, self.kinds | other.kinds, self.namespaces | other.namespaces, self.tooling)

    def body(self) -> dict[str, Any]:
        """The ConfigMap to apply."""
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": self.key.name,
                "namespace": self.key.namespace,
                "labels": {ID_LABEL: self.set_id},
                "annotations": {
                    TOOLING_ANNOTATION: self.tooling,
                    KINDS_ANNOTATION: ",".join(sorted(str(kind) for kind in self.kinds)),
                    NAMESPACES_ANNOTATION: ",".join(sorted(self.namespaces)),
                },
            },
        }


def parent_key(namespace: str, name: str) -> ObjectKey:
    """Key of the ConfigMap that is the parent of the set ``name``."""
    return ObjectKey(CONFIG_MAP, namespace, name)


def read_parent(mesh: str, key: ObjectKey, live: Mapping[str, Any]) -> Parent:
    """What the live ConfigMap declares. Raises ParentError where it is not the parent of this set."""
    metadata = live["metadata"]
    annotations = metadata.get("annotations") or {}
    found_id = (metadata.get("labels") or {}).get(ID_LABEL)
    if found_id != applyset_id(key):
        raise ParentError(
            f"{mesh}: {key} exists and is not the parent of this set (label {ID_LABEL}: expected {applyset_id(key)}, "
            f"found {found_id or 'none'}). Choose another name for the set, or remove that ConfigMap."
        )
    tooling = str(annotations.get(TOOLING_ANNOTATION) or "none")
    if tooling.rpartition("/")[0] != _TOOL:
        raise ParentError(
            f"{mesh}: {key} is managed by another tool (annotation {TOOLING_ANNOTATION}: {tooling}). "
            "Choose another name for the set, or let that tool remove its own."
        )
    kinds = frozenset(GroupKind.parse(text) for text in _items(annotations.get(KINDS_ANNOTATION)))
    namespaces = frozenset(_items(annotations.get(NAMESPACES_ANNOTATION))) - {key.namespace}
    return Parent(key, kinds, namespaces, tooling)


def _items(text: Any) -> list[str]:
    return [item.strip() for item in str(text or "").split(",") if item.strip()]
