# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading of one host's ``mesh_*`` variables and facts, without a look at any other host."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.model import names
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Fields, Notes, shown
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import (
    HTTP_PROTOCOLS,
    Consumer,
    ExportSpec,
    ExternalService,
    ExternalTls,
    Facts,
    Import,
    PeerFacts,
    Port,
    PortSpec,
    ServiceFacts,
    Site,
)

PREFIX = "mesh_"

# MONGO, MYSQL and REDIS need filters that Istio has switched off by default; as TCP they work everywhere.
PROTOCOLS = {
    **{name: name for name in (*HTTP_PROTOCOLS, "HTTPS", "TLS", "TCP")},
    **dict.fromkeys(("MONGO", "MYSQL", "REDIS"), "TCP"),
}
VIAS = ("gateway", "ingress", "passthrough")
TLS_MODES = ("mutual", "none", "simple")

_DURATION = re.compile(r"(?P<number>\d+(\.\d+)?)(?P<unit>ms|s|m|h)\Z")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


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
        gateway_addresses=fields.texts(
            "mesh_gateway_addresses", names.address, "Give what other clusters can reach, for example '192.0.2.10'"
        ),
        control_plane=fields.text("mesh_control_plane", names.text, "Name a host of group 'meshes'") or host,
        exports=tuple(fields.each("mesh_exports", _export, "Write a list of exports, each with service and namespace")),
        imports=_imports(fields),
        external_services=tuple(fields.each("mesh_external_services", _external, "Write a list of services")),
        facts=None if facts is None else _facts(notes, host, facts),
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
    export_to = _export_to(fields)
    if source is None:
        return None
    return Import(index, source, select, host, export_to)


def _export_to(fields: Fields) -> tuple[str, ...]:
    found = fields.texts("export_to", names.visibility, "Name the namespaces that may see the host, or leave it out")
    if found and "*" in found and len(found) > 1:
        fields.note("export_to", "expected '*' alone or namespaces, found both", "Remove '*' or the namespaces")
    return tuple(sorted(found)) if found else ("*",)


def _export(index: int, fields: Fields) -> ExportSpec | None:
    service = fields.text("service", names.label, "Give the name of a Kubernetes Service", required=True)
    namespace = fields.text("namespace", names.label, "Give the namespace of the Service", required=True)
    ports = _ports(fields)
    selector = _selector(fields)
    accounts = fields.texts("service_accounts", names.subdomain, "Name the service accounts of the pods that serve it")
    host = fields.text("host", names.host, "Write for example 'reviews.shop.global'")
    via = fields.choice("via", VIAS, "passthrough")
    attributes = fields.mapping("attributes", "Write names and values, for example {tier: gold}")
    consumers = _consumers(fields)
    raw = fields.raw
    if service is None or namespace is None:
        return None
    return ExportSpec(
        index=index,
        namespace=namespace,
        service=service,
        host=host,
        via=via,
        ports=ports,
        service_accounts=accounts,
        selector=selector,
        attributes=attributes or {},
        consumers=consumers,
        raw=raw,
    )


def _ports(fields: Fields) -> tuple[PortSpec, ...] | None:
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


def _consumers(fields: Fields) -> tuple[tuple[str, Consumer], ...]:
    way_out = "List meshes, groups or 'all'; an empty list offers the Service to nobody"
    if not fields.has("consumers"):
        fields.missing("consumers", "a list", way_out)
        return ()
    found = []
    for index, value in enumerate(fields.items("consumers", way_out) or []):
        path = f"consumers[{index}]"
        if isinstance(value, str) and value.strip():
            found.append((value, Consumer()))
        elif isinstance(value, Mapping):
            consumer = _consumer(Fields(fields.notes, fields.mesh, fields.at(path), value))
            if consumer:
                found.append(consumer)
        else:
            fields.note(path, f"expected a name or a mapping with mesh, found {shown(value)}", way_out)
    return tuple(found)


def _consumer(fields: Fields) -> tuple[str, Consumer] | None:
    mesh = fields.text("mesh", names.text, "Name a mesh, a group or 'all'", required=True)
    namespace = fields.text("namespace", names.label, "Name a namespace of the consumer mesh")
    account = fields.text("service_account", names.subdomain, "Name a service account of the consumer mesh")
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
    return mesh, Consumer(namespace, account, methods, paths)


