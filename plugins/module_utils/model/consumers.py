# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading of who may call: ``consumers`` of an export, and ``mesh_export_rules``, which name them for many at once."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.multimesh.istio.plugins.module_utils.model import names
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Fields, shown
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Consumer, ConsumerSpec, ExportRule

NOBODY_MISSING = "List meshes, groups or 'all'; an empty list offers the Service to nobody"


def read_consumers(fields: Fields) -> tuple[ConsumerSpec, ...] | None:
    """Key ``consumers`` of a mapping, None if left out."""
    if not fields.has("consumers"):
        return None
    found = []
    for index, value in enumerate(fields.items("consumers", NOBODY_MISSING) or []):
        path = f"consumers[{index}]"
        if isinstance(value, str) and value.strip():
            found.append(ConsumerSpec(value, None, Consumer()))
        elif isinstance(value, Mapping):
            consumer = _consumer(Fields(fields.notes, fields.mesh, fields.at(path), value))
            if consumer:
                found.append(consumer)
        else:
            fields.note(path, f"expected a name or a mapping with mesh, found {shown(value)}", NOBODY_MISSING)
    return tuple(found)


def _consumer(fields: Fields) -> ConsumerSpec | None:
    mesh = fields.text("mesh", names.text, "Name a mesh, a group or 'all'", required=True)
    select = fields.text("select", names.text, "Write a JMESPath expression over meshes, or leave it out")
    namespace = fields.text("namespace", names.label, "Name a namespace of the consumer mesh")
    account = fields.text("service_account", names.subdomain, "Name a service account of the consumer mesh")
    ports = fields.numbers("ports", 1, 65535, "List ports of the Service, or leave it out to allow all of them")
    methods = fields.texts("methods", names.method, "List HTTP methods, or leave it out to allow all of them")
    paths = fields.texts("paths", names.path, "List path patterns, or leave it out to allow all paths")
    fields.done()
    if account and not fields.has("namespace"):
        fields.missing("namespace", "the namespace of the service account", "Add namespace, or remove service_account")
        return None
    if mesh is None:
        return None
    if paths and "*" in paths:
        paths = None
    return ConsumerSpec(mesh, select, Consumer(namespace, account, methods, paths, ports))


def read_export_rules(fields: Fields) -> tuple[ExportRule, ...]:
    """Variable ``mesh_export_rules``."""
    way_out = "Write a list of rules, each with select and consumers"
    return tuple(fields.each("mesh_export_rules", _rule, way_out))


def _rule(index: int, fields: Fields) -> ExportRule | None:
    way_out = "Write a JMESPath expression over exports, for example [?attributes.tier=='gold'], or [*] for all"
    select = fields.text("select", names.text, way_out, required=True)
    consumers = read_consumers(fields)
    if consumers is None:
        fields.missing("consumers", "a list", "List meshes, groups or 'all'")
    if select is None or consumers is None:
        return None
    return ExportRule(index, select, consumers)
