# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A store in memory that can die in the middle of its work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.store import Blobs, Changes, T


class Killed(BaseException):
    """The process is gone."""


@dataclass
class MemoryStore:
    """blobs: what is kept. writes: changes so far. dies_at: the number of the change that is not made any more."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    writes: int = 0
    dies_at: int | None = None
    place: str = "memory"

    def read(self) -> dict[str, bytes]:
        return dict(self.blobs)

    def update(self, change: Callable[[Blobs], tuple[Changes, T]]) -> T:
        changes, result = change(self.read())
        for name, content in changes.items():
            if self.writes == self.dies_at:
                raise Killed
            self.writes += 1
            if content is None:
                self.blobs.pop(name, None)
            else:
                self.blobs[name] = content
        return result
