# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The task of role federation that shows the plan, as every ansible-core runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLE = Path(__file__).resolve().parents[4] / "roles" / "federation"
DELETE = {
    "action": "delete",
    "object": "ServiceEntry istio-system/a",
    "origins": ["east/shop/reviews"],
    "wanted": None,
    "found": "f",
    "others": [],
}


def planned(*changes: dict[str, Any], peers: tuple[str, ...] = ()) -> dict[str, Any]:
    """What earlier tasks have registered."""
    return {
        "federation_plan": {"changed": False, "changes": list(changes), "plan": {"unchanged": 3}},
        "federation_mesh_info": {"mesh": {"peers": list(peers)}},
    }


@pytest.fixture
def show(tmp_path: Path) -> Any:
    """Run the task for these hosts; exit code and output."""
    hosts = {"east": planned(DELETE, peers=("west",)), "west": planned(peers=("east", "north")), "north": planned()}
    settings = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"meshes": {"hosts": hosts, "vars": settings}}))
    tasks = yaml.safe_load((ROLE / "tasks" / "plan.yml").read_text())
    play = {
        "name": "Test",
        "hosts": "meshes",
        "gather_facts": False,
        "vars_files": [str(ROLE / "defaults" / "main.yml"), str(ROLE / "vars" / "main.yml")],
        "tasks": [task for task in tasks if "multimesh.istio.federation_plan" in task],
    }
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks" / "play.yml").write_text(yaml.safe_dump([play], sort_keys=False))

    def run(*options: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "ansible", "playbook", "-i", "hosts.yml", "playbooks/play.yml", *options]
        environment = {**os.environ, "ANSIBLE_HOME": str(tmp_path / "home"), "ANSIBLE_NOCOLOR": "true"}
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)
        return done.returncode, done.stdout + done.stderr

    return run


def test_the_page_is_shown_once_and_as_it_is(show: Any) -> None:
    code, output = show("--check")
    assert code == 0, output
    lines = output.splitlines()
    begin = lines.index(
        "Plan of the federation: 3 clusters, 0 objects to create, 0 to change, 1 to delete, 9 unchanged"
    )
    assert lines[begin + 1 : begin + 3] == [
        "  cluster   create  change  delete  unchanged",
        "  east      0       0       1       3",
    ]
    assert output.count("Plan of the federation") == 1


def test_the_variables_of_the_role_do_what_they_say(show: Any, tmp_path: Path) -> None:
    code, output = show("-e", "federation_max_deletions=0", "-e", "federation_plan_file=plan.json")
    assert code == 2
    assert "federation_max_deletions allows 0: east: ServiceEntry istio-system/a" in output
    assert '"table"' not in output
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan["clusters"]["east"]["changes"] == [DELETE]
    assert show("-e", "federation_max_deletions=1", "-e", "federation_saved_plan=plan.json")[0] == 0
    code, output = show("-e", "federation_fail_on_changes=true")
    assert (code, "0 missing, 0 different, 1 too many, in east" in output) == (2, True)


def test_hosts_outside_the_limit_are_no_strangers(show: Any) -> None:
    code, output = show("--limit", "east,west")
    assert code == 0, output
    assert "  north        not in this run, or failed before" in output


def test_a_host_that_is_missing(show: Any, tmp_path: Path) -> None:
    inventory = yaml.safe_load((tmp_path / "hosts.yml").read_text())
    del inventory["meshes"]["hosts"]["north"]
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
    code, output = show()
    assert (code, "north: not in the inventory any more, and west still knows it" in output) == (2, True)
    assert show("-e", '{"federation_gone": ["north"]}')[0] == 0
