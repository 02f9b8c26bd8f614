# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan of a whole federation, put together from those of its clusters."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError

Entry = Mapping[str, Any]
"""One object of a plan, see RETURN of module applyset, ``changes``."""

ACTIONS = ("create", "change", "delete")
_FORMAT = 1


class PlanFileError(MultimeshError):
    """What should be a saved plan is none."""


@dataclass(frozen=True)
class ClusterPlan:
    """What is to be done in one cluster. unchanged: a number of objects."""

    changes: tuple[Entry, ...]
    unchanged: int

    def count(self, action: str) -> int:
        return sum(entry["action"] == action for entry in self.changes)

    def of(self, action: str) -> list[Entry]:
        return [entry for entry in self.changes if entry["action"] == action]


@dataclass(frozen=True)
class FederationPlan:
    """By host.

    unknown: why there is no plan for a cluster.
    """

    clusters: Mapping[str, ClusterPlan]
    unknown: Mapping[str, str] = field(default_factory=dict)

    def total(self, action: str) -> int:
        return sum(cluster.count(action) for cluster in self.clusters.values())

    @property
    def unchanged(self) -> int:
        return sum(cluster.unchanged for cluster in self.clusters.values())

    @property
    def empty(self) -> bool:
        return not any(cluster.changes for cluster in self.clusters.values())

    def entries(self, action: str | None = None) -> Iterator[tuple[str, Entry]]:
        """Every object with its host, sorted by host."""
        for host, cluster in sorted(self.clusters.items()):
            for entry in cluster.changes:
                if action in (None, entry["action"]):
                    yield host, entry

    def totals(self) -> dict[str, int]:
        return {**{action: self.total(action) for action in ACTIONS}, "unchanged": self.unchanged}


def counted(number: int, noun: str) -> str:
    """A number of things, as it is said."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def merge(results: Mapping[str, Mapping[str, Any] | None], hosts: Iterable[str] = ()) -> FederationPlan:
    """From results of module applyset with ``details``, by host. hosts: all that there are."""
    clusters, unknown = {}, {}
    for host in sorted({*results, *hosts}):
        result = results.get(host)
        if result and "changes" in result and not result.get("failed"):
            clusters[host] = ClusterPlan(tuple(result["changes"]), int(result["plan"]["unchanged"]))
        else:
            unknown[host] = "failed" if result else "not in this run, or failed before"
    return FederationPlan(clusters, unknown)


def dump(plan: FederationPlan, now: datetime) -> str:
    """The plan as a JSON document, for a file. It holds names and fingerprints, and no value of any object."""
    document = {
        "format": _FORMAT,
        "made": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "totals": plan.totals(),
        "clusters": {
            host: {"changes": list(cluster.changes), "unchanged": cluster.unchanged}
            for host, cluster in sorted(plan.clusters.items())
        },
        "unknown": dict(sorted(plan.unknown.items())),
    }
    return json.dumps(document, indent=2) + "\n"


def load(name: str, text: str) -> FederationPlan:
    """A plan from its file. name: of the file, for messages. Raises PlanFileError."""
    try:
        document = json.loads(text)
        if document["format"] != _FORMAT:
            raise ValueError(f"format {document['format']}, and {_FORMAT} was expected")
        clusters = {
            str(host): ClusterPlan(tuple(_entry(entry) for entry in found["changes"]), int(found["unchanged"]))
            for host, found in document["clusters"].items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise PlanFileError(
            f"{name}: expected a plan as federation_plan_file writes it: {error!r}. Write one with --check."
        ) from None
    return FederationPlan(clusters)


def _entry(found: Any) -> Entry:
    return {**found, **{key: found[key] for key in ("action", "object", "origins", "wanted", "found", "others")}}
