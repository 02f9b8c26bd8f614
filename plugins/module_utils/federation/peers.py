# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a cluster remembers of its peers, so that one out of reach keeps its entries and none is forgotten by a slip."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.federation.objects import ROOT_NAMESPACE, Object, build
from ansible_collections.multimesh.istio.plugins.module_utils.model import object_names
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Export, Imported, Port, Source

NAME = object_names.PEERS
KEY = "peers.json"
CONSUMERS_KEY = "consumers.json"


def config_map(
    entries: Iterable[Imported], others: Iterable[Export] = (), consumers: Iterable[str] = ()
) -> list[Object]:
    """The facts that these imports and exports rest on, by the peers' host names; nothing without peers.

    others: exports of other clusters of the same mesh that are guarded here.
    consumers: host names of those to whom this cluster offers something; of them no more is needed.
    """
    by_host: dict[str, dict[str, Source]] = {}
    for entry in entries:
        for source in entry.sources:
            by_host.setdefault(source.export.cluster, {})[source.export.origin] = source
    peers = {host: _facts([source for _origin, source in sorted(found.items())]) for host, found in by_host.items()}
    for export in sorted(others, key=lambda export: export.origin):
        ports = [{**_port(port), "target_port": port.target_port} for port in export.ports]
        service = {**_service(export), "ports": ports, "selector": dict(export.selector)}
        peers.setdefault(export.cluster, {"gateway_addresses": [], "services": []})["services"].append(service)
    data = {KEY: _text(peers)} if peers else {}
    if hosts := sorted(set(consumers)):
        data[CONSUMERS_KEY] = json.dumps(hosts, indent=2) + "\n"
    return [build("v1", "ConfigMap", ROOT_NAMESPACE, NAME, {"data": data})] if data else []


def _text(peers: dict[str, dict[str, Any]]) -> str:
    """JSON with a line for each Service, for people who read a diff; json.dumps with indent is ten times as slow."""
    blocks = []
    for host, facts in sorted(peers.items()):
        lines = [
            f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(facts.items()) if key != "services"
        ]
        services = ",\n".join(f"    {json.dumps(service, sort_keys=True)}" for service in facts["services"])
        lines.append(f'  "services": [\n{services}\n  ]')
        blocks.append(f"{json.dumps(host)}: {{\n" + ",\n".join(lines) + "}")
    return "{" + ",\n".join(blocks) + "}\n"


def _facts(sources: list[Source]) -> dict[str, Any]:
    addresses: dict[str, list[str]] = {"gateway_addresses": []}
    for source in sources:
        key = "ingress_addresses" if source.export.via == "ingress" else "gateway_addresses"
        addresses[key] = [] if source.pending else list(source.addresses)
    return {
        **addresses,
        "services": [_service(source.export) for source in sources],
    }


def _service(export: Export) -> dict[str, Any]:
    return {
        "namespace": export.namespace,
        "name": export.service,
        "ports": [_port(port) for port in export.ports],
        "service_accounts": list(export.service_accounts),
    }


def _port(port: Port) -> dict[str, Any]:
    return {"number": port.number, "name": port.name, "protocol": port.protocol}
