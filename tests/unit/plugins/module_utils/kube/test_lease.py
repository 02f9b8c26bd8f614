# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.kube import lease
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import (
    Call,
    ConflictError,
    ForbiddenError,
    refused,
)
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import Resource, describe
from hypothesis import given, settings
from hypothesis import strategies as st

NAME = "multimesh-shared-root-ca"
LEASE = f"Lease istio-system/{NAME}"
SERVER_TIME = datetime(2027, 1, 31, 8, tzinfo=UTC)
NOW = datetime(2030, 1, 1, 12, 0, 0, 5, tzinfo=UTC)
"""The clock of this machine, which the server does not share."""
MINUTES = timedelta(minutes=5)


@dataclass
class FakeCluster:
    """An API server with a clock of its own. before: called ahead of every request. sent: every accepted write."""

    mesh: str = "east"
    objects: dict[str, dict[str, Any]] = field(default_factory=lambda: {"Namespace istio-system": {}})
    clock: datetime = SERVER_TIME
    before: Callable[[str, str], None] = lambda _verb, _subject: None
    sent: list[dict[str, Any]] = field(default_factory=list)
    dry_runs: int = 0
    version: int = 0

    def get(
        self, resource: Resource, namespace: str | None, name: str, *, metadata_only: bool = False
    ) -> dict[str, Any] | None:
        assert not metadata_only
        subject = describe(resource.kind, namespace, name)
        self.before("get", subject)
        return copy.deepcopy(self.objects.get(subject))

    def apply(
        self, resource: Resource, body: Mapping[str, Any], *, manager: str, force: bool = False, dry_run: bool = False
    ) -> dict[str, Any]:
        namespace, name = body["metadata"].get("namespace"), body["metadata"]["name"]
        subject = describe(resource.kind, namespace, name)
        self.before("dry run" if dry_run else "apply", subject)
        call = Call(self.mesh, "apply", subject)
        if namespace and f"Namespace {namespace}" not in self.objects:
            raise refused(call, 404, {"message": f'namespaces "{namespace}" not found'})
        held = self.objects.get(subject)
        bound = body["metadata"].get("resourceVersion")
        if bound is not None and (held is None or bound != held["metadata"]["resourceVersion"]):
            raise refused(call, 409, {"message": "the object has been modified"})
        assert held is None or "spec" not in body or force
        now = f"{self.clock:%Y-%m-%dT%H:%M:%SZ}"
        known = held or {"metadata": {"creationTimestamp": now, "managedFields": []}}
        if held is not None and body.get("spec", held.get("spec")) == held.get("spec"):
            return copy.deepcopy(held)
        fields = [entry for entry in known["metadata"]["managedFields"] if entry["manager"] != manager]
        fields.append({"manager": manager, "time": now})
        new = {**known, **copy.deepcopy(dict(body))}
        new["metadata"] = {**known["metadata"], **body["metadata"], "managedFields": fields}
        if dry_run:
            self.dry_runs += 1
            return new
        self.version += 1
        new["metadata"]["resourceVersion"] = str(self.version)
        self.objects[subject] = new
        self.sent.append(copy.deepcopy(dict(body)))
        return copy.deepcopy(new)

    @property
    def spec(self) -> dict[str, Any]:
        return self.objects[LEASE]["spec"]

    def hold(self, holder: str, **spec: Any) -> None:
        """Somebody else takes the Lease now."""
        taken = {"holderIdentity": holder, "leaseDurationSeconds": 300, "acquireTime": "2026-11-21T12:00:00.000000Z"}
        self.objects.pop(LEASE, None)
        resource = Resource("coordination.k8s.io", "v1", "Lease", "leases", True)
        body = {"metadata": {"name": NAME, "namespace": "istio-system"}, "spec": {**taken, **spec}}
        self.apply(resource, body, manager="other", force=True)


def acquire(cluster: FakeCluster, holder: str = "run A", **options: Any) -> str | None:
    options = {"duration": MINUTES, "now": NOW, "has_ended": lambda _holder: False, **options}
    return lease.acquire(cluster, NAME, holder, **options)


def test_the_first_one_makes_it() -> None:
    cluster = FakeCluster()
    assert acquire(cluster) is None
    claim, full = cluster.sent
    assert claim == {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": NAME, "namespace": "istio-system"},
    }
    assert full["metadata"] == {
        "name": NAME,
        "namespace": "istio-system",
        "labels": {"app.kubernetes.io/managed-by": "multimesh.istio"},
        "resourceVersion": "1",
    }
    assert full["spec"] == {
        "holderIdentity": "run A",
        "leaseDurationSeconds": 300,
        "acquireTime": "2030-01-01T12:00:00.000005Z",
        "renewTime": "2030-01-01T12:00:00.000005Z",
        "leaseTransitions": 0,
    }
    assert cluster.dry_runs == 0


