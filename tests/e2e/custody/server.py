# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real Vault server on loopback, with TLS, keeping everything in memory."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import hvac
import requests
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.vault_api import Api, Login, Server

from tests.e2e.support import CHECKOUT
from tests.lab import gobuild


def program() -> Path:
    """The program ``vault``, built on first use."""
    return gobuild.ensure(gobuild.VAULT) / "bin/vault"


@dataclass(frozen=True)
class Vault:
    """A running server, and its administrator's view."""

    binary: Path
    folder: Path
    port: int
    token: str = field(repr=False)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca_cert(self) -> str:
        return str(self.folder / "tls" / "vault-ca.pem")

    @property
    def server(self) -> Server:
        return Server(self.url, ca_cert=self.ca_cert)

    @cached_property
    def admin(self) -> hvac.Client:
        return hvac.Client(url=self.url, token=self.token, verify=self.ca_cert, cert=())

    def api(self, login: Login | None = None) -> Api:
        """As the collection talks to it; as administrator without a login."""
        return Api(self.server, login or Login(token=self.token))

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as it is printed in messages and documents, as administrator."""
        return subprocess.run(
            ["sh", "-c", command],
            env={
                "PATH": f"{self.binary.parent}{os.pathsep}{os.environ['PATH']}",
                "HOME": str(self.folder),
                "VAULT_ADDR": self.url,
                "VAULT_CACERT": self.ca_cert,
                "VAULT_TOKEN": self.token,
            },
            capture_output=True,
            text=True,
            check=False,
        )

    def mount(self) -> str:
        """A new secrets engine, as it comes; gives its path."""
        path = f"pki-{secrets.token_hex(3)}"
        self.admin.sys.enable_secrets_engine("pki", path=path)
        return path

    def token_for(self, policy: str) -> str:
        """A token with this policy alone."""
        name = f"test-{secrets.token_hex(3)}"
        self.admin.sys.create_or_update_policy(name, policy)
        answer: dict[str, Any] = self.admin.auth.token.create(policies=[name], no_default_policy=True)
        return str(answer["auth"]["client_token"])

    def __str__(self) -> str:
        return self.url


def documented_policy(mount: str) -> dict[str, str]:
    """The policy in the documentation, one rule for each path."""
    text = (CHECKOUT / "docs/custody.md").read_text()
    block = re.search(r"```hcl\n(.*?)```", text, re.DOTALL)
    assert block is not None
    rules = re.findall(r'^path "([^"]+)" \{ capabilities = \[([^]]+)\] \}', block[1], re.MULTILINE)
    return {f"{mount}{path.removeprefix('pki')}": capabilities for path, capabilities in rules}


def as_policy(rules: Mapping[str, str]) -> str:
    """The rules as Vault reads them."""
    return "\n".join(f'path "{path}" {{ capabilities = [{names}] }}' for path, names in rules.items())


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Vault]:
    """A fresh server; its process ends with the context."""
    (folder / "tls").mkdir(parents=True)
    vault = Vault(program(), folder, _free_port(), secrets.token_hex(16))
    command = [str(vault.binary), "server", "-dev", "-dev-tls", "-dev-no-store-token"]
    command += [f"-dev-listen-address=127.0.0.1:{vault.port}", f"-dev-tls-cert-dir={folder / 'tls'}"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "VAULT_DEV_ROOT_TOKEN_ID": vault.token}
    with (folder / "vault.log").open("w") as log:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=folder
        )
        try:
            _await_answer(vault, process)
            yield vault
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await_answer(vault: Vault, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(requests.exceptions.RequestException, OSError):
            if requests.get(f"{vault.url}/v1/sys/health", verify=vault.ca_cert, timeout=5).status_code == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"Vault does not answer:\n{(vault.folder / 'vault.log').read_text()[-4000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
