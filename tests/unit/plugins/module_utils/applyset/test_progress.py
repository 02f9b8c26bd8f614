# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.multimesh.istio.plugins.module_utils.applyset.progress import Progress


def test_a_line_now_and_then() -> None:
    now, said = [0.0], list[str]()
    progress = Progress(said.append, "west: set shop", lambda: now[0])
    for done in range(1, 101):
        now[0] += 0.11
        progress.written(done, 100)
    assert said == [
        "west: set shop: 46 of 100 writes done after 5 s",
        "west: set shop: 92 of 100 writes done after 10 s",
    ]


def test_what_is_soon_done_says_nothing() -> None:
    said = list[str]()
    progress = Progress(said.append, "west: set shop", lambda: 0.0)
    progress.written(1, 2)
    progress.written(2, 2)
    assert said == []
