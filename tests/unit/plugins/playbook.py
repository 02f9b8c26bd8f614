# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Playbooks of tests, run by the real Ansible of the interpreter that runs the tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml


def play(folder: Path, inventory: Any, tasks: list[Any], *options: str) -> subprocess.CompletedProcess[str]:
    """Run tasks on localhost, which is in no group, with this inventory around it."""
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
    plays = [{"name": "Test", "hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}]
    (folder / "play.yml").write_text(yaml.safe_dump(plays, sort_keys=False))
    command = [sys.executable, "-m", "ansible", "playbook", "-i", str(folder / "hosts.yml"), str(folder / "play.yml")]
    environment = {**os.environ, "ANSIBLE_HOME": str(folder / "home"), "ANSIBLE_NOCOLOR": "true", "COLUMNS": "10000"}
    return subprocess.run([*command, *options], capture_output=True, text=True, env=environment, check=False)


def evaluate(folder: Path, inventory: Any, expressions: dict[str, str], failing: dict[str, str]) -> dict[str, Any]:
    """Values of Jinja expressions, and the messages of those that must fail, by their names.

    ``stderr`` holds what Ansible printed beside, such as warnings.
    """
    tasks: list[Any] = [
        {
            "name": f"Fail with {name}",
            "ansible.builtin.debug": {"msg": f"{{{{ {expression} }}}}"},
            "register": f"failed_{name}",
            "ignore_errors": True,
        }
        for name, expression in failing.items()
    ]
    values = [f"'{name}': {expression}" for name, expression in expressions.items()]
    values += [f"'{name}': failed_{name}.msg if failed_{name} is failed else none" for name in failing]
    content = f"{{{{ {{{', '.join(values)}}} | to_json }}}}"
    path = folder / "values.json"
    tasks.append(
        {"name": "Write values", "ansible.builtin.copy": {"dest": str(path), "content": content, "mode": "600"}}
    )
    done = play(folder, inventory, tasks)
    if done.returncode:
        raise AssertionError(done.stdout + done.stderr)
    values_found: dict[str, Any] = json.loads(path.read_text())
    return {**values_found, "stderr": done.stderr}
