# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is read of one cluster, and how Kubernetes objects become the facts that the model computes with."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from ansible_collections.multimesh.istio.plugins.module_utils import conflicts, helm, remote_secrets
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.federation.peers import CONSUMERS_KEY
from ansible_collections.multimesh.istio.plugins.module_utils.federation.peers import KEY as PEERS_KEY
from ansible_collections.multimesh.istio.plugins.module_utils.federation.peers import NAME as PEERS_NAME
from ansible_collections.multimesh.istio.plugins.module_utils.kube.cluster import Getter, Lister
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import ForbiddenError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import (
    CONFIG_MAPS,
    PODS,
    SECRETS,
    SERVICES,
    Resource,
)

Body = Mapping[str, Any]

ISTIO_NAMESPACE = "istio-system"
DAEMON_SET = Resource("apps", "v1", "DaemonSet", "daemonsets", True)
DEPLOYMENT = Resource("apps", "v1", "Deployment", "deployments", True)
STATEFUL_SET = Resource("apps", "v1", "StatefulSet", "statefulsets", True)

# From so many exports of one namespace on, all its pods come in one request instead of one request per Service.
_WHOLE_NAMESPACE = 8


class Cluster(Getter, Lister, Protocol):
    """What is needed of a cluster."""

    def get_path(self, path: str) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Request:
    """What to read.

    exports: entries of ``mesh_exports``; those without ``service`` and ``namespace`` are left to the model to refuse.
    ingress_service: namespace and name of the ingress controller's Service, read if an export is behind an Ingress.
    read_ca: read the certificates of Secret cacerts too, which takes the right to read its key, and look for ztunnel in
        all namespaces. Without it no Secret is asked for.
    read_remote_secrets: count the credentials for other clusters, which takes the right to list all Secrets of Istio's
        namespace.
    read_record: tell which credentials for other clusters this collection has made, see remote_secrets.recorded.
    releases: Helm releases in Istio's namespace to look up, see helm.releases; takes that right too.
    namespaces: see conflicts.read.
    read_conflicts: read what the federation could collide with, see conflicts.read, which takes the right to list
        Istio's routing kinds in the whole cluster.
    take_over: objects that have a name of the federation's own are to be taken over, so they are no collision.
    """

    exports: Sequence[Body] = ()
    gateway_namespace: str = ISTIO_NAMESPACE
    gateway_selector: str = "istio=eastwestgateway"
    ingress_service: str = ""
    read_ca: bool = False
    read_remote_secrets: bool = False
    read_record: bool = False
    releases: Sequence[Body] = ()
    namespaces: Sequence[str] = ()
    read_conflicts: bool = False
    take_over: bool = False


@dataclass(frozen=True)
class MeshInfo:
    """facts: the module's return value. warnings: what was there and could not be understood."""

    facts: dict[str, Any]
    warnings: list[str] = field(default_factory=list)


def read_mesh(cluster: Cluster, request: Request, now: datetime) -> MeshInfo:
    """Everything of one cluster. What does not exist gives None or something empty. Raises KubeError."""
    wanted = sorted(
        {(e["namespace"], e["service"]) for e in request.exports if e.get("namespace") and e.get("service")}
    )
    reads: dict[str, Callable[[], Any]] = {
        "version": lambda: cluster.get_path("/version"),
        "istiod": lambda: cluster.list_objects(DEPLOYMENT, ISTIO_NAMESPACE, label_selector="app=istiod"),
        "daemons": lambda: _daemon_sets(cluster, request.read_ca),
        "gateways": lambda: cluster.list_objects(
            SERVICES, request.gateway_namespace, label_selector=request.gateway_selector
        ),
        "ingress": lambda: _ingress_service(cluster, request),
        "peers": lambda: cluster.get(CONFIG_MAPS, ISTIO_NAMESPACE, PEERS_NAME),
        "roots": lambda: cluster.get(CONFIG_MAPS, ISTIO_NAMESPACE, "istio-ca-root-cert"),
        "cacerts": lambda: cluster.get(SECRETS, ISTIO_NAMESPACE, "cacerts") if request.read_ca else False,
        "remote_secrets": lambda: _remote_secrets(cluster) if request.read_remote_secrets else None,
        "record": lambda: remote_secrets.recorded(cluster) if request.read_record else None,
        "services": lambda: _services(cluster, wanted),
        "releases": lambda: helm.releases(cluster, ISTIO_NAMESPACE, request.releases),
        "conflicts": lambda: (
            conflicts.read(cluster, request.exports, request.namespaces) if request.read_conflicts else None
        ),
    }
    with ThreadPoolExecutor(len(reads)) as pool:
        started = {name: pool.submit(read) for name, read in reads.items()}
        found = {name: future.result() for name, future in started.items()}
    warnings: list[str] = []
    facts = {
        "kubernetes_version": found["version"].get("gitVersion"),
        "istio": istio_facts(found["istiod"], found["daemons"]),
        "gateway_addresses": gateway_addresses(found["gateways"]),
        "ingress_addresses": gateway_addresses(found["ingress"]),
        "services": found["services"],
        "remembered": remembered(found["peers"], warnings),
        "peers": peers(found["peers"]),
        "ca": ca_facts(found["roots"], found["cacerts"], now, warnings),
        "remote_secrets": found["remote_secrets"],
        "recorded_remote_secrets": found["record"],
        "releases": found["releases"],
        "foreign": (
            conflicts.facts(found["conflicts"], found["gateways"], found["peers"], request.take_over)
            if request.read_conflicts
            else None
        ),
    }
    return MeshInfo(facts, [f"{cluster.mesh}: {warning}" for warning in warnings])


