# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which addresses a lab and its clusters get."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv4Network

from tests.lab.errors import LabError

POOL = IPv4Network("198.18.0.0/15")
"""Set aside for tests between networks (RFC 2544), so no real network is shadowed."""
FIRST_MESH = 11
LAST_MESH = 250

SERVICE_CIDR = IPv4Network("10.96.0.0/16")
POD_CIDR = IPv4Network("10.244.0.0/24")
"""Both are the same in every cluster: only gateways need to reach each other."""


def choose_subnet(taken: Iterable[IPv4Network]) -> IPv4Network:
    """The first /24 of the pool that overlaps nothing in `taken`; a default route is no obstacle."""
    obstacles = [network for network in taken if network.prefixlen]
    for subnet in POOL.subnets(new_prefix=24):
        if not any(subnet.overlaps(network) for network in obstacles):
            return subnet
    raise LabError(f"no free /24 in {POOL}: `python -m tests.lab sweep` removes forgotten labs")


def host_address(subnet: IPv4Network) -> IPv4Address:
    return subnet[1]


def mesh_address(subnet: IPv4Network, taken: Collection[str]) -> IPv4Address:
    """The first address for a cluster that is not `taken`."""
    for number in range(FIRST_MESH, LAST_MESH + 1):
        if str(subnet[number]) not in taken:
            return subnet[number]
    raise LabError(f"no free address in {subnet}: a lab holds at most {LAST_MESH - FIRST_MESH + 1} clusters")


def mac_address(address: str) -> str:
    """A fixed hardware address per address, so that neighbours' caches stay right when a cluster is restarted."""
    return "02:4d:" + ":".join(f"{octet:02x}" for octet in IPv4Address(address).packed)
