# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What lookups and filters share: from Ansible's variables and one term to the objects of a cluster or mesh."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ansible.errors import AnsibleError
from ansible.utils.display import Display
from ansible_collections.multimesh.istio.plugins.module_utils import rbac
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.federation import admissions as admitted
from ansible_collections.multimesh.istio.plugins.module_utils.federation import compute, dns
from ansible_collections.multimesh.istio.plugins.module_utils.federation.objects import Object, identity
from ansible_collections.multimesh.istio.plugins.module_utils.model.inventory import parse
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import nearest
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Inventory
from ansible_collections.multimesh.istio.plugins.plugin_utils.raw_inventory import raw_inventory

T = TypeVar("T")

# The last inventory of this process by its content: plugins of one task mostly ask for the same.
_memo: dict[tuple[str, bool, tuple[str, ...]], Inventory] = {}


def objects(
    hostvars: Mapping[str, Any],
    term: str,
    kind: str | None = None,
    allow_unknown_addresses: bool = False,
    groups: Mapping[str, Sequence[str]] | None = None,
    without: Sequence[str] = (),
) -> list[Object]:
    """Federation objects of a cluster or a mesh, sorted; those of one kind if asked.

    term: a host of group ``meshes``, or a mesh, whose clusters' objects are put together.
    without: hosts that are about to leave the federation.
    Raises AnsibleError for everything a user can act on.
    """

    def federate(inventory: Inventory, hosts: tuple[str, ...]) -> list[Object]:
        found = [(host, compute.federation(inventory, host)) for host in hosts]
        return [item for item in _union(term, found) if kind in (None, item["kind"])]

    return _run(hostvars, term, federate, allow_unknown_addresses, groups, without)


def mesh_config(hostvars: Mapping[str, Any], host: str) -> dict[str, Any]:
    """Settings of the control plane of one cluster, see ``compute.mesh_config``."""
    return _run(hostvars, host, lambda inventory, hosts: compute.mesh_config(inventory, _single(host, hosts)), True)


def ingress_certificates(hostvars: Mapping[str, Any], host: str, without: Sequence[str]) -> list[dict[str, Any]]:
    """What the Ingresses of one cluster are to be served with, see ``compute.ingress_certificates``."""

    def ask(inventory: Inventory, hosts: tuple[str, ...]) -> list[dict[str, Any]]:
        return compute.ingress_certificates(inventory, _single(host, hosts))

    return _run(hostvars, host, ask, True, without=without)


def edges(hostvars: Mapping[str, Any], term: str, allow_unknown_addresses: bool = False) -> list[dict[str, Any]]:
    """Who of a cluster or mesh may call what elsewhere, see ``compute.edges``."""
    return _run(
        hostvars,
        term,
        lambda inventory, hosts: [edge for host in hosts for edge in compute.edges(inventory, host)],
        allow_unknown_addresses,
    )


def dns_hosts(
    hostvars: Mapping[str, Any], host: str, allow_unknown_addresses: bool = False, without: Sequence[str] = ()
) -> dict[str, list[str]]:
    """Addresses of the hosts that one cluster imports, see ``dns.hosts``."""

    def ask(inventory: Inventory, hosts: tuple[str, ...]) -> dict[str, list[str]]:
        return dns.hosts(inventory.clusters[host if host in inventory.clusters else _single(host, hosts)])

    return _run(hostvars, host, ask, allow_unknown_addresses, without=without)


def admissions(hostvars: Mapping[str, Any], term: str, allow_unknown_addresses: bool = False) -> list[dict[str, Any]]:
    """Who may call the exports of a cluster or mesh, see ``admissions.admissions``."""
    return _run(
        hostvars,
        term,
        lambda inventory, hosts: [entry for host in hosts for entry in admitted.admissions(inventory, host)],
        allow_unknown_addresses,
    )


def rights(
    hostvars: Mapping[str, Any], host: str, part: str, names: rbac.Names, subject: Mapping[str, Any] | None
) -> list[Object]:
    """Manifests of the rights that a part of the collection needs in one cluster, see ``rbac``."""

    def ask(inventory: Inventory, hosts: tuple[str, ...]) -> list[Object]:
        granted = rbac.permissions(inventory, _single(host, hosts), part, names)
        return rbac.manifests(part, granted, names, subject)

    return _run(hostvars, host, ask, True)


def _run(
    hostvars: Mapping[str, Any],
    term: str,
    ask: Callable[[Inventory, tuple[str, ...]], T],
    allow_unknown_addresses: bool,
    groups: Mapping[str, Sequence[str]] | None = None,
    without: Sequence[str] = (),
) -> T:
    if not isinstance(term, str):
        raise AnsibleError(f"expected the name of a host or a mesh, found {term!r}")
    if not isinstance(hostvars, Mapping):
        raise AnsibleError("expected hostvars, for example: hostvars | multimesh.istio.federation('west')")
    raw = raw_inventory(hostvars, groups)
    try:
        inventory = _parse(raw, allow_unknown_addresses, tuple(sorted(without)))
        hosts = _hosts(inventory, term)
        result = ask(inventory, hosts)
    except MultimeshError as error:
        raise AnsibleError(str(error)) from error
    for host in hosts:
        for warning in inventory.clusters[host].warnings:
            Display().warning(warning)
    return result


def _parse(raw: dict[str, Any], allow_unknown_addresses: bool, without: tuple[str, ...]) -> Inventory:
    key = json.dumps(raw, sort_keys=True, default=repr), allow_unknown_addresses, without
    if key not in _memo:
        inventory = parse(raw, allow_unknown_addresses, without)
        _memo.clear()
        _memo[key] = inventory
    return _memo[key]


def _hosts(inventory: Inventory, term: str) -> tuple[str, ...]:
    if term in inventory.meshes:
        return inventory.meshes[term]
    if term in inventory.clusters:
        return (term,)
    raise MultimeshError(
        f"{term}: no mesh and no host of group 'meshes'. {nearest(term, {*inventory.meshes, *inventory.clusters})}."
    )


def _single(term: str, hosts: tuple[str, ...]) -> str:
    if len(hosts) > 1:
        raise MultimeshError(f"{term}: this mesh has several clusters. Ask for one of the hosts {', '.join(hosts)}.")
    return hosts[0]


def _union(term: str, found: list[tuple[str, list[Object]]]) -> list[Object]:
    """Objects of all clusters of a mesh, those that are alike once."""
    union: dict[tuple[str, str, str], tuple[str, Object]] = {}
    for host, items in found:
        for item in items:
            first, other = union.setdefault(identity(item), (host, item))
            if other != item:
                kind, namespace, name = identity(item)
                raise MultimeshError(
                    f"{term}: {kind} {namespace}/{name} differs between the clusters {first} and {host}."
                    f" Ask for one of the hosts {', '.join(host for host, _items in found)}."
                )
    return [union[key][1] for key in sorted(union)]
