# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What others keep in a cluster that the federation could collide with.

One LIST for each of Istio's routing kinds, in pages, of what is no member of the federation's set: the API server
leaves our own objects out, which are the most. What could never meet a name of ours is dropped here, so that the facts
of a large mesh stay small. Whether something collides is for the model to say (model/check_collisions.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from ansible_collections.multimesh.istio.plugins.module_utils.applyset.identity import (
    ID_LABEL,
    PART_OF_LABEL,
    applyset_id,
)
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.parent import parent_key
from ansible_collections.multimesh.istio.plugins.module_utils.federation.objects import GATEWAY_PORT
from ansible_collections.multimesh.istio.plugins.module_utils.kube.cluster import Getter, Lister
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import ForbiddenError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import (
    AUTHORIZATION_POLICIES,
    CONFIG_MAPS,
    DESTINATION_RULES,
    GATEWAYS,
    SERVICE_ENTRIES,
    SERVICES,
    VIRTUAL_SERVICES,
)
from ansible_collections.multimesh.istio.plugins.module_utils.model import object_names
from ansible_collections.multimesh.istio.plugins.module_utils.model.foreign import EVERYWHERE
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import CLUSTER_DOMAIN

Body = Mapping[str, Any]

ROUTING = (SERVICE_ENTRIES, DESTINATION_RULES, VIRTUAL_SERVICES, GATEWAYS)

SET_ID = applyset_id(parent_key(object_names.ROOT_NAMESPACE, object_names.FEDERATION_SET))
_NOT_OURS = f"{PART_OF_LABEL}!={SET_ID}"
_PAGE = 500
_MESH = "mesh"  # what Istio calls all sidecars where a VirtualService names its gateways
_SERVICES = f".svc.{CLUSTER_DOMAIN}"


class Cluster(Getter, Lister, Protocol):
    """What is needed of a cluster."""


@dataclass(frozen=True)
class Found:
    """Objects as the API server gave them.

    services: names of Services, by the namespaces in which they matter.
    """

    services: Mapping[str, list[str]]
    routing: list[dict[str, Any]]
    policies: list[dict[str, Any]]
    parent: Body | None


def read(cluster: Cluster, exports: Sequence[Body], namespaces: Iterable[str]) -> Found:
    """Everything that ``facts`` judges. Kinds that the API server does not serve yet have no objects.

    exports: entries of ``mesh_exports``; what is wrong in them is left to the model.
    namespaces: those in which something is imported by the name that a Service of the cluster's own would have.
    Raises KubeError.
    """
    policies = {(str(e["namespace"]), object_names.policy(str(e["service"]))) for e in exports if _names_service(e)}
    if policies:
        policies |= {
            (object_names.ROOT_NAMESPACE, name) for name in (object_names.ROUTED_EXPORTS, object_names.DEFAULT_DENY)
        }
    with ThreadPoolExecutor(4) as pool:
        parent = pool.submit(cluster.get, CONFIG_MAPS, object_names.ROOT_NAMESPACE, object_names.FEDERATION_SET)
        held = pool.submit(_policies, cluster, policies)
        services = pool.submit(_services, cluster, sorted(set(namespaces)))
        routing = pool.map(
            lambda resource: cluster.list_objects(resource, label_selector=_NOT_OURS, page=_PAGE), ROUTING
        )
        return Found(
            services=services.result(),
            routing=[body for batch in routing for body in batch],
            policies=held.result(),
            parent=parent.result(),
        )


def _names_service(entry: Body) -> bool:
    return bool(entry.get("namespace") and entry.get("service"))


def _services(cluster: Cluster, namespaces: Sequence[str]) -> dict[str, list[str]]:
    """In one request: such a namespace need not be there, so nobody can give rights in it."""
    found: dict[str, list[str]] = {namespace: [] for namespace in namespaces}
    for body in cluster.list_objects(SERVICES, metadata_only=True, page=_PAGE) if found else ():
        if body["metadata"]["namespace"] in found:
            found[body["metadata"]["namespace"]].append(str(body["metadata"]["name"]))
    return {namespace: sorted(names) for namespace, names in found.items()}


def _policies(cluster: Cluster, names: set[tuple[str, str]]) -> list[dict[str, Any]]:
    """Others' policies of exactly these names."""
    if not names:
        return []
    try:
        listed = cluster.list_objects(AUTHORIZATION_POLICIES, label_selector=_NOT_OURS, metadata_only=True, page=_PAGE)
    except ForbiddenError:  # rights in these namespaces only
        listed = [
            body
            for namespace in sorted({namespace for namespace, _name in names})
            for body in cluster.list_objects(
                AUTHORIZATION_POLICIES, namespace, label_selector=_NOT_OURS, metadata_only=True, page=_PAGE
            )
        ]
    return [body for body in listed if (body["metadata"]["namespace"], body["metadata"]["name"]) in names]


def facts(found: Found, gateways: Iterable[Body], peers: Body | None, take_over: bool) -> dict[str, Any]:
    """Key ``foreign`` of the facts, see the RETURN block of mesh_info.

    gateways: Services of the east-west gateway.
    peers: ConfigMap multimesh-peers.
    take_over: passed through.
    """
    labels = [_gateway_labels(service) for service in gateways] or [{"istio": "eastwestgateway"}]
    objects: list[dict[str, Any]] = []
    for body in found.routing:
        objects += _routing(body, labels, set(found.services))
    objects += [_named(AUTHORIZATION_POLICIES.kind, body) for body in found.policies]
    if peers is not None and _part_of(peers) != SET_ID:
        objects.append(_named(CONFIG_MAPS.kind, peers))
    if found.parent is not None and _labels(found.parent).get(ID_LABEL) != SET_ID:
        objects.append(_named(CONFIG_MAPS.kind, found.parent))
    return {
        "take_over": take_over,
        "services": dict(found.services),
        "objects": sorted(objects, key=lambda item: (item["kind"], item["namespace"], item["name"])),
    }


def _routing(body: Body, gateways: Sequence[Mapping[str, str]], named: set[str]) -> Iterator[dict[str, Any]]:
    spec = body.get("spec") or {}
    kind, namespace = body["kind"], body["metadata"]["namespace"]
    more: dict[str, Any] = {}
    if kind == "Gateway":
        if any(_selects(spec.get("selector"), labels) for labels in gateways):
            servers = [server for server in spec.get("servers") or [] if _is_in_the_way(server)]
            yield from ({**_named(kind, body), **_server(server)} for server in servers)
        hosts: list[str] = []
    elif kind == "DestinationRule":
        hosts = [spec.get("host") or ""]
        if spec.get("workloadSelector"):
            # Istio keeps one that is for some pods only within its namespace (pilot/pkg/model/push_context.go).
            spec = {**spec, "exportTo": ["."]}
    elif kind == "VirtualService":
        bound = spec.get("gateways") or [_MESH]
        hosts = list(spec.get("hosts") or []) if _MESH in bound else []
        more = {"http": bool(spec.get("http")), "ports": _connection_ports(spec)}
    else:
        hosts = list(spec.get("hosts") or [])
    full = [_qualified(str(host).lower(), namespace) for host in hosts]
    relevant = [host for host in full if host and _may_meet_ours(host, named)]
    # Our own are named as their hosts.
    if relevant or "." in body["metadata"]["name"] or namespace == object_names.ROOT_NAMESPACE:
        yield {**_named(kind, body), "hosts": relevant, "visible": _visible(spec.get("exportTo"), namespace), **more}


def _named(kind: str, body: Body) -> dict[str, Any]:
    metadata = body["metadata"]
    return {
        "kind": kind,
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "owner": _labels(body).get("app.kubernetes.io/managed-by") or "",
        "part_of": _part_of(body),
    }


def _labels(body: Body) -> Mapping[str, str]:
    return body["metadata"].get("labels") or {}


def _part_of(body: Body) -> str:
    return _labels(body).get(PART_OF_LABEL) or ""


def _gateway_labels(service: Body) -> dict[str, str]:
    """Labels that the pods of a gateway have, as far as its Service tells: Istio's chart gives both the same."""
    return {**_labels(service), **((service.get("spec") or {}).get("selector") or {})}


def _selects(selector: Mapping[str, str] | None, labels: Mapping[str, str]) -> bool:
    return (selector or {}).items() <= labels.items()


def _is_in_the_way(server: Body) -> bool:
    """Whether a server shares the listener of the exports: one bound to an address of its own does not."""
    return (server.get("port") or {}).get("number") == GATEWAY_PORT and not server.get("bind")


def _server(server: Body) -> dict[str, Any]:
    """A server of a Gateway: hosts without the namespaces that limit them, and what it does with TLS."""
    tls = server.get("tls")
    return {
        "hosts": [str(host).rpartition("/")[2].lower() for host in server.get("hosts") or []],
        "visible": [],
        "tls": "" if tls is None else tls.get("mode") or "PASSTHROUGH",
    }


def _connection_ports(spec: Body) -> list[int] | None:
    """Ports on which connections are routed, by address or by server name."""
    routes = [*(spec.get("tcp") or []), *(spec.get("tls") or [])]
    if not routes:
        return None
    matches = [match for route in routes for match in route.get("match") or [{}]]
    if any(not match.get("port") for match in matches):
        return []
    return sorted({int(match["port"]) for match in matches})


def _qualified(host: str, namespace: str) -> str:
    """As Istio completes short names (ResolveShortnameToFQDN in pilot/pkg/model/config.go)."""
    return host if "." in host or host in ("", "*") else f"{host}.{namespace}{_SERVICES}"


def _may_meet_ours(host: str, named: set[str]) -> bool:
    """Whether a host could be one of ours: names of Services are so in these namespaces only."""
    if not host.endswith(_SERVICES):
        return True
    return host.removesuffix(_SERVICES).rpartition(".")[2] in (*named, "*")


def _visible(export_to: Sequence[str] | None, namespace: str) -> list[str]:
    """Namespaces that see an object; Istio's default is all."""
    wanted = export_to or [EVERYWHERE]
    if EVERYWHERE in wanted:
        return [EVERYWHERE]
    return sorted({namespace if entry == "." else entry for entry in wanted if entry != "~"})
