# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""``select``: a JMESPath expression (https://jmespath.org) that chooses among things of the inventory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import shown

try:
    import jmespath
    from jmespath.exceptions import JMESPathError

    HAS_JMESPATH = True
except ImportError:
    HAS_JMESPATH = False


@dataclass(frozen=True)
class Subject:
    """What is chosen from, for messages. things: one word in the plural. example: an expression."""

    things: str
    example: str


EXPORTS = Subject("exports", "[?attributes.tier=='gold']")
MESHES = Subject("meshes", "[?attributes.stage=='production']")


class SelectionError(Exception):
    """An expression that chooses nothing sensible, as Notes.note wants it said."""

    def __init__(self, expected: str, way_out: str) -> None:
        super().__init__(expected)
        self.expected = expected
        self.way_out = way_out


def choose(expression: str, candidates: Sequence[Mapping[str, Any]], subject: Subject, where: str = "") -> set[int]:
    """Indexes of the candidates that an expression over the list of them gives.

    where: what the candidates are of, for messages.
    Raises SelectionError.
    """
    if not HAS_JMESPATH:
        raise SelectionError("the Python library jmespath is missing", "Install it, or leave out select")
    try:
        found = jmespath.search(expression, candidates)
    except JMESPathError as error:
        reason = str(error).splitlines()[0].strip(" :")
        reason = reason if len(reason) <= 120 else reason[:117] + "..."
        raise SelectionError(
            f"expected a JMESPath expression over {subject.things}: {reason}", "See https://jmespath.org"
        ) from None
    if not isinstance(found, list):
        raise _wrong(subject, where, shown(found))
    by_identity = {id(candidate): index for index, candidate in enumerate(candidates)}
    chosen: set[int] = set()
    for entry in found:
        # Filters hand on the very objects; an expression that builds an equal one means the same.
        if id(entry) in by_identity:
            chosen.add(by_identity[id(entry)])
            continue
        same = {index for index, candidate in enumerate(candidates) if candidate == entry}
        if not same:
            raise _wrong(subject, where, f"a list with {shown(entry)}")
        chosen |= same
    return chosen


def _wrong(subject: Subject, where: str, found: str) -> SelectionError:
    return SelectionError(
        f"expected a list of {subject.things}{where}, found {found}",
        f"Select whole {subject.things}, for example {subject.example}",
    )
