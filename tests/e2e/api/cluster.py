# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of this folder do to a cluster."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ansible.module_utils import basic
from ansible_collections.multimesh.istio.plugins.module_utils.kube.client import Client
from ansible_collections.multimesh.istio.plugins.module_utils.kube.connection import Connection

from tests.lab.api import Lab

MODULES = "ansible_collections.multimesh.istio.plugins.modules"
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


class ApiCluster:
    """A lab cluster that has an API server only."""

    def __init__(self, lab: Lab, mesh: str) -> None:
        self.lab = lab
        self.mesh = mesh
        self.kubeconfig = Path(lab.kubeconfig(mesh))

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        return self.lab.kubectl(self.mesh, *args, stdin=stdin)

    def make_namespace(self, name: str) -> str:
        self.kubectl("create", "namespace", name)
        return name

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        text = self.kubectl(
            "get", kind, "-n", namespace, name, "-o", "json", "--ignore-not-found", "--show-managed-fields"
        )
        return json.loads(text) if text.strip() else None

    def names(self, kind: str, namespace: str) -> list[str]:
        text = self.kubectl("get", kind, "-n", namespace, "-o", "name")
        return sorted(line.partition("/")[2] for line in text.splitlines())

    def client(self, concurrency: int = 8) -> Client:
        return Client.connect(Connection(mesh=self.mesh, kubeconfig=str(self.kubeconfig)), concurrency)

    def start_module(self, module: str, **options: Any) -> subprocess.Popen[str]:
        """Start a module as Ansible does, in a process of its own."""
        process = subprocess.Popen(
            [sys.executable, "-m", f"{MODULES}.{module}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin
        process.stdin.write(self._arguments(**options))
        process.stdin.close()
        process.stdin = None
        return process

    def module(self, module: str, **options: Any) -> dict[str, Any]:
        """The result of a module, failed or not; run in this process, which saves its start."""
        basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = self._arguments(**options).encode(), "legacy"
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            importlib.import_module(f"{MODULES}.{module}").main()
        return json.loads(printed.getvalue())

    def _arguments(self, check: bool = False, diff: bool = False, **options: Any) -> str:
        if "kubeconfig" not in options:
            options = {"mesh": self.mesh, "kubeconfig": str(self.kubeconfig), **options}
        arguments = {**options, "_ansible_check_mode": check, "_ansible_diff": diff, "_ansible_remote_tmp": "/tmp"}
        return json.dumps({"ANSIBLE_MODULE_ARGS": arguments})

    def make_user(self, name: str, namespaces: list[str]) -> tuple[str, str]:
        """A user that may do everything with ConfigMaps in these namespaces, and nothing else: server URL and token."""
        self.kubectl("create", "serviceaccount", "-n", "default", name)
        for namespace in namespaces:
            self.kubectl("create", "role", "-n", namespace, "maps", "--verb=*", "--resource=configmaps")
            user = f"--serviceaccount=default:{name}"
            self.kubectl("create", "rolebinding", "-n", namespace, "maps", "--role=maps", user)
        server = self.kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
        return server, self.kubectl("create", "token", "-n", "default", name).strip()

    def audit(self) -> Audit:
        return Audit(Path(self.lab.audit_log(self.mesh)))


class Audit:
    """What the collection asked of the API server since this was made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size

    def requests(self) -> list[str]:
        """Finished requests as ``verb uri``. The log is written before a request is answered."""
        time.sleep(0.1)
        with self._path.open() as log:
            log.seek(self._offset)
            events = [json.loads(line) for line in log]
        ours = (event for event in events if event.get("userAgent") == "multimesh.istio")
        return [f"{event['verb']} {event['requestURI']}" for event in ours if event["stage"] == "ResponseComplete"]

    def writes(self) -> list[str]:
        return [request for request in self.requests() if request.partition(" ")[0] in WRITES]
