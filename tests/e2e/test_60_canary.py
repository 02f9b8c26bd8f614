# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""No piece of a private key, and no passphrase, leaves the process that needs it."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives import serialization

from tests.canary import Canary, Watch
from tests.e2e.scenario import MESHES


@pytest.fixture(scope="module")
def canary(federation):
    """Knows the root's key, the key of every mesh's CA, and the passphrase."""
    settings = yaml.safe_load(federation.inventory.read_text())["meshes"]["vars"]
    phrase = settings["shared_root_ca_passphrase"]
    root = serialization.load_pem_private_key(
        (Path(settings["shared_root_ca_directory"]) / "root-ca.key").read_bytes(), phrase.encode()
    )
    keys = {
        "root": root.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    }
    for mesh in MESHES:
        secret = federation.kubectl_json(mesh, "get", "secret", "-n", "istio-system", "cacerts")["data"]
        keys[mesh] = base64.b64decode(secret["ca-key.pem"])
    return Canary(keys, {"passphrase": phrase})


def test_the_run_that_made_the_keys_showed_none_of_them(first_run, canary):
    output = first_run.run.output
    print(f"{len(output)} characters of output, {first_run.watch.seen} files, arguments and environments")
    assert "Using module file" in output, "the run was as talkative as can be"
    assert canary.find(output.encode()) == set()
    assert first_run.watch.seen > 100
    assert first_run.watch.find(canary) == {}


@pytest.mark.parametrize("arguments", [("site", "--check"), ("site",), ("verify",)])
def test_later_runs_show_none_either(federation, canary, arguments, tmp_path):
    facts = {"ANSIBLE_CACHE_PLUGIN": "jsonfile", "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(tmp_path)}
    with Watch(federation.temporary) as watch:
        run = federation.play(*arguments, "-vvvv", "--diff", env=facts).ok()
    assert canary.find(run.output.encode()) == set()
    assert watch.find(canary) == {}
    assert canary.find_in_files(tmp_path, federation.temporary) == {}
