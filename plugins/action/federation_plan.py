# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Runs the module of the same name, and shows its page as it is: inside a result, lines are hard to read."""

from __future__ import annotations

from typing import Any

from ansible_collections.multimesh.istio.plugins.modules import federation_plan
from ansible_collections.multimesh.istio.plugins.plugin_utils.module_action import ModuleAction


class ActionModule(ModuleAction):
    """The page comes before the reasons for refusing it."""

    MODULE = federation_plan

    def module_result(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        outcome = super().module_result(arguments, task_vars)
        for line in outcome.get("table") or []:
            self._display.display(line)
        if outcome.get("failed"):
            outcome.pop("table", None)  # a failure is printed with all that it returns
        return outcome
