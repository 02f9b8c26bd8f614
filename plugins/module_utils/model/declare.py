# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading of one host's ``mesh_*`` variables and facts, without a look at any other host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.model import names
from ansible_collections.multimesh.istio.plugins.module_utils.model.addresses import read_address_range
from ansible_collections.multimesh.istio.plugins.module_utils.model.attributes import (
    read_attributes,
    read_telemetry_attributes,
)
from ansible_collections.multimesh.istio.plugins.module_utils.model.consumers import read_export_rules
from ansible_collections.multimesh.istio.plugins.module_utils.model.exports import read_export
from ansible_collections.multimesh.istio.plugins.module_utils.model.external import read_external
from ansible_collections.multimesh.istio.plugins.module_utils.model.facts import read_facts
from ansible_collections.multimesh.istio.plugins.module_utils.model.ingress import read_ingress
from ansible_collections.multimesh.istio.plugins.module_utils.model.one_mesh import read_discovery
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Fields, Notes, shown
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Import, Site
from ansible_collections.multimesh.istio.plugins.module_utils.model.visibility import read_export_to

PREFIX = "mesh_"


def read_site(notes: Notes, host: str, variables: Mapping[str, Any], groups: list[str], facts: Any) -> Site:
    """One cluster of the inventory. Problems go to ``notes``; the site returned is then of no use but for more checks.

    In a site, None is what was left out, and empty ports, selector or service accounts are what was wrong and is noted.

    host: inventory host name.
    variables: its variables; those that do not begin with ``mesh_`` are not looked at.
    groups: names of the groups it is in.
    facts: what ``mesh_info`` returned as ``mesh``, or None if this host was not asked.
    """
    own = {key: value for key, value in variables.items() if str(key).startswith(PREFIX)}
    fields = Fields(notes, host, "", own)
    mesh = fields.text("mesh_name", names.label, "Give the mesh a name such as 'east'")
    if mesh is None:
        mesh = host
        if not fields.has("mesh_name") and (expected := names.label(host)):
            fields.note(
                "mesh_name", f"expected {expected}, found {shown(host)}, the host's name", "Set mesh_name for this host"
            )
    for key, way_out in (
        ("mesh_kubeconfig", "Give the path of a kubeconfig file"),
        ("mesh_context", "Give the name of a context in the kubeconfig file"),
    ):
        fields.text(key, names.text, way_out)
    trust_domain = fields.text(
        "mesh_trust_domain", names.trust_domain, f"Choose one such as '{mesh}.mesh', or leave it out"
    )
    network = fields.text("mesh_network", names.label_value, "Name the network of the cluster's pods, or leave it out")
    site = Site(
        host=host,
        mesh=mesh,
        groups=frozenset(groups),
        trust_domain=trust_domain or f"{mesh}.mesh",
        network=network or mesh,
        locality=fields.text("mesh_locality", names.locality, "Write for example 'eu-central/fra-1'"),
        domain=fields.text("mesh_domain", _domain, "Choose a suffix such as 'global'") or "global",
        address_range=read_address_range(fields),
        gateway_addresses=fields.texts(
            "mesh_gateway_addresses", names.address, "Give what other clusters can reach, for example '192.0.2.10'"
        ),
        ingress=read_ingress(fields),
        control_plane=fields.text("mesh_control_plane", names.text, "Name a host of group 'meshes'") or host,
        attributes=read_attributes(fields, "mesh_attributes", "Write names and values, for example {stage: test}"),
        endpoint_discovery=read_discovery(fields),
        exports=tuple(
            fields.each("mesh_exports", read_export, "Write a list of exports, each with service and namespace")
        ),
        export_rules=read_export_rules(fields),
        telemetry_attributes=read_telemetry_attributes(fields),
        imports=_imports(fields),
        external_services=tuple(fields.each("mesh_external_services", read_external, "Write a list of services")),
        facts=None if facts is None else read_facts(notes, host, facts),
    )
    fields.done()
    return site


def _domain(value: str) -> str | None:
    expected = names.subdomain(value)
    if expected is None and (value == "cluster.local" or value.endswith(".cluster.local")):
        return "a suffix outside 'cluster.local', whose names belong to each cluster's own Services"
    return expected


def _imports(fields: Fields) -> tuple[Import, ...] | None:
    if not fields.has("mesh_imports"):
        return None
    return tuple(fields.each("mesh_imports", _import, "Write a list of imports, each with from"))


def _import(index: int, fields: Fields) -> Import | None:
    source = fields.text("from", names.text, "Name a mesh, a group or 'all'", required=True)
    select = fields.text("select", names.text, "Write a JMESPath expression over exports, or leave it out")
    host = fields.text("host", names.host, "Write for example 'reviews.shop.global'")
    export_to = read_export_to(fields)
    short_names_in = fields.texts("short_names_in", names.label, "Name namespaces of this mesh, or leave it out")
    if source is None:
        return None
    return Import(index, source, select, host, export_to, short_names_in or ())
