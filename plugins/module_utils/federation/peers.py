# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a cluster remembers of its peers, so that one out of reach keeps its entries and none is forgotten by a slip."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.federation.objects import ROOT_NAMESPACE, Object, build
from ansible_collections.multimesh.istio.plugins.module_utils.model import object_names
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Imported, Source

NAME = object_names.PEERS
KEY = "peers.json"
CONSUMERS_KEY = "consumers.json"


def config_map(entries: Iterable[Imported], consumers: Iterable[str] = ()) -> list[Object]:
    """The peers' facts that these imports rest on, by the peers' host names; nothing without peers.

    consumers: host names of those to whom this cluster offers something; of them no more is needed.
    """
    by_host: dict[str, dict[str, Source]] = {}
    for entry in entries:
        for source in entry.sources:
            by_host.setdefault(source.export.cluster, {})[source.export.origin] = source
    peers = {host: _facts([source for _origin, source in sorted(found.items())]) for host, found in by_host.items()}
    kept = {KEY: peers, CONSUMERS_KEY: sorted(set(consumers))}
    data = {key: json.dumps(value, indent=2, sort_keys=True) + "\n" for key, value in kept.items() if value}
    return [build("v1", "ConfigMap", ROOT_NAMESPACE, NAME, {"data": data})] if data else []


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
