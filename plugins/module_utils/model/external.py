# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading of ``mesh_external_services``."""

from __future__ import annotations

from ansible_collections.multimesh.istio.plugins.module_utils.model import names
from ansible_collections.multimesh.istio.plugins.module_utils.model.durations import read_seconds
from ansible_collections.multimesh.istio.plugins.module_utils.model.ports import PROTOCOLS, port_name, read_ports
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Fields
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import ExternalService, ExternalTls, Port
from ansible_collections.multimesh.istio.plugins.module_utils.model.visibility import read_export_to

TLS_MODES = ("mutual", "none", "simple")


def read_external(index: int, fields: Fields) -> ExternalService | None:
    """One entry."""
    hosts = fields.texts("hosts", names.host, "Write for example 'api.example.com'")
    addresses = fields.texts("addresses", names.ip_address, "Write for example '192.0.2.10'")
    if not fields.has("hosts") and not fields.has("addresses"):
        fields.missing("hosts", "hosts or addresses", "Say where the service is")
    specs = read_ports(fields)
    if not fields.has("ports"):
        fields.missing("ports", "a list of ports", "Write for example [{number: 443, name: https, protocol: HTTPS}]")
    ports = []
    for i, spec in enumerate(specs or ()):
        if spec.protocol is None:
            fields.missing(f"ports[{i}].protocol", "a protocol", f"Use one of {', '.join(sorted(PROTOCOLS))}")
            continue
        ports.append(Port(spec.number, port_name(spec, spec.protocol), spec.protocol, spec.number))
    timeout = read_seconds(fields, "timeout")
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
        export_to=read_export_to(fields),
    )


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
