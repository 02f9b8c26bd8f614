# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What exports ``via: gateway`` are called at their gateway."""

from __future__ import annotations

from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Export, Port


def server_names(export: Export, port: Port) -> list[str]:
    """Names by which callers ask for a port, sorted."""
    return sorted({f"{port.number}.{host}" for host in (export.fqdn, export.sni_host)})


def label(export: Export, port: Port) -> str:
    """What logs and metrics call a port."""
    return f"{export.namespace}/{export.service}:{port.number}"
