# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""One cluster of a lab: its files, its supervisor, and when it is ready."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from tests.lab import certificates, components, imagestore, manifests, network, process, versions
from tests.lab.build import Artifacts
from tests.lab.errors import LabError
from tests.lab.kubeapi import ApiError, KubeApi
from tests.lab.place import Mesh, Place, write
from tests.lab.supervisor import LOGS, SOCKET, SPEC, Remote

READY_SECONDS = 180.0
_SOCKET_SECONDS = 20.0
_POLL_SECONDS = 0.1
_REGION_LABELS = (
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.istio.io/subzone",
)


class Cluster:
    """The cluster `mesh` of the lab at `place`; nothing is done before a method is called."""

    def __init__(self, place: Place, mesh: str, settings: Mesh, subnet: IPv4Network) -> None:
        self.place = place
        self.mesh = mesh
        self.settings = settings
        self.subnet = subnet
        self.folder = place.mesh(mesh)
        self.cgroup = f"{place.cgroup}/{mesh}"
        self.remote = Remote(self.folder)
        self._since = 0.0  # when this object started the cluster; nothing older is true of it any more

    @property
    def audit_log(self) -> Path:
        return self.folder / components.AUDIT_LOG

    def api(self) -> KubeApi:
        return KubeApi(self.settings.address, self.folder / "pki", "admin")

    def start(self, artifacts: Artifacts) -> None:
        """Makes the cluster run as described; one that already does is left alone. Data of an earlier run are kept."""
        pki = self._ensure_pki()
        node = self._node(artifacts)
        spec = self._spec(node)
        written = self.folder / SPEC
        if self.remote.pid() and written.exists() and written.read_text() == spec:
            for program in json.loads(spec)["programs"]:
                self.remote.order("start", program["name"])
        else:
            self.kill()
            self._write_files(node, pki)
            if not self.settings.api_only:
                self._ensure_images(artifacts)
            self._launch(spec, artifacts)
        if not self.remote.order("status")["attached"]:
            network.attach(self.place, self.settings.address, self._supervisor_pid())

    def kill(self) -> None:
        """Ends every process of the cluster at once, as a power cut would. Its data stay."""
        process.kill(self.cgroup)
        (self.folder / SOCKET).unlink(missing_ok=True)

    def publish(self) -> None:
        """Writes the kubeconfig for users."""
        pki = {file.name: file.read_text() for file in (self.folder / "pki").iterdir()}
        server = f"https://{self.settings.address}:{components.API_PORT}"
        config = components.kubeconfig(self.mesh, server, pki)
        write(self.place.kubeconfig(self.mesh), json.dumps(config, indent=2) + "\n")

    def wait_for_api(self) -> None:
        api = self.api()
        self._wait("its API server is not ready", lambda: api.request("GET", "/readyz") == "ok")

    def wait_for_node(self) -> None:
        """Waits until the node and the cluster's DNS are ready; both come up at the same time."""
        api = self.api()
        for manifest in manifests.dns(versions.IMAGE_COREDNS):
            api.apply(manifest)
        self._wait("its node is not ready", lambda: self._node_ready(api))
        self.label_node()
        self._wait("its DNS is not ready", lambda: pods_ready(api.request("GET", "/api/v1/pods")["items"], self._since))

    def label_node(self) -> None:
        """Tells Kubernetes the locality, unless it knows."""
        api = self.api()
        node = f"/api/v1/nodes/{self.mesh}"
        wanted = locality_labels(self.settings.locality)
        labels = api.request("GET", node)["metadata"]["labels"]
        if any(labels.get(label) != value for label, value in wanted.items()):
            api.merge(node, {"metadata": {"labels": wanted}})

    def wait_until_stopped(self, program: str) -> None:
        """Waits for the end of a program that was ordered to stop."""
        self._wait(f"{program} does not stop", lambda: not self.remote.order("status")["programs"][program]["pid"])

    def is_healthy(self) -> bool:
        """Whether the API server answers and, unless there is none, the node is ready."""
        try:
            api = self.api()
            if api.request("GET", "/readyz") != "ok":
                return False
            if self.settings.api_only:
                return True
            return self._node_ready(api)
        except (ApiError, OSError, http.client.HTTPException):
            return False

    def state(self) -> dict[str, Any]:
        """What ``state.json`` says about this cluster."""
        return {
            **asdict(self.settings),
            "api_server": f"https://{self.settings.address}:{components.API_PORT}",
            "kubeconfig": str(self.place.kubeconfig(self.mesh)),
            "audit_log": str(self.audit_log),
            "logs": str(self.folder / LOGS),
        }

    def _node_ready(self, api: KubeApi) -> bool:
        conditions = api.request("GET", f"/api/v1/nodes/{self.mesh}")["status"].get("conditions", [])
        return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)

    def _node(self, artifacts: Artifacts) -> components.Node:
        return components.Node(
            mesh=self.mesh,
            address=self.settings.address,
            folder=self.folder,
            pod_cidr=self.settings.pod_cidr,
            bin=artifacts.bin,
            cni_plugins=artifacts.cni_plugins,
            pause_image=versions.IMAGE_PAUSE,
        )

    def _spec(self, node: components.Node) -> str:
        programs = components.api_programs(node)
        if not self.settings.api_only:
            programs += components.node_programs(node)
        spec = {
            "address": self.settings.address,
            "prefix": self.subnet.prefixlen,
            "load_balancer": not self.settings.api_only,
            "programs": [asdict(program) for program in programs],
        }
        return json.dumps(spec, indent=2) + "\n"

    def _ensure_pki(self) -> dict[str, str]:
        folder = self.folder / "pki"
        if not folder.exists():
            partial = self.folder / ".pki.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True, mode=0o700)
            for name, text in certificates.cluster_files(self.mesh, self.settings.address).items():
                write(partial / name, text)
            partial.rename(folder)
        return {file.name: file.read_text() for file in folder.iterdir()}

    def _write_files(self, node: components.Node, pki: dict[str, str]) -> None:
        for name, texts in (("config", components.files(node, pki)), ("cni", components.cni_files(node))):
            (self.folder / name).mkdir(exist_ok=True)
            for file, text in texts.items():
                write(self.folder / name / file, text)
        for name in ("etcd", LOGS):
            (self.folder / name).mkdir(exist_ok=True, mode=0o700)

    def _ensure_images(self, artifacts: Artifacts) -> None:
        """Gives containerd the images; again, without its containers, when they have changed."""
        root = self.folder / "containerd"
        source = self.folder / "images"
        if source.exists() and source.read_text() == str(artifacts.image_store):
            return
        source.unlink(missing_ok=True)
        shutil.rmtree(root, ignore_errors=True)
        imagestore.clone(artifacts.image_store, root)
        write(source, str(artifacts.image_store))

    def _launch(self, spec: str, artifacts: Artifacts) -> None:
        self._since = time.time()
        write(self.folder / SPEC, spec)
        cgroups = process.make_cgroups(self.cgroup)
        folders = dict.fromkeys(str(path.parent) for path in artifacts.bin.values())
        environment = {
            "PATH": ":".join([*folders, "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]),
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "PYTHONDONTWRITEBYTECODE": "1",
            process.MARK: self.place.id,
        }
        argv = [sys.executable, "-m", "tests.lab.supervisor", str(self.folder)]
        process.spawn_isolated(argv, cgroups, environment, self.folder / LOGS / "supervisor.log")
        deadline = time.monotonic() + _SOCKET_SECONDS
        while not self.remote.pid():
            if time.monotonic() > deadline:
                raise LabError(f"{self.mesh}: its supervisor did not start; {self._tail('supervisor')}")
            time.sleep(_POLL_SECONDS / 5)
        process.delegate(self.cgroup)

    def _supervisor_pid(self) -> int:
        pid = self.remote.pid()
        if pid is None:
            raise LabError(f"{self.mesh}: its supervisor ended; {self._tail('supervisor')}")
        return pid

    def _wait(self, trouble: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        reason = ""
        while True:
            try:
                if ready():
                    return
            except (ApiError, OSError, http.client.HTTPException) as error:
                reason = f" ({error})"
            if time.monotonic() > deadline or not self.remote.pid():
                raise LabError(
                    f"{self.mesh}: {trouble} after {READY_SECONDS:.0f} s{reason}; logs are in {self.folder / LOGS}"
                )
            time.sleep(_POLL_SECONDS)

    def _tail(self, program: str) -> str:
        with contextlib.suppress(OSError):
            lines = (self.folder / LOGS / f"{program}.log").read_text(errors="replace").splitlines()
            return f"its log ends with: {os.linesep.join(lines[-5:])}"
        return "it has no log"


def pods_ready(pods: Sequence[Mapping[str, Any]], since: float) -> bool:
    """Whether the cluster's DNS is ready and no container is said to run that was started before `since` (epoch).

    A cluster that starts again shows for a while what was true of its pods when it ended.
    """
    for pod in pods:
        for container in pod["status"].get("containerStatuses", []):
            started = container["state"].get("running", {}).get("startedAt")
            if started and datetime.datetime.fromisoformat(started).timestamp() < int(since):
                return False
    conditions = [
        condition
        for pod in pods
        if pod["metadata"].get("labels", {}).get("k8s-app") == "kube-dns"
        for condition in pod["status"].get("conditions", [])
    ]
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def locality_labels(locality: str) -> dict[str, str | None]:
    """Node labels for ``region[/zone[/subzone]]``; None removes a label.

    Raises:
        LabError: There are more than three parts, or one is empty.
    """
    parts = locality.split("/") if locality else []
    if len(parts) > len(_REGION_LABELS) or not all(parts):
        raise LabError(f"locality {locality!r}: expected region[/zone[/subzone]]")
    return {label: parts[index] if index < len(parts) else None for index, label in enumerate(_REGION_LABELS)}
