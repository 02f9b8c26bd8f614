# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading of ``mesh_exports``."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.multimesh.istio.plugins.module_utils.model import names
from ansible_collections.multimesh.istio.plugins.module_utils.model.attributes import read_attributes
from ansible_collections.multimesh.istio.plugins.module_utils.model.consumers import read_consumers
from ansible_collections.multimesh.istio.plugins.module_utils.model.ports import read_ports
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Fields, shown
from ansible_collections.multimesh.istio.plugins.module_utils.model.routes import read_routes
from ansible_collections.multimesh.istio.plugins.module_utils.model.takeover import host_rule
from ansible_collections.multimesh.istio.plugins.module_utils.model.traffic import read_traffic
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import ExportSpec

VIAS = ("gateway", "ingress", "passthrough")


def read_export(index: int, fields: Fields) -> ExportSpec | None:
    """One entry."""
    service = fields.text("service", names.label, "Give the name of a Kubernetes Service", required=True)
    namespace = fields.text("namespace", names.label, "Give the namespace of the Service", required=True)
    ports = read_ports(fields)
    selector = _selector(fields)
    accounts = fields.texts("service_accounts", names.subdomain, "Name the service accounts of the pods that serve it")
    cluster_ip = fields.text("cluster_ip", names.ip_address, "Write the Service's spec.clusterIP, or leave it out")
    host = fields.text("host", host_rule(service, namespace), "Write for example 'reviews.shop.global'")
    aliases = fields.texts("aliases", names.host, "Write for example ['reviews.shop.global']")
    via = fields.choice("via", VIAS, "passthrough")
    attributes = read_attributes(fields, "attributes", "Write names and values, for example {tier: gold}")
    traffic = read_traffic(fields)
    routes = read_routes(fields, service, via)
    consumers = read_consumers(fields)
    raw = fields.raw
    if service is None or namespace is None:
        return None
    return ExportSpec(
        index=index,
        namespace=namespace,
        service=service,
        host=host,
        aliases=aliases or (),
        via=via,
        ports=ports,
        service_accounts=accounts,
        selector=selector,
        cluster_ip=cluster_ip,
        attributes=attributes,
        traffic=traffic,
        consumers=consumers,
        raw=raw,
        routes=routes,
    )


def _selector(fields: Fields) -> Mapping[str, str] | None:
    way_out = "Write the labels of the pods, for example {app: reviews}"
    found = fields.mapping("selector", way_out)
    if found is None:
        return None
    if not found:
        fields.note("selector", "expected at least one label, found an empty mapping, which is every pod", way_out)
    labels = {}
    for key, value in found.items():
        if expected := names.label_key(str(key)):
            fields.note(f"selector.{key}", f"expected {expected}", way_out)
        if not isinstance(value, str):
            fields.note(f"selector.{key}", f"expected a string, found {shown(value)}", "Put the value in quotes")
        elif value and (expected := names.label_value(value)):
            fields.note(f"selector.{key}", f"expected {expected}, found {shown(value)}", way_out)
        else:
            labels[str(key)] = value
    return labels
