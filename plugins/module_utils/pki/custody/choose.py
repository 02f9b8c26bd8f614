# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which custody the options of a module mean. They are documented in doc_fragments/custody.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.client import Client
from ansible_collections.multimesh.istio.plugins.module_utils.kube.connection import Connection
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody import vault
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import Custody
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.held import HeldRoots
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.offline import OfflineRoot
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.secret_store import SecretStore
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.store import FileStore

CUSTODY_OPTIONS: dict[str, dict[str, Any]] = {
    "custody": {"type": "str", "choices": ["file", "secret", "offline", "vault"], "default": "file"},
    "root_directory": {"type": "path"},
    "passphrase": {"type": "str", "no_log": True},
    "root_kubeconfig": {"type": "path"},
    "root_context": {"type": "str"},
    "root_namespace": {"type": "str", "default": "multimesh-istio"},
    "root_secret": {"type": "str", "default": "shared-root-ca", "no_log": False},
    **vault.VAULT_OPTIONS,
}


def choose(options: Mapping[str, Any], environ: Mapping[str, str]) -> Custody:
    """The custody that these options mean. Raises MultimeshError where one that it needs is missing."""
    kind = options["custody"]
    if kind == "offline":
        return OfflineRoot(Path(_needed(options, "root_directory")))
    if kind == "vault":
        _needed(options, "vault_url")
        return vault.from_options(options, FileStore(Path(_needed(options, "root_directory"))))
    passphrase = _needed(options, "passphrase")
    if kind == "file":
        return HeldRoots(FileStore(Path(_needed(options, "root_directory"))), passphrase)
    reached = {"kubeconfig": options["root_kubeconfig"], "context": options["root_context"]}
    cluster = Client.connect(Connection.from_options({**reached, "mesh": "the management cluster"}, environ))
    return HeldRoots(SecretStore(cluster, options["root_namespace"], options["root_secret"]), passphrase)


def _needed(options: Mapping[str, Any], name: str) -> str:
    if not options[name]:
        raise MultimeshError(
            f"{name}: it is missing, and custody {options['custody']!r} needs it. Set it (in the role: "
            f"{_ROLE_VARIABLES[name]})."
        )
    return str(options[name])


_ROLE_VARIABLES = {
    "root_directory": "shared_root_ca_directory",
    "passphrase": "shared_root_ca_passphrase",
    "vault_url": "shared_root_ca_vault_url",
}
