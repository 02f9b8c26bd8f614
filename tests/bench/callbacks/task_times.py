# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Writes how long each task took, on every host, into the file that BENCH_TIMES names."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: task_times
type: aggregate
short_description: Times of tasks
description: Writes a JSON list of tasks with begin and end on every host.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "task_times"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._begin: dict[tuple[str, str], float] = {}
        self._found: list[dict[str, Any]] = []

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self._begin[host.get_name(), task._uuid] = time.monotonic()

    def _end(self, result: Any) -> None:
        now = time.monotonic()
        task, host = result._task, result._host.get_name()
        begin = self._begin.pop((host, task._uuid), now)
        self._found.append({"host": host, "task": task.get_name(), "module": task.action, "begin": begin, "end": now})

    def v2_runner_on_ok(self, result: Any) -> None:
        self._end(result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._end(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:  # noqa: ARG002
        self._end(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:  # noqa: ARG002
        if path := os.environ.get("BENCH_TIMES"):
            Path(path).write_text(json.dumps(self._found))
