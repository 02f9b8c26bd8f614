# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The programs of one cluster: their arguments and configuration files. Pure: paths in, texts out."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.addresses import SERVICE_CIDR

API_PORT = 6443
CLUSTER_DOMAIN = "cluster.local"
CLUSTER_DNS = str(SERVICE_CIDR[10])
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
"""The usual path: every cluster has a /run of its own."""
AUDIT_LOG = "audit.log"
_ETCD = "http://127.0.0.1:2379"


@dataclass(frozen=True)
class Program:
    """One daemon of a cluster.

    `after` names programs that must be ready first. `ready` tells when this one is: ``unix:<path>`` or
    ``http://...`` answers, ``https://...`` answers 200 (checked against the cluster's CA), empty: at once.
    """

    name: str
    argv: tuple[str, ...]
    after: tuple[str, ...] = ()
    ready: str = ""


@dataclass(frozen=True)
class Node:
    """What the programs of one cluster need to know."""

    mesh: str
    address: str
    folder: Path
    """Everything of this cluster lies here; the same path inside its namespaces and outside."""
    pod_cidr: str
    bin: Mapping[str, Path]
    cni_plugins: Path
    pause_image: str

    @property
    def api(self) -> str:
        return f"https://{self.address}:{API_PORT}"

    def pki(self, name: str) -> str:
        return str(self.folder / "pki" / name)

    def config(self, name: str) -> str:
        return str(self.folder / "config" / name)


