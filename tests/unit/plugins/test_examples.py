# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The examples in the documentation of lookups and filters, run as they are written."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.plugins.playbook import play

PLUGINS = Path(__file__).resolve().parents[3] / "plugins"
DOCUMENTED = sorted([*PLUGINS.glob("lookup/*.py"), *PLUGINS.glob("filter/*.py")])

EXPORT = {
    "service": "reviews",
    "namespace": "bookinfo",
    "ports": [{"number": 9080, "name": "http", "protocol": "HTTP"}],
    "service_accounts": ["bookinfo-reviews"],
}
INVENTORY = {
    "meshes": {
        "hosts": {
            "east": {
                "mesh_gateway_addresses": ["192.0.2.1"],
                "mesh_exports": [{**EXPORT, "consumers": ["west"]}],
            },
            "west": {
                "mesh_gateway_addresses": ["192.0.2.2"],
                "mesh_exports": [{**EXPORT, "service": "ratings", "consumers": ["east"]}],
            },
        }
    }
}


def documentation(path: Path, name: str) -> Any:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == name:
            return yaml.safe_load(ast.literal_eval(node.value))
    raise AssertionError(f"{path} has no {name}")


@pytest.mark.parametrize("path", DOCUMENTED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_name_is_that_of_the_file(path: Path) -> None:
    assert documentation(path, "DOCUMENTATION")["name"] == path.stem


def test_examples_run(tmp_path: Path) -> None:
    tasks = [task for path in DOCUMENTED for task in documentation(path, "EXAMPLES")]
    assert len(tasks) >= len(DOCUMENTED)
    done = play(tmp_path, INVENTORY, tasks)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipping:" not in done.stdout
    assert f"ok={len(tasks)} " in done.stdout