# Istio


def _daemon_sets(cluster: Cluster, all_namespaces: bool) -> list[dict[str, Any]]:
    try:
        return cluster.list_objects(DAEMON_SET, metadata_only=True)
    except ForbiddenError:
        if all_namespaces:  # whoever gives a mesh its CA has to know
            raise
        return cluster.list_objects(DAEMON_SET, ISTIO_NAMESPACE, metadata_only=True)


def istio_facts(istiods: Iterable[Body], daemon_sets: Iterable[Body]) -> dict[str, Any]:
    """Control planes from the Deployments of istiod, ambient mode from the DaemonSet of ztunnel."""
    revisions = sorted((_revision(deployment) for deployment in istiods), key=lambda found: str(found["name"]))
    return {"revisions": revisions, "ambient": any(_is_ztunnel(daemon_set) for daemon_set in daemon_sets)}


def _revision(deployment: Body) -> dict[str, Any]:
    labels = deployment["metadata"].get("labels") or {}
    containers = deployment["spec"]["template"]["spec"].get("containers") or [{}]
    tag = str(containers[0].get("image") or "").rpartition("/")[2].partition("@")[0].partition(":")[2]
    return {
        "name": labels.get("istio.io/rev") or "default",
        "version": tag or labels.get("app.kubernetes.io/version"),
        "replicas": deployment["spec"].get("replicas"),
        "ready_replicas": (deployment.get("status") or {}).get("readyReplicas") or 0,
    }


def _is_ztunnel(daemon_set: Body) -> bool:
    metadata = daemon_set["metadata"]
    return "ztunnel" in (metadata["name"], (metadata.get("labels") or {}).get("app.kubernetes.io/name"))


def _ingress_service(cluster: Cluster, request: Request) -> list[dict[str, Any]]:
    namespace, _slash, name = request.ingress_service.partition("/")
    if not name or not any(export.get("via") == "ingress" for export in request.exports):
        return []
    service = cluster.get(SERVICES, namespace, name)
    return [service] if service else []


def gateway_addresses(services: Iterable[Body]) -> list[str]:
    """Where peers reach the gateway: of the load balancer, else external IPs; IPs and names are not mixed."""
    ips: dict[str, None] = {}
    names: dict[str, None] = {}
    external: dict[str, None] = {}
    for service in services:
        balancer = (service.get("status") or {}).get("loadBalancer") or {}
        for ingress in balancer.get("ingress") or []:
            if ingress.get("ip"):
                ips[ingress["ip"]] = None
            elif ingress.get("hostname"):
                names[ingress["hostname"]] = None
        external.update(dict.fromkeys((service.get("spec") or {}).get("externalIPs") or []))
    return sorted(ips or names or external)


def remembered(config_map: Body | None, warnings: list[str]) -> dict[str, Any]:
    """What this cluster remembers of its peers, by host name."""
    text = ((config_map or {}).get("data") or {}).get(PEERS_KEY)
    if not text:
        return {}
    try:
        peers = json.loads(text)
    except ValueError:
        peers = None
    if not isinstance(peers, dict):
        warnings.append(
            f"ConfigMap {ISTIO_NAMESPACE}/{PEERS_NAME}: {PEERS_KEY} is not what this collection wrote; it is left aside"
        )
        return {}
    return peers


