# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run has one name, wherever in it the lookup is asked; from real runs of Ansible."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.multimesh.istio.plugins.module_utils.run_identity import has_ended

ASK = '{{ lookup("multimesh.istio.run_identity") }}'
INVENTORY = {"all": {"vars": {"ansible_connection": "local"}, "hosts": {f"host{n}": {} for n in range(3)}}}
FOUND = re.compile(r"<<(\w+) (\w+) (.*?)>>")


def write(text: str, place: str, **task: Any) -> dict[str, Any]:
    """A task that prints a text, with the task's place and its host."""
    return {
        "name": f"Print {place}",
        "ansible.builtin.debug": {"msg": f"<<{place} {{{{ inventory_hostname }}}} {text}>>"},
        **task,
    }


FILES = {
    "imported": [write(ASK, "imported")],
    "included": [write("{{ given }}", "included")],
    "conditional": [write(ASK, "conditional")],
}
PLAY = {
    "name": f"Played by {ASK}",
    "hosts": "all,{{ 'x' if lookup('multimesh.istio.run_identity') else 'y' }}",
    "gather_facts": False,
    "vars": {"of_the_play": ASK},
    "tasks": [
        write(ASK, "task"),
        write("{{ of_the_play }}", "variable"),
        write("{{ item }}", "loop", loop=[ASK, ASK], loop_control={"label": "-"}),
        write(ASK, "delegated", delegate_to="host0"),
        write(ASK, "once", run_once=True),
        {"name": "Remember", "ansible.builtin.set_fact": {"remembered": ASK}},
        write("{{ remembered }}", "fact"),
        {"name": "Import", "ansible.builtin.import_tasks": "imported.yml"},
        {"name": "Include", "ansible.builtin.include_tasks": "included.yml", "vars": {"given": ASK}},
        {
            "name": "Include what the controlling process decides on",
            "ansible.builtin.include_tasks": "{{ item }}.yml",
            "loop": "{{ ['conditional'] if query('multimesh.istio.run_identity') else [] }}",
            "when": "lookup('multimesh.istio.run_identity') is search('process')",
        },
    ],
}


class Runs:
    """Playbooks and ad-hoc commands in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "hosts.yml").write_text(yaml.safe_dump(INVENTORY))
        for name, tasks in FILES.items():
            (folder / f"{name}.yml").write_text(yaml.safe_dump(tasks))
        second = {"hosts": "all", "gather_facts": False, "tasks": [write(ASK, "second_play")]}
        (folder / "play.yml").write_text(yaml.safe_dump([PLAY, second], sort_keys=False))
        self.environment = {
            **os.environ, "ANSIBLE_HOME": str(folder / "home"), "ANSIBLE_NOCOLOR": "true", "COLUMNS": "10000",
        }  # fmt: skip

    def command(self, program: str, *options: str, **environment: str) -> tuple[str, int]:
        """What Ansible printed, and the process that it was."""
        process = subprocess.Popen(
            [sys.executable, "-m", "ansible", program, "-i", "hosts.yml", *options],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        output, _none = process.communicate()
        assert process.returncode == 0, output
        return output, process.pid


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"))


def test_all_tasks_of_a_run_say_the_same(runs: Runs) -> None:
    output, pid = runs.command("playbook", "play.yml", "-f", "3")
    found = FOUND.findall(output)
    places = {
        "task", "variable", "loop", "delegated", "once", "fact", "imported", "included", "conditional", "second_play",
    }  # fmt: skip
    wanted = {(place, host) for place in places for host in INVENTORY["all"]["hosts"]}
    assert wanted - {(place, host) for place, host, _name in found} == {("once", "host1"), ("once", "host2")}
    [name] = {name for _place, _host, name in found}
    assert f"process {pid} [" in name
    assert f"PLAY [Played by {name}]" in output
    assert has_ended(name)


def test_ad_hoc_under_awx(runs: Runs) -> None:
    awx = {"JOB_ID": "42", "AWX_HOST": "https://awx.example"}
    task = f"msg='<<adhoc {{{{ inventory_hostname }}}} {ASK}>>'"
    output, pid = runs.command("adhoc", "all", "-m", "ansible.builtin.debug", "-a", task, **awx)
    found = FOUND.findall(output)
    assert {host for _place, host, _name in found} == set(INVENTORY["all"]["hosts"])
    [name] = {name for _place, _host, name in found}
    assert f", process {pid}, AWX job 42 [" in name


def test_a_program_that_runs_ansible_in_a_child_of_its_own(runs: Runs) -> None:
    program = (
        "import multiprocessing, os, sys\n"
        "from ansible.cli.playbook import main\n"
        "def work():\n"
        "    print('child', os.getpid(), flush=True)\n"
        "    main(['ansible-playbook', '-i', 'hosts.yml', 'play.yml'])\n"
        "child = multiprocessing.get_context('fork').Process(target=work)\n"
        "child.start(); child.join(); sys.exit(child.exitcode)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=runs.folder,
        env=runs.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    child = re.search("^child ([0-9]+)$", done.stdout, re.MULTILINE)
    assert child, done.stderr
    [name] = {name for _place, _host, name in FOUND.findall(done.stdout)}
    assert f"process {child[1]} [" in name
    assert f"PLAY [Played by {name}]" in done.stdout
