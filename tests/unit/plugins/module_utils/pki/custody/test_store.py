# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import CustodyError
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.store import Blobs, Changes, FileStore

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "kept" / "ca")


def write(store: FileStore, changes: Changes) -> None:
    store.update(lambda _blobs: (changes, None))


def test_keeps_replaces_and_removes(store: FileStore) -> None:
    assert store.read() == {}
    assert not store.directory.parent.exists()
    write(store, {"a.pem": b"1", "b.crl": b"2"})
    write(store, {"a.pem": b"3", "b.crl": None, "never.there": None})
    assert store.read() == {"a.pem": b"3"}
    assert store.update(lambda blobs: ({"c": blobs["a.pem"]}, "result")) == "result"
    assert store.read() == {"a.pem": b"3", "c": b"3"}
    assert store.place == str(store.directory)


def test_is_open_to_its_owner_only(store: FileStore) -> None:
    write(store, {"a.pem": b"1"})
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in store.directory.iterdir()} == {0o600}


def test_what_the_change_raises_is_passed_on_and_nothing_is_written(store: FileStore) -> None:
    write(store, {"a": b"1"})

    def refuse(_blobs: Blobs) -> tuple[Changes, None]:
        raise CustodyError("no")

    with pytest.raises(CustodyError, match=r"^no$"):
        store.update(refuse)
    write(store, {"b": b"2"})  # nobody holds the lock any more
    assert store.read() == {"a": b"1", "b": b"2"}


def test_neither_directories_nor_hidden_files_are_blobs(store: FileStore) -> None:
    write(store, {"a": b"1"})
    (store.directory / "lost+found").mkdir()
    (store.directory / ".swp").touch()
    assert store.read() == {"a": b"1"}


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o770, 0o701, 0o702])
def test_a_directory_open_to_others_is_refused(store: FileStore, mode: int) -> None:
    store.directory.mkdir(parents=True)
    store.directory.chmod(mode)
    for use in (store.read, lambda: write(store, {"a": b"1"})):
        with pytest.raises(CustodyError, match=rf"open to others \(mode {mode:04o}\), expected 0700.*: chmod 700 "):
            use()
    assert list(store.directory.iterdir()) == []
    store.directory.chmod(0o700)
    write(store, {"a": b"1"})


def test_a_directory_of_another_user_is_refused(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    write(store, {"a": b"1"})
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(CustodyError, match=r"belongs to the user with number \d+, expected 4711.*chown -R 4711 "):
        store.read()


def test_the_directory_may_be_a_link(store: FileStore) -> None:
    (store.directory.parent / "disk").mkdir(parents=True, mode=0o700)
    store.directory.symlink_to("disk")
    write(store, {"a": b"1"})
    assert (store.directory.parent / "disk" / "a").read_bytes() == b"1"


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/etc/passwd"), os.mkfifo])
def test_links_and_pipes_are_refused(store: FileStore, make: Callable[[Path], None]) -> None:
    write(store, {"a": b"1"})
    make(store.directory / "root.pem")
    for use in (store.read, lambda: write(store, {"a": b"2"})):
        with pytest.raises(CustodyError, match=r"root\.pem: it is .*\. Nothing was written"):
            use()


def test_nothing_is_written_through_a_link(store: FileStore, tmp_path: Path) -> None:
    write(store, {"a": b"1"})
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    (store.directory / ".b.new").symlink_to(target)  # as if it were the rest of a run that was killed
    write(store, {"b": b"2"})
    assert store.read() == {"a": b"1", "b": b"2"}
    assert target.read_bytes() == b"precious"


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = FileStore(tmp_path / "file" / "ca")
    for use in (store.read, lambda: write(store, {"a": b"1"})):
        with pytest.raises(CustodyError, match=f"^{re.escape(store.place)}: the root cannot be read or kept there: "):
            use()


def count_in_process(store: FileStore, barrier: object, rounds: int) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    for _round in range(rounds):
        store.update(lambda blobs: ({"count": b"%d" % (int(blobs.get("count", b"0")) + 1)}, None))


def test_nobody_is_in_between(store: FileStore) -> None:
    barrier = FORK.Barrier(4)
    processes = [FORK.Process(target=count_in_process, args=(store, barrier, 5)) for _process in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert store.read() == {"count": b"20"}


def write_and_die(store: FileStore, changes: Changes, call: int) -> None:
    """Die, as by SIGKILL, before the given system call (of those that matter)."""
    count = 0

    def dying(original: Callable[..., object]) -> Callable[..., object]:
        def counted(*args: object, **kwargs: object) -> object:
            nonlocal count
            count += 1
            if count == call:
                os._exit(9)
            return original(*args, **kwargs)

        return counted

    for name in ("open", "write", "fsync", "mkdir", "rename", "unlink", "close"):
        setattr(os, name, dying(getattr(os, name)))
    write(store, changes)
    os._exit(0)


def test_of_a_process_that_dies_the_first_so_many_changes_are_there(store: FileStore) -> None:
    changes = {"a": b"new", "b": None, "c": b"made"}
    states = [
        {},
        {"a": b"old", "b": b"old"},
        {"a": b"new", "b": b"old"},
        {"a": b"new"},
        {"a": b"new", "c": b"made"},
    ]
    for begin in (False, True):
        survived, deaths, seen = False, 0, []
        while not survived:
            deaths += 1
            shutil.rmtree(store.directory.parent, ignore_errors=True)
            if begin:
                write(store, {"a": b"old", "b": b"old"})
            process = FORK.Process(target=write_and_die, args=(store, changes, deaths))
            process.start()
            process.join()
            survived = process.exitcode == 0
            left = store.read()
            assert left in states
            seen.append(states.index(left))
            write(store, changes)
            assert store.read() == states[-1]
            assert not [path for path in store.directory.iterdir() if path.name.endswith(".new")]
        assert deaths > 12
        assert seen == sorted(seen)
        assert begin is False or set(seen) == {1, 2, 3, 4}
