# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of role shared_root_ca without Ansible, to take them hundreds of times: a run takes a second or less.

A run is one process, forked from one that has imported everything. At each step it forks a process per cluster, all at
once, as Ansible does; each runs the module.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils import run_identity

from tests.e2e.api.cluster import ApiCluster

for _name in ("kubernetes", "ansible_collections.multimesh.istio.plugins.modules.shared_root_ca"):
    importlib.import_module(_name)  # once for all runs, which are forked from here

PASSPHRASE = "correct horse battery staple"


@dataclass
class Result:
    """What a run came to at one cluster.

    failure: message of the step that failed, empty if none did.
    roots: fingerprints of the roots of the custody.
    """

    changed: bool = False
    failure: str = ""
    roots: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaRun:
    """What a run is about: to provision the meshes, or to exchange their root.

    clusters: with the kubeconfigs that the run uses.
    directory: of the root.
    request_timeout: seconds that one request may take, its retries included.
    rotate_from: fingerprint of the root to leave; None to provision.
    """

    clusters: Sequence[ApiCluster]
    directory: Path
    request_timeout: int = 30
    rotate_from: str | None = None

    def start(self) -> Running:
        """Start it in a process of its own."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(self, sender))
        process.start()
        sender.close()
        return Running(process, receiver)

    def finish(self) -> dict[str, Result]:
        """Results by mesh of a run that nobody kills."""
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
        """Wait for its end: results by mesh; None if it was killed."""
        try:
            results: dict[str, Result] | None = self.receiver.recv()
        except EOFError:
            results = None
        self.receiver.close()
        self.process.join()
        return results


class _Barrier(Exception):
    """A step failed somewhere, and nobody goes on."""


def _run(what: CaRun, sender: Any) -> None:
    steps = _Steps(what)
    try:
        if what.rotate_from is None:
            _provision(steps)
        else:
            _rotate(steps, what.rotate_from)
    except _Barrier:
        pass
    sender.send(steps.results)


def _provision(steps: _Steps) -> None:
    """As tasks/main.yml: a cluster whose step fails is left out of what follows."""
    issued = steps.take("issue")
    known = _gathered(issued)
    behind = [mesh for mesh, answer in issued.items() if set(known["crls"]) - set(answer["held_crls"])]
    steps.take("trust", behind, **known)
    steps.take("release", [mesh for mesh, result in steps.results.items() if result.changed])


def _rotate(steps: _Steps, leaves: str) -> None:
    """As playbook rotate_root_ca without waiting for proxies: the first step that fails stops all clusters."""
    steps.barrier = True
    first, *others = steps.results
    roots = steps.take("status")[first]["roots"]
    if len(roots) > 1 or roots == [leaves]:
        known = _gathered(steps.take("prepare", successor_of=leaves))
        steps.take("trust", **known)
        for meshes in ([first], others):
            steps.take("sign", meshes, settle_seconds=0)
            steps.take("renew", meshes)
        untrusted = steps.take("untrust", **known)
        trusted = [root for answer in untrusted.values() for root in answer["trusted_roots"]]
        steps.take("retire", [first], known_roots=trusted)
        steps.take("release")
        steps.take("status")


def _gathered(answers: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """What the meshes have to know of each other."""
    return {
        name: list(dict.fromkeys(text for answer in answers.values() for text in answer[name]))
        for name in ("certificates", "crls")
    }


class _Steps:
    """Takes steps and remembers what they came to.

    barrier: whether a step that fails anywhere stops all clusters, by _Barrier.
    """

    def __init__(self, what: CaRun) -> None:
        self.results = {cluster.mesh: Result() for cluster in what.clusters}
        self.barrier = False
        self._clusters = {cluster.mesh: cluster for cluster in what.clusters}
        self._options = {
            "request_timeout": what.request_timeout,
            "root_directory": str(what.directory),
            "passphrase": PASSPHRASE,
            "run": run_identity.describe(os.getpid(), os.environ),
        }

    def take(self, step: str, meshes: Sequence[str] | None = None, **options: Any) -> dict[str, Any]:
        """Answers of the module by mesh, where it succeeded. meshes: all unless given, those that failed left out."""
        able = [mesh for mesh in meshes or self.results if not self.results[mesh].failure]
        readers = {mesh: self._fork(mesh, {**self._options, **options, "step": step}) for mesh in able}
        answers = {}
        for mesh, reader in readers.items():
            with os.fdopen(reader) as written:
                answer = json.load(written)
            result = self.results[mesh]
            if answer.get("failed"):
                result.failure = answer["msg"]
                continue
            result.changed |= answer["changed"]
            result.roots = tuple(answer.get("roots") or result.roots)
            answers[mesh] = answer
        for _mesh in able:
            os.wait()
        if self.barrier and len(answers) < len(able):
            raise _Barrier
        return answers

    def _fork(self, mesh: str, options: Mapping[str, Any]) -> int:
        """Run the module at a cluster; what is returned reads its result as JSON."""
        reader, writer = os.pipe()
        if os.fork():
            os.close(writer)
            return reader
        try:
            result = self._clusters[mesh].module("shared_root_ca", trust_domain=f"{mesh}.mesh", **options)
        except BaseException:  # noqa: BLE001 - this process ends here
            result = {"failed": True, "msg": traceback.format_exc()}
        with os.fdopen(writer, "w") as answer:
            json.dump(result, answer)
        os._exit(0)
