# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where gateways are, against where the inventory and the clusters believe them to be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ansible_collections.multimesh.istio.plugins.module_utils.model import names
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Site


def drift(site: Site, sites: Mapping[str, Site]) -> Iterator[str]:
    """What differs, from the side of one cluster, a sentence without a full stop for each."""
    if site.facts is None:
        return
    said, told = site.gateway_addresses or (), site.facts.gateway_addresses
    for kind in (False, True):
        # A name may well stand for an address, so only names are compared with names, and addresses with addresses.
        ours, theirs = ([address for address in found if names.ip(address) is kind] for found in (said, told))
        if ours and theirs and set(ours) != set(theirs):
            yield (
                f"{site.host}: mesh_gateway_addresses says {_listed(ours)}, and the gateway's Service"
                f" {_listed(theirs)};"
                " callers are sent to the former"
            )
    for host, known in sorted(site.facts.remembered.items()):
        peer = sites.get(host)
        now = (peer.gateway_addresses or (peer.facts.gateway_addresses if peer.facts else ())) if peer else ()
        if now and known.gateway_addresses and set(now) != set(known.gateway_addresses):
            yield (
                f"{site.host}: callers are sent to the gateway of {host} at {_listed(known.gateway_addresses)}, and"
                " it is at"
                f" {_listed(now)}; playbook multimesh.istio.site corrects that"
            )


def _listed(addresses: Iterable[str]) -> str:
    return ", ".join(sorted(addresses))
