# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kubernetes objects that the lab puts into its clusters: DNS, the sample application, clients. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.lab import versions
from tests.lab.components import CLUSTER_DNS, CLUSTER_DOMAIN

Manifest = dict[str, Any]

APP_PORTS = {"http": 8080, "grpc": 8079, "tcp": 9000, "tcp-echo": 9001, "tcp-web": 8081, "tls": 8443}
"""Ports of the sample application, by Service port name; Service and containers use the same numbers.

``tcp-web`` is HTTP that Istio takes for TCP: each connection of a client is one between the proxies.
"""

_DNS = {"name": "coredns", "namespace": "kube-system"}
_COREFILE = f"""\
{CLUSTER_DOMAIN}:53 in-addr.arpa:53 ip6.arpa:53 {{
    errors
    kubernetes {CLUSTER_DOMAIN} in-addr.arpa ip6.arpa {{
        ttl 5
    }}
    cache 5
    reload 2s
}}
.:53 {{
    errors
    health
    ready
    template ANY ANY {{
        rcode NXDOMAIN
    }}
    reload 2s
}}
"""


def dns(image: str) -> list[Manifest]:
    """CoreDNS as clusters usually have it, save that there is no name server outside to ask."""
    labels = {"k8s-app": "kube-dns"}
    subject = {"kind": "ServiceAccount", **_DNS}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"}
    container = {
        "name": "coredns",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [
            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
        ],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
    }
    pod = {
        "serviceAccountName": "coredns",
        "dnsPolicy": "Default",
        "priorityClassName": "system-cluster-critical",
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }
    service = {
        "selector": labels,
        "clusterIP": CLUSTER_DNS,
        "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
        ],
    }
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": dict(_DNS)},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "system:coredns"},
            "rules": [
                {
                    "apiGroups": [""],
                    "resources": ["endpoints", "services", "pods", "namespaces"],
                    "verbs": ["list", "watch"],
                },
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "system:coredns"},
            "roleRef": role,
            "subjects": [subject],
        },
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": dict(_DNS), "data": {"Corefile": _COREFILE}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": labels},
            "spec": service,
        },
        _deployment("coredns", "kube-system", labels, pod),
    ]


def namespace(name: str, labels: Mapping[str, str] | None = None) -> Manifest:
    """A namespace; ``{"istio-injection": "enabled"}`` gives its pods a sidecar."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels or {})}}


def app(
    mesh: str,
    namespace: str,
    name: str,
    *,
    version: str = "v1",
    replicas: int = 1,
    service_account: str | None = None,
    ports: Mapping[str, int] | None = None,
    service_type: str = "ClusterIP",
    tls_secret: str | None = None,
    image: str = versions.IMAGE_APP,
) -> list[Manifest]:
    """The sample application as Service `name`: it answers with its mesh, the host it was called by and the caller.

    `ports` (default `APP_PORTS`) are the Service's by port name. `service_account` defaults to `name`. Several
    versions of one name stand side by side behind one Service. `tls_secret` is a Secret with the certificate of port
    tls, and with the CA of clients if they are to show theirs.
    """
    account = service_account or name
    labels = {"app": name, "version": version}
    container: Manifest = {
        "name": "app",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": "MESH", "value": mesh}, {"name": "SERVICE", "value": name}],
        "ports": [{"name": port, "containerPort": number} for port, number in APP_PORTS.items()],
        "readinessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
    }
    pod: Manifest = {"serviceAccountName": account, "terminationGracePeriodSeconds": 2, "containers": [container]}
    if tls_secret:
        container["env"] += [{"name": "TLS_DIRECTORY", "value": "/etc/app/tls"}]
        container["volumeMounts"] = [{"name": "tls", "mountPath": "/etc/app/tls", "readOnly": True}]
        pod["volumes"] = [{"name": "tls", "secret": {"secretName": tls_secret}}]
    service_ports = [
        {"name": port, "port": number, "targetPort": APP_PORTS[port]} for port, number in (ports or APP_PORTS).items()
    ]
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": namespace}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
            "spec": {"selector": {"app": name}, "ports": service_ports, "type": service_type},
        },
        _deployment(f"{name}-{version}", namespace, labels, pod, replicas),
    ]


def fortio(namespace: str, name: str = "fortio", *, image: str = versions.IMAGE_FORTIO) -> list[Manifest]:
    """A pod with a service account of its own, to run ``kubectl exec deploy/<name> -- fortio load ...`` in."""
    return _client(namespace, name, image, {"args": ["server"]})


def curl(namespace: str, name: str = "curl", *, image: str = versions.IMAGE_CURL) -> list[Manifest]:
    """A pod with a service account of its own, to run ``kubectl exec deploy/<name> -- curl ...`` in."""
    return _client(namespace, name, image, {"command": ["sleep", "infinity"]})


def _client(namespace: str, name: str, image: str, run: dict[str, list[str]]) -> list[Manifest]:
    container = {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        **run,
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
    }
    pod = {"serviceAccountName": name, "terminationGracePeriodSeconds": 1, "containers": [container]}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}},
        _deployment(name, namespace, {"app": name}, pod),
    ]


def _deployment(name: str, namespace: str, labels: dict[str, str], pod: Manifest, replicas: int = 1) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
