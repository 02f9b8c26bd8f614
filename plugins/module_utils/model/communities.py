# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which exports of one host back each other up: those that one mesh sees together.

Teams that have nothing to do with each other may use the same host, and neither is bound by what the other says of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Export


def communities(exports: Iterable[Export]) -> dict[int, str]:
    """By ``id`` of the export, what all exports that it backs up have in common: one cluster of them."""
    exports = sorted((export for export in exports if export.host), key=lambda export: (export.cluster, export.index))
    leader = {id(export): id(export) for export in exports}

    def lead(key: int) -> int:
        while leader[key] != key:
            leader[key] = leader[leader[key]]
            key = leader[key]
        return key

    seen_by: dict[tuple[str | None, str], int] = {}
    for export in exports:
        # The exporter itself holds the host too, with those behind it that are offered to it.
        for mesh in (export.mesh, *export.offers):
            first, second = lead(seen_by.setdefault((export.host, mesh), id(export))), lead(id(export))
            leader[second] = first
    clusters = {id(export): export.cluster for export in exports}
    return {key: clusters[lead(key)] for key in leader}
