# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many requests one API server has to answer at once: as many as it answers quickly.

More is tried with every good answer, up to what the user allows. An API server that refuses (429, 503) or leaves a
connection without answer gets half as many, one that has become slow gets a tenth less. Waiting is done by its own
fairness otherwise, at the expense of everybody else there.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

_FIRST = 8
_SLOW = 0.5  # seconds; whatever is quicker is no reason for restraint
_SLOWER = 4.0  # times as long as the quickest answer so far


class Pace:
    """Shared by all threads that ask one API server.

    most: never more than so many at once.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(max(1, most))
        self._limit = min(self._most, float(_FIRST))
        self._clock = clock
        self._changed = threading.Condition()
        self._under_way = 0
        self._quickest = float("inf")
        self._settles_at = 0  # answers that were still asked for at the old limit say nothing of the new one
        self._answers = 0

    @property
    def limit(self) -> int:
        """So many at once for now."""
        return max(1, int(self._limit))

    @contextlib.contextmanager
    def turn(self) -> Iterator[Turn]:
        """Wait for one's turn to send a request, and have it until the end of the block."""
        with self._changed:
            while self._under_way >= self.limit:
                self._changed.wait()
            self._under_way += 1
        turn = Turn(self._clock())
        try:
            yield turn
        finally:
            with self._changed:
                self._under_way -= 1
                self._learn(turn.refused, self._clock() - turn.begin)
                self._changed.notify_all()

    def _learn(self, refused: bool, seconds: float) -> None:
        self._answers += 1
        if not refused:
            self._quickest = min(self._quickest, seconds)
        slow = seconds > max(_SLOW, _SLOWER * self._quickest)
        if not (refused or slow):
            self._limit = min(self._most, self._limit + 0.5)
        elif self._answers >= self._settles_at:
            self._limit = max(1.0, self._limit * (0.5 if refused else 0.9))
            self._settles_at = self._answers + self._under_way + 1


class Turn:
    """One request. refused: set it where the API server could not take it."""

    def __init__(self, begin: float) -> None:
        self.begin = begin
        self.refused = False
