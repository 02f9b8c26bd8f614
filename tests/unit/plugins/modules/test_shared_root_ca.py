# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils import basic
from ansible_collections.multimesh.istio.plugins.doc_fragments import custody
from ansible_collections.multimesh.istio.plugins.module_utils.kube.client import Client
from ansible_collections.multimesh.istio.plugins.modules import shared_root_ca

from tests.canary import Canary
from tests.unit.plugins.module_utils.pki.fakes import FakeCluster

PASSPHRASE = "correct horse battery staple"
SECRET = "Secret istio-system/cacerts"

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    fake = FakeCluster()
    monkeypatch.setattr(Client, "connect", lambda _connection: fake)
    return fake


@pytest.fixture
def call(
    cluster: FakeCluster,  # noqa: ARG001 - has to be there first
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Call:
    """Run the module with these arguments; the result, with the output as ``printed``."""

    def run(**changes: Any) -> dict[str, Any]:
        arguments = {
            "mesh": "east",
            "trust_domain": "east.mesh",
            "root_directory": str(tmp_path / "ca"),
            "passphrase": PASSPHRASE,
            **changes,
        }
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        with pytest.raises(SystemExit):
            shared_root_ca.main()
        printed = capsys.readouterr().out
        return {**json.loads(printed), "printed": printed}

    return run


def test_makes_and_then_keeps(call: Call, cluster: FakeCluster, tmp_path: Path) -> None:
    predicted = call(_ansible_check_mode=True, _ansible_diff=True)
    assert predicted["changed"]
    assert "root" not in predicted
    assert not (tmp_path / "ca").exists()
    assert cluster.written == []

    made = call(_ansible_diff=True)
    assert made["changed"]
    assert made["trust_domain"] == "east.mesh"
    assert made["intermediate"]["uri_constraints"] == ["east.mesh"]
    assert made["diff"]["before"] == {}
    assert made["diff"]["after"] == {"roots": [made["root"]], "signer": made["intermediate"], "crls": []}
    assert (made["stage"], made["trusted_roots"]) == ("done", made["roots"])

    kept = call(known_roots=[made["root"]["fingerprint_sha256"].upper()])
    assert not kept["changed"]
    assert (kept["root"], kept["intermediate"]) == (made["root"], made["intermediate"])


def test_accepts_fingerprints_as_openssl_prints_them(call: Call) -> None:
    shown = call()["root"]["fingerprint_sha256"].upper()
    colons = ":".join(shown[index : index + 2] for index in range(0, len(shown), 2))
    assert not call(known_roots=[colons])["changed"]


def test_every_step_can_be_called(call: Call, tmp_path: Path) -> None:
    """Here with nothing left to do; what the steps do is tested with them."""
    first = call(run="ann")
    options = {
        "crls": first["crls"],
        "certificates": first["certificates"],
        "revoke_meshes": ["east"],
        "run": "ann",
        "target_root": first["roots"][0],
    }
    seen = {step: call(step=step, **options) for step in shared_root_ca.STEPS if step != "revoke"}
    assert {step for step, result in seen.items() if result["changed"]} == {"trust"}
    assert seen["status"]["held_crls"] == seen["trust"]["held_crls"] != []
    assert [entry["action"] for entry in seen["ledger"]["ledger"]] == ["root-made", "ca-issued", "ca-active"]
    assert "ca-active" in seen["ledger"]["ledger_table"]
    assert call(step="revoke", **options)["changed"]
    assert "is revoked" in call()["msg"]
    call(step="release", **options)
    assert not (tmp_path / "ca" / "run.json").exists()


def test_shows_no_secret(call: Call, cluster: FakeCluster) -> None:
    printed = call(_ansible_diff=True, _ansible_verbosity=4)["printed"]
    for step in shared_root_ca.STEPS:
        printed += call(step=step, revoke_meshes=["west"], _ansible_diff=True, _ansible_verbosity=4)["printed"]
    key = base64.b64decode(cluster.objects[SECRET]["data"]["ca-key.pem"])
    assert Canary({"ca": key}, {"passphrase": PASSPHRASE}).find(printed.encode()) == set()


def test_a_signature_that_is_missing_is_no_failure_of_the_module(call: Call, cluster: FakeCluster) -> None:
    """The role says so once it has registered the result."""
    result = call(custody="offline", passphrase=None)
    assert (result["changed"], result.get("failed")) == (True, None)
    assert result["pending"].startswith("east: ")
    assert SECRET not in cluster.objects


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"passphrase": None}, "passphrase: it is missing, and custody 'file' needs it"),
        ({"root_directory": None}, "root_directory: it is missing"),
        ({"certificates": ["junk"]}, r"certificates[0]: "),
        ({"step": "trust"}, "is missing or empty"),
        ({"target_root": "04:AB", "step": "retire"}, "holds no root"),
    ],
)
def test_fails_with_what_is_wrong(call: Call, options: dict[str, Any], message: str) -> None:
    failed = call(**options)
    assert failed["failed"]
    assert message in failed["msg"]


