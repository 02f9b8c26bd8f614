# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Computing what every mesh must hold, against a Jinja template that renders the same kinds of objects.

No cluster has a part in it. Both ways have each mesh's objects as data in a task of that mesh, ready to be applied.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tests.bench import inventory
from tests.bench.ansible import play
from tests.bench.inventory import Size

SIZE = Size(
    int(os.environ.get("MULTIMESH_BENCH_MESHES", "100")), int(os.environ.get("MULTIMESH_BENCH_EXPORTS", "50")), 5
)
PLAYBOOKS = {"collection": "compute_collection", "template": "compute_template", "nothing": "compute_nothing"}
REPEATS = 3

# A process of its own for each run. Memory is counted in another run, because counting takes its time.
CORE = """
import gc, json, sys, time, tracemalloc
from ansible_collections.multimesh.istio.plugins.module_utils.federation import compute
from ansible_collections.multimesh.istio.plugins.module_utils.model.inventory import parse
from tests.bench.inventory import Size, raw
inventory = raw(Size(*map(int, sys.argv[1:4])))
gc.disable()  # as in the process that computes for a run
if sys.argv[4] == "memory":
    tracemalloc.start()
begin = time.process_time()
model = parse(inventory)
parsed = time.process_time()
count = sum(len(compute.federation(model, host)) for host in model.clusters)
end = time.process_time()
found = {"parse": parsed - begin, "federate": end - parsed, "objects": count}
print(json.dumps(found | {"memory": tracemalloc.get_traced_memory()[1]}))
"""


def core(size: Size) -> dict[str, float]:
    """The pure computation of all meshes: the best of some runs."""

    def run(what: str) -> dict[str, float]:
        command = [sys.executable, "-c", CORE, *map(str, (size.meshes, size.exports, size.consumers)), what]
        found: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        return found

    best = min((run("time") for _round in range(REPEATS)), key=lambda found: found["parse"] + found["federate"])
    best["memory"] = run("memory")["memory"]
    best["seconds"] = best["parse"] + best["federate"]
    print(f"  pure computation, {size}: {best['seconds']:.2f} s for {size.edges} edges", flush=True)
    return best


def measure() -> dict[str, Any]:
    """Everything, at the full size; growth at the half and the double of it."""
    half, double = replace(SIZE, meshes=SIZE.meshes // 2), replace(SIZE, meshes=SIZE.meshes * 2)
    denser = replace(SIZE, consumers=SIZE.consumers * 2)
    sizes = {"half the meshes": half, "full": SIZE, "twice the meshes": double, "twice the consumers": denser}
    found = {name: {"edges": size.edges, "size": str(size), **core(size)} for name, size in sizes.items()}
    with tempfile.TemporaryDirectory() as folder:
        hosts = inventory.write(Path(folder, "hosts.json"), inventory.hosts(SIZE), bench_least=SIZE.exports)
        runs = {}
        for name, playbook in PLAYBOOKS.items():
            whole = play(playbook, hosts).whole
            runs[name] = {"seconds": whole.seconds, "processor": whole.processor}
            print(f"  {playbook}: {whole.seconds:.1f} s, {whole.processor:.1f} s of processor", flush=True)
    return {"size": asdict(SIZE), "edges": SIZE.edges, "core": found, "playbooks": runs}