def peers(config_map: Body | None) -> list[str]:
    """Inventory host names of those from whom this cluster imports, and of those to whom it offers something."""
    data = (config_map or {}).get("data") or {}
    names: set[str] = set()
    for key, form in ((PEERS_KEY, dict), (CONSUMERS_KEY, list)):
        try:
            found = json.loads(data.get(key) or "null")
        except ValueError:
            continue  # ``remembered`` warns of it
        if isinstance(found, form):
            names.update(map(str, found))
    return sorted(names)


def _remote_secrets(cluster: Cluster) -> int:
    return len(
        cluster.list_objects(SECRETS, ISTIO_NAMESPACE, label_selector="istio/multiCluster=true", metadata_only=True)
    )


# Certificates


def ca_facts(
    config_map: Body | None, cacerts: Body | bool | None, now: datetime, warnings: list[str]
) -> dict[str, Any]:
    """Roots that the mesh trusts and, where it was read, the intermediate it signs with.

    cacerts: the Secret, None when it is missing, False when it was not read.
    """
    secret = cacerts if isinstance(cacerts, Mapping) else {}
    # istiod writes the ConfigMap out of the Secret, and takes a while to
    roots = _certificates(_secret_text(secret, "root-cert.pem"), "Secret cacerts, root-cert.pem", now, warnings)
    if not roots:
        text = ((config_map or {}).get("data") or {}).get("root-cert.pem")
        roots = _certificates(text, "ConfigMap istio-ca-root-cert", now, warnings)
    own = _certificates(_secret_text(secret, "ca-cert.pem"), "Secret cacerts, ca-cert.pem", now, warnings)
    chain = _certificates(_secret_text(secret, "cert-chain.pem"), "Secret cacerts, cert-chain.pem", now, warnings)
    return {
        "cacerts_present": None if cacerts is False else cacerts is not None,
        "roots": roots,
        "intermediate": own[0] if own else None,
        "chain": chain,
        "share_of_life": _share_of_life(own[0], now) if own else None,
        "crls": _lists(_secret_text(secret, "ca-crl.pem"), now),
    }


def _share_of_life(certificate: Mapping[str, Any], now: datetime) -> float:
    begins, ends = (datetime.fromisoformat(certificate[name]) for name in ("not_before", "not_after"))
    return round((now - begins) / (ends - begins), 4)


def _lists(text: str | None, now: datetime) -> list[dict[str, Any]]:
    from ansible_collections.multimesh.istio.plugins.module_utils.pki import crl

    return [crl.describe(one, now) for one in crl.read(text.encode())] if text else []


def _secret_text(secret: Body, name: str) -> str | None:
    try:
        return base64.b64decode((secret.get("data") or {}).get(name) or "", validate=True).decode() or None
    except (binascii.Error, ValueError):
        return None


def _certificates(text: str | None, where: str, now: datetime, warnings: list[str]) -> list[dict[str, Any]]:
    if not text:
        return []
    from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import describe_pem

    try:
        return describe_pem(text, now)
    except MultimeshError as error:
        warnings.append(f"{where}: {error}")
        return []


# Services