def kubeconfig(name: str, server: str, pki: Mapping[str, str], user: str = "admin") -> dict[str, Any]:
    """A kubeconfig with one context `name`; certificate and key of `user` are inside."""

    def data(file: str) -> str:
        return base64.b64encode(pki[file].encode()).decode()

    credential = {"client-certificate-data": data(f"{user}.crt"), "client-key-data": data(f"{user}.key")}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": data("ca.crt")}}],
        "users": [{"name": name, "user": credential}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def api_programs(node: Node) -> list[Program]:
    """etcd and the API server: all there is of an API-only cluster."""
    etcd = Program(
        "etcd",
        (
            str(node.bin["etcd"]),
            f"--data-dir={node.folder / 'etcd'}",
            f"--listen-client-urls={_ETCD}",
            f"--advertise-client-urls={_ETCD}",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--unsafe-no-fsync",
            "--logger=zap",
            "--log-level=warn",
        ),
        ready=f"{_ETCD}/health",
    )
    api_server = Program(
        "kube-apiserver",
        (
            str(node.bin["kube-apiserver"]),
            f"--advertise-address={node.address}",
            f"--secure-port={API_PORT}",
            f"--etcd-servers={_ETCD}",
            f"--service-cluster-ip-range={SERVICE_CIDR}",
            f"--client-ca-file={node.pki('ca.crt')}",
            f"--tls-cert-file={node.pki('apiserver.crt')}",
            f"--tls-private-key-file={node.pki('apiserver.key')}",
            f"--kubelet-certificate-authority={node.pki('ca.crt')}",
            f"--kubelet-client-certificate={node.pki('apiserver-kubelet-client.crt')}",
            f"--kubelet-client-key={node.pki('apiserver-kubelet-client.key')}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--service-account-issuer=https://kubernetes.default.svc.{CLUSTER_DOMAIN}",
            f"--service-account-key-file={node.pki('service-accounts.pub')}",
            f"--service-account-signing-key-file={node.pki('service-accounts.key')}",
            # Users' certificates and the front proxy's come from one CA: without the name any user could be anyone.
            "--requestheader-allowed-names=front-proxy-client",
            f"--requestheader-client-ca-file={node.pki('ca.crt')}",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={node.pki('front-proxy-client.crt')}",
            f"--proxy-client-key-file={node.pki('front-proxy-client.key')}",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            "--profiling=false",
            f"--audit-policy-file={node.config('audit-policy.json')}",
            f"--audit-log-path={node.folder / AUDIT_LOG}",
            # Every event is on disk before the request is answered, and one file holds them all.
            "--audit-log-mode=blocking",
            "--audit-log-maxsize=100000",
        ),
        after=("etcd",),
        ready=f"{node.api}/readyz",
    )
    return [etcd, api_server]


def node_programs(node: Node) -> list[Program]:
    """What a whole cluster has beside `api_programs`."""
    return [
        Program(
            "kube-controller-manager",
            (
                str(node.bin["kube-controller-manager"]),
                f"--kubeconfig={node.config('kube-controller-manager.kubeconfig')}",
                "--bind-address=127.0.0.1",
                "--leader-elect=false",
                "--use-service-account-credentials=true",
                f"--service-account-private-key-file={node.pki('service-accounts.key')}",
                f"--root-ca-file={node.pki('ca.crt')}",
                f"--cluster-signing-cert-file={node.pki('ca.crt')}",
                f"--cluster-signing-key-file={node.pki('ca.key')}",
                "--kube-api-qps=100",
                "--kube-api-burst=200",
                "--profiling=false",
            ),
            after=("kube-apiserver",),
        ),
        Program(
            "kube-scheduler",
            (
                str(node.bin["kube-scheduler"]),
                f"--kubeconfig={node.config('kube-scheduler.kubeconfig')}",
                "--bind-address=127.0.0.1",
                "--leader-elect=false",
                "--profiling=false",
            ),
            after=("kube-apiserver",),
        ),
        Program(
            "containerd",
            (str(node.bin["containerd"]), f"--config={node.config('containerd.toml')}"),
            ready=f"unix:{CONTAINERD_SOCKET}",
        ),
        Program(
            "kubelet",
            (
                str(node.bin["kubelet"]),
                f"--config={node.config('kubelet.json')}",
                f"--kubeconfig={node.config('kubelet.kubeconfig')}",
                f"--root-dir={node.folder / 'kubelet'}",
                f"--hostname-override={node.mesh}",
                f"--node-ip={node.address}",
            ),
            after=("containerd", "kube-apiserver"),
        ),
        Program(
            "kube-proxy",
            (str(node.bin["kube-proxy"]), f"--config={node.config('kube-proxy.json')}"),
            after=("kube-apiserver",),
        ),
    ]


def files(node: Node, pki: Mapping[str, str]) -> dict[str, str]:
    """Configuration files by name, for the folder ``config``; some hold keys."""
    users = ("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
    texts = {f"{user}.kubeconfig": json.dumps(kubeconfig(node.mesh, node.api, pki, user), indent=2) for user in users}
    texts["audit-policy.json"] = json.dumps(_audit_policy(), indent=2)
    texts["kubelet.json"] = json.dumps(_kubelet(node), indent=2)
    texts["kube-proxy.json"] = json.dumps(_kube_proxy(node), indent=2)
    texts["containerd.toml"] = _containerd(node)
    # The kubelet hands this to pods with dnsPolicy Default: nothing outside the lab can be asked.
    texts["resolv.conf"] = f"nameserver {CLUSTER_DNS}\n"
    return texts


def cni_files(node: Node) -> dict[str, str]:
    """Configuration of the pod network, for the folder ``cni``."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            # Gone with the cluster's processes, as are the pods that hold these addresses.
            "dataDir": "/run/cni-addresses",
            "ranges": [[{"subnet": node.pod_cidr}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]
    return {"10-pods.conflist": json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": plugins}, indent=2)}


def _audit_policy() -> dict[str, Any]:
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    }


def _kubelet(node: Node) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": node.pki("ca.crt")}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": node.pki("kubelet.crt"),
        "tlsPrivateKeyFile": node.pki("kubelet.key"),
        "clusterDomain": CLUSTER_DOMAIN,
        "clusterDNS": [CLUSTER_DNS],
        "resolvConf": node.config("resolv.conf"),
        "podLogsDir": str(node.folder / "pods"),
        "volumePluginDir": str(node.folder / "volume-plugins"),
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "maxPods": 200,
        "serializeImagePulls": False,
        # The lab's machine is shared: its fullness is no reason to evict pods or to delete images.
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        # How long a changed Secret may take to show in a pod.
        "syncFrequency": "10s",
    }


def _kube_proxy(node: Node) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": node.config("kube-proxy.kubeconfig")},
        "hostnameOverride": node.mesh,
        "mode": "iptables",
        "clusterCIDR": node.pod_cidr,
        "iptables": {"localhostNodePorts": False},
        # Nothing that the host's kernel shares between namespaces is to be set.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "oomScoreAdj": 0,
    }


def _containerd(node: Node) -> str:
    return f"""\
version = 2
root = "{node.folder / "containerd"}"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.internal.v1.restart",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{node.folder / "opt"}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{node.pause_image}"
  # Lowering a container's OOM score needs CAP_SYS_RESOURCE, which the lab does not ask for.
  restrict_oom_score_adj = true
  disable_tcp_service = true

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{node.cni_plugins}"
    conf_dir = "{node.folder / "cni"}"

  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "{node.bin["runc"]}"
      SystemdCgroup = false
"""
