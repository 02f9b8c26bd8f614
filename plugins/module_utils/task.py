# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a module is asked and what it answers, be it a program of its own or a part of ansible-playbook."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


@dataclass(frozen=True)
class Task:
    """What is asked, and what is said beside the result.

    options: the value of every option, checked against the module's argument_spec.
    warnings: for the user, filled by the module.
    secrets: strings that no output may show, beside those of options with no_log; filled by the module.
    say: shows the user a line at once, where that is possible.
    """

    options: dict[str, Any] = field(repr=False)
    check_mode: bool = False
    diff: bool = False
    warnings: list[str] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set, repr=False)
    say: Callable[[str], None] = field(default=lambda _line: None, repr=False)


class TaskError(MultimeshError):
    """A failure that has more to say than its message.

    result: other return values of the module.
    """

    def __init__(self, message: str, **result: Any) -> None:
        super().__init__(message)
        self.result = result


Run = Callable[[Task], dict[str, Any]]
"""The work of a module: return values, or MultimeshError."""


def answer(run: Run, task: Task) -> dict[str, Any]:
    """Return values, with ``failed`` and ``msg`` if it fails."""
    try:
        return run(task)
    except TaskError as error:
        return {**error.result, "failed": True, "msg": str(error)}
    except MultimeshError as error:
        return {"failed": True, "msg": str(error)}


def serve(module: AnsibleModule, run: Run) -> None:
    """Do the work as a program of its own."""
    task = Task(module.params, module.check_mode, module._diff)
    result = answer(run, task)
    module.no_log_values.update(task.secrets)
    for warning in task.warnings:
        module.warn(warning)
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**result)
