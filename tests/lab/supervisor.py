# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Process 1 of a cluster: prepares its namespaces, runs its programs, takes orders on a socket.

All processes and mounts of the cluster, containers included, end with this process: the kernel sees to that.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import selectors
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.lab import loadbalancer
from tests.lab.components import Program
from tests.lab.errors import LabError
from tests.lab.kubeapi import KubeApi
from tests.lab.network import NODE_INTERFACE
from tests.lab.process import hierarchies, run

SOCKET = "control.sock"
SPEC = "node.json"
LOGS = "log"
_TICK_SECONDS = 0.1
_RESTART_SECONDS = 1.0
_TERMINATE_SECONDS = 3.0
_KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""What the kubelet would set for the whole machine; it finds these values in files of its own instead."""


class _Daemon:
    """One program, running or not."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.wanted = True
        self.process: subprocess.Popen[bytes] | None = None
        self.ready = False
        self.not_before = 0.0
        self.kill_at = 0.0
        self.starts = 0

    def status(self) -> dict[str, Any]:
        pid = self.process.pid if self.process else None
        return {"wanted": self.wanted, "pid": pid, "ready": self.ready, "starts": self.starts}


class Supervisor:
    """Runs the cluster whose description lies in `folder`; see `cluster.spec` for its form."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spec = json.loads((folder / SPEC).read_text())
        programs = [Program(**{**program, "argv": tuple(program["argv"])}) for program in self._spec["programs"]]
        self._daemons = {program.name: _Daemon(program) for program in programs}
        self._attached = False
        self._tls = ssl.create_default_context(cafile=str(folder / "pki" / "ca.crt"))

    def run(self) -> None:
        """Never returns."""
        _isolate(self._folder)
        listener = _listen(self._folder / SOCKET)
        selector = selectors.DefaultSelector()
        selector.register(listener, selectors.EVENT_READ)
        while True:
            self._reap()
            if not self._attached:
                self._attached = _configure_network(self._spec["address"], self._spec["prefix"])
                if self._attached and self._spec["load_balancer"]:
                    self._start_load_balancer()
            if self._attached:
                for daemon in self._daemons.values():
                    self._drive(daemon)
            if selector.select(_TICK_SECONDS):
                connection, _peer = listener.accept()
                with connection, contextlib.suppress(OSError, ValueError, KeyError):
                    connection.settimeout(1.0)
                    self._obey(connection)

    def _start_load_balancer(self) -> None:
        api = KubeApi(self._spec["address"], self._folder / "pki", "load-balancer")
        threading.Thread(target=loadbalancer.run, args=(api, self._spec["address"]), daemon=True).start()

    def _drive(self, daemon: _Daemon) -> None:
        if daemon.process:
            if not daemon.wanted and time.monotonic() > daemon.kill_at:
                os.kill(daemon.process.pid, signal.SIGKILL)
            elif not daemon.ready:
                daemon.ready = self._answers(daemon.program.ready)
        elif daemon.wanted and time.monotonic() >= daemon.not_before and self._may_start(daemon.program):
            self._start(daemon)

    def _may_start(self, program: Program) -> bool:
        return all(self._daemons[name].ready for name in program.after)

    def _start(self, daemon: _Daemon) -> None:
        with (self._folder / LOGS / f"{daemon.program.name}.log").open("ab") as log:
            daemon.process = subprocess.Popen(
                daemon.program.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        daemon.starts += 1

    def _reap(self) -> None:
        """Collects whatever ended: programs, and orphans of containers, whose parent is process 1."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for daemon in self._daemons.values():
                if daemon.process and daemon.process.pid == pid:
                    daemon.process.returncode = os.waitstatus_to_exitcode(status)
                    print(f"{daemon.program.name} ended: {daemon.process.returncode}", file=sys.stderr, flush=True)
                    daemon.process = None
                    daemon.ready = False
                    daemon.not_before = time.monotonic() + _RESTART_SECONDS

    def _answers(self, ready: str) -> bool:
        if not ready:
            return True
        url = urlsplit(ready)
        try:
            if url.scheme == "unix":
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(1.0)
                    client.connect(url.path)
                return True
            connection: http.client.HTTPConnection
            if url.scheme == "https":
                connection = http.client.HTTPSConnection(url.netloc, timeout=1.0, context=self._tls)
            else:
                connection = http.client.HTTPConnection(url.netloc, timeout=1.0)
            with contextlib.closing(connection):
                connection.request("GET", url.path)
                return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False

    def _obey(self, connection: socket.socket) -> None:
        with connection.makefile("rw") as stream:
            order = json.loads(stream.readline())
            if order["order"] in ("start", "stop"):
                daemon = self._daemons[order["program"]]
                daemon.wanted = order["order"] == "start"
                daemon.not_before = 0.0
                if not daemon.wanted and daemon.process:
                    daemon.kill_at = time.monotonic() + _TERMINATE_SECONDS
                    os.kill(daemon.process.pid, signal.SIGTERM)
            programs = {name: daemon.status() for name, daemon in self._daemons.items()}
            stream.write(json.dumps({"attached": self._attached, "programs": programs}) + "\n")


