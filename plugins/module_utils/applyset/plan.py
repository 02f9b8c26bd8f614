# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What to do so that a cluster holds exactly the wanted objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.applyset.desired import Desired
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.fields import Verdict, compare
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.identity import (
    PART_OF_LABEL,
    GroupKind,
    ObjectKey,
)

# Namespaces hold the rest, definitions make the rest possible, policies guard the rest: first to come, last to go.
NAMESPACE = GroupKind("", "Namespace")
CRD = GroupKind("apiextensions.k8s.io", "CustomResourceDefinition")
AUTHORIZATION_POLICY = GroupKind("security.istio.io", "AuthorizationPolicy")
_FIRST = {kind: number for number, kind in enumerate((NAMESPACE, CRD, AUTHORIZATION_POLICY))}
STAGES = range(len(_FIRST) + 1)


@dataclass(frozen=True)
class Live:
    """An object as a cluster holds it. ``body`` may be its metadata only."""

    key: ObjectKey
    body: dict[str, Any]

    @property
    def uid(self) -> str:
        return str(self.body["metadata"]["uid"])

    @property
    def part_of(self) -> str | None:
        """Id of the set that it is a member of."""
        value = (self.body["metadata"].get("labels") or {}).get(PART_OF_LABEL)
        return None if value is None else str(value)


@dataclass(frozen=True)
class Change:
    """An object to be applied over a live one, its own or an adopted one."""

    desired: Desired
    live: Live


@dataclass(frozen=True)
class Plan:
    """Every list is sorted by key."""

    create: tuple[Desired, ...] = ()
    change: tuple[Change, ...] = ()
    delete: tuple[Live, ...] = ()
    unchanged: tuple[Desired, ...] = ()

    @property
    def empty(self) -> bool:
        return not (self.create or self.change or self.delete)

    def without_changes(self, keys: Iterable[ObjectKey]) -> Plan:
        """The plan after the server found nothing to change in these."""
        gone = set(keys)
        return replace(
            self,
            change=tuple(change for change in self.change if change.desired.key not in gone),
            unchanged=self.unchanged + tuple(change.desired for change in self.change if change.desired.key in gone),
        )


def make_plan(
    desired: Iterable[Desired],
    members: Iterable[Live],
    others: Mapping[ObjectKey, Live],
    manager: str,
    is_same: Callable[[Desired, Live], bool],
) -> Plan:
    """The plan, from what is wanted and what is there.

    members: live objects that carry the label of the set, whole.
    others: live objects without it that have the key of a wanted one.
    is_same: asks the server whether applying would change nothing; called only where fields alone do not tell.
    """
    live = {member.key: member for member in members}
    create: list[Desired] = []
    change: list[Change] = []
    unchanged: list[Desired] = []
    for wanted in sorted(desired, key=lambda item: item.key):
        present = live.pop(wanted.key, None)
        if present is None:
            if wanted.key in others:
                change.append(Change(wanted, others[wanted.key]))
            else:
                create.append(wanted)
            continue
        verdict = compare(wanted.body, present.body, manager)
        if verdict is Verdict.SAME or (verdict is Verdict.UNSURE and is_same(wanted, present)):
            unchanged.append(wanted)
        else:
            change.append(Change(wanted, present))
    # what is on its way out already, held by a finalizer, needs no second request
    left = (item for item in live.values() if "deletionTimestamp" not in item.body["metadata"])
    delete = sorted(left, key=lambda item: item.key)
    return Plan(tuple(create), tuple(change), tuple(delete), tuple(unchanged))


def foreign_members(others: Iterable[Live], set_id: str) -> list[Live]:
    """Those that belong to another set, sorted by key."""
    return sorted((live for live in others if live.part_of not in (None, set_id)), key=lambda live: live.key)


def stage(group_kind: GroupKind) -> int:
    """Objects of a lower stage are applied before, and deleted after, those of a higher one."""
    return _FIRST.get(group_kind, STAGES[-1])
