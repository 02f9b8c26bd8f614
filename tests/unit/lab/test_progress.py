# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading
import time

import pytest

from tests.lab import progress


def test_line() -> None:
    assert progress.format_line(131.6, 236, "building kube-apiserver") == "[ 132 s / ~236 s] building kube-apiserver"
    assert progress.format_line(3, None, "waiting") == "[   3 s] waiting"


def test_ticks_while_work_goes_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "TICK_SECONDS", 0.02)
    with progress.step("work", 60):
        time.sleep(0.2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 3
    assert lines[0] == "[   0 s / ~60 s] work"
    assert lines[-1] == "[   0 s / ~60 s] work: done"


def test_failure_is_named_and_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="x"), progress.step("work", 1):
        raise ValueError("x")
    assert capsys.readouterr().out == "[   0 s / ~1 s] work: failed\n"


def test_lines_of_threads_stay_whole(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        for _line in range(50):
            progress.say("a" * 80)

    threads = [threading.Thread(target=work) for _index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert capsys.readouterr().out == ("a" * 80 + "\n") * 200
