# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many cases at once: workers make, verify and judge them; Envoy is asked in batches."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.fuzz import check, mutators
from tests.fuzz.draft import Case
from tests.fuzz.keyring import Keyring
from tests.fuzz.verifiers import Bundle, envoy, golang, openssl
from tests.fuzz.verifiers.envoy import Envoy
from tests.fuzz.verifiers.golang import Go

CHUNK = 50
BATCH = 300
STUCK_SECONDS, LOST_SECONDS = 60, 3600
"""Processor time, and time on the clock, after which a case ends its worker: other work must not make it fail."""

NEAR_SECONDS = 1800.0
"""Envoy has only the clock: certificates that begin or end within this time are not put before it."""

ALSO_REFUSED = 16
"""Of the refused bundles one in so many is put before the verifiers, to see where the verification is stricter."""


SHOWN = 30
"""Failures that are told; after so many there is one cause."""


@dataclass(frozen=True)
class Failure:
    """A case that must not be. Seed, index and moment make it again."""

    seed: int
    index: int
    now: datetime
    mutators: tuple[str, ...]
    what: str

    def __str__(self) -> str:
        again = f"--seed {self.seed} --index {self.index} --now {self.now:%Y-%m-%dT%H:%M:%SZ}"
        return f"{again}\n    {' + '.join(self.mutators)}\n    {self.what}"


@dataclass(frozen=True)
class Judged:
    """A bundle that Go and OpenSSL have nothing against. findings: why the verification refused it, if it did."""

    case: Case
    bundle: Bundle
    findings: tuple[str, ...]


