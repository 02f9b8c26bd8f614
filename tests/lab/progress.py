# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Progress lines with elapsed and expected time, plain text, safe to use from several threads."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

TICK_SECONDS = 10.0
"""How often a running step reports; a reader never waits longer for a sign of life."""

_lock = threading.Lock()


def say(line: str) -> None:
    """Prints one line at once, never mixed with another thread's."""
    with _lock:
        print(line, file=sys.stdout, flush=True)


@contextlib.contextmanager
def step(title: str, expected_seconds: float | None = None) -> Iterator[None]:
    """Reports the enclosed work: when it begins, every `TICK_SECONDS`, and how it ended.

    `expected_seconds` is what the work takes on two cores, for the reader to compare with; None if unknown. Steps that
    are expected to be over within two seconds report only their end.
    """
    start = time.monotonic()
    over = threading.Event()

    def report(note: str = "") -> None:
        say(format_line(time.monotonic() - start, expected_seconds, title + note))

    def tick() -> None:
        while not over.wait(TICK_SECONDS):
            report()

    if expected_seconds is None or expected_seconds > 2:
        report()
    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    try:
        yield
    except BaseException:
        over.set()
        ticker.join()
        report(": failed")
        raise
    over.set()
    ticker.join()
    report(": done")


def format_line(elapsed: float, expected: float | None, text: str) -> str:
    """One progress line, for instance `[ 132 s / ~236 s] building kube-apiserver`."""
    return f"[{elapsed:4.0f} s" + (f" / ~{expected:.0f} s] " if expected is not None else "] ") + text
