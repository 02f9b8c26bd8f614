# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Start the probes in a cluster, read what they report, and remove them again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.client import Client
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import Resource
from ansible_collections.multimesh.istio.plugins.module_utils.verify import probes
from ansible_collections.multimesh.istio.plugins.module_utils.verify.verdict import Verdict, judge, last_round

FIELD_MANAGER = "multimesh.istio"
MANAGED_BY = {"app.kubernetes.io/managed-by": "multimesh.istio"}
_POLL_SECONDS = 1.0
_GONE_SECONDS = 60.0


class ProbeError(MultimeshError):
    """The probes could not be started, so nothing is known about the edges."""


@dataclass(frozen=True)
class Settings:
    """How to probe.

    namespace: where callers of a whole mesh are played.
    timeout_seconds: until the calls must come out as expected.
    call_timeout_seconds: for one call.
    """

    namespace: str
    image: str
    revision: str
    timeout_seconds: int
    call_timeout_seconds: int


class _Cluster:
    """The few core resources that probing touches."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.namespaces = self._resource("Namespace")
        self.pods = self._resource("Pod")
        self.accounts = self._resource("ServiceAccount")

    def _resource(self, kind: str) -> Resource:
        found = self.client.find("", kind)
        if found is None:
            raise ProbeError(
                f"{self.client.mesh}: the API server does not serve kind {kind}: is this a Kubernetes API server?"
            )
        return found


def verify_edges(
    client: Client,
    edges: Iterable[Mapping[str, Any]],
    settings: Settings,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Verdict]:
    """Verdicts on all calls that prove these edges, in a stable order.

    Raises ProbeError when probes cannot be started, and KubeError.
    """
    planned = probes.plan_probes(edges, settings.namespace)
    if not planned:
        return []
    cluster = _Cluster(client)
    own_namespace = _ensure_namespace(cluster, settings.namespace, clock, sleep)
    playable, verdicts = [], []
    for probe in planned:
        reason = _unplayable(cluster, probe)
        if reason:
            verdicts += [Verdict(call, _caller(probe), True, "skipped", reason) for call in probe.calls]
        else:
            playable.append(probe)
    try:
        for probe in playable:
            _start(cluster, probe, settings, clock, sleep)
        verdicts += _observe(cluster, playable, settings, clock, sleep)
    finally:
        for probe in playable:
            _delete_pod(cluster, probe)
        if own_namespace:
            _delete_namespace(cluster, settings.namespace)
    return verdicts


def _caller(probe: probes.Probe) -> str:
    return f"{probe.namespace}/{probe.service_account}"


def _unplayable(cluster: _Cluster, probe: probes.Probe) -> str:
    if cluster.client.get(cluster.namespaces, None, probe.namespace) is None:
        return f"namespace {probe.namespace} does not exist in this mesh"
    if probe.service_account == "default":
        return ""  # every namespace gets it, if perhaps a moment later
    if cluster.client.get(cluster.accounts, probe.namespace, probe.service_account) is None:
        return f"service account {_caller(probe)} does not exist in this mesh"
    return ""


def _ensure_namespace(cluster: _Cluster, name: str, clock: Callable[[], float], sleep: Callable[[float], None]) -> bool:
    """Whether the namespace is ours to remove again."""
    end = clock() + _GONE_SECONDS
    while True:
        found = cluster.client.get(cluster.namespaces, None, name)
        if found is None:
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": MANAGED_BY}}
            cluster.client.apply(cluster.namespaces, body, manager=FIELD_MANAGER)
            return True
        if not found["metadata"].get("deletionTimestamp"):
            return bool(MANAGED_BY.items() <= found["metadata"].get("labels", {}).items())
        if clock() > end:
            raise ProbeError(
                f"{cluster.client.mesh}: namespace {name} is still being deleted after {_GONE_SECONDS:.0f} s. "
                "Look at its status for what holds it, or choose another with verify_namespace."
            )
        sleep(_POLL_SECONDS)


def _start(
    cluster: _Cluster,
    probe: probes.Probe,
    settings: Settings,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    name = probes.pod_name(probe)
    end = clock() + _GONE_SECONDS
    _delete_pod(cluster, probe)  # of a run that was killed
    while cluster.client.get(cluster.pods, probe.namespace, name) is not None:
        if clock() > end:
            raise ProbeError(
                f"{cluster.client.mesh}: Pod {probe.namespace}/{name} is not gone after {_GONE_SECONDS:.0f} s."
            )
        sleep(_POLL_SECONDS)
    # A namespace gets its default service account a moment after it was made, and no pod before that.
    while cluster.client.get(cluster.accounts, probe.namespace, probe.service_account) is None and clock() < end:
        sleep(0.2)
    body = probes.pod_manifest(
        probe,
        image=settings.image,
        revision=settings.revision,
        call_timeout_seconds=settings.call_timeout_seconds,
        lifetime_seconds=settings.timeout_seconds + int(_GONE_SECONDS),
    )
    cluster.client.apply(cluster.pods, body, manager=FIELD_MANAGER)


def _observe(
    cluster: _Cluster,
    playable: list[probes.Probe],
    settings: Settings,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> list[Verdict]:
    """Judge round after round until everything is as expected or the time is over."""
    end = clock() + settings.timeout_seconds
    verdicts: list[Verdict] = []
    pending = dict(enumerate(playable))
    settled: dict[int, list[Verdict]] = {}
    while pending:
        for index, probe in list(pending.items()):
            log = cluster.client.pod_log(probe.namespace, probes.pod_name(probe), probes.CONTAINER)
            answers = last_round(log or "")
            calls = enumerate(probe.calls)
            settled[index] = [judge(call, _caller(probe), answers.get(number)) for number, call in calls]
            if answers and all(verdict.ok for verdict in settled[index]):
                del pending[index]
        if pending and clock() > end:
            _refuse_unstarted(cluster, pending.values())
            break
        if pending:
            sleep(_POLL_SECONDS)
    for index in range(len(playable)):
        verdicts += settled[index]
    return verdicts


def _refuse_unstarted(cluster: _Cluster, waiting: Iterable[probes.Probe]) -> None:
    for probe in waiting:
        pod = cluster.client.get(cluster.pods, probe.namespace, probes.pod_name(probe)) or {}
        status = pod.get("status", {})
        if status.get("phase") == "Running":
            continue
        states = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
        reasons = [state["state"]["waiting"] for state in states if "waiting" in state.get("state", {})]
        detail = "; ".join(f"{reason.get('reason')}: {reason.get('message', '')}".strip(": ") for reason in reasons)
        raise ProbeError(
            f"{cluster.client.mesh}: Pod {probe.namespace}/{probes.pod_name(probe)} did not start "
            f"({detail or status.get('phase', 'not created')}). Can the cluster pull verify_image and inject a sidecar?"
        )


def _delete_pod(cluster: _Cluster, probe: probes.Probe) -> None:
    pod = cluster.client.get(cluster.pods, probe.namespace, probes.pod_name(probe))
    if pod and probes.PROBE_LABEL in pod["metadata"].get("labels", {}):
        cluster.client.delete(cluster.pods, probe.namespace, pod["metadata"]["name"], pod["metadata"]["uid"])


def _delete_namespace(cluster: _Cluster, name: str) -> None:
    found = cluster.client.get(cluster.namespaces, None, name)
    if found:
        cluster.client.delete(cluster.namespaces, None, name, found["metadata"]["uid"])
