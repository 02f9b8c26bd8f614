# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.multimesh.istio.plugins.module_utils.kube.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def answered(pace: Pace, clock: Clock, seconds: float = 0.01, *, refused: bool = False, times: int = 1) -> None:
    for _number in range(times):
        with pace.turn() as turn:
            clock.now += seconds
            turn.refused = refused


def test_good_answers_raise_it_up_to_what_is_allowed() -> None:
    clock = Clock()
    pace = Pace(16, clock)
    assert pace.limit == 8
    answered(pace, clock, times=100)
    assert pace.limit == 16
    assert Pace(3, clock).limit == 3


def test_refusals_halve_it_down_to_one() -> None:
    clock = Clock()
    pace = Pace(16, clock)
    answered(pace, clock, times=100)
    answered(pace, clock, refused=True)
    assert pace.limit == 8
    answered(pace, clock, refused=True, times=20)
    assert pace.limit == 1
    answered(pace, clock, times=100)
    assert pace.limit == 16


def test_slow_answers_lower_it_a_little() -> None:
    clock = Clock()
    pace = Pace(16, clock)
    answered(pace, clock, times=100)
    answered(pace, clock, 3.0)
    assert pace.limit == 14


def test_a_server_that_is_slow_by_nature_is_not_spared() -> None:
    clock = Clock()
    pace = Pace(16, clock)
    answered(pace, clock, 3.0, times=100)
    assert pace.limit == 16


def test_refusals_of_one_burst_count_once() -> None:
    clock = Clock()
    pace = Pace(16, clock)
    answered(pace, clock, times=100)
    turns = [pace.turn() for _number in range(16)]
    for turn in turns:
        turn.__enter__().refused = True
    for turn in turns:
        turn.__exit__(None, None, None)
    assert pace.limit == 8


def test_no_more_than_that_are_under_way() -> None:
    pace = Pace(4)
    lock, under_way, most = threading.Lock(), 0, 0

    def ask(_number: int) -> None:
        nonlocal under_way, most
        with pace.turn():
            with lock:
                under_way += 1
                most = max(most, under_way)
            with lock:
                under_way -= 1

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(ask, range(200)))
    assert most <= 4


def test_an_exception_gives_the_turn_back() -> None:
    pace = Pace(1)
    for _number in range(3):
        try:
            with pace.turn():
                raise KeyError
        except KeyError:
            pass
    with pace.turn():
        pass
