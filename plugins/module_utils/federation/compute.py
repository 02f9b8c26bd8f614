# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The objects that one cluster must hold so that the meshes of an inventory are federated."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.federation import (
    authorization,
    default_deny,
    external,
    gateway,
    ingress,
    passthrough,
    peers,
    telemetry,
)
from ansible_collections.multimesh.istio.plugins.module_utils.federation.objects import Object, identity
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import nearest
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import (
    Cluster,
    Consumer,
    Export,
    Inventory,
    Port,
)

# How calls get from mesh to mesh, by the export's ``via``.
WAYS = {"passthrough": passthrough, "gateway": gateway, "ingress": ingress}


def federation(inventory: Inventory, host: str) -> list[Object]:
    """Every federation object of a cluster, both directions, sorted by kind, namespace and name.

    host: inventory host name of the cluster.
    Raises MultimeshError if there is no such cluster.
    """
    cluster = _cluster(inventory, host)
    if not cluster.served:
        # Its proxies get what its control plane reads in the cluster where that runs.
        return []
    objects: list[Object] = []
    for entry in cluster.imports:
        objects += WAYS[entry.via].imported(cluster, entry)
    offered = {mesh for export in cluster.exports for mesh in export.offers}
    consumers = (peer for mesh in offered for peer in inventory.meshes[mesh])
    objects += peers.config_map(cluster.imports, cluster.other_exports, consumers)
    objects += external.known(cluster)
    trust_domains = _trust_domains(inventory)
    for via, way in WAYS.items():
        exports = [export for export in cluster.exports if export.offers and export.via == via]
        objects += way.exported(cluster, exports, trust_domains)
    # Whom the gateway lets in may end up in any cluster that the control plane knows.
    objects += authorization.policies(replace(cluster, exports=cluster.reachable_exports), trust_domains)
    objects += telemetry.objects(cluster)
    objects += default_deny.policies(
        _exports_of_mesh(inventory, cluster), _admitted_domains(inventory, cluster), trust_domains
    )
    return sorted(objects, key=identity)


def mesh_config(inventory: Inventory, host: str) -> dict[str, Any]:
    """What the control plane of a cluster must be set to.

    Returns mesh_name, cluster_name, control_plane (the host that serves this cluster), served_clusters (hosts that this
    one serves beside itself), remote_clusters (hosts whose API its control plane reads), readers (hosts whose control
    plane reads its API), trust_domain, network, locality (None if unknown), admitted_trust_domains (those of the meshes
    that this mesh offers something to or shares a host with, sorted) and ca_certificates, which admits each of them on
    its own in Istio's ``meshConfig.caCertificates``.
    Raises as ``federation`` does.
    """
    cluster = _cluster(inventory, host)
    siblings = inventory.meshes[cluster.mesh]
    domains = _admitted_domains(inventory, cluster)
    return {
        "mesh_name": cluster.mesh,
        "cluster_name": cluster.host,
        "control_plane": cluster.control_plane,
        "served_clusters": [other for other in cluster.served if other != host],
        "remote_clusters": list(cluster.remote_clusters),
        "readers": [other for other in siblings if host in inventory.clusters[other].remote_clusters],
        "trust_domain": cluster.trust_domain,
        "network": cluster.network,
        "locality": cluster.locality,
        "admitted_trust_domains": domains,
        # No certificate beside the domain: all meshes chain to the one shared root.
        "ca_certificates": [{"trustDomains": [domain]} for domain in domains],
    }


def _exports_of_mesh(inventory: Inventory, cluster: Cluster) -> list[Export]:
    return [export for sibling in inventory.meshes[cluster.mesh] for export in inventory.clusters[sibling].own_exports]


def _admitted_domains(inventory: Inventory, cluster: Cluster) -> list[str]:
    own = _exports_of_mesh(inventory, cluster)
    admitted = {mesh for export in own for mesh in export.offers}
    # Read from the exports and not from what is reachable, so that a peer's outage changes no control plane.
    shared = {export.host for export in own if export.host}
    for other in inventory.clusters.values():
        admitted |= {
            export.mesh for export in other.own_exports if export.host in shared and cluster.mesh in export.offers
        }
    trust_domains = _trust_domains(inventory)
    return sorted(trust_domains[mesh] for mesh in admitted)


def ingress_certificates(inventory: Inventory, host: str) -> list[dict[str, Any]]:
    """The certificates that a cluster's Ingresses need: namespace, secret, hosts and spiffe_id of each.

    Raises as ``federation`` does.
    """
    return ingress.certificates(_cluster(inventory, host))


def edges(inventory: Inventory, host: str) -> list[dict[str, Any]]:
    """Who of this cluster may call what elsewhere: one entry per exporter, host and port.

    callers: the entries of the export that admit this mesh on this port; None is every one.
    expect: denied, if there are none.
    Raises as ``federation`` does.
    """
    cluster = _cluster(inventory, host)
    found = [
        {
            "exporter": source.export.mesh,
            "exporter_cluster": source.export.cluster,
            "consumer": cluster.mesh,
            "consumer_cluster": cluster.host,
            "host": entry.host,
            "port": port.number,
            "protocol": port.protocol,
            "export": f"{source.export.namespace}/{source.export.service}",
            "via": source.export.via,
            "callers": callers,
            "expect": "allowed" if callers else "denied",
        }
        for entry in cluster.imports
        for source in entry.sources
        for port in entry.ports
        for callers in [_callers(source.export.offers[cluster.mesh], port)]
    ]
    return sorted(found, key=lambda edge: (edge["host"], edge["port"], edge["exporter"], edge["exporter_cluster"]))


def _callers(entries: Iterable[Consumer], port: Port) -> list[dict[str, Any]]:
    return [
        {
            "namespace": entry.namespace,
            "service_account": entry.service_account,
            "methods": None if entry.methods is None else list(entry.methods),
            "paths": None if entry.paths is None else list(entry.paths),
        }
        for entry in entries
        if entry.may_call(port)
    ]


def _cluster(inventory: Inventory, host: str) -> Cluster:
    cluster = inventory.clusters.get(host)
    if cluster is None:
        raise MultimeshError(f"{host}: no host of group 'meshes'. {nearest(host, inventory.clusters)}.")
    return cluster


def _trust_domains(inventory: Inventory) -> dict[str, str]:
    return {mesh: inventory.clusters[hosts[0]].trust_domain for mesh, hosts in inventory.meshes.items()}