def test_a_missing_namespace_is_made() -> None:
    cluster = FakeCluster(objects={})
    acquire(cluster)
    assert [body["kind"] for body in cluster.sent] == ["Namespace", "Lease", "Lease"]


def test_renewing_keeps_since_when() -> None:
    cluster = FakeCluster()
    acquire(cluster)
    later = NOW.astimezone(timezone(timedelta(hours=2))) + timedelta(minutes=1)
    assert acquire(cluster, now=later) is None
    assert cluster.spec["acquireTime"] == "2030-01-01T12:00:00.000005Z"
    assert cluster.spec["renewTime"] == "2030-01-01T12:01:00.000005Z"
    assert cluster.spec["leaseTransitions"] == 0


def test_given_back_it_is_free_and_counts_who_had_it() -> None:
    cluster = FakeCluster()
    acquire(cluster)
    lease.release(cluster, NAME, "run A")
    assert cluster.spec["holderIdentity"] == ""
    assert cluster.spec["acquireTime"] == "2030-01-01T12:00:00.000005Z"
    assert acquire(cluster, "run B") is None
    assert cluster.spec["leaseTransitions"] == 1
    assert cluster.dry_runs == 0


def test_only_the_holder_gives_it_back() -> None:
    cluster = FakeCluster()
    lease.release(cluster, NAME, "run A")
    assert cluster.objects.keys() == {"Namespace istio-system"}
    cluster.hold("run B")
    lease.release(cluster, NAME, "run A")
    assert cluster.spec["holderIdentity"] == "run B"


def test_a_held_one_is_refused_with_the_way_out() -> None:
    cluster = FakeCluster()
    cluster.hold("alice@controller, process 4711")
    cluster.clock += timedelta(seconds=299)
    with pytest.raises(lease.LeaseHeldError) as caught:
        acquire(cluster)
    assert caught.value.holder == "alice@controller, process 4711"
    assert str(caught.value) == (
        "east: another run has this cluster (Lease istio-system/multimesh-shared-root-ca): "
        "alice@controller, process 4711, since 2026-11-21T12:00:00.000000Z, until 2027-01-31T08:05:00Z unless it "
        "renews the Lease. Wait for it to end. If it is certain that it does not run any more, run again with "
        "shared_root_ca_break_lease=true."
    )
    assert cluster.spec["holderIdentity"] == "alice@controller, process 4711"


def test_it_is_taken_when_its_time_is_over_by_the_servers_clock() -> None:
    cluster = FakeCluster()
    cluster.hold("run B")
    cluster.clock += timedelta(seconds=300)
    assert acquire(cluster) == "run B"
    assert cluster.spec["holderIdentity"] == "run A"


@given(st.timedeltas(timedelta(days=-400), timedelta(days=400)), st.integers(0, 600))
def test_clocks_of_the_machines_decide_nothing(off: timedelta, age: int) -> None:
    cluster = FakeCluster()
    acquire(cluster, "run B", now=NOW + off)
    cluster.clock += timedelta(seconds=age)
    if age < 300:
        with pytest.raises(lease.LeaseHeldError):
            acquire(cluster, now=NOW)
    else:
        assert acquire(cluster, now=NOW) == "run B"


def test_renewing_begins_its_time_anew() -> None:
    cluster = FakeCluster()
    acquire(cluster, "run B")
    cluster.clock += timedelta(seconds=200)
    acquire(cluster, "run B", now=NOW + timedelta(seconds=200))
    cluster.clock += timedelta(seconds=200)
    with pytest.raises(lease.LeaseHeldError):
        acquire(cluster)


def test_a_holder_may_have_reserved_another_time_or_none() -> None:
    cluster = FakeCluster()
    cluster.hold("a person", leaseDurationSeconds=86400, acquireTime=None)
    cluster.clock += timedelta(hours=23)
    with pytest.raises(lease.LeaseHeldError, match="since an unknown time, until 2027-02-01T08:00:00Z"):
        acquire(cluster)
    cluster.hold("a person", leaseDurationSeconds=None)
    cluster.clock += MINUTES
    assert acquire(cluster) == "a person"