@dataclass
class Tally:
    """What came of a number of cases.

    accepted, refused: cases by mutator. findings: refused cases by finding. stricter: by finding, cases that were put
    before the verifiers all the same and that all of them took; asked_refused: how many were put before them.
    asked: bundles put before a verifier, by verifier. slowest: seconds of the slowest verification, and whose.
    """

    cases: int = 0
    taken: int = 0
    accepted: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)
    stricter: Counter[str] = field(default_factory=Counter)
    asked_refused: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, int, tuple[str, ...]] = (0.0, 0, ())
    failures: list[Failure] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take over another tally, judged bundles aside."""
        self.cases += other.cases
        self.taken += other.taken
        for name in ("accepted", "refused", "findings", "stricter", "asked"):
            getattr(self, name).update(getattr(other, name))
        self.asked_refused += other.asked_refused
        self.slowest = max(self.slowest, other.slowest)
        self.failures += other.failures


class Worker:
    """What one process needs to make and judge cases."""

    def __init__(self, keys: Keyring, go: Go) -> None:
        self._keys = keys
        self._go = go

    def run(self, seed: int, index: int, now: datetime) -> Tally:
        """One case."""
        case = mutators.case(seed, index, now, self._keys)
        verdict = check.verify(case)
        names = tuple(dict.fromkeys(finding.name for finding in verdict.findings))
        tally = Tally(cases=1, taken=int(not names), slowest=(verdict.seconds, index, tuple(case.mutators)))
        (tally.refused if names else tally.accepted).update(set(case.mutators) or {"(none)"})
        tally.findings.update(names)
        problems = list(verdict.faults)
        if not problems and (not names or index % ALSO_REFUSED == 0):
            tally.asked_refused = int(bool(names))
            bundle, complaints = self._judge(case, tally)
            if not complaints and bundle.leaves:
                tally.judged.append(Judged(case, bundle, names))
            elif not names:
                problems += complaints
        if problems:
            tally.failures.append(Failure(seed, index, now, tuple(case.mutators), "\n    ".join(problems)))
        return tally

    def _judge(self, case: Case, tally: Tally) -> tuple[Bundle, list[str]]:
        bundle, complaints = self._go.judge(check.bundle(case))
        tally.asked["Go"] += 1
        if not complaints:
            tally.asked["OpenSSL"] += 1
            complaints = openssl.judge(bundle)
        return bundle, complaints


_worker: Worker
_marker: int
"""File that says which case the worker is at."""


def _begin(keys: Keyring, program: Path, folder: Path) -> None:
    global _worker, _marker  # a worker process has one of each
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, signal.SIG_DFL)
    _worker = Worker(keys, Go(program, keys.get("p256", "leaf")))
    _marker = os.open(folder / str(os.getpid()), os.O_CREAT | os.O_RDWR)


def _chunk(seed: int, start: int, count: int) -> Tally:
    # The certificates are made for the present: Envoy knows no other time.
    now = datetime.now(UTC).replace(microsecond=0)
    tally = Tally()
    for index in range(start, start + count):
        os.pwrite(_marker, struct.pack("q", index), 0)
        _limit(STUCK_SECONDS, LOST_SECONDS)
        one = _worker.run(seed, index, now)
        _limit(0, 0)
        tally.add(one)
        tally.judged += one.judged
    return tally


def _limit(processor: int, clock: int) -> None:
    """Seconds that this process has left, 0 for no limit."""
    signal.setitimer(signal.ITIMER_PROF, processor)
    signal.setitimer(signal.ITIMER_REAL, clock)


def run(seed: int, count: int, workers: int, say: Callable[[str], None], *, with_envoy: bool = True) -> Tally:
    """Cases 0 to count - 1 of a seed."""
    keys = Keyring(seed)
    keys.prepare()
    go_program = golang.program()
    envoy_program = envoy.program() if with_envoy else None
    total, started = Tally(), time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="fuzz-") as name,
        Go(go_program, keys.get("p256", "leaf")) as client,
        ProcessPoolExecutor(
            workers, multiprocessing.get_context("fork"), _begin, (keys, go_program, Path(name))
        ) as pool,
    ):
        judge = Envoy(envoy_program, client, keys.get("p256", "leaf")) if envoy_program else None
        seen: set[bytes] = set()
        waiting: list[Judged] = []
        last, shown = started, 0
        try:
            for tally in _results(pool, seed, count, workers):
                total.add(tally)
                waiting += [one for one in tally.judged if judge and _new(one, seen)]
                while judge and (len(waiting) >= BATCH or (waiting and total.cases == count)):
                    _ask_envoy(judge, waiting[:BATCH], total)
                    del waiting[:BATCH]
                for failure in total.failures[shown:SHOWN]:
                    say(f"FAILED {failure}")
                shown = len(total.failures)
                if time.monotonic() - last >= 10 or total.cases == count:
                    last = time.monotonic()
                    rate = total.cases / (last - started)
                    say(f"{total.cases} of {count}, {rate:.0f}/s, {_counts(total)}")
        except BrokenProcessPool:
            now = datetime.now(UTC).replace(microsecond=0)
            at = sorted(struct.unpack("q", path.read_bytes())[0] for path in Path(name).iterdir())
            what = f"a worker died or was stuck, at one of the cases {at}"
            total.failures.append(Failure(seed, at[0], now, (), what))
    return total


def _counts(total: Tally) -> str:
    return f"{total.taken} accepted, {len(total.failures)} failures"


def _results(pool: ProcessPoolExecutor, seed: int, count: int, workers: int) -> Iterator[Tally]:
    """The tallies of all chunks, with a few chunks under way at any time."""
    running: set[Future[Tally]] = set()
    for start in range(0, count, CHUNK):
        running.add(pool.submit(_chunk, seed, start, min(CHUNK, count - start)))
        if len(running) >= 3 * workers:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    while running:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        yield from (future.result() for future in done)


def _new(judged: Judged, seen: set[bytes]) -> bool:
    """Whether Envoy has not had this bundle before, and can judge it."""
    state = hashlib.sha256(judged.bundle.federation)
    for name, content in sorted(judged.case.files.items()):
        state.update(f"{name}:{len(content)}:".encode() + content)
    digest = state.digest()[:16]
    if digest in seen or check.ends_or_begins_near(judged.case, NEAR_SECONDS):
        return False
    seen.add(digest)
    return True


def _ask_envoy(judge: Envoy, batch: list[Judged], total: Tally) -> None:
    total.asked["Envoy"] += len(batch)
    for judged, complaints in zip(batch, judge.judge([one.bundle for one in batch]), strict=True):
        if judged.findings:
            total.stricter.update(() if complaints else judged.findings)
            continue
        case = judged.case
        if complaints:
            total.failures.append(
                Failure(case.seed, case.index, case.now, tuple(case.mutators), "\n    ".join(complaints))
            )
