# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A line now and then while a long set is written."""

from __future__ import annotations

import time
from collections.abc import Callable

_EVERY = 5.0  # seconds; what is done sooner says nothing


class Progress:
    """Says how far it is, at intervals.

    say: shows a line. what: begins each line.
    """

    def __init__(self, say: Callable[[str], None], what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._what = what
        self._clock = clock
        self._begin = self._last = clock()

    def written(self, done: int, of: int) -> None:
        """After every write."""
        now = self._clock()
        if now - self._last >= _EVERY and done < of:
            self._last = now
            self._say(f"{self._what}: {done} of {of} writes done after {now - self._begin:.0f} s")