def test_fails_with_one_message(call: Call) -> None:
    failed = call(trust_domain="cluster.local")
    assert failed["failed"]
    assert failed["msg"].startswith("east: mesh_trust_domain: 'cluster.local'")


def test_warns_of_what_the_api_server_warns_of(
    call: Call, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[str] = []
    # Where the process has loaded a controller's modules, Ansible shows warnings instead of returning them.
    monkeypatch.setattr(basic.AnsibleModule, "warn", lambda _module, text: warned.append(text))
    cluster.warnings["deprecated"] = None
    call()
    assert warned == ["east: deprecated"]


def test_names_the_missing_library(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "cryptography" else find(name))
    assert "cryptography >= 42.0" in call()["msg"]


def test_every_part_can_be_imported_without_the_library() -> None:
    """As ansible-test does, and a machine without it; the module then says what is missing."""
    plugins = Path(shared_root_ca.__file__).parents[1]
    paths = sorted(path.relative_to(plugins) for path in plugins.glob("module_utils/pki/**/[a-z]*.py"))
    package = "ansible_collections.multimesh.istio.plugins"
    imports = [".".join([package, *path.with_suffix("").parts]) for path in (*paths, Path("modules/shared_root_ca.py"))]
    check = f"import sys; sys.modules['cryptography'] = None; import {', '.join(imports)}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


def test_the_examples_run(call: Call, tmp_path: Path) -> None:
    variables = {"{{ shared_root_ca_passphrase }}": PASSPHRASE, "{{ (mesh_roots | default([])) }}": []}
    for task in yaml.safe_load(shared_root_ca.EXAMPLES):
        options = task["multimesh.istio.shared_root_ca"]
        options = {name: variables.get(str(value), value) for name, value in options.items()}
        assert options["root_directory"].startswith("/var/lib/")
        result = call(**{**options, "root_directory": str(tmp_path / options["mesh"]), "_ansible_check_mode": True})
        assert "failed" not in result, result
        assert result["changed"] is (options.get("step") != "status"), result


def test_documentation_and_argument_spec_name_the_same_options(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    class Stop(Exception):
        pass

    def record(**options: Any) -> None:
        seen.update(options)
        raise Stop

    monkeypatch.setattr(shared_root_ca, "AnsibleModule", record)
    with pytest.raises(Stop):
        shared_root_ca.main()
    spec = {
        name: option for name, option in seen["argument_spec"].items() if name not in shared_root_ca.CONNECTION_OPTIONS
    }
    documented = {
        **yaml.safe_load(custody.ModuleDocFragment.DOCUMENTATION)["options"],
        **yaml.safe_load(shared_root_ca.DOCUMENTATION)["options"],
    }
    assert {name: {**option, "description": None, "no_log": None} for name, option in spec.items()} == {
        name: {**option, "description": None, "no_log": None} for name, option in documented.items()
    }
