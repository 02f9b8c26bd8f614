# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ports and their protocols, as exports and external services give them."""

from __future__ import annotations

from ansible_collections.multimesh.istio.plugins.module_utils.model import names
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Fields
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import HTTP_PROTOCOLS, PortSpec

# MONGO, MYSQL and REDIS need filters that Istio has switched off by default; as TCP they work everywhere.
PROTOCOLS = {
    **{name: name for name in (*HTTP_PROTOCOLS, "HTTPS", "TLS", "TCP")},
    **dict.fromkeys(("MONGO", "MYSQL", "REDIS"), "TCP"),
}


def read_ports(fields: Fields) -> tuple[PortSpec, ...] | None:
    """Key ``ports`` of a mapping: None if left out, empty if wrong."""
    way_out = "Write a list such as [{number: 9080, name: http, protocol: HTTP}]"
    if not fields.has("ports"):
        return None
    values = fields.items("ports", way_out)
    if values is None:
        return ()
    if not values:
        fields.note("ports", "expected at least one port, found an empty list", "Leave it out to read the live Service")
    before = len(fields.notes.problems)
    ports = []
    numbers: set[int] = set()
    port_names: set[str] = set()
    for index, port in fields.entries("ports", way_out):
        way = "Write the Service's port as a number without quotes"
        number = port.number("number", 1, 65535, way, required=True)
        name = port.text("name", names.label, "Give the port's name in the Service")
        protocol = port.choice("protocol", PROTOCOLS, "")
        target = port.number("target_port", 1, 65535, "Write the pods' port as a number without quotes")
        port.done()
        if number in numbers:
            fields.note(f"ports[{index}].number", f"port {number} is given twice", "Remove one of them")
        if name in port_names:
            fields.note(f"ports[{index}].name", f"port name '{name}' is given twice", "Rename one of them")
        if name is not None:
            port_names.add(name)
        if number is not None:
            numbers.add(number)
            ports.append(PortSpec(number, name, PROTOCOLS.get(protocol), target))
    if len(fields.notes.problems) > before:
        return ()
    return tuple(sorted(ports, key=lambda port: port.number))


def port_name(spec: PortSpec, protocol: str) -> str:
    """Name of a port: its own, or one made of protocol and number as Istio's protocol selection reads it."""
    return spec.name or f"{protocol.lower()}-{spec.number}"
