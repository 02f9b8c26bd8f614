# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of role shared_root_ca without Ansible, to take them hundreds of times: a run takes a second or less.

A run is one process, forked from one that has imported everything. At each step it forks a process per cluster, all at
once, as Ansible does; each runs the module. A cluster whose step fails is left out of what follows.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import kubernetes
from ansible_collections.multimesh.istio.plugins.module_utils import run_identity
from ansible_collections.multimesh.istio.plugins.modules import shared_root_ca

from tests.e2e.api.cluster import ApiCluster

IMPORTED_ONCE = (kubernetes, shared_root_ca)
"""Every run of the module needs them, and imports them late."""

PASSPHRASE = "correct horse battery staple"
Result = dict[str, Any]


@dataclass(frozen=True)
class Provisioning:
    """What a run is about.

    clusters: with the kubeconfigs that the run uses.
    directory: of the root.
    request_timeout: seconds that one request may take, its retries included.
    """

    clusters: Sequence[ApiCluster]
    directory: Path
    request_timeout: int = 30

    def start(self) -> Running:
        """Start a run in a process of its own."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_provision, args=(self, sender))
        process.start()
        sender.close()
        return Running(process, receiver)

    def run(self) -> dict[str, Result]:
        """Results by mesh of a run that is not disturbed from outside."""
        results = self.start().finish()
        assert results is not None, "the run was killed"
        return results


@dataclass(frozen=True)
class Running:
    """A run that was started."""

    process: ForkServerProcess
    receiver: Any

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def finish(self) -> dict[str, Result] | None:
        """Wait for its end: by mesh the last result, with ``changed`` of all steps; None if it was killed."""
        try:
            results: dict[str, Result] | None = self.receiver.recv()
        except EOFError:
            results = None
        self.receiver.close()
        self.process.join()
        return results


def _provision(what: Provisioning, sender: Any) -> None:
    results: dict[str, Result] = {}
    run = run_identity.describe(os.getpid(), os.environ)

    def step(name: str, wanted: Callable[[Result], bool], **options: Any) -> None:
        before = {cluster.mesh: results.get(cluster.mesh, {}) for cluster in what.clusters}
        able = [cluster for cluster in what.clusters if not before[cluster.mesh].get("failed")]
        chosen = [cluster for cluster in able if wanted(before[cluster.mesh])]
        for mesh, result in _at_once(what, chosen, {"step": name, "run": run, **options}).items():
            changed = result.get("changed", False) or before[mesh].get("changed", False)
            # The last step says nothing of the CA.
            known = before[mesh] if name == "release" else {}
            results[mesh] = {**before[mesh], **result, **known, "changed": changed}

    step("issue", lambda _before: True)
    answers = [result for result in results.values() if not result.get("failed")]
    certificates, crls = (_distinct(answers, name) for name in ("certificates", "crls"))
    step("trust", lambda before: bool(set(crls) - set(before["held_crls"])), certificates=certificates, crls=crls)
    step("release", lambda before: bool(before["changed"]))
    sender.send(results)


def _distinct(answers: Sequence[Result], name: str) -> list[str]:
    return list(dict.fromkeys(text for result in answers for text in result[name]))


def _at_once(what: Provisioning, clusters: Sequence[ApiCluster], options: Mapping[str, Any]) -> dict[str, Result]:
    """Results of the module at these clusters, by mesh."""
    readers = {cluster.mesh: _fork(what, cluster, options) for cluster in clusters}
    results = {}
    for mesh, reader in readers.items():
        with os.fdopen(reader) as answer:
            results[mesh] = json.load(answer)
    for _cluster in clusters:
        os.wait()
    return results


def _fork(what: Provisioning, cluster: ApiCluster, options: Mapping[str, Any]) -> int:
    """Run the module at a cluster; what is returned reads its result as JSON."""
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        return reader
    try:
        result = cluster.module(
            "shared_root_ca",
            request_timeout=what.request_timeout,
            trust_domain=f"{cluster.mesh}.mesh",
            root_directory=str(what.directory),
            passphrase=PASSPHRASE,
            **options,
        )
    except BaseException:  # noqa: BLE001 - this process ends here
        result = {"failed": True, "msg": traceback.format_exc()}
    with os.fdopen(writer, "w") as answer:
        json.dump(result, answer)
    os._exit(0)
