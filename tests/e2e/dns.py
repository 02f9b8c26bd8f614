# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Questions to the DNS of a cluster as a pod asks them: in its network namespace, where a sidecar may capture them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.e2e.support import Federation
from tests.lab import manifests
from tests.lab.components import CLUSTER_DNS

NXDOMAIN, NOERROR = 3, 0

# Root is no user whose packets a sidecar lets pass, so these are captured as the application's are.
_ASK = """
import ctypes, glob, json, os, socket, struct, sys
container, server, names = sys.argv[1], sys.argv[2], sys.argv[3:]
[pid, *_others] = [path.split("/")[2] for path in glob.glob("/proc/[0-9]*/cgroup") if container in open(path).read()]
libc = ctypes.CDLL(None, use_errno=True)
if libc.setns(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY), 0):
    raise OSError(ctypes.get_errno(), "setns")
answers = {}
for name in names:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = labels + b"\\0" + struct.pack(">HH", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + question, (server, 53))
        answer = client.recv(4096)
    (count,) = struct.unpack(">H", answer[6:8])
    address = socket.inet_ntoa(answer[-4:]) if count else None
    answers[name] = [answer[3] & 15, address]
print(json.dumps(answers))
"""


@dataclass(frozen=True)
class Answer:
    """code: of the answer (RFC 1035 section 4.1.1). address: IPv4, None without one."""

    code: int
    address: str | None


def ask(federation: Federation, mesh: str, namespace: str, name: str, *hosts: str) -> dict[str, Answer]:
    """What the pod of a Deployment is told for these names, without any search list."""
    selector = ["-n", namespace, "-l", f"app={name}"]
    [pod] = federation.kubectl_json(mesh, "get", "pods", *selector)["items"]
    [status] = [status for status in pod["status"]["containerStatuses"] if status["name"] == name]
    container = status["containerID"].rpartition("/")[2]
    run = federation.lab.exec_in_node(mesh, ["python3", "-c", _ASK, container, CLUSTER_DNS, *hosts])
    assert run.returncode == 0, run.stderr
    return {host: Answer(code, address) for host, (code, address) in json.loads(run.stdout).items()}


def uncaptured(namespace: str, name: str) -> list[dict[str, Any]]:
    """A client whose sidecar does not answer for DNS."""
    account, deployment = manifests.curl(namespace, name)
    metadata = json.dumps({"proxyMetadata": {"ISTIO_META_DNS_CAPTURE": "false"}})
    deployment["spec"]["template"]["metadata"]["annotations"] = {"proxy.istio.io/config": metadata}
    return [account, deployment]


def corefile(federation: Federation, mesh: str) -> str:
    """The Corefile of a cluster."""
    found = federation.kubectl_json(mesh, "get", "configmap", "-n", "kube-system", "coredns")
    return str(found["data"]["Corefile"])