def _external(index: int, fields: Fields) -> ExternalService | None:
    hosts = fields.texts("hosts", names.host, "Write for example 'api.example.com'")
    addresses = fields.texts("addresses", _ip_address, "Write for example '192.0.2.10'")
    if not fields.has("hosts") and not fields.has("addresses"):
        fields.missing("hosts", "hosts or addresses", "Say where the service is")
    specs = _ports(fields)
    if not fields.has("ports"):
        fields.missing("ports", "a list of ports", "Write for example [{number: 443, name: https, protocol: HTTPS}]")
    ports = []
    for i, spec in enumerate(specs or ()):
        if spec.protocol is None:
            fields.missing(f"ports[{i}].protocol", "a protocol", f"Use one of {', '.join(sorted(PROTOCOLS))}")
            continue
        ports.append(Port(spec.number, port_name(spec, spec.protocol), spec.protocol, spec.number))
    timeout = _seconds(fields)
    retries = fields.number("retries", 0, 10, "Say how often a failed request is repeated")
    consumers = fields.texts("consumers", names.text, "Name meshes or groups, or leave it out for this mesh")
    return ExternalService(
        index=index,
        hosts=hosts or (),
        addresses=addresses or (),
        ports=tuple(ports),
        tls=_external_tls(fields),
        timeout=timeout,
        retries=retries,
        consumers=consumers or (),
        export_to=_export_to(fields),
    )


def _ip_address(value: str) -> str | None:
    return None if names.ip(value) else "a bare IP address"


def _seconds(fields: Fields) -> float | None:
    def rule(value: str) -> str | None:
        found = _DURATION.match(value)
        if found and float(found["number"]) > 0:
            return None
        return "a duration with its unit, for example '10s'"

    value = fields.text("timeout", rule, "Write for example '500ms', '10s' or '2m'")
    found = _DURATION.match(value) if value else None
    return float(found["number"]) * _SECONDS[found["unit"]] if found else None


def _external_tls(fields: Fields) -> ExternalTls:
    found = fields.mapping("tls", "Write for example {mode: simple, sni: api.example.com}")
    if found is None:
        return ExternalTls("none", None, None)
    tls = Fields(fields.notes, fields.mesh, fields.at("tls"), found)
    mode = tls.choice("mode", TLS_MODES, "none")
    sni = tls.text("sni", names.host, "Write the server's name, for example 'api.example.com'")
    credential = tls.text("credential", names.subdomain, "Give the name of a Secret with tls.crt, tls.key and ca.crt")
    tls.done()
    if mode == "mutual" and not tls.has("credential"):
        tls.missing("credential", "the name of a Secret for mode 'mutual'", "Add credential, or use mode 'simple'")
    if mode != "mutual" and credential:
        tls.note("credential", f"expected no credential for mode '{mode}'", "Remove it, or use mode 'mutual'")
    if mode == "none" and sni:
        tls.note("sni", "expected no sni for mode 'none'", "Remove it, or use mode 'simple'")
    return ExternalTls(mode, sni, credential)


def port_name(spec: PortSpec, protocol: str) -> str:
    """Name of a port: its own, or one made of protocol and number as Istio's protocol selection reads it."""
    return spec.name or f"{protocol.lower()}-{spec.number}"


def _facts(notes: Notes, host: str, value: Any) -> Facts | None:
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
    return Facts(own.gateway_addresses, own.services, remembered)


def _peer_facts(notes: Notes, host: str, path: str, value: Mapping[str, Any]) -> PeerFacts:
    addresses = value.get("gateway_addresses") or ()
    services = {}
    for index, service in enumerate(value.get("services") or ()):
        found = _service_facts(notes, host, f"{path}.services[{index}]", service)
        if found:
            services[found.namespace, found.name] = found
    return PeerFacts(tuple(str(address) for address in addresses), services)


def _service_facts(notes: Notes, host: str, path: str, value: Any) -> ServiceFacts | None:
    try:
        selector = value.get("selector")
        return ServiceFacts(
            namespace=str(value["namespace"]),
            name=str(value["name"]),
            ports=tuple(sorted(map(_port_facts, value.get("ports") or ()), key=lambda port: port.number)),
            selector={str(key): str(label) for key, label in selector.items()} if selector else None,
            service_accounts=tuple(sorted(str(account) for account in value.get("service_accounts") or ())),
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
    )
