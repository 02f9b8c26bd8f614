# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plan as data that can be kept, put together with those of other clusters, and compared with a later one.

Two fingerprints tell whether a later plan does the same to the same: of what is wanted, and of what was found. They are
SHA-256 over whole objects, so nothing of a Secret can be read from them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.applyset.diff import ours
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.fields import essence
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.managers import held_by_others, labelled_by
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.plan import Live, Plan
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError

_DONE = {"create": "created", "change": "changed", "delete": "deleted"}
_ORIGINS = ("multimesh.istio/export", "multimesh.istio/external-service")
_NAMED = 20
"""So many objects are named in a message; a thousand lines are read by nobody."""


class DeletionsError(MultimeshError):
    """More members would be deleted than is allowed."""


class MovedError(MultimeshError):
    """A plan is no longer what it was."""


def describe(plan: Plan, manager: str) -> list[dict[str, Any]]:
    """One entry for each object that is created, changed or deleted, see RETURN of module applyset.

    Adopted objects have to be whole in the plan.
    """
    entries = [_entry("create", wanted.key, wanted.body, wanted.body, None, []) for wanted in plan.create]
    for change in plan.change:
        wanted, live = change.desired, change.live
        found = {"uid": live.uid, "part": ours(live, wanted.body, manager)}
        held = held_by_others(wanted.body, live.body, manager)
        entries.append(_entry("change", wanted.key, wanted.body, wanted.body, found, held))
    for live in plan.delete:
        # all of it goes, so all of it counts
        entries.append(_entry("delete", live.key, live.body, None, essence(live.body), labelled_by(live.body, manager)))
    return entries


def _entry(
    action: str, key: object, body: Mapping[str, Any], wanted: Any, found: Any, others: list[dict[str, Any]]
) -> dict[str, Any]:
    annotations = body["metadata"].get("annotations") or {}
    return {
        "action": action,
        "object": str(key),
        "origins": sorted({text for name in _ORIGINS for text in str(annotations.get(name) or "").split(",") if text}),
        "wanted": _fingerprint(wanted),
        "found": _fingerprint(found),
        "others": others,
    }


def _fingerprint(value: Any) -> str | None:
    if value is None:
        return None
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def check_deletions(mesh: str, deleted: Sequence[Live], limit: int | None) -> None:
    """Raises DeletionsError where more are to be deleted than the limit says; None is no limit."""
    if limit is not None and len(deleted) > limit:
        raise DeletionsError(
            f"{mesh}: {len(deleted)} objects would be deleted, and max_deletions allows {limit}:"
            f" {named(str(live.key) for live in deleted)}. Nothing was written. If they shall go, raise max_deletions."
        )


def check_expected(mesh: str, changes: Iterable[Mapping[str, Any]], expected: Iterable[Mapping[str, Any]]) -> None:
    """Raises MovedError where a plan is not the expected one."""
    moved = deviations(changes, expected)
    if moved:
        raise MovedError(
            f"{mesh}: the plan is no longer what was expected: {named(moved, '; ')}. Nothing was written. Look at the"
            " new plan, and expect that."
        )


def deviations(changes: Iterable[Mapping[str, Any]], expected: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is not in a plan as it is in an earlier one, a clause for each object, sorted."""
    now, before = ({str(entry["object"]): entry for entry in entries} for entries in (changes, expected))
    found = {name: _deviation(before.get(name), now.get(name)) for name in sorted({*now, *before})}
    return [f"{name}: {moved}" for name, moved in found.items() if moved]


def _deviation(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str | None:
    was, is_now = (f"is to be {_DONE[entry['action']]}" if entry else "is to stay as it is" for entry in (before, now))
    if was != is_now:
        return f"it {was} in the earlier plan, and {is_now} now"
    if before and now and before["found"] != now["found"]:
        return "somebody has changed it in the cluster since"
    if before and now and before["wanted"] != now["wanted"]:
        return "the inventory or what it is completed from wants something else of it now"
    return None


def named(names: Iterable[str], separator: str = ", ") -> str:
    """The first of them, and how many more there are."""
    every = list(names)
    more = len(every) - _NAMED
    return separator.join(every[:_NAMED] + ([f"and {more} more"] if more > 0 else []))