def test_a_holder_known_to_have_ended_is_not_waited_for() -> None:
    cluster = FakeCluster()
    cluster.hold("run B")
    assert acquire(cluster, has_ended=lambda holder: holder == "run B") == "run B"
    assert cluster.dry_runs == 0


def test_breaking_takes_it_from_a_living_holder() -> None:
    cluster = FakeCluster()
    cluster.hold("run B")
    assert acquire(cluster, break_held=True) == "run B"


def test_breaking_does_not_break_who_broke_it_first() -> None:
    cluster = FakeCluster()
    cluster.hold("run B")

    def interfere(verb: str, _subject: str) -> None:
        if verb == "apply":
            cluster.before = lambda _verb, _subject: None
            acquire(cluster, "run C", break_held=True)

    cluster.before = interfere
    with pytest.raises(lease.LeaseHeldError, match="run C"):
        acquire(cluster, break_held=True)


def test_a_lost_answer_does_not_look_like_somebody_else() -> None:
    cluster = FakeCluster()
    real, answers = cluster.apply, []

    def lose_answer(resource: Resource, body: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        answer = real(resource, body, **options)
        if "spec" in body and not answers:
            answers.append(answer)
            return real(resource, body, **options)  # the transport sends it again
        return answer

    cluster.apply = lose_answer  # type: ignore[method-assign]
    assert acquire(cluster) is None
    assert cluster.spec["holderIdentity"] == "run A"


def test_endless_interference_ends() -> None:
    cluster = FakeCluster()

    def interfere(verb: str, subject: str) -> None:
        if verb == "apply" and LEASE in cluster.objects:
            cluster.version += 1
            cluster.objects[subject]["metadata"]["resourceVersion"] = str(cluster.version)

    cluster.before = interfere
    with pytest.raises(ConflictError):
        acquire(cluster)
    cluster.hold("run A")
    with pytest.raises(ConflictError):
        lease.release(cluster, NAME, "run A")


def test_a_missing_right_is_not_taken_for_a_conflict() -> None:
    cluster = FakeCluster()

    def forbid(verb: str, subject: str) -> None:
        if verb == "apply":
            raise refused(Call("east", verb, subject), 403, {"message": "cannot patch resource leases"})

    cluster.before = forbid
    with pytest.raises(ForbiddenError, match=f"east: apply {LEASE}: HTTP 403"):
        acquire(cluster)


class TurnTaker:
    """Runs tasks in threads of which only one is awake at a time; ``order`` says whose request is next."""

    def __init__(self, order: Callable[[int], int]) -> None:
        self._order = order
        self._waiting: dict[int, threading.Event] = {}
        self._changed = threading.Condition()
        self._local = threading.local()

    def before_request(self, _verb: str, _subject: str) -> None:
        event = threading.Event()
        with self._changed:
            self._waiting[self._local.number] = event
            self._changed.notify()
        event.wait()

    def run(self, tasks: list[Callable[[], object]]) -> list[object]:
        results: list[object] = [None] * len(tasks)
        left = set(range(len(tasks)))

        def work(number: int) -> None:
            self._local.number = number
            try:
                results[number] = tasks[number]()
            except lease.LeaseHeldError as error:
                results[number] = error
            with self._changed:
                left.discard(number)
                self._changed.notify()

        threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in left]
        for thread in threads:
            thread.start()
        while left:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting.keys() == left)
                if not left:
                    break
                number = sorted(left)[self._order(len(left))]
                event = self._waiting.pop(number)
            event.set()
        return results


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(2, 5), st.sampled_from(["missing", "free", "expired", "ended", "broken"]))
def test_of_many_at_once_exactly_one_wins(data: st.DataObject, count: int, state: str) -> None:
    cluster = FakeCluster()
    if state != "missing":
        cluster.hold("" if state == "free" else "old run")
    if state == "expired":
        cluster.clock += MINUTES
    turns = TurnTaker(lambda left: data.draw(st.integers(0, left - 1)))
    cluster.before = turns.before_request

    def compete(number: int) -> Callable[[], object]:
        ended = {"old run"} if state == "ended" else set()
        breaks = state == "broken" and number == 0
        return lambda: acquire(cluster, f"run {number}", has_ended=ended.__contains__, break_held=breaks)

    results = turns.run([compete(number) for number in range(count)])
    refusals = [result for result in results if isinstance(result, lease.LeaseHeldError)]
    [winner] = [number for number, result in enumerate(results) if result not in refusals]
    assert cluster.spec["holderIdentity"] == f"run {winner}"
    assert {refusal.holder for refusal in refusals} <= {f"run {winner}", "old run"}
