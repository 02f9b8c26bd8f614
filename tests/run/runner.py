# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run checks, keep what they print, count what they ran."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple
from xml.etree import ElementTree

from tests.env.checkout import CHECKOUT
from tests.lab.progress import format_line, say

OUTPUT = CHECKOUT / "tests" / "output" / "run"
BEAT_SECONDS = 15.0
TAIL_LINES = 60


class Counts(NamedTuple):
    """How many of something ran, by outcome."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    @property
    def good(self) -> bool:
        """Something ran, and nothing failed or was left out."""
        return self.passed > 0 and not self.failed and not self.skipped


Counter = Callable[[int, str], Counts]
"""Counts of a finished check from its exit code and its output."""


@dataclass(frozen=True)
class Check:
    """One command. It passes as a whole unless ``counter`` knows better."""

    name: str
    command: Sequence[str]
    counter: Counter = field(default=lambda code, _output: Counts(passed=1) if code == 0 else Counts(failed=1))
    environment: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Result:
    """What became of a check or of a whole stage. complaints: what is wrong, for the end of everything."""

    name: str
    counts: Counts
    seconds: float
    complaints: Sequence[str] = ()


def junit_counter(report: Path) -> Counter:
    """A counter that reads a JUnit report, as pytest and ansible-test write it."""

    def count(code: int, _output: str) -> Counts:
        if not report.is_file():
            return Counts(failed=1)
        suites = list(ElementTree.parse(report).getroot().iter("testsuite"))

        def total(key: str) -> int:
            return sum(int(suite.get(key, 0)) for suite in suites)

        skipped, failed = total("skipped"), total("failures") + total("errors")
        passed = total("tests") - skipped - failed
        # An exit code without a failed test: a crash, or nothing collected.
        return Counts(passed, failed or int(code != 0), skipped)

    return count


_under_way: set[subprocess.Popen[bytes]] = set()
_stopped = threading.Event()


@contextlib.contextmanager
def _started(check: Check, output: IO[str]) -> Iterator[subprocess.Popen[bytes]]:
    """The process of a check. Raises KeyboardInterrupt if all of them were told to end."""
    process = subprocess.Popen(
        check.command,
        cwd=CHECKOUT,
        env=check.environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        process_group=0,  # or Ctrl-C would reach pytest from the terminal and from stop, and two end its teardown
    )
    _under_way.add(process)
    try:
        if _stopped.is_set():
            _interrupt(process)
        yield process
    finally:
        _under_way.discard(process)
    if _stopped.is_set():
        raise KeyboardInterrupt


def heed_signals() -> None:
    """SIGTERM is as Ctrl-C, and checks get SIGINT as it is by default: a shell lets its background jobs ignore it, and
    what a program ignores its children ignore too."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)


def stop() -> None:
    """End all checks of all threads as Ctrl-C does, so that pytest takes its labs down; nothing begins after that."""
    _stopped.set()
    for process in list(_under_way):
        _interrupt(process)


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)


def last_line(log: Path) -> str:
    """The latest line of a log that says something, without colours and frames, cut to fit a terminal."""
    with log.open("rb") as handle:
        handle.seek(max(0, log.stat().st_size - 4096))
        lines = re.sub(r"\x1b\[[0-9;]*m", "", handle.read().decode(errors="replace")).splitlines()
    return next((line.strip(" │*") for line in reversed(lines) if re.search(r"\w", line)), "")[:100]


def run_check(stage: str, check: Check) -> Result:
    """Run one check with its output in a log file, a sign of life every 15 seconds, and the log's end if it failed."""
    title = f"{stage}: {check.name}"
    log = OUTPUT / stage / f"{check.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()

    def report(text: str) -> None:
        say(format_line(time.monotonic() - started, None, f"{title}: {text}"))

    report("begins")
    with log.open("w") as handle, _started(check, handle) as process:
        while True:
            try:
                code = process.wait(BEAT_SECONDS)
                break
            except subprocess.TimeoutExpired:
                report(last_line(log))
    output = log.read_text(errors="replace")
    counts = check.counter(code, output)
    report(f"{counts.passed} passed, {counts.failed} failed, {counts.skipped} skipped")
    complaints = (
        () if counts.good else (f"{title} is not good (exit code {code}). The whole log: {log}\n{gist(output)}",)
    )
    for complaint in complaints:
        say(complaint)
    return Result(check.name, counts, time.monotonic() - started, complaints)


def gist(output: str) -> str:
    """The end of an output, and before it the lines in which pytest tells what failed and why."""
    lines = output.splitlines()
    said = [line for line in lines[:-TAIL_LINES] if re.match(r"(FAILED|ERROR|E ) ", line)]
    return "\n".join([*said[-TAIL_LINES:], *lines[-TAIL_LINES:]])


def run_stage(name: str, checks: Sequence[Check]) -> Result:
    """Run a stage's checks one after the other, all of them, and add them up."""
    results = [run_check(name, check) for check in checks]
    # A check that ran nothing counts as failed: an empty selection proves nothing.
    counts = [result.counts if sum(result.counts) else Counts(failed=1) for result in results]
    complaints = [complaint for result in results for complaint in result.complaints]
    seconds = sum(result.seconds for result in results)
    return Result(name, Counts(*map(sum, zip(*counts, strict=True))), seconds, complaints)


def summary(results: Sequence[Result]) -> str:
    """What is wrong, and the table. Skipped tests count as failed in its last line: what did not run shows nothing.

    What is wrong was said hours before perhaps, and nobody may be left with a table that only counts it.
    """
    lines = [complaint for result in results for complaint in result.complaints]
    lines += [f"{'':10} {'passed':>7} {'failed':>7} {'skipped':>7} {'seconds':>8}"]
    for result in results:
        counts = result.counts
        lines.append(f"{result.name:10} {counts.passed:7} {counts.failed:7} {counts.skipped:7} {result.seconds:8.0f}")
    skipped = sum(result.counts.skipped for result in results)
    if skipped:
        lines.append(f"{skipped} skipped, counted as failed")
    passed = sum(result.counts.passed for result in results)
    lines.append(f"{passed} passed, {skipped + sum(result.counts.failed for result in results)} failed")
    return "\n".join(lines)
