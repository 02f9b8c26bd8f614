# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Typed reading of nested plain data, with every problem noted where it is found.

Reading goes on after a problem, so that one run reports them all. A value that is wrong reads as None.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.errors import Problem
from ansible_collections.multimesh.istio.plugins.module_utils.model.names import Rule

_TYPES = {bool: "a boolean", int: "a number", float: "a number", str: "a string", type(None): "nothing"}


def shown(value: object) -> str:
    """A value for a message: short, with its type, and never key material."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, str) and "-----BEGIN" in value:
        return "a PEM block"
    kind = _TYPES.get(type(value), f"a {type(value).__name__}")
    if value is None:
        return kind
    written = repr(value)
    if len(written) > 80:
        written = written[:77] + "..."
    return written if isinstance(value, str) else f"{written} ({kind})"


def nearest(name: str, known: Iterable[str]) -> str:
    """Way out for a wrong name: the nearest right one, or all of them."""
    candidates = sorted(known)
    folded = {candidate.lower(): candidate for candidate in candidates}
    close = difflib.get_close_matches(name.lower(), folded, n=1)
    if close:
        return f"Did you mean '{folded[close[0]]}'"
    return f"Use one of {', '.join(candidates)}" if candidates else "Remove it"


class Notes:
    """Problems found so far."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def note(self, mesh: str, variable: str, expected: str, way_out: str) -> None:
        self.problems.append(Problem(mesh, variable, expected, way_out))


class Fields:
    """One mapping being read. Keys that nobody asked for are unknown: call ``done`` at the end."""

    def __init__(self, notes: Notes, mesh: str, path: str, value: Mapping[str, Any]) -> None:
        self.notes = notes
        self.mesh = mesh
        self.path = path
        self.raw = value
        self._known: set[str] = set()

    def at(self, key: str) -> str:
        """Path of a key, for messages."""
        return f"{self.path}.{key}" if self.path else key

    def note(self, key: str, expected: str, way_out: str) -> None:
        self.notes.note(self.mesh, self.at(key), expected, way_out)

    def has(self, key: str) -> bool:
        """Whether the key is there with a value; YAML's empty value counts as left out."""
        self._known.add(key)
        return self.raw.get(key) is not None

    def missing(self, key: str, expected: str, way_out: str) -> None:
        self.note(key, f"expected {expected}, found nothing", way_out)

    def text(self, key: str, rule: Rule, way_out: str, required: bool = False) -> str | None:
        if not self.has(key):
            if required:
                self.missing(key, "a value", way_out)
            return None
        return self._text(self.at(key), self.raw[key], rule, way_out)

    def _text(self, path: str, value: Any, rule: Rule, way_out: str) -> str | None:
        if not isinstance(value, str):
            self.notes.note(self.mesh, path, f"expected a string, found {shown(value)}", way_out)
            return None
        expected = rule(value)
        if expected:
            self.notes.note(self.mesh, path, f"expected {expected}, found {shown(value)}", way_out)
            return None
        return value

    def choice(self, key: str, known: Iterable[str], default: str) -> str:
        """One of the known words; the default also stands in for a wrong one, which is noted."""
        if not self.has(key):
            return default
        value = self.raw[key]
        names = sorted(known)
        if isinstance(value, str) and value in names:
            return value
        self.note(key, f"expected one of {', '.join(names)}, found {shown(value)}", nearest(str(value), names))
        return default

    def number(self, key: str, low: int, high: int, way_out: str, required: bool = False) -> int | None:
        if not self.has(key):
            if required:
                self.missing(key, f"a number from {low} to {high}", way_out)
            return None
        value = self.raw[key]
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self.note(key, f"expected a number from {low} to {high}, found {shown(value)}", way_out)
        return None

    def items(self, key: str, way_out: str) -> list[Any] | None:
        """A list, or None when it is left out or wrong."""
        if not self.has(key):
            return None
        value = self.raw[key]
        if isinstance(value, list):
            return value
        self.note(key, f"expected a list, found {shown(value)}", way_out)
        return None

    def texts(self, key: str, rule: Rule, way_out: str) -> tuple[str, ...] | None:
        """A list of strings in its order, without repetitions; None if left out, empty if wrong."""
        if not self.has(key):
            return None
        values = self.items(key, way_out)
        if not values:
            if values is not None:
                self.note(key, "expected at least one entry, found an empty list", way_out)
            return ()
        found = [self._text(f"{self.at(key)}[{i}]", value, rule, way_out) for i, value in enumerate(values)]
        return tuple(dict.fromkeys(value for value in found if value is not None))

    def numbers(self, key: str, low: int, high: int, way_out: str) -> tuple[int, ...] | None:
        """A list of whole numbers, sorted and without repetitions; None if left out, empty if wrong."""
        if not self.has(key):
            return None
        values = self.items(key, way_out)
        if values == []:
            self.note(key, "expected at least one entry, found an empty list", way_out)
        found = set()
        for index, value in enumerate(values or []):
            if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
                found.add(value)
            else:
                path = f"{key}[{index}]"
                self.note(path, f"expected a number from {low} to {high}, found {shown(value)}", way_out)
        return tuple(sorted(found))

    def mapping(self, key: str, way_out: str) -> Mapping[str, Any] | None:
        if not self.has(key):
            return None
        value = self.raw[key]
        if isinstance(value, Mapping):
            return value
        self.note(key, f"expected a mapping, found {shown(value)}", way_out)
        return None

    def entries(self, key: str, way_out: str) -> Iterator[tuple[int, Fields]]:
        """The mappings of a list, each with its index."""
        for index, value in enumerate(self.items(key, way_out) or []):
            path = f"{self.at(key)}[{index}]"
            if isinstance(value, Mapping):
                yield index, Fields(self.notes, self.mesh, path, value)
            else:
                self.notes.note(self.mesh, path, f"expected a mapping, found {shown(value)}", way_out)

    def each(self, key: str, read: Callable[[int, Fields], Any], way_out: str) -> list[Any]:
        """What ``read`` makes of every mapping of a list; unknown keys in them are noted."""
        result = []
        for index, fields in self.entries(key, way_out):
            result.append(read(index, fields))
            fields.done()
        return [value for value in result if value is not None]

    def done(self) -> None:
        """Note every key that nobody asked for."""
        for key in self.raw:
            if key not in self._known:
                self.note(str(key), "unknown key", nearest(str(key), self._known))
