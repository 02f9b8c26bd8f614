# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What holds in any history.

Nobody else's object is touched, the order of objects does not matter, and a run that ended or failed at any request is
completed by the next one.
"""

from __future__ import annotations

import contextlib
import copy
import itertools

from ansible_collections.multimesh.istio.plugins.module_utils.applyset.apply import ApplyError, ForeignMemberError
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.changes import describe
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.identity import PART_OF_LABEL, applyset_id
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import (
    ConflictError,
    ServerError,
    TooManyRequestsError,
    UnreachableError,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.applyset.memory import CutShort, MemoryCluster
from tests.unit.plugins.module_utils.applyset.sets import KEY, applyset, names, run, sets, thing, wanted_state

OURS = applyset_id(KEY)
REQUESTS = ("find", "get", "list_objects", "apply", "delete")


class NumberedCluster(MemoryCluster):
    """Fails its n-th request, reading or writing; afterwards it is well again."""

    def __init__(self):
        super().__init__()
        self.requests = itertools.count()
        self.failing: dict[int, BaseException] = {}
        for request in REQUESTS:
            setattr(self, request, self._counted(getattr(self, request)))

    def begin(self, number=None, failure=None):
        self.requests = itertools.count()
        self.failing = {} if number is None else {number: failure}

    def _counted(self, request):
        def asked(*args, **options):
            failure = self.failing.get(next(self.requests))
            if failure:
                raise failure
            return request(*args, **options)

        return asked


def key_of(item):
    return item["kind"], item["metadata"]["namespace"], item["metadata"]["name"]


def foreign(cluster, wanted):
    """What is neither a member nor wanted, with every version and field."""
    keys = {key_of(item) for item in wanted} | {("ConfigMap", KEY.namespace, KEY.name)}
    return {
        key: copy.deepcopy(body)
        for key, body in cluster.objects.items()
        if key not in keys and (body["metadata"].get("labels") or {}).get(PART_OF_LABEL) != OURS
    }


small = st.builds(
    thing,
    name=st.sampled_from("abcd"),
    namespace=st.sampled_from(["shop", "istio-system"]),
    kind=st.sampled_from(["ConfigMap", "Service"]),
    data=st.fixed_dictionaries({}, optional={"x": st.sampled_from("12"), "y": st.sampled_from("12")}),
)
small_sets = st.lists(small, max_size=4, unique_by=key_of)
theirs = st.tuples(small, st.sampled_from([None, None, "applyset-other-v1"]))
steps = st.one_of(
    st.tuples(st.just("apply"), small_sets),
    st.tuples(st.just("remove"), st.just([])),
    st.tuples(st.just("cut"), st.tuples(small_sets, st.integers(0, 12))),
    st.tuples(st.just("theirs"), theirs),
    st.tuples(st.just("taken"), small),
)


def step(cluster, action, what):
    """One step of a history; what we do must leave alone what is foreign."""
    if action == "theirs":
        body, part_of = copy.deepcopy(what)
        if part_of:
            body["metadata"]["labels"] = {PART_OF_LABEL: part_of}
        if key_of(body) not in cluster.objects:
            cluster.put(body)
    elif action == "taken":  # somebody applies the same object with force
        kind = cluster.kinds["", what["kind"]]
        cluster.apply(kind, what, manager="somebody", force=True)
    else:
        wanted, cut = what if action == "cut" else (what, None)
        cluster.cut_after = None if cut is None else cluster.writes + cut
        before = foreign(cluster, wanted)
        with contextlib.suppress(CutShort, ForeignMemberError, ApplyError):
            run(cluster, None if action == "remove" else wanted)
        cluster.cut_after = None
        assert {key: cluster.objects.get(key) for key in before} == before


@settings(max_examples=1000, deadline=None)
@given(st.lists(steps, min_size=3, max_size=8))
def test_in_a_thousand_histories_nobody_elses_object_is_touched(history):
    cluster = MemoryCluster()
    for action, what in history:
        step(cluster, action, what)
    before = foreign(cluster, [])
    run(cluster, None)
    assert cluster.objects.keys() == before.keys()
    assert foreign(cluster, []) == before


@settings(max_examples=60, deadline=None)
@given(sets, sets, st.randoms(use_true_random=False))
def test_the_order_of_objects_does_not_matter(first, second, random):
    one, other = MemoryCluster(), MemoryCluster()
    shuffled = [random.sample(objects, len(objects)) for objects in (first, second)]
    run(one, first)
    run(other, shuffled[0])
    plans = [
        applyset(cluster).prepare(objects, whole=True).shown
        for cluster, objects in ((one, second), (other, shuffled[1]))
    ]
    assert names(plans[0]) == names(plans[1])
    without_uids = [
        [(entry["action"], entry["object"], entry["wanted"]) for entry in describe(plan, "multimesh.istio")]
        for plan in plans
    ]
    assert without_uids[0] == without_uids[1]
    run(one, second)
    run(other, shuffled[1])
    assert wanted_state(one) == wanted_state(other)


FAILURES = [
    CutShort(),
    ServerError("west: HTTP 500", 500),
    TooManyRequestsError("west: HTTP 429", 429),
    UnreachableError("west: no answer"),
    ConflictError("west: HTTP 409", 409),
]


@settings(max_examples=25, deadline=None)
@given(sets, sets, st.sampled_from(FAILURES))
def test_a_run_that_ended_or_failed_at_any_request_is_completed_by_the_next(first, second, failure):
    whole = NumberedCluster()
    run(whole, first)
    whole.begin()
    run(whole, second)
    for number in range(next(whole.requests)):
        cluster = NumberedCluster()
        run(cluster, first)
        cluster.begin(number, failure)
        with contextlib.suppress(CutShort, MultimeshError):
            run(cluster, second)
        cluster.begin()
        run(cluster, second)
        assert wanted_state(cluster) == wanted_state(whole)
        assert run(cluster, second).empty
