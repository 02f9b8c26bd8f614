# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is offered what: the consumers that exports and rules name, resolved to meshes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ansible_collections.multimesh.istio.plugins.module_utils.model.consumers import NOBODY_MISSING
from ansible_collections.multimesh.istio.plugins.module_utils.model.selection import (
    EXPORTS,
    MESHES,
    SelectionError,
    choose,
)
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import (
    Consumer,
    ConsumerSpec,
    ExportRule,
    ExportSpec,
    Site,
)

if TYPE_CHECKING:
    from ansible_collections.multimesh.istio.plugins.module_utils.model.resolve import Resolver

Named = list[tuple[str, ConsumerSpec]]


class Offers:
    """Offers of all sites of an inventory.

    warnings: by host, rules and selections that match nothing.
    """

    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver
        self.warnings: dict[str, dict[str, None]] = defaultdict(dict)
        self._by_rules = {host: self._ruled(site) for host, site in resolver.sites.items()}
        self._warn_of_idle_rules()

    def consumers(self, site: Site, spec: ExportSpec) -> Iterator[tuple[str, ConsumerSpec]]:
        """All entries that name consumers of an export, each with its path; none at all is noted."""
        by_rules = self._by_rules[site.host].get(spec.index)
        if spec.consumers is None and by_rules is None:
            variable = f"{spec.variable}.consumers"
            self.resolver.notes.note(site.host, variable, "expected a list, found nothing", NOBODY_MISSING)
        for index, entry in enumerate(spec.consumers or ()):
            yield f"{spec.variable}.consumers[{index}]", entry
        yield from by_rules or ()

    def of(self, site: Site, spec: ExportSpec) -> Mapping[str, tuple[Consumer, ...]]:
        """Consumer mesh to the entries that admit it; never the exporter itself."""
        offers: dict[str, dict[Consumer, None]] = defaultdict(dict)
        for variable, entry in self.consumers(site, spec):
            for mesh in self._meshes(site, variable, entry):
                offers[mesh][entry.consumer] = None
        return {mesh: tuple(entries) for mesh, entries in offers.items()}

    # Rules

    def _ruled(self, site: Site) -> dict[int, Named]:
        """Entries of rules by the index of the export that they name."""
        found: dict[int, Named] = defaultdict(list)
        for rule in site.export_rules:
            entries = [(f"{rule.variable}.consumers[{index}]", entry) for index, entry in enumerate(rule.consumers)]
            for variable, entry in entries:
                self._meshes(site, variable, entry)  # a mistake in a rule is one even where the rule names no export
            for spec in self._named(site, rule):
                found[spec.index] += entries
        return found

    def _named(self, site: Site, rule: ExportRule) -> Iterable[ExportSpec]:
        try:
            chosen = choose(rule.select, [spec.raw for spec in site.exports], EXPORTS, f" of {site.mesh}")
        except SelectionError as error:
            self.resolver.notes.note(site.host, f"{rule.variable}.select", error.expected, error.way_out)
            return []
        return [site.exports[index] for index in sorted(chosen)]

    def _warn_of_idle_rules(self) -> None:
        """A rule of a group need not match in all of its meshes, but should in one of them."""
        rules = [(site, rule) for site in self.resolver.sites.values() for rule in site.export_rules]
        used = {(rule.select, rule.consumers) for site, rule in rules if any(self._named(site, rule))}
        for site, rule in rules:
            if (rule.select, rule.consumers) not in used:
                self._warn(site, f"{rule.variable}: no export is selected")

    # Meshes

    def _meshes(self, site: Site, variable: str, entry: ConsumerSpec) -> Iterable[str]:
        meshes = self.resolver.members(site, variable, entry.source)
        if entry.select is None or not meshes:
            return meshes
        try:
            chosen = choose(entry.select, [self._described(mesh) for mesh in meshes], MESHES)
        except SelectionError as error:
            self.resolver.notes.note(site.host, f"{variable}.select", error.expected, error.way_out)
            return ()
        if not chosen:
            self._warn(site, f"{variable}: no mesh of '{entry.source}' is selected")
        return [meshes[index] for index in sorted(chosen)]

    def _described(self, mesh: str) -> dict[str, Any]:
        """A mesh as ``select`` sees it."""
        sites = [self.resolver.sites[host] for host in self.resolver.meshes[mesh]]
        return {
            "name": mesh,
            "attributes": sites[0].attributes,
            "groups": sorted({group for site in sites for group in site.groups}),
        }

    def _warn(self, site: Site, text: str) -> None:
        self.warnings[site.host][f"{site.host}: {text}"] = None
