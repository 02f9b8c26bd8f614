# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Built things live outside the checkout, in folders keyed by what went into them."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.lab import progress

KEEP_UNUSED_DAYS = 7


def cache_dir() -> Path:
    """This user's cache, made if missing: `$MULTIMESH_CACHE` or `${XDG_CACHE_HOME:-~/.cache}/multimesh.istio`."""
    chosen = os.environ.get("MULTIMESH_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    path = Path(chosen or Path(base) / "multimesh.istio").expanduser().absolute()
    path.mkdir(parents=True, exist_ok=True)
    return path


def digest(*parts: str | Path) -> str:
    """A short hash over `parts`: strings as they are; files, and the files of folders with their names, by content."""
    state = hashlib.sha256()

    def feed(name: str, data: bytes) -> None:
        # Lengths keep neighbouring parts apart: ("ab", "c") is not ("a", "bc").
        state.update(f"{len(name)}:{name}:{len(data)}:".encode() + data)

    for part in parts:
        if isinstance(part, str):
            feed("", part.encode())
        elif part.is_dir():
            for file in sorted(file for file in part.rglob("*") if file.is_file()):
                feed(file.relative_to(part).as_posix(), file.read_bytes())
        else:
            feed(part.name, part.read_bytes())
    return state.hexdigest()[:16]


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Holds the cache's lock `name`, waiting for its turn; the kernel frees it when a holder dies."""
    folder = cache_dir() / "locks"
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with progress.step(f"waiting for another process that builds {name}"):
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def artifact(name: str, key: str, build: Callable[[Path], None]) -> Path:
    """The folder of artifact `name` for `key`; `build(folder)` fills it if it is not there yet.

    A folder gets its final name only once it is complete, so what is there is whole. Whatever an interrupted build left
    behind is removed, and so are other keys of `name` that nobody asked for in `KEEP_UNUSED_DAYS`.
    """
    final = cache_dir() / f"{name}-{key}"
    if final.is_dir():
        os.utime(final)
        return final
    with locked(name):
        if final.is_dir():
            return final
        for stale in cache_dir().glob(f".{name}-*.partial"):
            remove(stale)
        partial = final.with_name(f".{final.name}.partial")
        partial.mkdir()
        build(partial)
        os.utime(partial)
        partial.rename(final)
        _forget_unused(name, final)
    return final


def remove(path: Path) -> None:
    """Deletes a folder, also one with read-only folders in it; nothing to do if it is missing."""
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        for folder in [path, *(entry for entry in path.rglob("*") if entry.is_dir() and not entry.is_symlink())]:
            folder.chmod(0o700)
        shutil.rmtree(path)


def _forget_unused(name: str, keep: Path) -> None:
    oldest = time.time() - KEEP_UNUSED_DAYS * 86400
    for other in cache_dir().glob(f"{name}-*"):
        if other != keep and len(other.name) == len(keep.name) and other.stat().st_mtime < oldest:
            remove(other)