def _services(cluster: Cluster, wanted: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    by_namespace: dict[str, set[str]] = {}
    for namespace, name in wanted:
        by_namespace.setdefault(namespace, set()).add(name)
    with ThreadPoolExecutor(4) as pool:
        batches = pool.map(lambda item: _services_in(cluster, *item), sorted(by_namespace.items()))
        return [service for batch in batches for service in batch]


def _services_in(cluster: Cluster, namespace: str, names: set[str]) -> list[dict[str, Any]]:
    live = cluster.list_objects(SERVICES, namespace)
    wanted = [item for item in live if item["metadata"]["name"] in names]
    services = sorted(wanted, key=lambda item: str(item["metadata"]["name"]))
    selectors = [_selector(service) for service in services]
    if sum(map(bool, selectors)) > _WHOLE_NAMESPACE:
        everything = cluster.list_objects(PODS, namespace)
        pods = [[pod for pod in everything if selects(selector, pod)] for selector in selectors]
    else:
        pods = [
            cluster.list_objects(PODS, namespace, label_selector=",".join(f"{k}={v}" for k, v in selector.items()))
            if selector
            else []
            for selector in selectors
        ]
    backends = [[pod["spec"] for pod in found if is_serving(pod)] for found in pods]
    if any(selector and not found for selector, found in zip(selectors, backends, strict=True)):
        templates = _templates(cluster, namespace)
        backends = [
            found or [template["spec"] for template in templates if selects(selector, template)]
            for selector, found in zip(selectors, backends, strict=True)
        ]
    return [service_facts(service, found, live) for service, found in zip(services, backends, strict=True)]


def _templates(cluster: Cluster, namespace: str) -> list[dict[str, Any]]:
    workloads = [
        item for kind in (DEPLOYMENT, STATEFUL_SET, DAEMON_SET) for item in cluster.list_objects(kind, namespace)
    ]
    return [workload["spec"]["template"] for workload in workloads]


def _selector(service: Body) -> dict[str, str]:
    return dict((service.get("spec") or {}).get("selector") or {})


def selects(selector: Mapping[str, str], pod: Body) -> bool:
    """Whether a Service with this selector means the pod; one without selector means none."""
    labels = (pod.get("metadata") or {}).get("labels") or {}
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def is_serving(pod: Body) -> bool:
    """Whether a pod is there to stay."""
    phase = (pod.get("status") or {}).get("phase")
    return "deletionTimestamp" not in pod["metadata"] and phase not in ("Succeeded", "Failed")


def service_facts(service: Body, backends: Sequence[Body], neighbours: Iterable[Body] = ()) -> dict[str, Any]:
    """A Service as docs/architecture.md gives it.

    backends: specs of the pods behind it. neighbours: Services of its namespace.
    """
    spec = service.get("spec") or {}
    own_labels = {"metadata": {"labels": _selector(service)}}
    return {
        "namespace": service["metadata"]["namespace"],
        "name": service["metadata"]["name"],
        "ports": [_port(port, backends) for port in _distinct(spec.get("ports") or [])],
        "selector": _selector(service),
        "service_accounts": sorted({str(pod.get("serviceAccountName") or "default") for pod in backends}),
        "cluster_ip": _cluster_ip(spec),
        "same_pods": sorted(
            str(other["metadata"]["name"])
            for other in neighbours
            if selects(_selector(other), own_labels) and other["metadata"]["name"] != service["metadata"]["name"]
        ),
    }


def _cluster_ip(spec: Body) -> str | None:
    address = str(spec.get("clusterIP") or "None")
    return None if address == "None" else address  # the text that marks a headless Service


def _distinct(ports: Sequence[Body]) -> list[Body]:
    """One port for each number: no gateway passes on UDP, so of a number used twice (DNS) only TCP counts."""
    tcp = {port["port"] for port in ports if port.get("protocol", "TCP") == "TCP"}
    return [port for port in ports if port.get("protocol", "TCP") == "TCP" or port["port"] not in tcp]


def _port(port: Body, backends: Iterable[Body]) -> dict[str, Any]:
    target = port.get("targetPort", port["port"])
    target_name = target if isinstance(target, str) else None
    if target_name:
        target = min(_named_ports(target_name, port.get("protocol", "TCP"), backends), default=None)
    return {
        "number": port["port"],
        "name": port.get("name"),
        "protocol": protocol(port),
        "target_port": target,
        "target_port_name": target_name,
    }


def _named_ports(name: str, transport: str, backends: Iterable[Body]) -> list[int]:
    return [
        int(port["containerPort"])
        for pod in backends
        for container in [*(pod.get("containers") or []), *(pod.get("initContainers") or [])]
        for port in container.get("ports") or []
        if port.get("name") == name and port.get("protocol", "TCP") == transport
    ]


_APP_PROTOCOLS = {"kubernetes.io/h2c": "HTTP2", "kubernetes.io/ws": "HTTP", "kubernetes.io/wss": "HTTPS"}
_PROTOCOLS = ("TCP", "UDP", "GRPC", "HTTP", "HTTP_PROXY", "HTTP2", "HTTPS", "TLS", "MONGO", "REDIS", "MYSQL")


def protocol(port: Body) -> str:
    """The protocol that Istio selects for a port, TCP where it would guess.

    https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/ and
    pkg/config/kube/conversion.go.
    """
    transport = port.get("protocol", "TCP")
    if transport != "TCP":
        return str(transport)
    name = port.get("appProtocol")
    if name in _APP_PROTOCOLS:
        return _APP_PROTOCOLS[name]
    text = str(port.get("name") or "" if name is None else name).upper()
    if text.startswith("GRPC-WEB"):
        return "GRPC-WEB"
    prefix = text.partition("-")[0]
    return prefix if prefix in _PROTOCOLS else "TCP"
