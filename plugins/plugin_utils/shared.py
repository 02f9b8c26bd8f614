# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Answers that the processes of one run of Ansible share.

Ansible forks a process for every host of every task, so what one of them has computed is lost to the next. Here it is
kept in the folder for temporary files that Ansible makes for the run, readable by its user alone, and removes with it.
Whoever comes first computes the answers for all hosts, which costs hardly more than for one; the others wait for them.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible import constants

Answers = Mapping[str, Any]
"""By name; as JSON has them."""


def shared(state: str, question: str, name: str, compute: Callable[[], Iterator[tuple[str, Any]]]) -> Any:
    """The answer for one name.

    state: digest of all that the answers depend on.
    question: what is asked, also a part of a file's name.
    compute: gives names with their answers, among them the wanted one. Errors are the caller's, and nobody keeps them.
    """
    folder = _folder(state)
    wanted = folder / f"{question}-{name}.json"
    with contextlib.suppress(OSError):
        return json.loads(wanted.read_bytes())
    with _alone(folder, question) as writable:
        if writable:
            with contextlib.suppress(OSError):  # another process was first
                return json.loads(wanted.read_bytes())
        found = None
        with _no_collector():
            for other, answer in compute():
                text = json.dumps(answer)
                if writable:
                    _write(folder / f"{question}-{other}.json", text)
                if other == name:
                    found = text
        return None if found is None else json.loads(found)


def known(state: str) -> bool:
    """Whether somebody in this run has asked about this state before."""
    return _folder(state).is_dir()


def _folder(state: str) -> Path:
    return Path(constants.DEFAULT_LOCAL_TMP, f"multimesh-{state}")


@contextlib.contextmanager
def _alone(folder: Path, question: str) -> Iterator[bool]:
    """Nobody else computes these answers meanwhile. Gives whether they can be kept."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / f"{question}.lock", os.O_CREAT | os.O_WRONLY, 0o600)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given back when the process ends, however it does
        yield True
    finally:
        os.close(lock)


@contextlib.contextmanager
def _no_collector() -> Iterator[None]:
    """Nothing here is garbage before the end, and looking for it takes a fifth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _write(path: Path, text: str) -> None:
    fresh = path.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):
        fresh.write_text(text)
        fresh.replace(path)
