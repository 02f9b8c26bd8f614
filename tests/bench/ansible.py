# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Playbooks as they are measured: the whole command, and what of it are tasks."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.machine import Taken, take

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Play:
    """One finished run. whole: the command from start to end. tasks: each with host, task, module, begin and end."""

    whole: Taken
    tasks: list[dict[str, Any]]

    def seconds_of(self, module: str) -> float:
        """From the first begin to the last end of the tasks of a module."""
        found = [task for task in self.tasks if task["module"] == module]
        return float(max(task["end"] for task in found) - min(task["begin"] for task in found))


def play(playbook: str | Path, inventory: str | Path, *arguments: str, forks: int = 5) -> Play:
    """Run a playbook of this folder, or of the collection, in an empty folder and without anybody's settings."""
    path = HERE / "playbooks" / f"{playbook}.yml"
    with tempfile.TemporaryDirectory() as folder:
        times = Path(folder, "times.json")
        environment = {
            "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callbacks"),
            "ANSIBLE_CALLBACKS_ENABLED": "task_times",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_FORKS": str(forks),
            "BENCH_TIMES": str(times),
        }
        command = ["ansible-playbook", "-i", str(inventory), str(path if path.exists() else playbook), *arguments]
        whole = take(command, environment)
        return Play(whole, json.loads(times.read_text()))
