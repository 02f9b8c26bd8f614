# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Runs the module of the same name a few seconds at a time and says in between who is awaited.

A module cannot say anything before it ends, and whoever waits for a rotation of the root wants to see that it moves.
"""

from __future__ import annotations

import time
from typing import Any

from ansible_collections.multimesh.istio.plugins.modules import trust_rollout
from ansible_collections.multimesh.istio.plugins.plugin_utils.module_action import ModuleAction

SLICE = 10
"""Seconds between two lines at least."""

_DEFAULT_TIMEOUT = 120


class ActionModule(ModuleAction):
    """``timeout`` is split into slices. Only ``changed`` and ``hurried`` add up."""

    MODULE = trust_rollout

    def module_result(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        try:
            timeout = int(arguments.get("timeout", _DEFAULT_TIMEOUT))
        except (TypeError, ValueError):
            timeout = 0  # the module says what is wrong with it
        else:
            arguments["timeout"] = min(SLICE, timeout)
        begin = time.monotonic()
        changed, hurried, said = False, dict[str, None](), ""
        while True:
            outcome = super().module_result(arguments, task_vars)
            changed = changed or bool(outcome.get("changed"))
            hurried |= dict.fromkeys(outcome.get("hurried", []))
            passed = time.monotonic() - begin
            if not outcome.get("failed") or not outcome.get("pending") or passed >= timeout:
                break
            if outcome["line"] != said:
                said = outcome["line"]
                self._display.display(f"[{passed:4.0f} s / {timeout} s] {said}")
            arguments["timeout"] = min(SLICE, max(1, round(timeout - passed)))
        if "ready" in outcome:
            outcome |= {"changed": changed, "hurried": list(hurried), "seconds": int(passed)}
        return outcome
