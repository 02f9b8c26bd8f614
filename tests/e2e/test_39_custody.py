# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The meshes move from one custody of the root to the next, call each other all the way, and no secret is shown."""

from __future__ import annotations

import base64
import itertools
import json
import re
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives import serialization

from tests.canary import Canary, Watch
from tests.e2e import scenario
from tests.e2e.custody.server import as_policy, documented_policy, running
from tests.e2e.load import Load
from tests.e2e.scenario import MESHES
from tests.e2e.support import Run, cacerts, known_secrets
from tests.lab import manifests
from tests.offline_machine import Machine

pytestmark = pytest.mark.long

PASSPHRASE = "a passphrase of this custody alone"
MANAGEMENT = "east"
VISITS = 4
"""How often a run may ask for a signature."""


def plain(content: bytes, passphrase: str) -> bytes:
    """A private key as PEM without encryption."""
    return serialization.load_pem_private_key(content, passphrase.encode()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class InSecret:
    """In a Secret of one of the clusters."""

    def __init__(self, federation, _folder: Path, _stack: ExitStack) -> None:
        self.federation = federation
        federation.lab.apply(MANAGEMENT, [manifests.namespace("multimesh-istio", {})])
        self.variables = {
            "shared_root_ca_custody": "secret",
            "shared_root_ca_passphrase": PASSPHRASE,
            "shared_root_ca_root_kubeconfig": str(federation.lab.kubeconfig(MANAGEMENT)),
        }

    def played(self, *arguments: str) -> Run:
        return self.federation.play(*arguments).ok()

    def secrets(self) -> Canary:
        secret = self.federation.kubectl_json(MANAGEMENT, "get", "secret", "-n", "multimesh-istio", "shared-root-ca")
        files = {name: base64.b64decode(value) for name, value in secret["data"].items()}
        keys = {name: plain(content, PASSPHRASE) for name, content in files.items() if b"ENCRYPTED" in content}
        assert keys
        return Canary(keys, {"passphrase": PASSPHRASE})


class Offline:
    """On a machine that the run does not reach."""

    def __init__(self, federation, folder: Path, _stack: ExitStack) -> None:
        self.federation = federation
        self.folder = folder / "custody"
        self.machine = Machine(folder / "machine", PASSPHRASE)
        self.variables = {
            "shared_root_ca_custody": "offline",
            "shared_root_ca_passphrase": "",
            "shared_root_ca_directory": str(self.folder),
        }

    def played(self, *arguments: str) -> Run:
        """Run it again after each visit to the machine."""
        for _visit in range(VISITS):
            run = self.federation.play(*arguments)
            if run.returncode == 0:
                return run
            waiting = sorted((self.folder / "requests").glob("*.txt"))
            print(*(path.name for path in waiting), *re.findall(r'"msg": "(.*)"', run.output), sep="\n")
            assert waiting, run.output[-3000:]
            for text in waiting:
                assert str(self.folder) in run.output
                self.machine.does(self.folder, text.read_text())
        raise AssertionError(run.output[-3000:])

    def secrets(self) -> Canary:
        keys = {path.name: plain(path.read_bytes(), PASSPHRASE) for path in self.machine.folder.glob("*.key")}
        assert keys
        return Canary(keys, {"passphrase": PASSPHRASE})


class InVault:
    """In a secrets engine of a real Vault server, with a token that may do what is documented and nothing else."""

    def __init__(self, federation, folder: Path, stack: ExitStack) -> None:
        self.federation = federation
        vault = stack.enter_context(running(folder / "vault"))
        mount = vault.mount()
        self.token = vault.token_for(as_policy(documented_policy(mount)))
        self.variables = {
            "shared_root_ca_custody": "vault",
            "shared_root_ca_passphrase": "",
            "shared_root_ca_directory": str(folder / "ledger"),
            "shared_root_ca_vault_url": vault.url,
            "shared_root_ca_vault_ca_cert": vault.ca_cert,
            "shared_root_ca_vault_token": self.token,
            "shared_root_ca_vault_mount": mount,
            "shared_root_ca_vault_generate": True,
        }

    def played(self, *arguments: str) -> Run:
        return self.federation.play(*arguments).ok()

    def secrets(self) -> Canary:
        return Canary({}, {"token": self.token})


class InFile:
    """Back where it was: an encrypted file."""

    def __init__(self, federation, _folder: Path, _stack: ExitStack) -> None:
        self.federation = federation
        self.variables: dict[str, str] = {}

    def played(self, *arguments: str) -> Run:
        return self.federation.play(*arguments).ok()

    def secrets(self) -> Canary:
        return known_secrets(self.federation)


@pytest.fixture(scope="module", params=[InSecret, Offline, InVault, InFile], ids=lambda kind: kind.__name__)
def moved(request, federation, tmp_path_factory):
    """All meshes under a root of another custody."""
    federation.write_inventory(scenario.hosts())
    folder = tmp_path_factory.mktemp("custody")
    with ExitStack() as stack:
        custody = request.param(federation, folder, stack)
        variables = folder / "variables.yml"  # as arguments they could be read by everybody on this machine
        variables.write_text(json.dumps(custody.variables))
        options = ("-e", f"@{variables}")
        before = {mesh: cacerts(federation, mesh).roots for mesh in MESHES}
        adopt = ("adopt", "-vvvv", "--diff", "-e", json.dumps({"adopt_meshes": MESHES}), *options)
        with Load(federation, itertools.permutations(MESHES, 2), qps=10) as load, Watch(federation.temporary) as watch:
            run = custody.played(*adopt)
        print(f"{load.total} requests, failed: {load.failed or 'none'}", *load.failures, sep="\n")
        yield SimpleNamespace(custody=custody, options=options, before=before, load=load, run=run, watch=watch)


def test_the_meshes_move_while_they_call_each_other(federation, moved):
    assert moved.load.problems == []
    assert moved.load.failed == {}
    (roots,) = {cacerts(federation, mesh).roots for mesh in MESHES}
    assert len(roots) == 1
    assert all(roots != before for before in moved.before.values())


def test_no_secret_is_shown(moved):
    canary = moved.custody.secrets()
    assert canary.find(moved.run.output.encode()) == set()
    assert moved.watch.find(canary) == {}


def test_nothing_is_left_to_do(federation, moved):
    again = federation.play("site", *moved.options).ok()
    assert {mesh: counts["changed"] for mesh, counts in again.recap.items()} == dict.fromkeys(MESHES, 0)
