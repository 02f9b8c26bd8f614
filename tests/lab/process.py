# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The processes of a lab are those in its cgroups: the kernel keeps that list, whatever became of their starters."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.lab.errors import LabError

KILL_SECONDS = 20.0
MARK = "MULTIMESH_LAB"
"""Environment variable with the lab's id in every process of a lab outside its containers."""


def run(*argv: str | Path, check: bool = True) -> str:
    """Runs a program and returns what it printed.

    Raises:
        LabError: It could not be started or, with `check`, failed; the message holds what it said.
    """
    try:
        done = subprocess.run(
            [str(arg) for arg in argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise LabError(f"{argv[0]}: {error}") from error
    if check and done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise LabError(f"{' '.join(map(str, argv))}: exit code {done.returncode}: {said}")
    return done.stdout


def hierarchies() -> list[Path]:
    """Mount points of all cgroup hierarchies: one on a host with version 2 alone, several with version 1."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _separator, after = line.partition(" - ")
        mount_point = Path(before.split()[4])
        if after.split()[0] in ("cgroup", "cgroup2") and mount_point not in found:
            found.append(mount_point)
    if not found:
        raise LabError("no cgroup hierarchy is mounted; the kubelet needs one")
    return found


def make_cgroups(name: str) -> list[Path]:
    """The cgroup `name` (a path relative to the root) in every hierarchy, made if missing."""
    groups = []
    for hierarchy in hierarchies():
        group = hierarchy
        for part in Path(name).parts:
            parent, group = group, group / part
            group.mkdir(exist_ok=True)
            # A new cpuset has no processors and takes no process until it has.
            for setting in ("cpuset.cpus", "cpuset.mems"):
                if (group / setting).exists() and not (group / setting).read_text().strip():
                    (group / setting).write_text((parent / setting).read_text())
        groups.append(group)
    return groups


def delegate(name: str) -> None:
    """Lets cgroup `name` hand its controllers on; version 2 allows that only to a cgroup without own processes."""
    for hierarchy in hierarchies():
        group = hierarchy / name
        available = hierarchy / "cgroup.controllers"
        if not available.exists() or not available.read_text().strip():
            continue
        (group / "init").mkdir(exist_ok=True)
        for pid in (group / "cgroup.procs").read_text().split():
            (group / "init" / "cgroup.procs").write_text(pid)
        controllers = " ".join(f"+{controller}" for controller in available.read_text().split())
        for folder in (hierarchy, group.parent, group):
            (folder / "cgroup.subtree_control").write_text(controllers)


def members(name: str) -> set[int]:
    """Pids in cgroup `name` or below it, in any hierarchy."""
    pids: set[int] = set()
    for hierarchy in hierarchies():
        for listing in (hierarchy / name).rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                pids.update(int(pid) for pid in listing.read_text().split())
    return pids


def is_member(pid: int, name: str) -> bool:
    """Whether process `pid` is now in cgroup `name` or below it."""
    try:
        text = Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False
    return belongs(text, name)


def belongs(proc_cgroup: str, name: str) -> bool:
    """Whether the text of ``/proc/<pid>/cgroup`` puts the process into cgroup `name` or below it."""
    paths = (line.split(":", 2)[2] for line in proc_cgroup.splitlines())
    return any(f"/{name}/" in f"{path}/" for path in paths)


def kill(name: str) -> None:
    """Kills everything in cgroup `name` and below, and removes these cgroups.

    A pid is pinned before its membership is checked, so that a pid reused meanwhile is never killed.

    Raises:
        LabError: Something outlived SIGKILL for `KILL_SECONDS`.
    """
    deadline = time.monotonic() + KILL_SECONDS
    while pids := members(name):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                handle = os.pidfd_open(pid)
                try:
                    if is_member(pid, name):
                        signal.pidfd_send_signal(handle, signal.SIGKILL)
                finally:
                    os.close(handle)
        if time.monotonic() > deadline:
            raise LabError(f"processes {sorted(pids)} in cgroup {name} outlived SIGKILL for {KILL_SECONDS:.0f} s")
        time.sleep(0.02)
    for hierarchy in hierarchies():
        _remove_cgroup(hierarchy / name, deadline)


def _remove_cgroup(group: Path, deadline: float) -> None:
    for folder, _folders, _files in os.walk(group, topdown=False):
        while True:
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                break
            except OSError as error:  # a dying process holds its cgroup for a moment longer than its pid
                if time.monotonic() > deadline:
                    raise LabError(f"cgroup {folder} cannot be removed: {error}") from error
                time.sleep(0.02)
            else:
                break


def marked(lab_id: str) -> set[int]:
    """Pids of processes that carry the mark of the lab in their environment, wherever they are."""
    mark = f"{MARK}={lab_id}".encode()
    found = set()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in environ.read_bytes().split(b"\0"):
                found.add(int(environ.parent.name))
    return found


def spawn_isolated(argv: Sequence[str], cgroups: Sequence[Path], environment: dict[str, str], log: Path) -> None:
    """Starts a daemon in `cgroups` as process 1 of new pid, mount, network and cgroup namespaces.

    It keeps nothing of the caller open, and everything it starts ends with it.
    """
    join = 'for group in $1; do echo $$ > "$group/cgroup.procs" || exit 1; done; shift; exec "$@"'
    unshare = ["unshare", "--net", "--mount", "--pid", "--cgroup", "--fork", "--kill-child", "--propagation", "slave"]
    with log.open("ab") as output:
        subprocess.Popen(
            ["sh", "-c", join, "sh", " ".join(map(str, cgroups)), *unshare, *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=environment,
            start_new_session=True,
        )
