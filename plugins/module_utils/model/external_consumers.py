# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which meshes know which external services."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from ansible_collections.multimesh.istio.plugins.module_utils.model.types import ExternalService, Site

if TYPE_CHECKING:
    from ansible_collections.multimesh.istio.plugins.module_utils.model.resolve import Resolver


def declared(resolver: Resolver, site: Site) -> tuple[ExternalService, ...]:
    """The services that a host declares, with meshes for the names of their consumers."""
    return tuple(replace(service, consumers=_consumers(resolver, site, service)) for service in site.external_services)


def known(services: Iterable[ExternalService], mesh: str) -> tuple[ExternalService, ...]:
    """Those that a mesh knows. What several hosts say alike, as with a variable of a group, is one service."""
    alike: dict[ExternalService, ExternalService] = {}
    for service in services:
        if mesh in service.consumers:
            key = replace(service, declared_by=(), index=0, consumers=())
            first = alike.setdefault(key, service)
            if first is not service:
                hosts = dict.fromkeys((*first.declared_by, *service.declared_by))
                alike[key] = replace(first, declared_by=tuple(hosts))
    return tuple(alike.values())


def _consumers(resolver: Resolver, site: Site, service: ExternalService) -> tuple[str, ...]:
    meshes = {site.mesh} if not service.consumers else set()
    for index, name in enumerate(service.consumers):
        # Other than with exports, the mesh that declares a service may be among those that use it.
        meshes.update(resolver.members(site, f"{service.variable}.consumers[{index}]", name, with_own=True))
    return tuple(sorted(meshes))
