# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A module answers the same inside ansible-playbook and as a program of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.unit.plugins.playbook import play

SECRET = "a token that is long enough"
NOWHERE = {"host": "https://127.0.0.1:1", "api_key": SECRET, "request_timeout": 1}
SECRET_OBJECT: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "x", "namespace": "y"},
    "stringData": {"key": "a value of a Secret"},
}
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("mesh_info", {"mesh": SECRET}),
    ("mesh_info", {"cluster": "x"}),
    ("applyset", {"name": "a"}),
    ("applyset", {"name": "a", "objects": [SECRET_OBJECT]}),
    ("connectivity_test", {"edges": []}),
    ("shared_root_ca", {"trust_domain": "east.mesh", "root_directory": "ca", "passphrase": SECRET}),
]
APART: dict[str, Any] = {"environment": {"ANY": "thing"}}
OTHER_PYTHON = {"ansible_python_interpreter": "/usr/bin/python3", "ansible_connection": "local"}


def results(folder: Path, tasks: list[dict[str, Any]], *options: str) -> tuple[list[dict[str, Any]], str]:
    """Results of tasks, and everything that was printed."""
    path = folder / "results.json"
    steps = [
        {"name": f"Task {index}", "register": f"task_{index}", "ignore_errors": True, **task}
        for index, task in enumerate(tasks)
    ]
    names = ", ".join(f"task_{index}" for index in range(len(tasks)))
    content = f"{{{{ [{names}] | to_json }}}}"
    write = {"name": "Write", "ansible.builtin.copy": {"dest": str(path), "content": content, "mode": "600"}}
    inventory = {"all": {"vars": {"ansible_python_interpreter": sys.executable}, "hosts": {"other": OTHER_PYTHON}}}
    done = play(folder, inventory, [*steps, write], *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(path.read_text()), done.stdout + done.stderr


def test_the_answer_is_the_same(tmp_path: Path) -> None:
    tasks = [{f"multimesh.istio.{module}": {**NOWHERE, **options}} for module, options in ASKED]
    found, _printed = results(tmp_path, [*tasks, *({**task, **APART} for task in tasks)])
    for result in found:
        for beside in ("seconds", "exception", "invocation"):
            result.pop(beside, None)
    here, apart = found[: len(ASKED)], found[len(ASKED) :]
    assert here == apart
    assert [result["failed"] for result in here] == [module != "connectivity_test" for module, _options in ASKED]


def test_it_runs_inside_only_where_it_would_run_anyway(tmp_path: Path) -> None:
    cases = [
        ({}, True),
        (APART, False),
        ({"async": 60, "poll": 1}, False),
        ({"delegate_to": "localhost"}, True),
        ({"delegate_to": "other"}, False),
    ]
    asked = {"multimesh.istio.connectivity_test": {**NOWHERE, "edges": []}}
    _found, printed = results(tmp_path, [{**asked, **task} for task, _here in cases], "-vvv")
    parts = printed.split("TASK [Task ")[1:]
    assert ["connectivity_test.py" not in part for part in parts] == [here for _task, here in cases]


def test_no_secret_is_shown(tmp_path: Path) -> None:
    hidden = {"token": SECRET, "value": SECRET_OBJECT["stringData"]["key"]}
    (tmp_path / "hidden.json").write_text(json.dumps(hidden))
    asked = {**NOWHERE, "api_key": "{{ token }}", "name": "{{ token }}"}
    task = {"multimesh.istio.applyset": {**asked, "objects": [{**SECRET_OBJECT, "stringData": {"key": "{{ value }}"}}]}}
    found, printed = results(tmp_path, [task], "-vvvv", "--diff", "-e", f"@{tmp_path / 'hidden.json'}")
    assert "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER" in printed
    for secret in hidden.values():
        assert secret not in printed
        assert secret not in json.dumps(found)
