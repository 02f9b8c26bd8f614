# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Is a live object what we last applied and still want?

The answer comes from our own entry in ``metadata.managedFields`` (FieldsV1): it lists the fields that we own, so
neither defaults, nor status, nor the fields of other managers ever look like a change, and a field that we no longer
want, or that somebody took over, does. Format: sigs.k8s.io/structured-merge-diff, fieldpath/serialize-pe.go.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

# What server-side apply never owns (apimachinery/pkg/util/managedfields/internal/stripmeta.go).
_IDENTITY = ("apiVersion", "kind")
_IDENTITY_METADATA = ("name", "namespace")

_ITSELF = {"."}

MISSING = object()


class Verdict(enum.Enum):
    """SAME and CHANGED are certain. UNSURE: only the server can tell, by a dry run."""

    SAME = 0
    UNSURE = 1
    CHANGED = 2


def compare(desired: Mapping[str, Any], live: Mapping[str, Any], manager: str) -> Verdict:
    """What applying ``desired`` as ``manager`` would do to ``live``."""
    owned = owned_fields(live, manager, desired["apiVersion"])
    if not owned:
        return Verdict.CHANGED
    return _compare(_applied_part(desired), live, owned)


def owned_fields(live: Mapping[str, Any], manager: str, api_version: str | None = None) -> dict[str, Any] | None:
    """The FieldsV1 tree that ``manager`` owns by server-side apply, None when it never applied this object.

    api_version: None also where it applied another version, because the fields are then named by that one.
    """
    for entry in live["metadata"].get("managedFields") or []:
        if (entry.get("manager"), entry.get("operation")) == (manager, "Apply") and not entry.get("subresource"):
            if api_version in (None, entry.get("apiVersion")):
                return entry.get("fieldsV1") or {}
            return None
    return None


def project(live: Mapping[str, Any], desired: Mapping[str, Any], owned: Mapping[str, Any] | None) -> dict[str, Any]:
    """The part of ``live`` that ``desired`` speaks of or that we own: what a diff shows."""
    shown: dict[str, Any] = _project(live, desired, owned)
    for key in _IDENTITY:
        shown[key] = live.get(key)
    for key in _IDENTITY_METADATA:
        if key in live["metadata"]:
            shown.setdefault("metadata", {})[key] = live["metadata"][key]
    return shown


def essence(body: Mapping[str, Any]) -> str:
    """An object without what changes at every write, as JSON: Python takes 1 for True, an API server does not."""
    metadata = {
        key: value
        for key, value in body["metadata"].items()
        if key not in ("managedFields", "resourceVersion", "generation")
    }
    return json.dumps(
        {**{key: value for key, value in body.items() if key != "status"}, "metadata": metadata}, sort_keys=True
    )


def _applied_part(desired: Mapping[str, Any]) -> dict[str, Any]:
    part = {key: value for key, value in desired.items() if key not in _IDENTITY}
    metadata = {key: value for key, value in part.pop("metadata").items() if key not in _IDENTITY_METADATA}
    return {**part, "metadata": metadata} if metadata else part


def _compare(desired: Any, live: Any, owned: Mapping[str, Any]) -> Verdict:
    # A thousand objects come here twenty times each: plain loops that stop at the first certain change.
    if not owned or owned.keys() == _ITSELF:
        return compare_whole(desired, live)
    if isinstance(desired, dict):
        return _compare_map(desired, live, owned)
    children = {key: value for key, value in owned.items() if key != "."}
    if isinstance(desired, list) and all(key.startswith("k:") for key in children):
        return _compare_associative(desired, live, children)
    if isinstance(desired, list) and all(key.startswith("v:") for key in children):
        return _compare_set(desired, live, children)
    return Verdict.CHANGED


def _compare_map(desired: dict[str, Any], live: Any, owned: Mapping[str, Any]) -> Verdict:
    if len(desired) != len(owned) - ("." in owned):
        return Verdict.CHANGED
    below = live if isinstance(live, dict) else {}
    worst = Verdict.SAME
    for key, value in desired.items():
        child = owned.get(f"f:{key}")
        if child is None:
            return Verdict.CHANGED
        verdict = _compare(value, below.get(key, MISSING), child)
        if verdict is Verdict.CHANGED:
            return verdict
        if verdict is Verdict.UNSURE:
            worst = verdict
    return worst


def _compare_associative(desired: list[Any], live: Any, children: Mapping[str, Any]) -> Verdict:
    pairs = _pair(desired, list(children))
    if pairs is None:
        return Verdict.CHANGED
    return _worst(_compare(item, find_item(live, key), children[key]) for item, key in pairs)


def _compare_set(desired: list[Any], live: Any, children: Mapping[str, Any]) -> Verdict:
    present = live if isinstance(live, list) else []
    owned = [json.loads(key[2:]) for key in children]
    if len(desired) != len(owned) or not all(item in owned and item in present for item in desired):
        return Verdict.CHANGED
    return Verdict.SAME


