# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python -m tests.run [STAGE ...]``: run all stages or those named, then say how many of each ran."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections import deque
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

from tests.env.checkout import CHECKOUT
from tests.lab.api import Lab
from tests.lab.progress import format_line, say
from tests.run.runner import OUTPUT, Result, heed_signals, run_stage, stop, summary
from tests.run.stages import ALONE, E2E_LAB, IN_ORDER, LANES, LONG_STAGES, NEEDS_LAB, ON_CLUSTERS, STAGES


def build_lab() -> subprocess.Popen[bytes]:
    """Begin to build the lab's programs, which takes a quarter of an hour when the cache is empty."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with (OUTPUT / "lab-build.log").open("w") as log:
        command = [sys.executable, "-m", "tests.lab", "build"]
        return subprocess.Popen(command, cwd=CHECKOUT, stdout=log, stderr=subprocess.STDOUT)


def main() -> int:
    """Run the stages; 0 if everything ran and passed.

    Two lanes side by side; then what has to run alone.
    """
    everything = STAGES | LONG_STAGES
    parser = argparse.ArgumentParser(prog="python -m tests.run", description=__doc__)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=", ".join(everything))
    wanted = parser.parse_args().stages or list(STAGES)
    if unknown := [name for name in wanted if name not in everything]:
        parser.error(f"no such stage: {', '.join(unknown)}; there are {', '.join(everything)}")

    heed_signals()
    started = time.monotonic()
    lab = build_lab() if NEEDS_LAB.intersection(wanted) else None

    def run(names: Collection[str]) -> list[Result]:
        results = []
        for name in filter(names.__contains__, wanted):
            if name in NEEDS_LAB and lab is not None:
                wait_for_lab(lab)
            results.append(run_stage(name, everything[name]()))
        return results

    placed = {*ON_CLUSTERS, *IN_ORDER, *ALONE}
    others = [(name,) for name in everything if name not in placed]
    first, second, last = ((name,) for name in ON_CLUSTERS)
    waiting: deque[Collection[str]] = deque([first, IN_ORDER, second, *others, last])

    def lane(_number: int) -> list[Result]:
        results: list[Result] = []
        while True:
            try:
                names = waiting.popleft()
            except IndexError:
                return results
            results += run(names)

    try:
        with ThreadPoolExecutor() as pool:
            try:
                lanes = list(pool.map(lane, range(LANES)))
                # In a thread too, so that this one is there to end it.
                alone = pool.submit(run, ALONE).result()
            except KeyboardInterrupt:
                stop()
                end(lab)  # which a lane may wait for
                raise
        results = [result for results in (*lanes, alone) for result in results]
    finally:
        end(lab)
        if "e2e" in wanted:
            Lab(E2E_LAB).down()
    say(f"\n{time.monotonic() - started:.0f} s, logs in {OUTPUT}\n{summary(results)}")
    return 0 if all(result.counts.good for result in results) else 1


def end(lab: subprocess.Popen[bytes] | None) -> None:
    """End the build, if there is one and it is not finished."""
    if lab is not None and lab.poll() is None:
        lab.terminate()
        lab.wait()


def wait_for_lab(lab: subprocess.Popen[bytes]) -> None:
    """Wait for the build begun by ``build_lab``. What it lacks shows again where a lab is started."""
    started = time.monotonic()
    while lab.poll() is None:
        try:
            lab.wait(15)
        except subprocess.TimeoutExpired:
            say(format_line(time.monotonic() - started, None, "waiting for the lab's programs to be built"))


if __name__ == "__main__":
    sys.exit(main())
