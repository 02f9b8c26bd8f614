# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where calls of an imported host may go, and which of these places comes first.

istiod makes priorities out of localities, or out of labels (``failoverPriority``). Labels are exact, because a proxy's
locality is that of its node, which the inventory does not know. But they are for addresses alone: where an endpoint is
a DNS name, istiod 1.30 and 1.31 end with a panic as soon as a proxy sees some of the endpoints only, which the
cluster's own gateway does (https://github.com/istio/istio/issues/61857), and older ones ignore them.
"""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.multimesh.istio.plugins.module_utils.federation.objects import Object
from ansible_collections.multimesh.istio.plugins.module_utils.model import names
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Cluster, Export, Imported, Source

RANKED = "yes"
Ranks = list[list[str]]


@dataclass(frozen=True)
class Endpoints:
    """Endpoints of one host.

    items: as a ServiceEntry has them. static: all are addresses. rank_labels: labels by which they are ranked, none if
    their localities decide, or weights. own_pods: pods of the cluster's own, without such labels, come before them.
    """

    items: list[Object]
    static: bool
    rank_labels: list[str]
    own_pods: bool = False


def endpoints_of(cluster: Cluster, entry: Imported, port: int) -> Endpoints:
    """The cluster's own Service, if it exports the host itself, then every gateway of the others.

    port: of the gateways.
    """
    addresses = all(names.ip(address) for source in entry.sources for address in source.addresses)
    by_name = entry.local is not None and entry.local.cluster_ip is None and not entry.own_service
    static = addresses and not by_name
    ranks = _ranks(cluster, entry) if static else []
    # An endpoint is as near as many labels of the list it has, from the first on, without a gap.
    labels = [f"multimesh.istio/rank-{number}" for number in range(1, len(ranks))]

    def endpoint(address: str, export: Export, locality: str | None) -> Object:
        item: Object = {"address": address, "labels": {}}
        if ranks:
            rank = next(rank for rank, clusters in enumerate(ranks) if export.cluster in clusters)
            item["labels"] = dict.fromkeys(labels[: len(labels) - rank], RANKED)
        # Without this Istio takes the endpoint for one without sidecar and sends plaintext.
        item["labels"]["security.istio.io/tlsMode"] = "istio"
        if entry.traffic.weights:
            item["weight"] = entry.traffic.weights[export.mesh]
        elif locality and not ranks:
            item["locality"] = locality
        return item

    items = {}
    if entry.local:
        address = entry.local.cluster_ip if static and entry.local.cluster_ip else entry.local.fqdn
        items[address] = endpoint(address, entry.local, cluster.locality)
    for source in entry.sources:
        for address in source.addresses:
            item = endpoint(address, source.export, _locality(cluster, entry, source))
            item["network"] = source.network
            item["ports"] = {own.name: port for own in entry.ports}
            # Clusters of one control plane are behind one gateway, which is one endpoint.
            items.setdefault(address, item)
    return Endpoints(list(items.values()), static, labels, own_pods=entry.own_service is not None)


def _ranks(cluster: Cluster, entry: Imported) -> Ranks:
    """Clusters in the order in which they are called; empty if nothing but the callers' own locality decides."""
    own = [[entry.local.cluster]] if entry.local else []
    if entry.traffic.weights:
        return []
    if entry.traffic.order:
        groups = [
            [source.export.cluster for source in entry.sources if source.export.mesh == mesh]
            for mesh in entry.traffic.order
        ]
        return own + [group for group in groups if group]
    if not own:
        return []
    by_distance: dict[int, list[str]] = {}
    for source in entry.sources:
        by_distance.setdefault(_distance(cluster.locality, source.locality), []).append(source.export.cluster)
    return own + [found for _distance, found in sorted(by_distance.items())]


def _distance(here: str | None, there: str | None) -> int:
    """How many of region, zone and subzone differ, from the first on; all if one is unknown."""
    levels = 3
    if not here or not there:
        return levels
    same = 0
    for mine, theirs in zip(here.split("/"), there.split("/"), strict=False):
        if mine != theirs:
            break
        same += 1
    return levels - same


def _locality(cluster: Cluster, entry: Imported, source: Source) -> str | None:
    """Locality of a gateway, made to look farther away than a Service of the cluster's own behind the same host.

    Istio shares calls out among endpoints of equal distance, and everything is as far away as nothing is known of it.
    """
    if entry.local is None:
        return source.locality
    if cluster.locality is None:
        return source.locality or source.network
    own = cluster.locality.split("/")
    if (source.locality or "").split("/")[: len(own)] == own:
        return "/".join([*own[:2], source.network])
    return source.locality
