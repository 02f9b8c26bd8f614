# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The text that names one run of Ansible, and whether that run still lives.

People read who, where, which process and which AWX job. The tail in brackets is for ``has_ended``: boot and process
namespace, process, and its start, which together never come twice. There is no time of day in it: that would be
computed from the clock and could differ by a second between two tasks of one run.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path

_TAIL = re.compile(r"\[(?P<machine>[0-9a-f]{16})-(?P<pid>[0-9]{1,10})-(?P<start>[0-9]{1,20})\]$")
_PROC = Path("/proc")


def describe(pid: int, environ: Mapping[str, str]) -> str:
    """Name of the run whose controlling process is ``pid``, which lives on this machine.

    environ: environment of the run; AWX sets JOB_ID and AWX_HOST (awx/main/tasks/jobs.py, RunJob.build_env).
    On systems without Linux's /proc the tail is missing, and nobody can tell whether the run has ended.
    """
    parts = [f"{_user()}@{socket.gethostname()}", f"process {pid}"]
    job = environ.get("JOB_ID", "")
    if "AWX_HOST" in environ and job.isascii() and job.isdigit():  # JOB_ID alone may be another scheduler's
        parts.append(f"AWX job {job}")
    machine, start = _machine(), _start(pid)
    tail = f" [{machine}-{pid}-{start}]" if machine and start else ""
    return ", ".join(parts) + tail


def has_ended(identity: str) -> bool:
    """Whether it is certain that this run is over: it ran on this machine, and its process is gone.

    False for whatever cannot be told from here: other machines, other containers, texts of other origin.
    """
    tail = _TAIL.search(identity)
    if not tail or tail["machine"] != _machine():
        return False
    pid = int(tail["pid"])
    try:
        os.kill(pid, 0)  # sends nothing; unlike /proc it shows processes of other users everywhere
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:  # somebody else's
        pass
    return _start(pid) not in ("", tail["start"]) or _state(pid) in ("Z", "X")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # containers run with user ids that nobody knows
        return f"user {os.getuid()}"


def _machine() -> str:
    """This boot of this machine, seen from this process namespace: process ids mean nothing across containers."""
    with contextlib.suppress(OSError):
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink(_PROC / "self/ns/pid")
        return hashlib.sha256(f"{boot} {namespace}".encode()).hexdigest()[:16]
    return ""


def _start(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty if that cannot be read."""
    fields = _stat(pid)
    return fields[19] if len(fields) > 19 else ""


def _state(pid: int) -> str:
    return next(iter(_stat(pid)), "")


def _stat(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat from the third on: the second, in parentheses, may hold spaces (proc_pid_stat(5))."""
    with contextlib.suppress(OSError):
        return (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    return []
