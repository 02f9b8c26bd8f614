# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""``make bench``: applying Istio objects, each way a whole process, on one API server in the same run.

Prints seconds and, as the figure that means something on another machine, the ratio to this collection.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.lab.api import Lab

COUNT = int(os.environ.get("MULTIMESH_BENCH_OBJECTS", "1000"))
NAMESPACE = "istio-system"


def objects() -> list[dict[str, Any]]:
    """ServiceEntries and DestinationRules as a federation has them, half of each."""
    found: list[dict[str, Any]] = []
    for index in range(COUNT // 2):
        host = f"service-{index}.shop.svc.east.global"
        metadata = {"name": host, "namespace": NAMESPACE}
        endpoint = {"address": "203.0.113.1", "ports": {"http": 15443}, "network": "east"}
        entry = {
            "hosts": [host],
            "location": "MESH_INTERNAL",
            "resolution": "STATIC",
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "endpoints": [endpoint],
            "subjectAltNames": ["spiffe://east.mesh/ns/shop/sa/service"],
        }
        tls = {"mode": "ISTIO_MUTUAL", "sni": f"outbound_.80_._.service-{index}.shop.svc.cluster.local"}
        rule = {"host": host, "trafficPolicy": {"tls": tls}}
        for kind, spec in (("ServiceEntry", entry), ("DestinationRule", rule)):
            found.append(
                {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": dict(metadata), "spec": spec}
            )
    return found


def play(folder: Path, task: dict[str, Any]) -> list[str]:
    """A playbook with this one task, as a command."""
    book = folder / f"{next(iter(task)).rpartition('.')[2]}.yml"
    plays = [{"hosts": "localhost", "gather_facts": False, "connection": "local", "tasks": [task]}]
    book.write_text(yaml.safe_dump(plays))
    return [
        "ansible-playbook",
        "-i",
        "localhost,",
        "-e",
        "ansible_python_interpreter={{ ansible_playbook_python }}",
        str(book),
    ]


def seconds(command: list[str]) -> float:
    """How long a command takes; it has to succeed."""
    begin = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-3000:]}")
    return time.monotonic() - begin


def main() -> None:
    """Measure and print."""
    lab = Lab("bench")
    lab.up(["bench"], api_only=True)
    try:
        measure(lab)
    finally:
        lab.down()


def measure(lab: Lab) -> None:
    """All ways on fresh objects, first and again."""
    kubeconfig = str(lab.kubeconfig("bench"))
    lab.kubectl("bench", "create", "namespace", NAMESPACE)
    lab.install_istio_definitions("bench")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = folder / "objects.yml"
        manifest.write_text(yaml.safe_dump_all(objects()))
        server_side = {"src": str(manifest), "kubeconfig": kubeconfig, "apply": True}
        field_manager = {"server_side_apply": {"field_manager": "bench"}}
        ways: dict[str, Callable[[], list[str]]] = {
            "multimesh.istio.applyset": lambda: play(
                folder,
                {"multimesh.istio.applyset": {"name": "bench", "kubeconfig": kubeconfig, "objects": objects()}},
            ),
            "kubectl apply --server-side": lambda: lab.kubectl_command(
                "bench", "apply", "--server-side", "-f", str(manifest)
            ),
            "kubernetes.core.k8s": lambda: play(folder, {"kubernetes.core.k8s": server_side | field_manager}),
        }
        results = {}
        for way, command in ways.items():
            lab.kubectl("bench", "delete", "serviceentries,destinationrules", "-n", NAMESPACE, "--all", timeout=300)
            line = command()
            results[way] = (seconds(line), seconds(line))
            print(f"{way}: {results[way][0]:.1f} s, again {results[way][1]:.1f} s", flush=True)

    ours = results["multimesh.istio.applyset"]
    print(f"\n{COUNT} objects, whole processes\n")
    print("| way | first run | ratio | unchanged run | ratio |\n|---|---|---|---|---|")
    for way, (first, again) in results.items():
        print(f"| {way} | {first:.1f} s | {first / ours[0]:.1f} | {again:.1f} s | {again / ours[1]:.1f} |")


if __name__ == "__main__":
    main()
