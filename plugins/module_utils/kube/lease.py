# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Exclusive use of one cluster by one run, by a Lease (coordination.k8s.io/v1).

Times in the Lease come from the clocks of those who wrote them and are there for people. Whether a holder's time is
over is decided by the API server's clock alone: it notes in ``managedFields`` when a Lease was last written, and a dry
run of our own write tells what time it has now. So it does not matter how wrong the clocks of the machines are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from ansible_collections.multimesh.istio.plugins.module_utils import run_identity
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.cluster import Applier, Getter
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import ConflictError, NotFoundError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import NAMESPACES, Resource

NAMESPACE = "istio-system"
FIELD_MANAGER = "multimesh.istio"
_CLAIMING_MANAGER = "multimesh.istio-claim"
_LEASES = Resource("coordination.k8s.io", "v1", "Lease", "leases", namespaced=True)
_LASTING = ("leaseDurationSeconds", "acquireTime", "renewTime", "leaseTransitions")
_ATTEMPTS = 8


class Cluster(Getter, Applier, Protocol):
    """What is needed of a cluster."""


class LeaseHeldError(MultimeshError):
    """Another run has the cluster. holder: that run, as it called itself."""

    def __init__(self, mesh: str, name: str, holder: str, since: str, until: datetime) -> None:
        self.holder = holder
        super().__init__(
            f"{mesh}: another run has this cluster (Lease {NAMESPACE}/{name}): {holder}, since {since}, until "
            f"{until:%Y-%m-%dT%H:%M:%SZ} unless it renews the Lease. Wait for it to end. If it is certain that it does "
            "not run any more, run again with shared_root_ca_break_lease=true."
        )


def acquire(
    cluster: Cluster,
    name: str,
    holder: str,
    duration: timedelta,
    now: datetime,
    *,
    break_held: bool = False,
    has_ended: Callable[[str], bool] = run_identity.has_ended,
) -> str | None:
    """Become the one that has the cluster, or renew being it.

    name: of the Lease, in namespace istio-system, which is made where it is missing.
    holder: this run, the same text in all its tasks; see lookup run_identity.
    duration: how long others keep away unless it is renewed; whole seconds, at least one.
    break_held: take it from whoever has it at this moment.
    has_ended: whether it is certain that a holder does not run any more, so that its time need not be waited for.
    Returns the holder that it was taken from although it had not been given back, else None.
    Raises LeaseHeldError, KubeError.
    """
    seen: str | None = None
    attempt = 0
    while True:
        attempt += 1
        lease = cluster.get(_LEASES, NAMESPACE, name) or _claim(cluster, name)
        spec = lease.get("spec") or {}
        former = spec.get("holderIdentity") or ""
        # Only the one that was met at first is broken, not another run that broke it a moment earlier.
        seen = former if seen is None else seen
        wanted = _taken(spec, holder, duration, now)
        free = former in ("", holder) or has_ended(former) or (break_held and former == seen)
        try:
            if not free:
                _refuse_before_its_time(cluster, lease, wanted)
            _write(cluster, lease, wanted)
        except ConflictError:  # somebody else wrote, or this is a repeated request whose first answer was lost
            if attempt == _ATTEMPTS:
                raise
        else:
            return None if former in ("", holder) else former


def is_held(cluster: Getter, name: str, holder: str) -> bool:
    """Whether this run has the cluster already. Raises KubeError."""
    lease = cluster.get(_LEASES, NAMESPACE, name) or {}
    return (lease.get("spec") or {}).get("holderIdentity") == holder


def release(cluster: Cluster, name: str, holder: str) -> None:
    """Stop being the one that has the cluster; nothing happens if another run is, or nobody. Raises KubeError.

    The Lease stays, without a holder: no right to delete is needed.
    """
    attempt = 0
    while True:
        attempt += 1
        lease = cluster.get(_LEASES, NAMESPACE, name) or {}
        spec = lease.get("spec") or {}
        if spec.get("holderIdentity") != holder:
            return
        try:
            _write(cluster, lease, {**{key: spec[key] for key in _LASTING if key in spec}, "holderIdentity": ""})
        except ConflictError:
            if attempt == _ATTEMPTS:
                raise


def _refuse_before_its_time(cluster: Cluster, lease: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raises LeaseHeldError while the holder's time is not over. wanted: what would be written if it were."""
    spec = lease["spec"]
    seconds = spec.get("leaseDurationSeconds") or wanted["leaseDurationSeconds"]
    until = _last_write(lease) + timedelta(seconds=seconds)
    if _last_write(_write(cluster, lease, wanted, dry_run=True)) < until:
        since = spec.get("acquireTime") or "an unknown time"
        raise LeaseHeldError(cluster.mesh, lease["metadata"]["name"], spec["holderIdentity"], since, until)


def _taken(spec: Mapping[str, Any], holder: str, duration: timedelta, now: datetime) -> dict[str, Any]:
    """What the Lease says when it is ours, given what it says now."""
    moment = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # MicroTime: always six digits
    renewed = spec.get("holderIdentity") == holder
    former = spec.get("leaseTransitions")
    return {
        "holderIdentity": holder,
        "leaseDurationSeconds": max(1, int(duration.total_seconds())),
        "acquireTime": (spec.get("acquireTime") or moment) if renewed else moment,
        "renewTime": moment,
        "leaseTransitions": 0 if former is None else former if renewed else former + 1,
    }


def _write(
    cluster: Cluster, lease: Mapping[str, Any], spec: Mapping[str, Any], *, dry_run: bool = False
) -> dict[str, Any]:
    """Write the Lease if it is still as it was seen. Raises ConflictError if it is not."""
    metadata = lease["metadata"]
    body = {
        "apiVersion": _LEASES.api_version,
        "kind": _LEASES.kind,
        "metadata": {
            "name": metadata["name"],
            "namespace": NAMESPACE,
            "labels": {"app.kubernetes.io/managed-by": FIELD_MANAGER},
            "resourceVersion": metadata["resourceVersion"],
        },
        "spec": dict(spec),
    }
    # Forced: what counts is the resourceVersion, not who wrote which field, for example with kubectl edit.
    return cluster.apply(_LEASES, body, manager=FIELD_MANAGER, force=True, dry_run=dry_run)


def _claim(cluster: Cluster, name: str) -> dict[str, Any]:
    """Make the Lease with nothing in it; one that is there stays as it is.

    Server-side apply cannot say "only if it is absent". So all who find none make the same empty one, and then only one
    of them has the right resourceVersion.
    """
    body = {
        "apiVersion": _LEASES.api_version,
        "kind": _LEASES.kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
    }
    try:
        return cluster.apply(_LEASES, body, manager=_CLAIMING_MANAGER)
    except NotFoundError:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        cluster.apply(NAMESPACES, namespace, manager=_CLAIMING_MANAGER)
        return cluster.apply(_LEASES, body, manager=_CLAIMING_MANAGER)


def _last_write(lease: Mapping[str, Any]) -> datetime:
    """When the API server last took a change of the Lease, by its own clock, to the second."""
    metadata = lease["metadata"]
    times = [entry["time"] for entry in metadata.get("managedFields") or [] if entry.get("time")]
    return max(datetime.fromisoformat(time) for time in [metadata["creationTimestamp"], *times])
