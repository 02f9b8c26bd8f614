# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The whole federation planned and applied on more and more clusters, each an API server and etcd.

Every mesh exports to five others, so the work grows with the number of meshes and not with its square.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from tests.bench import inventory, machine
from tests.bench.ansible import play
from tests.bench.inventory import Size
from tests.bench.site import make_services, settings
from tests.lab.api import Lab

COUNTS = tuple(map(int, os.environ.get("MULTIMESH_BENCH_CLUSTERS", "6,12,24").split(",")))
EXPORTS = 10
CONSUMERS = 5
FORKS = 10
OCCASIONS = {"plan": ["--check"], "first": [], "unchanged": []}


def measure() -> dict[str, Any]:
    """A lab that grows; every number of clusters is federated anew, with what the fewer have already."""
    lab = Lab("bench")
    found: dict[str, Any] = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            for count in COUNTS:
                found[str(count)] = _measure(lab, Path(folder), count)
    finally:
        lab.down()
    return {"exports": EXPORTS, "consumers": CONSUMERS, "forks": FORKS, "clusters": found}


def _measure(lab: Lab, folder: Path, count: int) -> dict[str, Any]:
    meshes = inventory.names(count)
    there, before = set(lab.meshes), machine.available()
    lab.up(meshes, api_only=True)
    for mesh in (mesh for mesh in meshes if mesh not in there):
        lab.install_istio_definitions(mesh)
    hosts = inventory.hosts(Size(count, EXPORTS, CONSUMERS))
    make_services(lab, hosts)
    path = inventory.write(folder / f"hosts-{count}.json", hosts, **settings(lab, folder))
    taken: dict[str, Any] = {"server": (before - machine.available()) // (count - len(there))}
    for occasion, options in OCCASIONS.items():
        run = play("federate", path, *options, forks=FORKS)
        taken[occasion] = {"seconds": run.whole.seconds, "processor": run.whole.processor, "memory": run.whole.memory}
        print(f"  {count} clusters, {occasion}: {run.whole.seconds:.1f} s", flush=True)
    return taken
