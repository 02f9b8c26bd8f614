# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a cluster remembers of its peers, so that one out of reach keeps its entries."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.federation.objects import ROOT_NAMESPACE, Object, build
from ansible_collections.multimesh.istio.plugins.module_utils.model import object_names
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Imported, Source

NAME = object_names.PEERS
KEY = "peers.json"


def config_map(entries: Iterable[Imported]) -> list[Object]:
    """The peers' facts that these imports rest on, by the peers' host names; nothing without peers."""
    by_host: dict[str, dict[str, Source]] = {}
    for entry in entries:
        for source in entry.sources:
            by_host.setdefault(source.export.cluster, {})[source.export.origin] = source
    if not by_host:
        return []
    peers = {host: _facts([source for _origin, source in sorted(found.items())]) for host, found in by_host.items()}
    text = json.dumps(peers, indent=2, sort_keys=True) + "\n"
    return [build("v1", "ConfigMap", ROOT_NAMESPACE, NAME, {"data": {KEY: text}})]


def _facts(sources: list[Source]) -> dict[str, Any]:
    addresses: dict[str, list[str]] = {"gateway_addresses": []}
    for source in sources:
        key = "ingress_addresses" if source.export.via == "ingress" else "gateway_addresses"
        addresses[key] = [] if source.pending else list(source.addresses)
    return {
        **addresses,
        "services": [
            {
                "namespace": source.export.namespace,
                "name": source.export.service,
                "ports": [
                    {"number": port.number, "name": port.name, "protocol": port.protocol}
                    for port in source.export.ports
                ],
                "service_accounts": list(source.export.service_accounts),
            }
            for source in sources
        ],
    }
