# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a figure depends on beside the code, and how it is taken."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

DISTRIBUTIONS = ("ansible-core", "kubernetes", "jinja2", "pyyaml", "urllib3")


def describe() -> dict[str, str]:
    """Processor, memory and versions, by what they are called in the report."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    memory = next((line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "0")
    return {
        "cores": f"{os.cpu_count()} ({model})",
        "memory": f"{int(memory) / 2**20:.0f} GiB",
        "Linux": platform.release(),
        "Python": platform.python_version(),
        **{name: metadata.version(name) for name in DISTRIBUTIONS},
    }


def available() -> int:
    """Bytes of memory that could be had."""
    return next(int(line.split()[1]) * 1024 for line in _lines("/proc/meminfo") if line.startswith("MemAvailable"))


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


@dataclass(frozen=True)
class Taken:
    """One finished command.

    seconds: on the clock. processor: seconds of processor time of it and its children. memory: bytes that the largest
    of these processes had at most; workers share most of it with the process that they are forked from.
    """

    seconds: float
    processor: float
    memory: int
    output: str


class CommandError(RuntimeError):
    """A command that is measured has failed, so its time means nothing."""


def take(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Taken:
    """Run a command to its end. Raises CommandError if it fails."""
    begin = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
        _pid, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if process.returncode:
        raise CommandError(f"{' '.join(command)}: exit code {process.returncode}\n{text[-3000:]}")
    return Taken(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, text)
