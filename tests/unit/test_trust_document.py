# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The commands of docs/trust.md do what it says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.pki import bundle
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.file import FileCustody

from tests.unit.plugins.module_utils.pki import forge

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "trust.md").read_text()
PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with all the files that the commands name."""
    root = forge.root(key_type="ecdsa-p384")
    FileCustody(tmp_path / "ca", PASSPHRASE).create(root)
    for name, content in bundle.build(forge.intermediate(root), root.certificate).items():
        (tmp_path / "ca" / name).write_bytes(content)
    return tmp_path / "ca"


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = command.replace("pkey -in root-ca.key", "pkey -passin stdin -in root-ca.key")
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
