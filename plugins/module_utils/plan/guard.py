# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is refused of a plan before anything is written, every reason at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from ansible_collections.multimesh.istio.plugins.module_utils.applyset.changes import deviations, named
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.plan.federation import FederationPlan, counted


@dataclass(frozen=True)
class Limits:
    """max_deletions: over the whole federation; None is no limit.

    unchanged: nothing may differ.
    hosts: those of the inventory.
    known: by host of the run, the hosts that its cluster remembers as peers.
    gone: those that may be forgotten.
    saved: the plan that is to be carried out exactly; saved_name is what it is called.
    """

    max_deletions: int | None = None
    unchanged: bool = False
    hosts: Collection[str] = ()
    known: Mapping[str, Collection[str]] = field(default_factory=dict)
    gone: Collection[str] = ()
    saved: FederationPlan | None = None
    saved_name: str = ""


class RefusedError(MultimeshError):
    """The plan is not to be carried out."""


def check(plan: FederationPlan, limits: Limits) -> None:
    """Raises RefusedError with every reason."""
    reasons = [*_forgotten(limits), *_moved(plan, limits), *_deletions(plan, limits), *_changes(plan, limits)]
    if reasons:
        raise RefusedError("\n".join(["Nothing was written:", *(f"  - {reason}" for reason in reasons)]))


def _forgotten(limits: Limits) -> Iterator[str]:
    """Hosts that left the inventory while clusters still know them: a slip must not look like a wish."""
    missing: dict[str, list[str]] = {}
    for host, peers in sorted(limits.known.items()):
        for peer in sorted(set(peers) - {*limits.hosts, *limits.gone}):
            missing.setdefault(peer, []).append(host)
    for peer, hosts in sorted(missing.items()):
        yield (
            f"{peer}: not in the inventory any more, and {named(hosts)} still {'knows' if len(hosts) == 1 else 'know'}"
            " it as a peer. If that is a slip, put it back. If it is to leave, put it back, run playbook"
            f" multimesh.istio.remove with remove_meshes=['{peer}'], and take it out then. If its cluster is gone for"
            f""" good, or somebody else's by now, say so: -e '{{"federation_gone": ["{peer}"]}}'."""
        )


def _moved(plan: FederationPlan, limits: Limits) -> Iterator[str]:
    if limits.saved is None:
        return
    now, then = plan.clusters, limits.saved.clusters
    for host in sorted({*now, *then}):
        if host not in then:
            yield f"{host}: {limits.saved_name} has no plan for it. {_AGAIN}"
        elif host not in now:
            reason = plan.unknown.get(host, "not in this run")
            yield f"{host}: {limits.saved_name} has a plan for it, and it has none now: {reason}. {_AGAIN}"
        else:
            moved = deviations(now[host].changes, then[host].changes)
            if moved:
                yield f"{host}: {limits.saved_name} is out of date: {named(moved, '; ')}. {_AGAIN}"


_AGAIN = "Make a new plan, look at it, and run that."


def _deletions(plan: FederationPlan, limits: Limits) -> Iterator[str]:
    total = plan.total("delete")
    if limits.max_deletions is not None and total > limits.max_deletions:
        objects = named(f"{host}: {entry['object']}" for host, entry in plan.entries("delete"))
        yield (
            f"{counted(total, 'object')} would be deleted, and federation_max_deletions allows {limits.max_deletions}:"
            f" {objects}. If {'it' if total == 1 else 'they'} shall go: -e federation_max_deletions={total}. If not,"
            " see what the inventory no longer says."
        )


_FORCED = ", with -e federation_force_conflicts=true also where others hold fields"


def _changes(plan: FederationPlan, limits: Limits) -> Iterator[str]:
    if limits.unchanged and not plan.empty:
        totals = plan.totals()
        held = any(other["manager"] for _host, entry in plan.entries() for other in entry["others"])
        hosts = named(host for host, cluster in sorted(plan.clusters.items()) if cluster.changes)
        yield (
            f"clusters are not as the inventory says: {totals['create']} missing, {totals['change']}"
            f" different, {totals['delete']} too many, in {hosts}."
            f" Playbook multimesh.istio.site makes them so{_FORCED if held else ''}."
        )
