# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Exports whose host is the name that their Service has in its own cluster.

Callers go on calling the Service by its name, and other meshes stand behind it: in a cluster without such a Service the
name leads to them alone, in one that has and exports it they are more endpoints of that very Service.
"""

from __future__ import annotations

from ansible_collections.multimesh.istio.plugins.module_utils.model import names
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import (
    CLUSTER_DOMAIN,
    Export,
    ExportSpec,
    OwnService,
    Port,
    ServiceFacts,
)


def host_rule(service: str | None, namespace: str | None) -> names.Rule:
    """What the host of an export may be: inside the cluster domain only the name of its own Service."""
    own = f"{service}.{namespace}.svc.{CLUSTER_DOMAIN}"
    return lambda value: None if value == own else names.host(value)


def own_service(export: Export, spec: ExportSpec, live: ServiceFacts | None) -> OwnService:
    """What endpoints of an export's Service in other meshes must look like, so that it takes them for its own."""
    selector = live.selector if live and live.selector else export.selector
    found = {name for port in export.ports for name in port_names(port, spec, live)}
    return OwnService(selector, tuple(sorted(found)))


def port_names(port: Port, spec: ExportSpec, live: ServiceFacts | None) -> set[str]:
    """Names by which istiod looks up the number of a Service's port at an endpoint; none if it takes the pods' number.

    That is the name of the target port if it has one, else that of the Service's port.
    """
    known = live.ports if live else spec.ports or ()
    return {
        name
        for candidate in known
        if candidate.number == port.number
        for name in (candidate.name, candidate.target_name)
        if name
    }
