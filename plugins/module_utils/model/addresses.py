# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Addresses of imported hosts, pinned by the inventory alone.

They lead nowhere: a sidecar takes what is sent to one and routes it by the host that it stands for. Pinned, they are
the same in every cluster and every run, can be written into any DNS server, and tell apart hosts that share a TCP port.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import TYPE_CHECKING

from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError

if TYPE_CHECKING:
    from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Fields, Notes
    from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Site

# Class E like Istio's own choice: nobody routes it, and Linux sends it.
DEFAULT = "241.0.0.0/8"

# Leave it to istiod, whose addresses are not the same everywhere but may be IPv6.
AUTO = "auto"

# So many that two of a thousand hosts rarely fall on one address: what makes room is what may move.
_SMALLEST = 16

_TAKEN = {
    IPv4Network("0.0.0.0/8"): "no packet is sent to",
    IPv4Network("127.0.0.0/8"): "is each machine itself",
    IPv4Network("169.254.0.0/16"): "is link-local",
    IPv4Network("224.0.0.0/4"): "is multicast",
    # PILOT_IP_AUTOALLOCATE_IPV4_PREFIX
    IPv4Network("240.240.0.0/16"): "istiod takes for hosts that nobody gave an address",
    IPv4Network("255.255.255.255/32"): "is broadcast",
}


def read_address_range(fields: Fields) -> IPv4Network | None:
    """Variable ``mesh_address_range``; None is ``auto``, and also a wrong one, which is noted."""
    way_out = f"Choose a part of '{DEFAULT}', which is the default, or '{AUTO}' to leave addresses to istiod"
    found = fields.text("mesh_address_range", _expected, way_out)
    if found is None:
        return None if fields.has("mesh_address_range") else IPv4Network(DEFAULT)
    return None if found == AUTO else IPv4Network(found)


def _expected(value: str) -> str | None:
    """A rule as in ``names``."""
    if value == AUTO:
        return None
    try:
        network = IPv4Network(value)
    except ValueError:
        return f"an IPv4 range such as '{DEFAULT}', or '{AUTO}'"
    if network.prefixlen > _SMALLEST:
        return f"a range of {2 ** (32 - _SMALLEST)} addresses or more ('/{_SMALLEST}')"
    for taken, reason in _TAKEN.items():
        if network.overlaps(taken):
            return f"a range without {taken}, which {reason}"
    return None


def check_address_ranges(notes: Notes, sites: Sequence[Site]) -> None:
    """Note gateways inside a range, whose address would then mean a host."""
    gateways = [
        (site, text)
        for site in sites
        for text in site.gateway_addresses or (site.facts.gateway_addresses if site.facts else ())
    ]
    inside: dict[IPv4Network, list[tuple[Site, str]]] = {}  # hardly ever is there more than one range
    for site in sites:
        network = site.address_range
        if network and network not in inside:
            inside[network] = [(other, text) for other, text in gateways if _holds(network, text)]
        for other, text in inside[network] if network else ():
            notes.note(
                site.host,
                "mesh_address_range",
                f"expected a range with nothing real in it, and {network} holds the gateway of {other.host}, {text}",
                "Choose another range",
            )


def _holds(network: IPv4Network, text: str) -> bool:
    try:
        return ip_address(text) in network
    except ValueError:
        return False


def pinned(hosts: Iterable[str], network: IPv4Network) -> dict[str, str]:
    """An address of the range for every host.

    The host's name alone says which, by its hash. Where two fall on one, the first in alphabetical order has it, and
    the other takes the next that is free: a host that comes or goes moves no other but one that it shares it with.
    Raises MultimeshError if there are more hosts than addresses.
    """
    wanted = sorted(set(hosts))
    # Neither the first nor the last, which are no addresses of a host in a network of this size.
    size = network.num_addresses - 2
    if len(wanted) > size:
        raise MultimeshError(f"mesh_address_range: {network} has no room for {len(wanted)} hosts. Choose a larger one.")
    taken: set[int] = set()
    found = {}
    for host in wanted:
        offset = int.from_bytes(hashlib.sha256(host.encode()).digest()[:8], "big") % size
        while offset in taken:
            offset = (offset + 1) % size
        taken.add(offset)
        found[host] = str(IPv4Address(int(network.network_address) + 1 + offset))
    return found
