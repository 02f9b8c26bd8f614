# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from tests.lab import cache


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MULTIMESH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def leave_empty(target: Path) -> None:
    assert not any(target.iterdir())


def test_place(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.cache_dir() == folder
    monkeypatch.delenv("MULTIMESH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_dir() == tmp_path / "xdg/multimesh.istio"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_dir() == tmp_path / ".cache/multimesh.istio"


def test_digest_tells_parts_names_and_content_apart(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a").write_text("1")
    before = cache.digest(tmp_path)
    assert before == cache.digest(tmp_path)
    assert cache.digest("ab", "c") != cache.digest("a", "bc")
    (tmp_path / "sub/a").rename(tmp_path / "sub/b")
    renamed = cache.digest(tmp_path)
    (tmp_path / "sub/b").write_text("2")
    assert len({before, renamed, cache.digest(tmp_path)}) == 3


def test_builds_once() -> None:
    calls: list[Path] = []

    def build(target: Path) -> None:
        calls.append(target)
        (target / "file").write_text("built")

    first = cache.artifact("thing", "k1", build)
    assert cache.artifact("thing", "k1", build) == first
    assert (first / "file").read_text() == "built"
    assert len(calls) == 1


def test_second_builder_waits_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    begun, calls = threading.Event(), []

    def build(target: Path) -> None:
        calls.append(target)
        begun.set()
        time.sleep(0.1)

    first = threading.Thread(target=cache.artifact, args=("thing", "k1", build))
    first.start()
    begun.wait()
    cache.artifact("thing", "k1", build)
    first.join()
    assert len(calls) == 1
    assert "waiting for another process that builds thing" in capsys.readouterr().out


def test_failed_build_leaves_nothing_and_is_cleaned_up(folder: Path) -> None:
    def fail(target: Path) -> None:
        (target / "half").mkdir(mode=0o500)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cache.artifact("thing", "k1", fail)
    assert not (folder / "thing-k1").exists()
    cache.artifact("thing", "k2", leave_empty)
    assert sorted(path.name for path in folder.iterdir()) == ["locks", "thing-k2"]


def test_only_long_unused_keys_are_dropped() -> None:
    old, recent, other = (cache.artifact(*key, leave_empty) for key in (("a", "k1"), ("a", "k2"), ("a-b", "k1")))
    past = time.time() - (cache.KEEP_UNUSED_DAYS + 1) * 86400
    for path in (old, other):
        os.utime(path, (past, past))
    cache.artifact("a", "k3", leave_empty)
    assert [path.exists() for path in (old, recent, other)] == [False, True, True]
