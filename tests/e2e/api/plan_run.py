# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A federation of API servers without nodes, and the playbooks that plan it and carry it out."""

from __future__ import annotations

import copy
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.api.cluster import ApiCluster
from tests.e2e.api.proxy import ApiProxy
from tests.e2e.support import Run
from tests.lab.api import Lab

MESHES = ("east", "west", "north")
KINDS = "serviceentries,destinationrules,virtualservices,gateways,authorizationpolicies,configmaps"
MEMBERS = "applyset.kubernetes.io/part-of"


def export(service: str, *consumers: Any) -> dict[str, Any]:
    """An export that says everything, since there is no Service and no pod."""
    return {
        "service": service,
        "namespace": "shop",
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "service_accounts": [service],
        "selector": {"app": service},
        "consumers": list(consumers),
    }


def hosts(*meshes: str) -> dict[str, dict[str, Any]]:
    """Every mesh offers one service to all."""
    return {
        mesh: {
            "mesh_gateway_addresses": [f"192.0.2.{MESHES.index(mesh) + 1}"],
            "mesh_exports": [export("reviews", "all")],
        }
        for mesh in meshes or MESHES
    }


class PlanRun:
    """Clusters, and playbooks that reach them through the proxy."""

    def __init__(self, lab: Lab, proxy: ApiProxy, folder: Path) -> None:
        self.proxy = proxy
        self.folder = folder
        self.clusters = {mesh: ApiCluster(lab, mesh) for mesh in MESHES}
        self.federate = folder / "playbooks" / "federate.yml"
        self.federate.parent.mkdir()
        defaults = {"group/multimesh.istio.all": {"request_timeout": "{{ patience | default(30) }}"}}
        play = {"name": "Federate", "hosts": "meshes", "gather_facts": False, "module_defaults": defaults}
        self.federate.write_text(yaml.safe_dump([{**play, "roles": ["multimesh.istio.federation"]}]))

    def write_inventory(self, found: Mapping[str, Mapping[str, Any]]) -> None:
        entries = copy.deepcopy({host: dict(values) for host, values in found.items()})
        for host, values in entries.items():
            values["mesh_kubeconfig"] = str(self.proxy.kubeconfig(host))
        settings = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        groups = {"meshes": {"hosts": entries, "vars": settings}}
        (self.folder / "hosts.yml").write_text(yaml.safe_dump(groups, sort_keys=False))

    def play(self, playbook: str | Path, *arguments: str) -> Run:
        """Run a playbook to its end. The proxy's plan stays as it is."""
        begin = time.monotonic()
        done = subprocess.run(
            ["ansible-playbook", "-i", "hosts.yml", str(playbook), *arguments],
            cwd=self.folder,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "COLUMNS": "200"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        run = Run(done.stdout, done.returncode, time.monotonic() - begin)
        print(f"{' '.join([str(playbook), *arguments])}: {run.seconds:.1f} s, exit code {run.returncode}\n{run.output}")
        return run

    def members(self, mesh: str) -> dict[str, str]:
        """Members of the set and its parent: ``Kind namespace/name`` to resourceVersion."""
        items = yaml.safe_load(self.clusters[mesh].kubectl("get", KINDS, "-A", "-o", "json"))["items"]
        found = {}
        for item in items:
            metadata = item["metadata"]
            if MEMBERS in metadata.get("labels", {}) or metadata["name"] == "multimesh-federation":
                found[f"{item['kind']} {metadata['namespace']}/{metadata['name']}"] = metadata["resourceVersion"]
        return found

    def everything(self) -> dict[str, dict[str, str]]:
        with ThreadPoolExecutor() as pool:
            return dict(zip(MESHES, pool.map(self.members, MESHES), strict=True))

    def writes(self) -> list[str]:
        """What was asked through the proxy that writes, since it began anew."""
        return [str(request) for request in self.proxy.requests if request.method != "GET"]


@contextmanager
def plan_run(folder: Path) -> Iterator[PlanRun]:
    """Three fresh API servers with Istio's definitions, behind a proxy."""
    lab = Lab(os.environ.get("MULTIMESH_PLAN_LAB", "plan-test"))
    lab.down()
    try:
        lab.up(MESHES, api_only=True)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lab.install_istio_definitions, MESHES))
        with ApiProxy({mesh: lab.kubeconfig(mesh) for mesh in MESHES}, folder / "proxy") as proxy:
            clusters = PlanRun(lab, proxy, folder)
            for cluster in clusters.clusters.values():
                for namespace in ("istio-system", "shop"):
                    cluster.make_namespace(namespace)
            yield clusters
    finally:
        lab.down()
