# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading of ``mesh_external_services``.

Every combination that Istio would take and then do something else with is refused here, where one entry is enough to
see it.
"""

from __future__ import annotations

import ipaddress

from ansible_collections.multimesh.istio.plugins.module_utils.model import names
from ansible_collections.multimesh.istio.plugins.module_utils.model.durations import read_seconds
from ansible_collections.multimesh.istio.plugins.module_utils.model.ports import PROTOCOLS, port_name, read_ports
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Fields
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import ExternalService, ExternalTls, Port
from ansible_collections.multimesh.istio.plugins.module_utils.model.visibility import read_export_to

TLS_MODES = ("mutual", "none", "simple")
# Protocols that are TLS already when they leave the application: a proxy sees the name that is called, and no more.
TLS_PROTOCOLS = frozenset({"HTTPS", "TLS"})
HTTP_PORT, HTTPS_PORT = 80, 443


def read_external(index: int, fields: Fields) -> ExternalService:
    """One entry."""
    hosts = fields.texts("hosts", names.external_host, "Write for example 'api.example.com' or '*.example.com'")
    addresses = fields.texts("addresses", names.destination, "Write for example '192.0.2.10' or '192.0.2.0/24'")
    if not fields.has("hosts") and not fields.has("addresses"):
        fields.missing("hosts", "hosts or addresses", "Say where the service is")
    tls = _tls(fields)
    service = ExternalService(
        declared_by=(fields.mesh,),
        index=index,
        hosts=hosts or (),
        addresses=tuple(_shortest(address) for address in addresses or ()),
        ports=_ports(fields, tls),
        tls=tls,
        timeout=read_seconds(fields, "timeout"),
        retries=fields.number("retries", 0, 10, "Say how often a failed request is repeated"),
        consumers=fields.texts("consumers", names.text, "Name meshes or groups, or leave it out for this mesh") or (),
        export_to=read_export_to(fields),
    )
    if service.ports and (hosts or addresses):
        _check_places(fields, service)
        _check_http(fields, service)
        _check_tls(fields, service)
    return service


def _shortest(address: str) -> str:
    """Every address written in one way, and a range of one address as that address."""
    network = ipaddress.ip_network(address)
    return str(network.network_address if network.num_addresses == 1 else network)


def _ports(fields: Fields, tls: ExternalTls) -> tuple[Port, ...]:
    if not fields.has("ports"):
        fields.missing("ports", "a list of ports", "Write for example [{number: 443, name: https, protocol: HTTPS}]")
    ports = []
    for i, spec in enumerate(read_ports(fields) or ()):
        if spec.protocol is None:
            fields.missing(f"ports[{i}].protocol", "a protocol", f"Use one of {', '.join(sorted(PROTOCOLS))}")
            continue
        # Whoever speaks HTTP to port 80, so that the proxy makes HTTPS of it, means the port of HTTPS.
        secured = tls.originates and spec.protocol not in TLS_PROTOCOLS and spec.number == HTTP_PORT
        target = spec.target_port or (HTTPS_PORT if secured else spec.number)
        ports.append(Port(spec.number, port_name(spec, spec.protocol), spec.protocol, target))
    return tuple(ports)


def _tls(fields: Fields) -> ExternalTls:
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
    for key, value in (("credential", credential), ("sni", sni)):
        if mode == "none" and value:
            tls.note(key, f"expected no {key} for mode 'none'", "Remove it, or use mode 'simple'")
    return ExternalTls(mode, sni, credential)


def _check_places(fields: Fields, service: ExternalService) -> None:
    wildcard = next((host for host in service.hosts if "*" in host), None)
    span = next((address for address in service.addresses if "/" in address), None)
    plain = next((port for port in service.ports if port.protocol == "TCP"), None)
    http = next((port for port in service.ports if port.is_http), None)
    if wildcard and service.addresses:
        fields.note(
            "addresses",
            f"expected none beside '{wildcard}', whose names have addresses of their own",
            "Remove them, or name the hosts one by one",
        )
    elif service.hosts and span:
        fields.note(
            "addresses",
            f"expected the addresses at which the hosts are served, found the range '{span}'",
            "List single addresses, or remove hosts",
        )
    if wildcard and plain:
        fields.note(
            "hosts",
            f"'{wildcard}' needs ports that carry a name, and port {plain.number} is TCP:"
            " any address would be reachable there",
            "Name the hosts one by one, or use HTTP, HTTPS or TLS ports only",
        )
    if span and http and not service.hosts:
        fields.note(
            "addresses",
            f"the range '{span}' needs TCP or TLS, and port {http.number} is {http.protocol},"
            " which is told apart by the name that is called",
            "List single addresses, or declare the port as TCP",
        )


def _check_http(fields: Fields, service: ExternalService) -> None:
    if any(port.is_http for port in service.ports):
        return
    first = service.ports[0]
    for key, value in (("timeout", service.timeout), ("retries", service.retries)):
        if value is not None:
            fields.note(
                key,
                f"needs HTTP, and no port is: {first.number} is {first.protocol}",
                "Remove it; an HTTP port with tls lets proxies see the requests of an HTTPS server",
            )


def _check_tls(fields: Fields, service: ExternalService) -> None:
    if not service.tls.originates:
        return
    mode, first = service.tls.mode, service.ports[0]
    if all(port.protocol in TLS_PROTOCOLS for port in service.ports):
        fields.note(
            "tls.mode",
            f"expected 'none', found '{mode}': port {first.number} is {first.protocol}, whose TLS applications make",
            "Remove tls, or declare an HTTP port that applications call without TLS",
        )
    if not service.hosts and not service.tls.sni:
        fields.missing("tls.sni", "the server's name, which an address does not say", "Add sni")
    if service.tls.sni and any("*" in host for host in service.hosts):
        fields.note(
            "tls.sni",
            f"expected nothing for '{service.hosts[0]}', found '{service.tls.sni}': every name below it has its own",
            "Remove it: proxies ask for the name that is called",
        )
    if service.tls.credential and {"*", "."} & set(service.export_to):
        fields.note(
            "tls.credential",
            "expected export_to with the namespaces that hold the Secret, found all of them: elsewhere Istio ignores"
            " the credential and sends plaintext",
            "Name the namespaces in export_to",
        )
