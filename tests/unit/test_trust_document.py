# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The commands of docs/trust.md do what it says."""

from __future__ import annotations

import base64
import re
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from ansible_collections.multimesh.istio.plugins.module_utils.pki import bundle, transition
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import (
    IntermediateProfile,
    RootProfile,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.held import HeldRoots
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.store import FileStore
from ansible_collections.multimesh.istio.plugins.module_utils.pki.request import Request
from ansible_collections.multimesh.istio.plugins.module_utils.pki.steps import Steps

from tests.unit.plugins.module_utils.pki.fakes import FakeCluster

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "trust.md").read_text()
PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The directory of a root, with the public files and the key of a mesh beside it, as the commands name them."""
    custody, cluster = HeldRoots(FileStore(tmp_path / "ca"), PASSPHRASE), FakeCluster()
    request = Request(IntermediateProfile("east", "east.mesh"), root=RootProfile())
    now = datetime.now(UTC)
    issued = Steps(cluster, custody, request, now, check=False).issue()
    request = replace(request, crls=issued.crls, certificates=issued.certificates)
    Steps(cluster, custody, request, now, check=False).trust()
    for name, content in cluster.objects["Secret istio-system/cacerts"]["data"].items():
        (tmp_path / "ca" / name).write_bytes(base64.b64decode(content))
    return tmp_path / "ca"


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = command.replace("pkey -in", "pkey -passin stdin -in")
    return subprocess.run(
        command, shell=True, cwd=folder, input=PASSPHRASE, capture_output=True, text=True, check=False
    )


def test_commands(folder: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    done = {command: run(command, folder) for block in blocks for command in block.splitlines()}
    *others, last = done.values()
    assert [result.stderr for result in others if result.returncode] == []
    assert last.returncode != 0
    assert "permitted subtree violation" in last.stderr
    first, second = (done[command].stdout for command in blocks[0].splitlines())
    assert first == second
    shown = "".join(result.stdout for result in done.values())
    for expected in ("Permitted:", "URI:east.mesh", "DNS:svc", "CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign"):
        assert expected in shown


def test_it_names_every_file_of_the_place_and_of_the_secret(folder: Path) -> None:
    names = {re.sub(r"-[0-9a-f]{16}\.", "-<16 digits>.", path.name) for path in folder.iterdir()} - {".lock"}
    assert {"root-<16 digits>.pem", "root-<16 digits>.crl", "ledger.jsonl", "run.json", bundle.CA_CRL} <= names
    assert [name for name in names if f"`{name}`" not in TEXT] == []


def test_it_names_the_times_and_the_variables_that_are_true() -> None:
    profile, request = IntermediateProfile("east", "east.mesh"), RootProfile()
    assert f"{request.lifetime.days} days | {profile.lifetime.days} days" in TEXT
    assert (transition.PREPARE_AT, transition.RENEW_AT) == (1 / 2, 2 / 3)
    assert "| 1/2 |" in TEXT
    assert "| 2/3 |" in TEXT
    defaults = yaml.safe_load((ROOT / "roles/shared_root_ca/defaults/main.yml").read_text())
    named = set(re.findall(r"\bshared_root_ca_\w+", TEXT)) - {"shared_root_ca_passphrase"}
    assert named <= set(defaults)
    playbooks = set(re.findall(r"multimesh\.istio\.(\w+)", TEXT))
    assert [name for name in playbooks if not (ROOT / "playbooks" / f"{name}.yml").exists()] == []
