# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils import run_identity
from ansible_collections.multimesh.istio.plugins.module_utils.run_identity import describe, has_ended

HERE = os.getpid()


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """Another process, which lives until it is told to end."""
    found = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"],
        stdin=subprocess.PIPE,
    )
    yield found
    found.kill()
    found.communicate()


def test_people_read_who_where_and_which_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_identity.getpass, "getuser", lambda: "alice")
    monkeypatch.setattr(run_identity.socket, "gethostname", lambda: "controller")
    text = describe(HERE, {})
    assert re.fullmatch(rf"alice@controller, process {HERE} \[[0-9a-f]{{16}}-{HERE}-[0-9]+\]", text)
    assert describe(HERE, {}) == text


def test_a_user_id_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 1000770000")

    monkeypatch.setattr(run_identity.getpass, "getuser", unknown)
    monkeypatch.setattr(run_identity.os, "getuid", lambda: 1000770000)
    assert describe(HERE, {}).startswith("user 1000770000@")


@pytest.mark.parametrize(
    ("environ", "job"),
    [
        ({"JOB_ID": "42", "AWX_HOST": "https://awx.example"}, ", AWX job 42 ["),
        ({"JOB_ID": "42"}, None),
        ({"AWX_HOST": "https://awx.example"}, None),
        ({"JOB_ID": "4]2", "AWX_HOST": "https://awx.example"}, None),
    ],
)
def test_awx_names_its_job(environ: dict[str, str], job: str | None) -> None:
    text = describe(HERE, environ)
    assert "awx.example" not in text
    assert job in text if job else "job" not in text


def test_the_living_have_not_ended(process: subprocess.Popen[bytes]) -> None:
    assert not has_ended(describe(HERE, {}))
    assert not has_ended(describe(process.pid, {}))


def test_a_killed_process_has_ended_before_and_after_its_parent_knows(process: subprocess.Popen[bytes]) -> None:
    text = describe(process.pid, {})
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it stays as a zombie
    assert has_ended(text)
    process.wait()
    assert has_ended(text)


def test_a_process_id_that_was_given_out_again() -> None:
    head, _dash, start = describe(HERE, {}).rstrip("]").rpartition("-")
    assert has_ended(f"{head}-{int(start) - 1}]")
    assert not has_ended(f"{head}-{start}]")


def test_the_process_of_somebody_else(monkeypatch: pytest.MonkeyPatch, process: subprocess.Popen[bytes]) -> None:
    text = describe(process.pid, {})

    def forbid(_pid: int, _signal: int) -> None:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(run_identity.os, "kill", forbid)
        assert not has_ended(text)
        patch.setattr(run_identity, "_stat", lambda _pid: [])  # with hidepid /proc does not show it
        assert not has_ended(text)


def test_nothing_is_known_of_other_machines_containers_and_texts(process: subprocess.Popen[bytes]) -> None:
    text = describe(process.pid, {})
    process.kill()
    process.wait()
    machine = text.rpartition("[")[2].partition("-")[0]
    assert not has_ended(text.replace(machine, "0123456789abcdef"))
    for other in ("", "run A", "somebody [1-2-3]", text + " ", text[:-1]):
        assert not has_ended(other)
    assert has_ended(text.replace(f"-{process.pid}-", "-9999999999-"))


def test_without_proc_there_is_no_tail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = describe(HERE, {})
    monkeypatch.setattr(run_identity, "_PROC", tmp_path)
    assert describe(HERE, {}) == text.partition(" [")[0]
    assert not has_ended(text)


def test_a_container_counts_as_a_machine_of_its_own() -> None:
    program = (
        "import os; from ansible_collections.multimesh.istio.plugins.module_utils import run_identity;"
        "print(run_identity._machine())"
    )
    inside = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    if inside.returncode:
        pytest.skip(f"this machine makes no process namespaces: {inside.stderr.strip()}")
    assert re.fullmatch("[0-9a-f]{16}", inside.stdout.strip())
    assert inside.stdout.strip() != run_identity._machine()