class Remote:
    """The caller's end of a supervisor's socket."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / SOCKET

    def pid(self) -> int | None:
        """Process 1 of the cluster as the caller numbers it; None if it does not run. The kernel vouches for it."""
        with contextlib.suppress(OSError), self._connect() as client:
            credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            return int(struct.unpack("3i", credentials)[0])
        return None

    def order(self, order: str, program: str = "") -> dict[str, Any]:
        """Sends an order (status, start, stop) and returns the state: ``{attached, programs: {name: {...}}}``.

        Raises:
            LabError: The cluster does not run.
        """
        try:
            with self._connect() as client, client.makefile("rw") as stream:
                stream.write(json.dumps({"order": order, "program": program}) + "\n")
                stream.flush()
                answer: dict[str, Any] = json.loads(stream.readline())
                return answer
        except (OSError, ValueError) as error:
            raise LabError(f"{self._path.parent.name} does not run ({error}): `up` starts it") from error

    def _connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(5.0)
        try:
            client.connect(str(self._path))
        except OSError:
            client.close()
            raise
        return client


def _isolate(folder: Path) -> None:
    """Gives the cluster file systems of its own wherever the host's would tell of the host or keep traces."""
    groups = hierarchies()
    _forget_namespaces()
    run("mount", "-t", "proc", "proc", "/proc")
    run("umount", "--recursive", "--lazy", "/sys")
    run("mount", "-t", "sysfs", "sysfs", "/sys")
    _mount_cgroups(groups)
    run("mount", "-t", "tmpfs", "-o", "mode=755", "run", "/run")
    own = Path("/run/own")
    own.mkdir()
    run("mount", "--bind", folder, own)
    # Container runtimes and the kubelet also write to places that no option changes.
    for place in ("lib", "log"):
        upper, work = Path(f"/run/var-{place}"), Path(f"/run/var-{place}.work")
        upper.mkdir()
        work.mkdir()
        layers = f"lowerdir=/var/{place},upperdir={upper},workdir={work}"
        run("mount", "-t", "overlay", "-o", layers, f"var-{place}", f"/var/{place}")
    run("mount", "--bind", own, folder)
    run("umount", own)
    for name, value in _KERNEL_SETTINGS.items():
        if Path("/proc/sys", name).exists():
            own_file = Path("/run", name.replace("/", "."))
            own_file.write_text(value + "\n")
            run("mount", "--bind", own_file, Path("/proc/sys", name))
    # Kubernetes refuses volumes that follow the host's mounts unless there is a peer to follow.
    run("mount", "--make-rshared", "/")


def _forget_namespaces() -> None:
    """Detaches mounted namespaces: held here, those of other labs would outlive them."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _separator, after = line.partition(" - ")
        if after.split()[0] == "nsfs":
            run("umount", "--lazy", before.split()[4])


def _mount_cgroups(groups: list[Path]) -> None:
    """Mounts the cgroup hierarchies again, which shows their part below this cluster's own cgroup only."""
    root = Path("/sys/fs/cgroup")
    if groups == [root]:
        run("mount", "-t", "cgroup2", "cgroup2", root)
        return
    run("mount", "-t", "tmpfs", "-o", "mode=755", "cgroup", root)
    for group in groups:
        (root / group.name).mkdir()
        for controller in group.name.split(","):
            if controller != group.name:
                (root / controller).symlink_to(group.name)
        if group.name == "unified":
            run("mount", "-t", "cgroup2", "cgroup2", root / group.name)
        else:
            controllers = "none,name=systemd" if group.name == "systemd" else group.name
            run("mount", "-t", "cgroup", "-o", controllers, "cgroup", root / group.name)


def _configure_network(address: str, prefix: int) -> bool:
    """Configures the cable once it is plugged in; False until then."""
    if not Path("/sys/class/net", NODE_INTERFACE).exists():
        return False
    run("ip", "link", "set", "lo", "up")
    run("ip", "address", "add", f"{address}/{prefix}", "dev", NODE_INTERFACE)
    run("ip", "link", "set", NODE_INTERFACE, "up")
    # Services' addresses must have a route to be looked up before kube-proxy rewrites them; it leads nowhere.
    run("ip", "link", "add", "nowhere", "type", "bridge")
    run("ip", "link", "set", "nowhere", "up")
    run("ip", "route", "add", "default", "dev", "nowhere", "src", address)
    settings = Path("/proc/sys/net")
    (settings / "ipv4/ip_forward").write_text("1\n")
    # Answers of a pod to another pod behind one Service must pass the packet filter to be rewritten back.
    with contextlib.suppress(FileNotFoundError):
        (settings / "bridge/bridge-nf-call-iptables").write_text("1\n")
    return True


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    path.unlink(missing_ok=True)
    listener.bind(str(path))
    listener.listen(16)
    return listener


def main() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Supervisor(Path(sys.argv[1])).run()


if __name__ == "__main__":
    main()
