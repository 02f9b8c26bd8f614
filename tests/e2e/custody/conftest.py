# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Custodies against the real programs that sign; no cluster is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.store import FileStore
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.vault import Engine, VaultRoots
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.vault_api import Api

from tests.e2e.custody.server import Vault, running


@pytest.fixture(scope="session")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    """One server for all tests; each test has a secrets engine of its own."""
    with running(tmp_path_factory.mktemp("vault") / "server") as server:
        yield server


@pytest.fixture
def mount(vault: Vault) -> str:
    return vault.mount()


@pytest.fixture
def custody(vault: Vault, mount: str, tmp_path: Path) -> Callable[..., VaultRoots]:
    """A custody with the options of Engine, and another way to the server if need be."""

    def make(api: Api | None = None, **options: object) -> VaultRoots:
        engine = Engine(**{"mount": mount, **options})  # type: ignore[arg-type]
        return VaultRoots(FileStore(tmp_path / "ledger"), api or vault.api(), engine)

    return make