def _pair(items: list[Any], keys: list[str]) -> list[tuple[Any, str]] | None:
    """Each item with the ``k:`` path element that names it; None when they do not fit one to one.

    An item may leave out a key field that has a default (the protocol of a port): such items choose last.
    """
    if len(items) != len(keys) or not all(isinstance(item, Mapping) for item in items):
        return None
    left = {key: json.loads(key[2:]) for key in keys}
    names = set().union(*left.values())
    pairs: list[tuple[Any, str]] = []
    for item in sorted(items, key=lambda item: len(names - set(item))):
        fits = [key for key, fields in left.items() if all(item.get(n, v) == v for n, v in fields.items())]
        if not fits:
            return None
        pairs.append((item, fits[0]))
        del left[fits[0]]
    return pairs


def find_item(live: Any, key: str) -> Any:
    """The item of a live associative list that a ``k:{...}`` path element names."""
    fields = json.loads(key[2:])
    for item in live if isinstance(live, list) else []:
        if isinstance(item, Mapping) and all(item.get(name) == value for name, value in fields.items()):
            return item
    return MISSING


def compare_whole(desired: Any, live: Any) -> Verdict:
    """A field owned as one: a scalar, an atomic map or list, or something empty."""
    if live is MISSING:
        # built-in kinds leave out what is empty; had somebody else removed it, we would no longer own it
        return Verdict.CHANGED if desired else Verdict.SAME
    if isinstance(desired, dict) and isinstance(live, dict):
        below = _worst(
            # nothing says whether we own an empty value inside
            compare_whole(value, live[key]) if key in live else Verdict.CHANGED if value else Verdict.UNSURE
            for key, value in desired.items()
        )
        # more than we want: a default, or a leftover of what we wanted before
        return below if live.keys() <= desired.keys() else _worst([below, Verdict.UNSURE])
    if isinstance(desired, list) and isinstance(live, list):
        if len(desired) != len(live):
            return Verdict.CHANGED
        return _worst(map(compare_whole, desired, live))
    if desired == live and isinstance(desired, bool) == isinstance(live, bool):
        return Verdict.SAME
    meant = _meaning(desired)
    return Verdict.UNSURE if meant is not None and meant == _meaning(live) else Verdict.CHANGED


def _worst(verdicts: Iterable[Verdict]) -> Verdict:
    worst = Verdict.SAME
    for verdict in verdicts:
        if verdict is Verdict.CHANGED:
            return verdict
        if verdict is Verdict.UNSURE:
            worst = verdict
    return worst


_QUANTITY = re.compile(
    r"([+-]?[0-9]+(?:\.[0-9]*)?|[+-]?\.[0-9]+)(?:(m|k|[MGTPE]|Ki|[MGTPE]i|n|u)|[eE]([+-]?[0-9]{1,3}))?"
)
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?(?:ns|us|ms|s|m|h))+")
_DURATION_PART = re.compile(r"([0-9.]+)(ns|us|ms|s|m|h)")
_SUFFIX = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "k": Decimal(10**3), "M": Decimal(10**6),
    "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15), "E": Decimal(10**18), "Ki": Decimal(2**10),
    "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40), "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}  # fmt: skip
_SECONDS = {
    "ns": Decimal("1e-9"), "us": Decimal("1e-6"), "ms": Decimal("1e-3"), "s": Decimal(1), "m": Decimal(60),
    "h": Decimal(3600),
}  # fmt: skip


def _meaning(value: Any) -> tuple[str, Decimal] | None:
    """What a quantity or duration comes to: servers write 0.5 as 500m and 60s as 1m0s."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    text = str(value)
    quantity = _QUANTITY.fullmatch(text)
    if quantity:
        number, suffix, exponent = quantity.groups()
        scale = _SUFFIX[suffix] if suffix else Decimal(10) ** int(exponent or 0)
        return ("quantity", Decimal(number) * scale)
    if _DURATION.fullmatch(text):
        parts = _DURATION_PART.findall(text)
        return ("duration", sum((Decimal(number) * _SECONDS[unit] for number, unit in parts), Decimal(0)))
    return None


def _project(live: Any, desired: Any, owned: Mapping[str, Any] | None) -> Any:
    """owned: the tree below this field, empty when it is owned as one, None when it is not ours."""
    children = {key: value for key, value in (owned or {}).items() if key != "."}
    if isinstance(live, Mapping) and owned != {}:
        wanted = desired if isinstance(desired, Mapping) else {}
        return {
            key: _project(value, wanted.get(key), children.get(f"f:{key}"))
            for key, value in live.items()
            if key in wanted or f"f:{key}" in children
        }
    if isinstance(live, list) and any(key.startswith("k:") for key in children):
        wanted_items = desired if isinstance(desired, list) else []
        pairs = [(find_item(live, key), matching_item(wanted_items, key), children[key]) for key in children]
        return [_project(item, wanted_item, below) for item, wanted_item, below in pairs if item is not MISSING]
    if isinstance(live, list) and any(key.startswith("v:") for key in children):
        wanted_items = desired if isinstance(desired, list) else []
        return [item for item in live if item in wanted_items or f"v:{json.dumps(item)}" in children]
    return live


def matching_item(items: list[Any], key: str) -> Any:
    fields = json.loads(key[2:])
    fits = (item for item in items if isinstance(item, Mapping))
    return next((item for item in fits if all(item.get(n, v) == v for n, v in fields.items())), None)
