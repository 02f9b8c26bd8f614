# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way in: raw inventory to validated model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.errors import InventoryError, Problem
from ansible_collections.multimesh.istio.plugins.module_utils.model.check import check
from ansible_collections.multimesh.istio.plugins.module_utils.model.check_collisions import check_collisions
from ansible_collections.multimesh.istio.plugins.module_utils.model.check_live import check_live
from ansible_collections.multimesh.istio.plugins.module_utils.model.check_one_mesh import check_one_mesh
from ansible_collections.multimesh.istio.plugins.module_utils.model.declare import read_site
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Notes
from ansible_collections.multimesh.istio.plugins.module_utils.model.resolve import Resolver
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Inventory, Site

MESHES = "meshes"
"""The group of all clusters; every other group is a tenant or a team."""


def parse(raw: Mapping[str, Any], allow_unknown_addresses: bool = False, without: Collection[str] = ()) -> Inventory:
    """The whole inventory, validated.

    raw: ``{"hosts": {host: {"vars": {...}, "groups": [...], "facts": {...}}}}``; facts are None or left out for a
        host that was not asked. See docs/architecture.md.
    allow_unknown_addresses: let a gateway without address be named by a placeholder, for check mode on clusters
        that have no gateway yet.
    without: hosts that are about to leave: what they offer and what others offer to them is left out.
    Raises InventoryError with every problem there is.
    """
    notes = Notes()
    variables = {host: entry.get("vars") or {} for host, entry in raw["hosts"].items()}
    sites = {
        host: read_site(notes, host, variables[host], list(entry.get("groups") or ()), entry.get("facts"))
        for host, entry in sorted(raw["hosts"].items())
    }
    resolver = Resolver(notes, sites, allow_unknown_addresses, without)
    clusters = resolver.clusters()
    check(notes, sites, resolver)
    check_live(notes, raw["hosts"], sites, resolver)
    check_collisions(notes, sites, resolver, clusters)
    check_one_mesh(notes, variables, resolver)
    if notes.problems:
        raise InventoryError(_with_teams(problem, sites.get(problem.mesh)) for problem in notes.problems)
    return Inventory(clusters, resolver.meshes)


def _with_teams(problem: Problem, site: Site | None) -> Problem:
    return replace(problem, teams=tuple(sorted(site.groups - {MESHES}))) if site else problem
