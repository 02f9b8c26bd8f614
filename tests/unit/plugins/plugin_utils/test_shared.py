# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible import constants
from ansible_collections.multimesh.istio.plugins.plugin_utils.shared import shared

FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    return tmp_path


def answers() -> Iterator[tuple[str, Any]]:
    yield "east", [1]
    yield "west", [2]


def never() -> Iterator[tuple[str, Any]]:
    raise AssertionError("computed again")


def test_all_answers_are_kept_when_one_is_asked_for() -> None:
    assert shared("a", "objects", "west", answers) == [2]
    assert shared("a", "objects", "east", never) == [1]


@pytest.mark.parametrize(("state", "question"), [("b", "objects"), ("a", "edges")])
def test_another_state_or_question_is_computed(state: str, question: str) -> None:
    shared("a", "objects", "west", answers)
    with pytest.raises(AssertionError):
        shared(state, question, "west", never)


def test_an_answer_belongs_to_who_asked() -> None:
    shared("a", "objects", "west", answers).append(3)
    assert shared("a", "objects", "west", never) == [2]


def test_errors_are_not_kept() -> None:
    with pytest.raises(AssertionError):
        shared("a", "objects", "west", never)
    assert shared("a", "objects", "west", answers) == [2]


def test_without_a_folder_everybody_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", "/proc/nowhere")
    assert shared("a", "objects", "west", answers) == [2]
    with pytest.raises(AssertionError):
        shared("a", "objects", "west", never)


def test_nobody_else_can_read(folder: Path) -> None:
    shared("a", "objects", "west", answers)
    [inner] = folder.iterdir()
    assert inner.stat().st_mode & 0o077 == 0


def test_of_processes_that_ask_at_once_one_computes(folder: Path) -> None:
    def slowly() -> Iterator[tuple[str, Any]]:
        with (folder / "computed").open("a") as log:
            log.write("x")
        time.sleep(0.3)
        yield from answers()

    def ask() -> None:
        assert shared("a", "objects", "west", slowly) == [2]

    processes = [FORK.Process(target=ask) for _number in range(5)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
    assert [process.exitcode for process in processes] == [0] * 5
    assert (folder / "computed").read_text() == "x"
