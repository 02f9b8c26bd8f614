# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a module of this collection inside ansible-playbook, where it would run on this machine with this Python anyway.

A module as a program of its own takes a second of processor time before it does anything, for starting Python and
importing the Kubernetes client, for every cluster and every task. Ansible imports an action plugin, and so all this,
before it forks the workers that run tasks, hence once. The same goes for what filters and lookups need, which every
worker would have to compile again: Ansible keeps no bytecode of collections.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import warnings
from types import ModuleType
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.module_utils.errors import UnsupportedError
from ansible.plugins.action import ActionBase
from ansible_collections.multimesh.istio.plugins.module_utils.task import Task, answer
from ansible_collections.multimesh.istio.plugins.plugin_utils.raw_inventory import plain

_COLLECTION = "ansible_collections.multimesh.istio.plugins.module_utils"
for _wanted in (
    "kubernetes.client",
    f"{_COLLECTION}.rbac",
    f"{_COLLECTION}.coredns.block",
    f"{_COLLECTION}.model.inventory",
):
    with contextlib.suppress(ImportError):  # the module says what is missing
        importlib.import_module(_wanted)

_INVOCATION_SHOWN = 3
"""From this verbosity on Ansible shows the options of a module."""


class ModuleAction(ActionBase):  # type: ignore[misc]  # which ships no types
    """Options, result and messages are the module's.

    MODULE: has ARGUMENT_SPEC, run, and perhaps REQUIRED_IF.
    """

    MODULE: ModuleType

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        self._supports_async = True
        result: dict[str, Any] = super().run(tmp, task_vars)
        return result | self.module_result(dict(self._task.args), task_vars or {})

    def module_result(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Run the module with these options."""
        if self._is_elsewhere(task_vars):
            found: dict[str, Any] = self._execute_module(
                module_args=arguments, task_vars=task_vars, wrap_async=self._task.async_val
            )
            return found
        spec, required_if = self.MODULE.ARGUMENT_SPEC, getattr(self.MODULE, "REQUIRED_IF", None)
        checked = ArgumentSpecValidator(spec, required_if=required_if).validate(plain(arguments))
        options = checked.validated_parameters
        task = Task(options, self._task.check_mode, self._task.diff, say=self._display.display)
        task.secrets.update(str(options[name]) for name, one in spec.items() if one.get("no_log") and options.get(name))
        if checked.error_messages:
            unknown = isinstance(checked.errors[0], UnsupportedError)
            prefix = f"Unsupported parameters for ({self._task.action}) module: " if unknown else ""
            result = {"failed": True, "msg": f"{prefix}{checked.errors[0].msg}"}
        else:
            with warnings.catch_warnings():  # of libraries, which nobody sees of a program either
                warnings.simplefilter("ignore")
                result = answer(self.MODULE.run, task)
        if task.warnings:
            result["warnings"] = task.warnings
        if self._display.verbosity >= _INVOCATION_SHOWN:
            result["invocation"] = {"module_args": options}
        shown: dict[str, Any] = remove_values(result, task.secrets)
        return shown

    def _is_elsewhere(self, task_vars: dict[str, Any]) -> bool:
        """Whether it is for another machine, user, Python, environment or time."""
        host = self._task.delegate_to
        variables = task_vars["ansible_delegated_vars"][host] if host else task_vars
        python = self._templar.template(variables.get("ansible_python_interpreter"))
        return bool(
            self._connection.transport != "local"
            or self._connection.become
            or python != sys.executable
            or any(self._task.environment or ())
            or self._task.async_val
        )
