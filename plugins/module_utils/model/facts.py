# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading of what ``mesh_info`` returned, and of what clusters remember of each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.model.foreign import Foreign, ForeignObject
from ansible_collections.multimesh.istio.plugins.module_utils.model.ports import PROTOCOLS
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Notes, shown
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import (
    Facts,
    PeerFacts,
    PortSpec,
    ServiceFacts,
)


def read_facts(notes: Notes, host: str, value: Any) -> Facts | None:
    """Facts of one cluster; None if they are not what the module returns."""
    if not isinstance(value, Mapping):
        notes.note(
            host, "facts", f"expected a mapping, found {shown(value)}", "Read them with multimesh.istio.mesh_info"
        )
        return None
    own = _peer_facts(notes, host, "facts", value)
    remembered = {}
    for peer, facts in (value.get("remembered") or {}).items():
        if isinstance(facts, Mapping):
            remembered[str(peer)] = _peer_facts(notes, host, f"facts.remembered.{peer}", facts)
    foreign = _foreign(notes, host, value.get("foreign"))
    return Facts(own.gateway_addresses, own.ingress_addresses, own.services, remembered, foreign)


def _peer_facts(notes: Notes, host: str, path: str, value: Mapping[str, Any]) -> PeerFacts:
    services = {}
    for index, service in enumerate(value.get("services") or ()):
        found = _service_facts(notes, host, f"{path}.services[{index}]", service)
        if found:
            services[found.namespace, found.name] = found
    gateway, ingress = (
        tuple(str(address) for address in value.get(key) or ()) for key in ("gateway_addresses", "ingress_addresses")
    )
    return PeerFacts(gateway, ingress, services)


def _service_facts(notes: Notes, host: str, path: str, value: Any) -> ServiceFacts | None:
    try:
        selector = value.get("selector")
        return ServiceFacts(
            namespace=str(value["namespace"]),
            name=str(value["name"]),
            ports=tuple(sorted(map(_port_facts, value.get("ports") or ()), key=lambda port: port.number)),
            selector={str(key): str(label) for key, label in selector.items()} if selector else None,
            service_accounts=tuple(sorted(str(account) for account in value.get("service_accounts") or ())),
            cluster_ip=value.get("cluster_ip") or None,
            same_pods=tuple(sorted(str(other) for other in value.get("same_pods") or ())),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        notes.note(host, path, "expected a Service with its ports", "Read it with multimesh.istio.mesh_info")
        return None


def _port_facts(value: Mapping[str, Any]) -> PortSpec:
    protocol, target = value.get("protocol"), value.get("target_port")
    return PortSpec(
        number=int(value["number"]),
        name=value.get("name") or None,
        # A protocol that cannot be federated stays as it is, so that the export using it is refused by name.
        protocol=PROTOCOLS.get(str(protocol).upper(), str(protocol)) if protocol else None,
        target_port=target if isinstance(target, int) else None,
        target_name=value.get("target_port_name") or None,
    )


def _foreign(notes: Notes, host: str, value: Any) -> Foreign | None:
    if value is None:
        return None
    try:
        return Foreign(
            take_over=bool(value["take_over"]),
            services={str(namespace): frozenset(map(str, names)) for namespace, names in value["services"].items()},
            objects=tuple(map(_foreign_object, value["objects"])),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        notes.note(host, "facts.foreign", "expected services and objects", "Read them with multimesh.istio.mesh_info")
        return None


def _foreign_object(value: Mapping[str, Any]) -> ForeignObject:
    ports = value.get("ports")
    return ForeignObject(
        kind=str(value["kind"]),
        namespace=str(value["namespace"]),
        name=str(value["name"]),
        owner=str(value.get("owner") or ""),
        part_of=str(value.get("part_of") or ""),
        hosts=tuple(str(host) for host in value.get("hosts") or ()),
        visible=frozenset(str(namespace) for namespace in value.get("visible") or ()),
        http=bool(value.get("http")),
        ports=None if ports is None else tuple(int(port) for port in ports),
        tls=str(value.get("tls") or ""),
    )
