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
from ansible_collections.multimesh.istio.plugins.module_utils.text_table import aligned

_ROWS = 20
"""So many rows has a table of the page at most."""
_CLUSTERS = 5
"""So many clusters are named in a row, before they are counted."""
_SIGNS = {"create": "+", "change": "~", "delete": "-"}
_NO_ORIGIN = "no single export"


def table(plan: FederationPlan, *, drift: bool = False) -> list[str]:
    """The lines.

    drift: the inventory is taken to be what was applied last, so a field that is not there was removed, and not added.
    """
    totals = plan.totals()
    numbers = [counted(totals["create"], "object") + " to create", f"{totals['change']} to change"]
    numbers += [f"{totals['delete']} to delete", f"{totals['unchanged']} unchanged"]
    lines = [f"Plan of the federation: {counted(len(plan.clusters), 'cluster')}, {', '.join(numbers)}"]
    if not plan.empty:
        lines += _rows(("cluster", *ACTIONS, "unchanged"), _clusters(plan))
    lines += _rows(("no plan for", "why"), _unknown(plan))
    lines += _rows(("because of", "what is done where"), _origins(plan))
    lines += _rows(("held by", "since", "cluster", "object", "fields"), _others(plan, drift))
    lines += _rows(("deleted in", "object"), ((host, entry["object"]) for host, entry in plan.entries("delete")))
    return lines


def _rows(heading: Sequence[str], found: Iterable[Sequence[str]]) -> list[str]:
    rows = list(found)
    more = len(rows) - _ROWS
    lines = aligned(heading, rows[:_ROWS]).splitlines()
    return [f"  {line}" for line in lines] + ([f"  and {more} more, see federation_plan_file"] if more > 0 else [])


def _clusters(plan: FederationPlan) -> Iterator[Sequence[str]]:
    """Clusters with something to do; the others are counted."""
    busy = [host for host, cluster in sorted(plan.clusters.items()) if cluster.changes][: _ROWS - 1]
    rest = [cluster for host, cluster in plan.clusters.items() if host not in busy]
    for host in busy:
        cluster = plan.clusters[host]
        yield host, *(str(cluster.count(action)) for action in ACTIONS), str(cluster.unchanged)
    if rest:
        counts = (str(sum(cluster.count(action) for cluster in rest)) for action in ACTIONS)
        yield counted(len(rest), "other"), *counts, str(sum(cluster.unchanged for cluster in rest))


def _unknown(plan: FederationPlan) -> Iterator[Sequence[str]]:
    """Those without a plan, by the reason."""
    hosts: dict[str, list[str]] = defaultdict(list)
    for host, reason in sorted(plan.unknown.items()):
        hosts[reason].append(host)
    for reason, found in sorted(hosts.items()):
        yield ", ".join(found) if len(found) <= _CLUSTERS else f"{len(found)} clusters", reason


def _origins(plan: FederationPlan) -> Iterator[Sequence[str]]:
    """By export or external service, what is done where on its account."""
    found: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for host, entry in plan.entries():
        for origin in entry["origins"] or [_NO_ORIGIN]:
            found[origin][host][entry["action"]] += 1
    for origin, hosts in sorted(found.items()):
        if len(hosts) > _CLUSTERS:
            yield origin, f"{len(hosts)} clusters {_signed(sum(hosts.values(), Counter()))}"
        else:
            yield origin, ", ".join(f"{host} {_signed(counts)}" for host, counts in sorted(hosts.items()))


def _signed(counts: Counter[str]) -> str:
    return " ".join(f"{_SIGNS[action]}{counts[action]}" for action in ACTIONS if counts[action])


def _others(plan: FederationPlan, drift: bool) -> Iterator[Sequence[str]]:
    for host, entry in plan.entries():
        for other in entry["others"]:
            if drift or other["manager"] is not None:
                yield *_author(other), host, entry["object"], ", ".join(other["fields"])


def _author(other: Entry) -> tuple[str, str]:
    if other["manager"] is None:
        return "nobody", "removed, or new"
    return f"{other['manager']} ({other['operation']})", str(other["time"] or "unknown")
