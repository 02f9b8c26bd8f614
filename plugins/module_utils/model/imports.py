# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one cluster imports: exports selected, named, and completed with what is known of their exporters.

Every value of an export is the inventory's, else that of the exporter's facts, else, for an exporter that was not
asked, what the importing cluster remembers of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ansible_collections.multimesh.istio.plugins.module_utils.model import one_mesh
from ansible_collections.multimesh.istio.plugins.module_utils.model.drift import drift
from ansible_collections.multimesh.istio.plugins.module_utils.model.selection import EXPORTS, SelectionError, choose
from ansible_collections.multimesh.istio.plugins.module_utils.model.takeover import own_service
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import (
    CLUSTER_DOMAIN,
    Export,
    Import,
    Imported,
    PeerFacts,
    Site,
    Source,
)

if TYPE_CHECKING:
    from ansible_collections.multimesh.istio.plugins.module_utils.model.resolve import Resolver

Selected = list[tuple[Export, "Import | None"]]


class Importer:
    """Imports of one site of a resolved inventory."""

    def __init__(self, resolver: Resolver, site: Site) -> None:
        self.resolver = resolver
        self.site = site
        self.warnings: dict[str, None] = {}

    def resolve(self) -> tuple[tuple[Imported, ...], tuple[str, ...]]:
        """Hosts that the cluster must know, sorted, and what was left out of them."""
        self.warnings.clear()
        exports: dict[str, list[Export]] = defaultdict(list)
        visible: dict[str, set[str]] = defaultdict(set)
        renamed: dict[str, tuple[Import, str]] = {}
        for export, wanted in self._selected():
            for host, export_to, chosen_by in self._names(export, wanted):
                if export not in exports[host]:
                    exports[host].append(export)
                visible[host].update(export_to)
                if wanted and chosen_by:
                    renamed[host] = wanted, chosen_by
        served = one_mesh.served(self.resolver.sites, self.site)
        own_exports, left_out = one_mesh.seen_from(self.resolver, self.site, served)
        self.warnings.update(dict.fromkeys(left_out))
        own = {
            # In each of several clusters the Service has another address, and its name leads to that.
            name: export if len(served) == 1 else replace(export, cluster_ip=None)
            for export in one_mesh.joined(own_exports)
            if export.host
            for name in (export.host, *export.aliases)
        }
        for host, (_wanted, key) in renamed.items():
            merged = exports[host][0].host
            if key == "short_names_in" and merged in own:
                own[host] = own[merged]
        hosts = sorted({*exports, *own})
        found = [self._imported(host, own.get(host), exports[host], visible[host], renamed.get(host)) for host in hosts]
        warnings = (*drift(self.site, self.resolver.sites), *self.resolver.offers.warnings[self.site.host])
        return tuple(entry for entry in found if entry), (*warnings, *self.warnings)

    def _names(self, export: Export, wanted: Import | None) -> Iterator[tuple[str, tuple[str, ...], str]]:
        """Hosts for one export, the namespaces that see each, and the key of mesh_imports that chose it, if any."""
        if wanted is None:
            for host in (self._default_host(export), *export.aliases):
                yield host, ("*",), ""
            return
        yield wanted.host or self._default_host(export), wanted.export_to, "host" if wanted.host else ""
        for alias in export.aliases:
            yield alias, wanted.export_to, ""
        for namespace in wanted.short_names_in:
            yield f"{export.service}.{namespace}.svc.{CLUSTER_DOMAIN}", (namespace,), "short_names_in"

    def named(self) -> Iterator[tuple[str, Export, Import | None, str]]:
        """Every host with its export, the entry of mesh_imports, and the key of it that chose the host, if any."""
        for export, wanted in self._selected():
            for host, _export_to, key in self._names(export, wanted):
                yield host, export, wanted, key

    def wants(self, export: Export) -> bool:
        """Whether the cluster imports this export."""
        return any(export is selected for selected, _wanted in self._selected())

    def addresses(self, exporter: Site, via: str) -> tuple[str, ...]:
        """Where calls for an exporter enter, or a placeholder; empty if nobody knows and a placeholder won't do."""
        gateway = one_mesh.primary(self.resolver.sites, exporter)
        known = gateway.addresses(via)
        if known is None:
            candidates = (gateway.facts, self._remembered(gateway), self._remembered(exporter))
            known = next((facts.addresses(via) for facts in candidates if facts and facts.addresses(via)), ())
        return known or self._placeholder(gateway)

    def _placeholder(self, gateway: Site) -> tuple[str, ...]:
        if self.resolver.allow_unknown_addresses and self.resolver.is_read(gateway):
            return (f"pending.{gateway.mesh}.invalid",)
        return ()

    def _remembered(self, exporter: Site) -> PeerFacts | None:
        return self.site.facts.remembered.get(exporter.host) if self.site.facts else None

    def _default_host(self, export: Export) -> str:
        return export.host or f"{export.qualified_name}.{self.site.domain}"

    def _note(self, wanted: Import, key: str, expected: str, way_out: str) -> None:
        self.resolver.notes.note(self.site.host, f"{wanted.variable}.{key}", expected, way_out)

    def _warn(self, text: str) -> None:
        self.warnings[f"{self.site.host}: {text}"] = None

    # Which exports, by which entry of mesh_imports

    def _selected(self) -> Selected:
        offered = self.resolver.offered(self.site.mesh)
        if self.site.imports is None:
            return [(export, None) for export in offered]
        by_mesh: dict[str, list[Export]] = defaultdict(list)
        for export in offered:
            by_mesh[export.mesh].append(export)
        result: Selected = []
        for wanted in self.site.imports:
            meshes = self.resolver.members(self.site, f"{wanted.variable}.from", wanted.source)
            found = [export for mesh in meshes for export in self._matches(wanted, mesh, by_mesh[mesh])]
            if meshes and not found:
                self._warn(f"{wanted.variable}: nothing that {wanted.source} offers to {self.site.mesh} is selected")
            if self._is_one(wanted, found):
                result += [(export, wanted) for export in found]
        return result

    def _is_one(self, wanted: Import, found: Iterable[Export]) -> bool:
        hosts = {self._default_host(export) for export in found}
        if wanted.host and len(hosts) > 1:
            self._note(
                wanted,
                "host",
                f"one host cannot stand for {len(hosts)} selected exports: {', '.join(sorted(hosts))}",
                "Narrow from and select to one export, or leave out host",
            )
            return False
        return True

    def _matches(self, wanted: Import, mesh: str, offered: list[Export]) -> list[Export]:
        if wanted.select is None:
            return offered
        sites = self.resolver.sites
        exports = [spec.raw for host in self.resolver.meshes[mesh] for spec in sites[host].exports]
        try:
            chosen = choose(wanted.select, exports, EXPORTS, f" of {mesh}")
        except SelectionError as error:
            self._note(wanted, "select", error.expected, error.way_out)
            return []
        selected = {id(exports[index]) for index in chosen}
        return [export for export in offered if id(self.resolver.spec(export).raw) in selected]

    # What is behind one host

    def _imported(
        self,
        host: str,
        local: Export | None,
        exports: list[Export],
        visible: set[str],
        renamed: tuple[Import, str] | None,
    ) -> Imported | None:
        identities = {export.host or export.origin for export in exports} | ({str(local.host)} if local else set())
        if len(identities) > 1:
            if renamed:
                wanted, key = renamed
                self._note(
                    wanted,
                    key,
                    f"host '{host}' would stand for {' and '.join(sorted(identities))}",
                    "Choose another host; exports that back each other up say so with a host of their own"
                    if key == "host"
                    else "Narrow from and select, or leave out short_names_in: a short name stands for one export",
                )
            return None
        sources = [source for export in exports if (source := self._source(export))]
        sources.sort(key=lambda source: (source.export.mesh, source.export.cluster))
        if local is None and not sources:
            return None
        first = local or min(sources, key=self._is_remembered).export
        export_to = {"*"} if not visible or "*" in visible else set(visible)
        fitting = tuple(source for source in sources if self._fits(host, first, source))
        if local and local.takes_over and host == local.host:
            # A Service is there for all namespaces, and so are its endpoints elsewhere and the way to them.
            live = self.site.facts.services.get((local.namespace, local.service)) if self.site.facts else None
            service = own_service(local, self.resolver.spec(local), live)
            return Imported(host, first.ports, fitting, local, ("*",), service)
        if local and "*" not in export_to:
            # The gateway lives in the namespace of the entry and must see it to pass calls on to the local Service.
            export_to.add(".")
        return Imported(host, first.ports, fitting, local, tuple(sorted(export_to)))

    def _source(self, export: Export) -> Source | None:
        """An export as the cluster reaches it, or None if too little is known of an exporter that was not asked."""
        exporter = self.resolver.sites[export.cluster]
        asked = exporter.facts is not None
        remembered = None if asked else self._remembered(exporter)
        if remembered:
            known = self.resolver.known(self.resolver.spec(export), remembered)
            export = replace(export, ports=known.ports or (), service_accounts=known.service_accounts or ())
        addresses = self.addresses(exporter, export.via)
        if export.ports and export.service_accounts and addresses:
            gateway = one_mesh.primary(self.resolver.sites, exporter)
            pending = addresses == self._placeholder(gateway)
            return Source(export, tuple(sorted(addresses)), gateway.network, gateway.locality, pending)
        if self.resolver.live and not asked:
            self._warn(f"{exporter.host} was not reached and nothing is remembered of it: {export.origin} is left out")
        return None

    def _is_remembered(self, source: Source) -> bool:
        return self.resolver.sites[source.export.cluster].facts is None

    def _fits(self, host: str, first: Export, source: Source) -> bool:
        """Whether a source has the ports of the first. Only an outdated memory can differ, all else is refused."""
        if _numbers(first) == _numbers(source.export):
            return True
        self._warn(
            f"the ports of {source.export.origin} differ from those of {first.origin}:"
            f" {source.export.cluster} is left out of {host}"
        )
        return False


def _numbers(export: Export) -> set[tuple[int, str]]:
    return {(port.number, port.protocol) for port in export.ports}
