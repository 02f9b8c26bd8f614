# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Removing a lab, also a half-made or a half-removed one, and telling what is left of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.lab import limits, network, process
from tests.lab.place import (
    INTERFACE_PREFIX,
    LOCK_ROOT,
    PREFIX,
    STATE_ROOT,
    SWITCH,
    Record,
    all_records,
    load_record,
    locked,
    machine_lock,
)


def remove(lab_id: str, published: Path | None = None) -> list[str]:
    """Removes every trace of a lab; returns what is left, which is nothing unless the machine resists.

    `published` is the lab's folder in its checkout, for a lab without a record; others say it there.
    """
    state = STATE_ROOT / lab_id
    with locked(_lock_file(lab_id)):
        record = load_record(state)
        process.kill(PREFIX + lab_id)
        network.remove(state / SWITCH, INTERFACE_PREFIX + lab_id)
        published = published or (_published(record) if record else None)
        if published:
            shutil.rmtree(published, ignore_errors=True)
            with contextlib.suppress(OSError):
                published.parent.rmdir()
        # Clusters mount in namespaces of their own; a mount seen here is somebody's data.
        if not _mounts_below(state):
            shutil.rmtree(state, ignore_errors=True)
        with machine_lock():
            if not all_records():
                limits.restore()
            with contextlib.suppress(OSError):
                STATE_ROOT.rmdir()
    return leftovers(lab_id, record, published)


def leftovers(lab_id: str, record: Record | None = None, published: Path | None = None) -> list[str]:
    """One line for everything on this machine that belongs to the lab: empty after it was removed.

    `record` and `published` tell more to look for; without `record` the lab's own is read, if there still is one.
    """
    state = STATE_ROOT / lab_id
    record = record or load_record(state)
    published = published or (_published(record) if record else None)
    name = PREFIX + lab_id
    interface = INTERFACE_PREFIX + lab_id
    paths = [state, Path("/sys/class/net", interface), *([published] if published else [])]
    paths += [hierarchy / name for hierarchy in process.hierarchies()]
    found = [f"process {pid}: {_command(pid)}" for pid in sorted(process.members(name) | process.marked(lab_id))]
    found += [f"{path} exists" for path in paths if path.exists()]
    found += [f"{mount} is mounted" for mount in _mounts_below(state)]
    words = [interface, *([record.subnet] if record else [])]
    found += [f"packet filter rule: {rule}" for rule in _filter_rules() if any(word in rule for word in words)]
    return found


def orphans() -> dict[str, str]:
    """Labs nobody can want any more, and why, by id: their checkout is gone, or they have no record."""
    found = {}
    with machine_lock():  # nobody writes a first record meanwhile
        records = all_records()
        in_use = set(_ids_in_use())
    for lab_id, record in records.items():
        if record is None:
            found[lab_id] = "it has no record"
        elif not Path(record.checkout).is_dir():
            found[lab_id] = f"its checkout {record.checkout} is gone"
        elif not _published(record).is_dir():
            found[lab_id] = f"{_published(record)} is gone"
    return found | dict.fromkeys(in_use - records.keys(), "its state is gone")


def _ids_in_use() -> Iterator[str]:
    """Ids of labs that cgroups and interfaces are named after; some twice."""
    for folder in process.hierarchies():
        for path in folder.glob(f"{PREFIX}*"):
            yield path.name.removeprefix(PREFIX)
    for path in Path("/sys/class/net").glob(f"{INTERFACE_PREFIX}*"):
        yield path.name.removeprefix(INTERFACE_PREFIX)


def _lock_file(lab_id: str) -> Path:
    return LOCK_ROOT / f"multimesh-{lab_id}.lock"


def _published(record: Record) -> Path:
    return Path(record.checkout, ".lab", record.name)


def _mounts_below(folder: Path) -> list[str]:
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if f"{point}/".startswith(f"{folder}/")]


def _filter_rules() -> list[str]:
    """Rules of the host's packet filter; none where the program is missing or the kernel has no such filter."""
    try:
        done = subprocess.run(["iptables-save"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except OSError:
        return []
    return done.stdout.splitlines()


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:100].strip()
    except OSError as error:
        return os.strerror(error.errno or 0)
