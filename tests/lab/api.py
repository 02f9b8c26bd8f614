# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab as tests use it; the command line is a shell around it."""

from __future__ import annotations

import functools
import itertools
import json
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import yaml

from tests.lab import addresses, limits, network, packages, teardown
from tests.lab.build import Artifacts, ensure_built
from tests.lab.cluster import Cluster, locality_labels
from tests.lab.errors import LabError
from tests.lab.place import Mesh, Place, Record, all_records, check_name, machine_lock, write
from tests.lab.progress import step
from tests.lab.supervisor import LOGS

DEFAULT_NAME = "demo"


class Lab:
    """The lab `name` of this checkout, up or not. Labs of other names and other checkouts do not concern it.

    Every method raises `LabError` when the machine or the state of the lab does not allow what is asked.
    """

    def __init__(self, name: str = DEFAULT_NAME) -> None:
        self.place = Place.of(name)

    def up(
        self,
        meshes: Sequence[str],
        localities: Mapping[str, str] | None = None,
        *,
        api_only: bool = False,
        pod_cidrs: Mapping[str, str] | None = None,
    ) -> None:
        """Makes clusters named as `meshes` run, beside those the lab already has. Healthy ones are left alone.

        Args:
            meshes: Names, DNS labels.
            localities: ``region[/zone[/subzone]]`` by mesh; a mesh not named keeps what it had.
            api_only: Only etcd and an API server: no node, no pods. For a mesh's whole life.
            pod_cidrs: A /24 by mesh, `addresses.POD_CIDR` unless given; pods of different ranges reach each other.
        """
        packages.require_privileges()
        for what, given in (("locality", localities), ("pod range", pod_cidrs)):
            for mesh in given or {}:
                if mesh not in meshes:
                    raise LabError(f"{what} of {mesh!r}: it is not among the meshes to bring up: {', '.join(meshes)}")
        artifacts = self._artifacts
        with self.place.locked():
            self.place.published.mkdir(parents=True, exist_ok=True, mode=0o700)
            record = self._decide(meshes, localities or {}, api_only, pod_cidrs or {})
            network.ensure_switch(self.place, IPv4Network(record.subnet))
            clusters = [self._cluster(record, mesh) for mesh in dict.fromkeys(meshes)]
            with ThreadPoolExecutor(len(clusters)) as pool:
                starts = [pool.submit(_bring_up, cluster, artifacts) for cluster in clusters]
            self._route(record)
            self._publish(record, artifacts)
        problems = [str(error) for error in (start.exception() for start in starts) if error]
        if problems:
            raise LabError("\n".join(problems))

    def down(self) -> None:
        """Removes the lab. Raises `LabError` that names whatever is left."""
        packages.require_privileges()
        left = teardown.remove(self.place.id, self.place.published)
        if left:
            raise LabError("\n".join([f"left of lab {self.place.name}:", *left]))

    def leftovers(self) -> list[str]:
        """Everything on this machine that belongs to this lab, one line each."""
        return teardown.leftovers(self.place.id, published=self.place.published)

    @property
    def meshes(self) -> list[str]:
        """Names of the lab's clusters; none if it is down."""
        record = self.place.load()
        return list(record.meshes) if record else []

    def status(self) -> dict[str, dict[str, Any]]:
        """By mesh: what ``state.json`` says and ``healthy``, ``programs``."""
        found = {}
        for mesh in self.meshes:
            cluster = self.cluster(mesh)
            running = cluster.remote.pid() is not None
            programs = cluster.remote.order("status")["programs"] if running else {}
            found[mesh] = {**cluster.state(), "healthy": running and cluster.is_healthy(), "programs": programs}
        return found

    def cluster(self, mesh: str) -> Cluster:
        record = self.place.load()
        if not record or mesh not in record.meshes:
            known = ", ".join(record.meshes) if record else "none"
            raise LabError(f"lab {self.place.name} has no mesh {mesh!r} (it has: {known}): `up` makes one")
        return self._cluster(record, mesh)

    def kubeconfig(self, mesh: str | None = None) -> Path:
        """The kubeconfig of one mesh; without `mesh` the merged one, whose contexts are named as the meshes."""
        return self.place.kubeconfig(mesh) if mesh else self.place.published / "config"

    def node_address(self, mesh: str) -> str:
        """The address of the node, the API server and every Service of type LoadBalancer."""
        return self.cluster(mesh).settings.address

    def audit_log(self, mesh: str) -> Path:
        """The API server's audit log: a JSON event per line, written before the request is answered."""
        return self.cluster(mesh).audit_log

    def logs(self, mesh: str, program: str = "supervisor") -> Path:
        """The log file of one program of a cluster."""
        path = self.cluster(mesh).folder / LOGS / f"{program}.log"
        if not path.exists():
            known = ", ".join(sorted(file.stem for file in path.parent.glob("*.log")))
            raise LabError(f"{mesh} has no log of {program!r}; it has: {known}")
        return path

    def stop_api(self, mesh: str) -> None:
        """Stops the API server and waits for its end; pods go on."""
        self._order(mesh, "stop")

    def start_api(self, mesh: str) -> None:
        """Starts the API server again and waits until it is ready."""
        self._order(mesh, "start")
        self.cluster(mesh).wait_for_api()

    def kill(self, mesh: str) -> None:
        """Ends all processes of a cluster at once, pods included, like a power cut. Its data stay; see `restart`."""
        with self.place.locked():
            self.cluster(mesh).kill()

    def restart(self, mesh: str) -> None:
        """Starts a cluster again with the data it had, whether it runs or not, and waits until it is ready."""
        self.kill(mesh)
        self.up([mesh])

    def disconnect(self, mesh: str) -> None:
        """Cuts a cluster off from the host and from all other clusters; everything in it goes on."""
        network.set_link(self.place, self.node_address(mesh), up=False)

    def connect(self, mesh: str) -> None:
        """Undoes `disconnect`."""
        network.set_link(self.place, self.node_address(mesh), up=True)

    def exec_in_node(self, mesh: str, argv: Sequence[str], timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Runs a program of the host on the cluster's node: its network, mounts and processes. Output is captured."""
        pid = self.cluster(mesh).remote.pid()
        if pid is None:
            raise LabError(f"{mesh} does not run: `up` starts it")
        enter = ["nsenter", f"--target={pid}", "--net", "--mount", "--pid", "--"]
        return subprocess.run(
            [*enter, *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
        )

    def kubectl_command(self, mesh: str, *args: str) -> list[str]:
        """The command line of the lab's kubectl against a cluster, for whoever runs it in the background."""
        return [str(self._artifacts.bin["kubectl"]), f"--kubeconfig={self.kubeconfig(mesh)}", *args]

    def kubectl(self, mesh: str, *args: str, stdin: str | None = None, timeout: float = 120.0) -> str:
        """Runs the lab's kubectl against a cluster and returns what it printed; `LabError` if it fails."""
        done = subprocess.run(
            self.kubectl_command(mesh, *args),
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise LabError(f"{mesh}: kubectl {' '.join(args)}: exit code {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def apply(self, mesh: str, manifests: Iterable[Mapping[str, Any]]) -> None:
        """Server-side apply of manifests, in order; see `tests.lab.manifests`."""
        api = self.cluster(mesh).api()
        for manifest in manifests:
            api.apply(dict(manifest))

    def install_istio_definitions(self, mesh: str, timeout_seconds: float = 60.0) -> None:
        """Applies Istio's CustomResourceDefinitions, without Istio, and waits until they are served."""
        self.kubectl(mesh, "apply", "--server-side", "-f", str(self._artifacts.charts / "base/files/crd-all.gen.yaml"))
        end = time.monotonic() + timeout_seconds
        # `kubectl wait` gives up on a definition that has no conditions yet.
        while True:
            definitions = json.loads(self.kubectl(mesh, "get", "crd", "-o", "json"))["items"]
            waiting = [crd["metadata"]["name"] for crd in definitions if not _established(crd)]
            if not waiting:
                return
            if time.monotonic() > end:
                raise LabError(f"{mesh}: not served within {timeout_seconds:.0f} s: {', '.join(waiting)}")
            time.sleep(0.3)

    def wait_ready(self, mesh: str, namespaces: Iterable[str], timeout_seconds: int = 120) -> None:
        """Waits until every Deployment of these namespaces is available."""
        for namespace in namespaces:
            if self.kubectl(mesh, "get", "deployments", "-n", namespace, "-o", "name"):
                wait = ["wait", "--for=condition=Available", "deployment", "--all", f"--timeout={timeout_seconds}s"]
                self.kubectl(mesh, *wait, "-n", namespace, timeout=timeout_seconds + 10)

    @functools.cached_property
    def _artifacts(self) -> Artifacts:
        return ensure_built()

    def _order(self, mesh: str, order: str) -> None:
        cluster = self.cluster(mesh)
        cluster.remote.order(order, "kube-apiserver")
        if order == "stop":
            cluster.wait_until_stopped("kube-apiserver")

    def _cluster(self, record: Record, mesh: str) -> Cluster:
        return Cluster(self.place, mesh, record.meshes[mesh], IPv4Network(record.subnet))

    def _decide(
        self, meshes: Sequence[str], localities: Mapping[str, str], api_only: bool, pod_cidrs: Mapping[str, str]
    ) -> Record:
        """Reserves addresses for new meshes and writes that down before anything is made."""
        for mesh in meshes:
            check_name("mesh", mesh)
            locality_labels(localities.get(mesh, ""))
        with machine_lock():
            record = self.place.load()
            if not record:
                record = Record(self.place.name, str(self.place.checkout), str(network.free_subnet()))
            for mesh in meshes:
                old = record.meshes.get(mesh)
                if old and old.api_only != api_only:
                    kind = "an API server only" if old.api_only else "a whole cluster"
                    raise LabError(f"{mesh} is {kind}: run `down` first to change that")
                taken = [other.address for other in record.meshes.values()]
                address = old.address if old else str(addresses.mesh_address(IPv4Network(record.subnet), taken))
                record.meshes[mesh] = Mesh(
                    address,
                    pod_cidrs.get(mesh) or (old.pod_cidr if old else str(addresses.POD_CIDR)),
                    localities.get(mesh) or (old.locality if old else ""),
                    api_only,
                )
            self.place.save(record)
            limits.raise_for(sum(len(other.meshes) for other in all_records().values() if other))
        return record

    def _route(self, record: Record) -> None:
        """Lets pods reach those of clusters with other ranges; where ranges are the same, gateways are the only way."""
        for mesh, there in itertools.permutations(record.meshes, 2):
            other = record.meshes[there]
            cluster = self._cluster(record, mesh)
            pid = cluster.remote.pid()
            if pid and not other.api_only and other.pod_cidr != cluster.settings.pod_cidr:
                network.route(pid, other.pod_cidr, other.address)

    def _publish(self, record: Record, artifacts: Artifacts) -> None:
        """Writes what users read: the merged kubeconfig and ``state.json``."""
        configs = []
        for mesh in record.meshes:
            if self.place.kubeconfig(mesh).exists():
                configs.append(yaml.safe_load(self.place.kubeconfig(mesh).read_text()))
        write(self.place.published / "config", yaml.safe_dump(merge_kubeconfigs(configs), sort_keys=False))
        state = {
            "lab": record.name,
            "id": self.place.id,
            "subnet": record.subnet,
            "meshes": {mesh: self._cluster(record, mesh).state() for mesh in record.meshes},
            "charts": str(artifacts.charts),
            "binaries": {name: str(path) for name, path in sorted(artifacts.bin.items())},
        }
        write(self.place.published / "state.json", json.dumps(state, indent=2) + "\n")


def _established(definition: Mapping[str, Any]) -> bool:
    conditions = definition.get("status", {}).get("conditions") or []
    return any(condition["type"] == "Established" and condition["status"] == "True" for condition in conditions)


def merge_kubeconfigs(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One kubeconfig with the contexts of all; the first one's is current."""
    merged: dict[str, Any] = {"apiVersion": "v1", "kind": "Config"}
    for section in ("clusters", "users", "contexts"):
        merged[section] = [entry for config in configs for entry in config[section]]
    merged["current-context"] = configs[0]["current-context"] if configs else ""
    return merged


def _bring_up(cluster: Cluster, artifacts: Artifacts) -> None:
    if cluster.remote.pid() and cluster.is_healthy():
        if not cluster.settings.api_only:
            cluster.label_node()
        return
    with step(f"{cluster.mesh}: starting the API server", 8):
        cluster.start(artifacts)
        cluster.publish()
        cluster.wait_for_api()
    if not cluster.settings.api_only:
        with step(f"{cluster.mesh}: starting the node and its DNS", 12):
            cluster.wait_for_node()
