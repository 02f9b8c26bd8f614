# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan of a federation as a person reads it: on one page, however many objects there are."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from ansible_collections.multimesh.istio.plugins.module_utils.plan.federation import (
    ACTIONS,
    Entry,
    FederationPlan,
    counted,
)

_LINES = 20
"""So many lines has a part of the page at most."""
_SIGNS = {"create": "+", "change": "~", "delete": "-"}
_NO_ORIGIN = "(no single export)"


def table(plan: FederationPlan) -> list[str]:
    """The lines."""
    totals = plan.totals()
    head = f"Plan of the federation: {counted(len(plan.clusters), 'cluster')}, "
    numbers = [f"{counted(totals['create'], 'object')} to create", f"{totals['change']} to change"]
    numbers += [f"{totals['delete']} to delete", f"{totals['unchanged']} unchanged"]
    lines = [head + ", ".join(numbers)]
    if not plan.empty:
        lines += _aligned(_clusters(plan), numbers=range(1, 5))
    lines += [f"  {host}: no plan: {reason}" for host, reason in sorted(plan.unknown.items())]
    lines += _part("Because of", _aligned(_origins(plan)))
    lines += _part("Held by others, who changed it", _others(plan))
    lines += _part("To be deleted", [f"  {host}: {entry['object']}" for host, entry in plan.entries("delete")])
    return lines


def _clusters(plan: FederationPlan) -> list[list[str]]:
    """Clusters with something to do; those without are counted."""
    rows = [["cluster", *ACTIONS, "unchanged"]]
    busy = {host: cluster for host, cluster in sorted(plan.clusters.items()) if cluster.changes}
    for host, cluster in list(busy.items())[:_LINES]:
        rows.append([host, *(str(cluster.count(action)) for action in ACTIONS), str(cluster.unchanged)])
    rest = [cluster for host, cluster in plan.clusters.items() if host not in [row[0] for row in rows[1:]]]
    if rest:
        counts = [str(sum(cluster.count(action) for cluster in rest)) for action in ACTIONS]
        rows.append([counted(len(rest), "other"), *counts, str(sum(cluster.unchanged for cluster in rest))])
    return rows


def _origins(plan: FederationPlan) -> list[list[str]]:
    """By export or external service, what is done where on its account."""
    found: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for host, entry in plan.entries():
        for origin in entry["origins"] or [_NO_ORIGIN]:
            found[origin][host][entry["action"]] += 1
    return [
        [origin, *(f"{host} {' '.join(_counted(counts))}" for host, counts in sorted(hosts.items()))]
        if len(hosts) <= _LINES // 4
        else [origin, f"{len(hosts)} clusters {' '.join(_counted(sum(hosts.values(), Counter())))}"]
        for origin, hosts in sorted(found.items())
    ]


def _counted(counts: Counter[str]) -> list[str]:
    return [f"{_SIGNS[action]}{counts[action]}" for action in ACTIONS if counts[action]]


def _others(plan: FederationPlan) -> Iterator[str]:
    for host, entry in plan.entries():
        for other in entry["others"]:
            yield f"  {host}: {entry['object']}: {', '.join(other['fields'])}: {author(other)}"


def author(other: Entry) -> str:
    """Whose hand it was."""
    if other["manager"] is None:
        return "new, or removed by somebody who left no trace"
    return f"{other['manager']} ({other['operation']}), {other['time'] or 'time unknown'}"


def _part(title: str, found: Iterable[str]) -> list[str]:
    lines = list(found)
    more = len(lines) - _LINES
    if not lines:
        return []
    return [
        f"{title}:",
        *lines[:_LINES],
        *([f"  and {more} more; federation_plan_file has all of them"] if more > 0 else []),
    ]


def _aligned(rows: Sequence[Sequence[str]], numbers: Iterable[int] = ()) -> list[str]:
    """Columns of one width; the last one of a row as it is."""
    right = set(numbers)
    widths: dict[int, int] = defaultdict(int)
    for row in rows:
        for index, text in enumerate(row):
            widths[index] = max(widths[index], len(text))
    return [
        "  "
        + "  ".join(
            text.rjust(widths[index]) if index in right else text.ljust(widths[index]) for index, text in enumerate(row)
        ).rstrip()
        for row in rows
    ]
