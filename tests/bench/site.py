# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Playbook ``site`` when nothing has changed, against a playbook of kubernetes.core tasks that does the same.

The clusters are API servers alone; ``standin`` does what Helm waits for. Neither playbook writes anything while it is
measured, so both only find out that there is nothing to do.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.bench import inventory
from tests.bench.ansible import Play, play
from tests.bench.inventory import Size
from tests.bench.standin import controllers
from tests.lab import manifests
from tests.lab.api import Lab

COUNTS = tuple(map(int, os.environ.get("MULTIMESH_BENCH_SITES", "2,4,8").split(",")))
EXPORTS = 10
ROUNDS = int(os.environ.get("MULTIMESH_BENCH_ROUNDS", "2"))
WORKING = ("multimesh.istio.", "kubernetes.core.")
"""What tasks of these collections take is work, whatever else is Ansible's."""


def make_services(lab: Lab, found: dict[str, Any]) -> None:
    """What the meshes export, and the namespaces for it."""
    for mesh, variables in found.items():
        exports = variables["mesh_exports"]
        namespaces = {export["namespace"] for export in exports} | {"istio-system"}
        lab.apply(mesh, [manifests.namespace(name) for name in sorted(namespaces)])
        lab.apply(mesh, [_service(export) for export in exports])


def _service(export: dict[str, Any]) -> dict[str, Any]:
    ports = [{"name": port["name"], "port": port["number"]} for port in export["ports"]]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": export["service"], "namespace": export["namespace"]},
        "spec": {"selector": {"app": export["service"]}, "ports": ports},
    }


def settings(lab: Lab, folder: Path) -> dict[str, Any]:
    """Variables of group meshes."""
    state = json.loads((Path(lab.place.published) / "state.json").read_text())
    return {
        "mesh_kubeconfig": f"{lab.place.published}/{{{{ inventory_hostname }}}}.kubeconfig",
        "multimesh_chart_source": state["charts"],
        "multimesh_helm_binary": state["binaries"]["helm"],
        "shared_root_ca_directory": str(folder / "ca"),
        "shared_root_ca_passphrase": "measurement-only",
        "control_plane_replicas": 1,
        "gateway_replicas": 1,
        "bench_cacerts": str(folder / "cacerts"),
        "bench_values": str(folder / "rendered"),
        "bench_domain": "playbook",
        "bench_gateway": "other",
    }


def measure() -> dict[str, Any]:
    """All numbers of meshes, on one lab."""
    lab = Lab("bench")
    meshes = inventory.names(max(COUNTS))
    lab.up(meshes, api_only=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            make_services(lab, inventory.hosts(Size(len(meshes), EXPORTS, len(meshes) - 1)))
            return {"exports": EXPORTS, "meshes": {str(count): _measure(lab, Path(folder), count) for count in COUNTS}}
    finally:
        lab.down()


def _measure(lab: Lab, folder: Path, count: int) -> dict[str, Any]:
    found = inventory.hosts(Size(count, EXPORTS, count - 1))
    hosts = inventory.write(folder / f"hosts-{count}.json", found, **settings(lab, folder))
    with controllers(lab, list(found)):  # nobody waits for them when nothing is changed
        first = play("multimesh.istio.site", hosts)
        print(f"  {count} meshes, site, first: {first.whole.seconds:.1f} s", flush=True)
        _write_files(lab, folder, hosts, list(found))
        play("site_kubernetes_core", hosts)
    best: dict[str, Any] = {}
    for _round in range(ROUNDS):
        for name, playbook in (("site", "multimesh.istio.site"), ("kubernetes.core", "site_kubernetes_core")):
            run = play(playbook, hosts)
            recap = [line for line in run.whole.output.rpartition("PLAY RECAP")[2].splitlines()[1:] if line.strip()]
            assert all("changed=0" in line for line in recap), recap
            taken = _summary(run)
            print(f"  {count} meshes, {name}, unchanged: {taken}", flush=True)
            if name not in best or taken["whole"] < best[name]["whole"]:
                best[name] = taken
    return {**best, "first": {"whole": first.whole.seconds}}


def _write_files(lab: Lab, folder: Path, hosts: Path, meshes: Sequence[str]) -> None:
    """What the playbook of kubernetes.core takes from files."""
    play("multimesh.istio.render", hosts, "-e", f"render_dir={folder / 'rendered'}")
    (folder / "cacerts").mkdir(exist_ok=True)
    for mesh in meshes:
        secret = json.loads(lab.kubectl(mesh, "get", "secret", "-n", "istio-system", "cacerts", "-o", "json"))
        path = folder / "cacerts" / f"{mesh}.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(secret["data"]))


def _summary(run: Play) -> dict[str, Any]:
    """Seconds: ``whole``, and in ``ansible`` those in which no task of a collection was at work on any host."""
    working = [(task["begin"], task["end"]) for task in run.tasks if task["module"].startswith(WORKING)]
    busy = sum(end - begin for begin, end in _merged(working))
    by_task: dict[str, float] = defaultdict(float)
    for task in run.tasks:
        by_task[task["task"]] += task["end"] - task["begin"]
    return {
        "whole": round(run.whole.seconds, 2),
        "ansible": round(run.whole.seconds - busy, 2),
        "tasks": len({task["task"] for task in run.tasks}),
        "slowest": {name: round(seconds, 2) for name, seconds in sorted(by_task.items(), key=lambda i: -i[1])[:8]},
    }


def _merged(spans: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    end = 0.0
    for begin, finish in sorted(spans):
        if finish > end:
            yield max(begin, end), finish
            end = finish
