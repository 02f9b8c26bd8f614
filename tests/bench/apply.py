# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Applying Istio objects to one API server, each way in a namespace of its own.

Ways take turns, so that whatever else the machine does meets all of them, and the best of the rounds counts. All of it
is done a second time with the API server farther away, as most are.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.multimesh.istio.plugins.module_utils.applyset import manifest
from ansible_collections.multimesh.istio.plugins.module_utils.task import Task
from ansible_collections.multimesh.istio.plugins.modules import applyset

from tests.bench import inventory, patches
from tests.bench.ansible import play
from tests.bench.distance import farther
from tests.bench.machine import take
from tests.bench.objects import objects
from tests.e2e.api.cluster import WRITES, Audit
from tests.lab.api import Lab

MESH = "bench"
COUNT = int(os.environ.get("MULTIMESH_BENCH_OBJECTS", "1000"))
ROUNDS = int(os.environ.get("MULTIMESH_BENCH_ROUNDS", "2"))
CONNECTIONS = 16
ROUND_TRIP = 20  # milliseconds
LISTS = frozenset({"list", "watch"})

Times = dict[str, float]
"""Seconds: ``whole`` command, its ``task``, and the ``work`` in it without anything's start."""


class Bench:
    """One API server with Istio's definitions, and the files that commands read."""

    def __init__(self, lab: Lab, folder: Path, kubeconfig: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.kubeconfig = kubeconfig

    def write(self, namespace: str, count: int = COUNT, timeout: str = "10s") -> None:
        """The objects of a namespace, as each way reads them."""
        found = objects(count, namespace, timeout)
        self._objects(namespace).write_text(manifest.write(found))
        self._manifest(namespace).write_text(yaml.dump_all(found, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper)))
        settings = {
            "mesh_kubeconfig": str(self.kubeconfig),
            "bench_namespace": namespace,
            "bench_objects": str(self._objects(namespace)),
            "bench_manifest": str(self._manifest(namespace)),
        }
        inventory.write(self._inventory(namespace), {MESH: {}}, **settings)

    def _objects(self, namespace: str) -> Path:
        return self.folder / f"{namespace}.txt"

    def _manifest(self, namespace: str) -> Path:
        return self.folder / f"{namespace}.yml"

    def _inventory(self, namespace: str) -> Path:
        return self.folder / f"{namespace}-hosts.json"

    # The ways

    def collection(self, namespace: str) -> Times:
        done = play("apply_collection", self._inventory(namespace))
        return {"whole": done.whole.seconds, "task": done.seconds_of("multimesh.istio.applyset")}

    def kubernetes_core(self, namespace: str) -> Times:
        done = play("apply_kubernetes_core", self._inventory(namespace))
        return {"whole": done.whole.seconds, "task": done.seconds_of("kubernetes.core.k8s")}

    def kubectl(self, namespace: str) -> Times:
        manifest = str(self._manifest(namespace))
        where = f"--kubeconfig={self.kubeconfig}"  # the last one counts
        seconds = take(self.lab.kubectl_command(MESH, where, "apply", "--server-side", "-f", manifest)).seconds
        return {"whole": seconds, "task": seconds, "work": seconds}

    def patches(self, namespace: str) -> Times:
        found = manifest.read(self._objects(namespace).read_text())
        return {"work": patches.apply(self.kubeconfig, found, CONNECTIONS)}

    def module(self, namespace: str) -> Times:
        """The module's own work in this process: from options to result, connecting included."""
        begin = time.monotonic()
        self.run_module(namespace)
        return {"work": time.monotonic() - begin}

    def run_module(self, namespace: str) -> dict[str, Any]:
        options = {name: spec.get("default") for name, spec in applyset.ARGUMENT_SPEC.items()}
        text = self._objects(namespace).read_text()
        options |= {"name": "bench", "namespace": namespace, "manifest": text, "kubeconfig": str(self.kubeconfig)}
        return applyset.run(Task(options))

    def counted(self, namespace: str) -> dict[str, int]:
        """What the API server was asked in a run of the module, as its audit log has it."""
        audit = Audit(Path(self.lab.audit_log(MESH)))
        self.run_module(namespace)
        verbs = [request.partition(" ")[0] for request in audit.requests()]
        writes, lists = (sum(verb in some for verb in verbs) for some in (WRITES, LISTS))
        return {"reads": len(verbs) - writes - lists, "lists": lists, "writes": writes}


def measure() -> dict[str, Any]:
    """Everything, on a fresh API server."""
    lab = Lab("bench")
    lab.up([MESH], api_only=True)
    try:
        lab.install_istio_definitions(MESH)
        near = Path(lab.kubeconfig(MESH))
        with tempfile.TemporaryDirectory() as folder, farther(near, ROUND_TRIP) as far:
            bench = Bench(lab, Path(folder), near)
            times = {
                "": _times(bench, "near"),
                f", {ROUND_TRIP} ms away": _times(Bench(lab, Path(folder), far), "far"),
            }
            return {"objects": COUNT, "times": times, "requests": _requests(bench)}
    finally:
        lab.down()


def _times(bench: Bench, where: str) -> dict[str, dict[str, Times]]:
    ways: dict[str, Callable[[str], Times]] = {
        "bare PATCHes": bench.patches,
        "module": bench.module,
        "collection": bench.collection,
        "kubectl": bench.kubectl,
        "kubernetes.core": bench.kubernetes_core,
    }
    best: dict[str, dict[str, Times]] = {name: {"first": {}, "unchanged": {}} for name in ways}
    for number in range(ROUNDS):
        for name, way in ways.items():
            namespace = f"{name.lower().replace(' ', '-').replace('.', '-')}-{where}-{number}"
            bench.lab.kubectl(MESH, "create", "namespace", namespace)
            bench.write(namespace)
            for occasion in ("first", "unchanged"):
                taken = way(namespace)
                shown = {key: round(value, 2) for key, value in taken.items()}
                print(f"  {where}: {name}, {occasion}: {shown}", flush=True)
                least = best[name][occasion]
                for key, seconds in taken.items():
                    least[key] = min(seconds, least.get(key, seconds))
    bench.write("nothing")
    start = min(play("apply_nothing", bench.folder / "nothing-hosts.json").whole.seconds for _round in range(ROUNDS))
    return {**best, "an empty playbook": {"first": {"whole": start}, "unchanged": {"whole": start}}}


def _requests(bench: Bench) -> dict[str, dict[str, int]]:
    """By occasion: what the API server was asked."""
    found: dict[str, dict[str, int]] = {}
    for count in (10, COUNT):
        namespace = f"counted-{count}"
        bench.lab.kubectl(MESH, "create", "namespace", namespace)
        for occasion, timeout in (("first", "10s"), ("unchanged", "10s"), ("one changed", "9s")):
            bench.write(namespace, count, timeout)
            counted = found[f"{count} objects, {occasion}"] = bench.counted(namespace)
            print(f"  {count} objects, {occasion}: {counted}", flush=True)
    return found
