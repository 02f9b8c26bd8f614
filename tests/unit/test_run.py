# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The summary of `make test` must not claim more than what ran."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.env.checkout import CHECKOUT
from tests.run.runner import Check, Counts, Result, junit_counter, last_line, run_stage, summary
from tests.run.stages import count_sanity

JUNIT = '<testsuites><testsuite tests="{}" failures="{}" errors="{}" skipped="{}"/></testsuites>'


@pytest.mark.parametrize(
    ("numbers", "code", "expected"),
    [
        ((5, 0, 0, 0), 0, Counts(5, 0, 0)),
        ((5, 1, 1, 1), 1, Counts(2, 2, 1)),
        ((5, 0, 0, 0), 3, Counts(5, 1, 0)),
        ((0, 0, 0, 0), 5, Counts(0, 1, 0)),
    ],
)
def test_junit_counts(tmp_path: Path, numbers: tuple[int, ...], code: int, expected: Counts) -> None:
    report = tmp_path / "report.xml"
    report.write_text(JUNIT.format(*numbers))
    assert junit_counter(report)(code, "") == expected


def test_a_run_without_a_report_failed(tmp_path: Path) -> None:
    assert junit_counter(tmp_path / "missing.xml")(0, "") == Counts(failed=1)


@pytest.mark.parametrize(
    ("code", "output", "expected"),
    [
        (0, 'Running sanity test "pep8"\nRunning sanity test "import" on Python 3.11\n', Counts(2, 0, 0)),
        (1, 'Running sanity test "pep8"\nFATAL: The 1 sanity test(s) listed below (out of 1)\n', Counts(0, 1, 0)),
        (1, 'Running sanity test "a"\nRunning sanity test "b"\nFATAL: no such file\n', Counts(1, 1, 0)),
        (0, 'Running sanity test "a"\nWARNING: Skipping sanity test "b"\n', Counts(1, 0, 1)),
        (0, "", Counts(0, 0, 0)),
    ],
)
def test_sanity_counts(code: int, output: str, expected: Counts) -> None:
    assert count_sanity(code, output) == expected


def test_a_check_that_ran_nothing_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.run.runner.OUTPUT", tmp_path)
    empty = Check("empty", ["true"], lambda _code, _output: Counts())
    result = run_stage("stage", [Check("good", ["true"]), Check("bad", ["false"]), empty])
    assert result.counts == Counts(1, 2, 0)


def test_skipped_counts_as_failed_in_the_last_line() -> None:
    lines = summary([Result("a", Counts(3, 1, 0), 1.0), Result("b", Counts(2, 0, 2), 1.0)]).splitlines()
    assert lines[-2:] == ["2 skipped, counted as failed", "5 passed, 3 failed"]


def test_progress_shows_the_last_line_that_says_something(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("\x1b[2m│\x1b[0m TASK [Install istiod] ***\n\x1b[2m│\x1b[0m   ******\n\n")
    assert last_line(log) == "TASK [Install istiod]"


def test_what_failed_early_is_told_again_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.run.runner.OUTPUT", tmp_path)
    command = ["sh", "-c", "echo 'E   assert 1 == 2'; seq 100; echo 'FAILED test_x.py::test_y'; exit 1"]
    lines = summary([run_stage("a", [Check("bad", command)]), Result("b", Counts(1, 0, 0), 1.0)]).splitlines()
    assert lines[0] == f"a: bad is not good (exit code 1). The whole log: {tmp_path}/a/bad.log"
    assert (lines[1], lines[-5]) == ("E   assert 1 == 2", "FAILED test_x.py::test_y")


def test_a_run_that_is_told_to_end_ends_what_it_started(tmp_path: Path) -> None:
    script = f"""
import threading
from pathlib import Path
from tests.run import runner
runner.heed_signals()
runner.OUTPUT = Path({str(tmp_path)!r})
command = ["sh", "-c", "trap 'echo down; exit 1' INT; echo up; sleep 60"]
thread = threading.Thread(target=runner.run_check, args=("a", runner.Check("b", command)))
thread.start()
try:
    thread.join()
except KeyboardInterrupt:
    runner.stop()
    thread.join()
"""
    background = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]  # as a shell's background job
    process = subprocess.Popen([*background, sys.executable, "-c", script], cwd=CHECKOUT, stderr=subprocess.DEVNULL)
    log = tmp_path / "a" / "b.log"
    deadline = time.monotonic() + 30
    while not (log.exists() and log.read_text() == "up\n"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    process.wait(30)
    assert log.read_text().endswith("down\n")
