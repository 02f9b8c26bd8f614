# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one exception base of the collection, and problems of an inventory.

Shells turn ``MultimeshError`` into ``fail_json`` or ``AnsibleError`` in one place each; nothing else is caught there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class MultimeshError(Exception):
    """Base of every error that a user can act on. ``str()`` of it is the whole message."""


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong with an inventory.

    mesh: host or mesh name the problem belongs to.
    variable: path of the value, with index, for example ``mesh_exports[2].consumers[0].mesh``.
    expected: what was found and what was expected, a sentence without a full stop.
    way_out: what to do about it, a sentence without a full stop.
    teams: the groups that the host is in, beside that of all meshes.
    """

    mesh: str
    variable: str
    expected: str
    way_out: str
    teams: tuple[str, ...] = ()

    def __str__(self) -> str:
        whose = f" ({', '.join(self.teams)})" if self.teams else ""
        return f"{self.mesh}{whose}: {self.variable}: {self.expected}. {self.way_out}."


class InventoryError(MultimeshError):
    """All problems of an inventory together, in a stable order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(set(problems)))
        count = len(self.problems)
        head = f"The inventory has {count} problem{'' if count == 1 else 's'}:"
        super().__init__("\n".join([head, *(f"  - {problem}" for problem in self.problems)]))
