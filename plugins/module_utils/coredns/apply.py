# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ConfigMap that CoreDNS reads, made to have exactly the hosts it should."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ansible_collections.multimesh.istio.plugins.module_utils.coredns import block
from ansible_collections.multimesh.istio.plugins.module_utils.coredns.corefile import (
    CorefileError,
    has_directive,
    server_blocks,
)
from ansible_collections.multimesh.istio.plugins.module_utils.kube.cluster import Applier, Deleter, Getter
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import ConflictError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import CONFIG_MAPS, Resource, describe

MANAGER = "multimesh.istio"
LABEL = "app.kubernetes.io/managed-by"

_ATTEMPTS = 5
"""Writes that somebody else's came before."""


class Cluster(Getter, Applier, Deleter, Protocol):
    """What is needed of a cluster."""

    def merge_patch(
        self, resource: Resource, namespace: str | None, name: str, body: Mapping[str, Any], *, manager: str
    ) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Place:
    """Where the hosts are written.

    whole_key: the key is a file of their own, which the Corefile imports.
    """

    namespace: str
    config_map: str
    key: str
    whole_key: bool = False

    def __str__(self) -> str:
        return f"{describe('ConfigMap', self.namespace, self.config_map)}, {self.key}"


@dataclass(frozen=True)
class Written:
    """Text of the key before and after; None is no key. warnings: for the user."""

    before: str | None
    after: str | None
    warnings: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        return self.before != self.after


def hold(cluster: Cluster, place: Place, hosts: block.Hosts, ttl: int, *, check_mode: bool = False) -> Written:
    """Make the place have exactly these hosts; without any, nothing of this collection stays there.

    Raises MultimeshError.
    """
    refused: Written | None = None
    for attempt in range(_ATTEMPTS):
        live = cluster.get(CONFIG_MAPS, place.namespace, place.config_map)
        before = ((live or {}).get("data") or {}).get(place.key)
        try:
            after = _wanted(live, before, place, hosts, ttl)
        except CorefileError as error:
            raise CorefileError(f"{cluster.mesh}: {place}: {error}") from None
        written = Written(before, after, _warnings(cluster, live, place, before) if hosts else [])
        if not written.changed:
            return refused or written  # a patch that was sent again is refused for the version that it made itself
        if check_mode:
            return written
        try:
            _write(cluster, place, live, after)
        except ConflictError:
            if attempt == _ATTEMPTS - 1:
                raise
            refused = written
        else:
            return written
    raise AssertionError  # the last attempt returns or raises


def _wanted(live: Any, before: str | None, place: Place, hosts: block.Hosts, ttl: int) -> str | None:
    if place.whole_key:
        return block.whole(before, hosts, ttl)
    if before is None:
        if hosts:
            found = "it does not exist" if live is None else f"it has {', '.join(live.get('data') or {}) or 'no keys'}"
            raise CorefileError(f"expected the Corefile of the cluster's DNS, but {found}. Say where that is.")
        return None
    return block.with_hosts(before, hosts, ttl)


def _warnings(cluster: Cluster, live: Any, place: Place, before: str | None) -> list[str]:
    warnings = []
    if before is not None and not place.whole_key and not has_directive(server_blocks(before), "reload"):
        warnings.append("no server block has the plugin reload, so CoreDNS has to be restarted to see a change")
    labels = ((live or {}).get("metadata") or {}).get("labels") or {}
    if labels.get("addonmanager.kubernetes.io/mode") == "Reconcile" and not place.whole_key:
        warnings.append(
            "an add-on manager keeps it as it is and will undo a change; use a file that the Corefile imports"
        )
    return [f"{cluster.mesh}: {place}: {warning}" for warning in warnings]


def _write(cluster: Cluster, place: Place, live: Any, after: str | None) -> None:
    name = place.config_map
    if live is None:
        metadata = {"name": name, "namespace": place.namespace, "labels": {LABEL: MANAGER}}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {place.key: after}}
        cluster.apply(CONFIG_MAPS, body, manager=MANAGER)
        return
    ours = (live["metadata"].get("labels") or {}).get(LABEL) == MANAGER
    if after is None and ours and set(live["data"]) == {place.key}:
        cluster.delete(CONFIG_MAPS, place.namespace, name, live["metadata"]["uid"])
        return
    # With the version in it the patch is refused if somebody else wrote since it was read.
    version = {"resourceVersion": live["metadata"]["resourceVersion"]}
    body = {"metadata": version, "data": {place.key: after}}
    cluster.merge_patch(CONFIG_MAPS, place.namespace, name, body, manager=MANAGER)
