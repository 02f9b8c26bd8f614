# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The order of work and its properties, on a cluster in memory."""

from __future__ import annotations

import contextlib

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.apply import (
    ApplyError,
    ForeignMemberError,
    MissingKindError,
    MissingNamespaceError,
)
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.desired import ObjectsError
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.identity import PART_OF_LABEL
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import (
    InvalidError,
    ServerError,
    UnreachableError,
)
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import Resource
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.applyset.memory import CutShort, MemoryCluster
from tests.unit.plugins.module_utils.applyset.sets import names, plan, run, sets, thing, wanted_state


@settings(max_examples=60, deadline=None)
@given(sets, sets)
def test_the_last_set_alone_decides(first, second):
    once, twice = MemoryCluster(), MemoryCluster()
    run(once, second)
    run(twice, first)
    run(twice, second)
    assert wanted_state(twice) == wanted_state(once)


@settings(max_examples=60, deadline=None)
@given(sets, sets)
@example([thing("one", spec=1)], [thing("one", spec=True)])
def test_a_second_run_writes_nothing(first, second):
    cluster = MemoryCluster()
    run(cluster, first)
    run(cluster, second)
    before = cluster.writes
    assert run(cluster, second).empty
    assert cluster.writes == before


@settings(max_examples=60, deadline=None)
@given(sets, sets)
def test_the_plan_is_what_a_run_does_and_writes_nothing(first, second):
    cluster = MemoryCluster()
    run(cluster, first)
    before = cluster.writes
    announced = plan(cluster, second)
    assert cluster.writes == before
    assert names(run(cluster, second)) == names(announced)


@settings(max_examples=60, deadline=None)
@given(sets, sets, st.integers(0, 12))
def test_a_run_cut_short_is_completed_by_the_next(first, second, cut):
    whole, cluster = MemoryCluster(), MemoryCluster()
    run(whole, second)
    run(cluster, first)
    cluster.cut_after = cluster.writes + cut
    with contextlib.suppress(CutShort):
        run(cluster, second)
    cluster.cut_after = None
    run(cluster, second)
    assert wanted_state(cluster) == wanted_state(whole)
    assert run(cluster, second).empty


@settings(max_examples=60, deadline=None)
@given(sets, sets)
def test_what_others_made_stays(theirs, ours):
    cluster = MemoryCluster()
    for item in theirs:
        cluster.put(item)
    run(cluster, ours)
    run(cluster, None)
    own = {(item["kind"], item["metadata"]["namespace"], item["metadata"]["name"]) for item in ours}
    left = {key for key in cluster.objects if key[0] != "Namespace"}
    given_by_others = {(item["kind"], item["metadata"]["namespace"], item["metadata"]["name"]) for item in theirs}
    assert left == given_by_others - own


def test_the_parent_is_written_first_and_narrowed_last():
    cluster = MemoryCluster()
    run(cluster, [thing("a", kind="Service"), thing("b")])
    order = []
    apply, delete = cluster.apply, cluster.delete
    cluster.apply = lambda resource, body, **options: (
        order.append(f"apply {body['kind']} {body['metadata']['name']}"),
        apply(resource, body, **options),
    )[1]
    cluster.delete = lambda resource, namespace, name, uid: (
        order.append(f"delete {resource.kind} {name}"),
        delete(resource, namespace, name, uid),
    )[1]
    run(cluster, [thing("g", kind="Gadget", version="demo.test/v1"), thing("b", data={"x": "1"})])
    assert order == [
        "apply ConfigMap set",
        "apply Gadget g",
        "apply ConfigMap b",
        "delete Service a",
        "apply ConfigMap set",
    ]


def test_namespaces_come_first_and_go_last():
    cluster = MemoryCluster()
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fresh"}}
    created, _changed, _deleted = names(run(cluster, [thing("a", "fresh"), namespace]))
    assert "Namespace fresh" in created
    order = []
    delete = cluster.delete
    cluster.delete = lambda resource, where, name, uid: (order.append(name), delete(resource, where, name, uid))
    run(cluster, None)
    assert order == ["a", "fresh", "set"]


def test_policies_guard_what_comes_after_them_and_goes_before_them():
    cluster = MemoryCluster()
    group = "security.istio.io"
    cluster.kinds[group, "AuthorizationPolicy"] = Resource(
        group, "v1", "AuthorizationPolicy", "authorizationpolicies", True
    )
    order = []
    apply, delete = cluster.apply, cluster.delete
    cluster.apply = lambda resource, body, **options: (
        order.append(f"apply {body['metadata']['name']}"),
        apply(resource, body, **options),
    )[1]
    cluster.delete = lambda resource, namespace, name, uid: (
        order.append(f"delete {name}"),
        delete(resource, namespace, name, uid),
    )[1]
    run(cluster, [thing("a"), thing("guard", kind="AuthorizationPolicy", version=f"{group}/v1")])
    run(cluster, [])
    writes = [name for name in order if not name.endswith(" set")]
    assert writes == ["apply guard", "apply a", "delete a", "delete guard"]


def test_adoption_is_a_change():
    cluster = MemoryCluster()
    cluster.put(thing("a", data={"x": "1"}))
    assert names(run(cluster, [thing("a", data={"x": "1"})])) == (
        ["ConfigMap istio-system/set"],
        ["ConfigMap shop/a"],
        [],
    )


def test_members_of_another_set_are_refused():
    cluster = MemoryCluster()
    theirs = thing("a")
    theirs["metadata"]["labels"] = {PART_OF_LABEL: "applyset-other-v1"}
    cluster.put(theirs)
    before = cluster.writes
    with pytest.raises(ForeignMemberError, match="ConfigMap shop/a is a member of applyset-other-v1"):
        run(cluster, [thing("a")])
    assert cluster.writes == before


def test_missing_namespaces():
    cluster = MemoryCluster()
    with pytest.raises(MissingNamespaceError, match=r"west: .*nowhere \(needed by ConfigMap nowhere/a\)"):
        plan(cluster, [thing("a", "nowhere")])
    assumed = frozenset({"nowhere"})
    assert "ConfigMap nowhere/a" in names(plan(cluster, [thing("a", "nowhere")], assumed_namespaces=assumed))[0]
    with pytest.raises(MissingNamespaceError):
        run(cluster, [thing("a", "nowhere")], assumed_namespaces=assumed)


def test_a_missing_kind_is_awaited_and_then_named():
    cluster = MemoryCluster()
    unknown = thing("a", kind="Widget", version="demo.test/v1")
    assert "Widget shop/a" in names(plan(cluster, [unknown]))[0]
    with pytest.raises(MissingKindError, match=r"does not serve: Other.demo.test v1, Widget.demo.test v1\."):
        run(cluster, [unknown, thing("b", kind="Other", version="demo.test/v1")], crd_timeout=5)
    looks = []

    def forget():
        looks.append(1)
        if len(looks) == 3:
            cluster.kinds["demo.test", "Widget"] = Resource("demo.test", "v1", "Widget", "widgets", True)

    cluster.forget_kinds = forget
    assert "Widget shop/a" in names(run(cluster, [unknown], crd_timeout=5))[0]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (thing("a", ""), "ConfigMap needs metadata.namespace"),
        ({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "namespace": "b"}}, "is cluster-scoped"),
    ],
)
def test_scope_is_checked(item, message):
    with pytest.raises(ObjectsError, match=message):
        plan(MemoryCluster(), [item])


def test_one_failure_leaves_the_others_done_and_nothing_deleted():
    cluster = MemoryCluster()
    run(cluster, [thing("old")])
    apply = cluster.apply

    def failing(resource, body, **options):
        if body["metadata"]["name"].startswith("bad"):
            raise InvalidError(f"{body['metadata']['name']} is bad", 422)
        return apply(resource, body, **options)

    cluster.apply = failing
    with pytest.raises(ApplyError) as caught:
        run(cluster, [thing("bad-1"), thing("bad-2"), thing("good")])
    assert "2 failed, 1 were not tried" in str(caught.value)
    assert "bad-1 is bad" in str(caught.value)
    assert "bad-2 is bad" in str(caught.value)
    assert names(caught.value.done) == (["ConfigMap shop/good"], [], [])
    assert ("ConfigMap", "shop", "old") in cluster.objects
    cluster.apply = apply
    run(cluster, [thing("good")])
    assert sorted(key for key in cluster.objects if key[0] == "ConfigMap") == [
        ("ConfigMap", "istio-system", "set"),
        ("ConfigMap", "shop", "good"),
    ]


def test_a_parent_that_cannot_be_narrowed_hides_nothing_that_was_done():
    cluster = MemoryCluster()
    run(cluster, [thing("old", kind="Service")])
    apply, parents = cluster.apply, []

    def failing(resource, body, **options):
        if body["metadata"]["name"] == "set":
            parents.append(body)
            if len(parents) == 2:
                raise ServerError("west: apply ConfigMap istio-system/set: HTTP 500", 500)
        return apply(resource, body, **options)

    cluster.apply = failing
    with pytest.raises(ApplyError, match="1 failed, 0 were not tried") as caught:
        run(cluster, [thing("new")])
    assert names(caught.value.done) == (["ConfigMap shop/new"], [], ["Service shop/old"])


def test_a_dead_api_server_is_not_asked_a_thousand_times():
    cluster = MemoryCluster()
    run(cluster, [])
    tries = []

    def dead(_resource, body, **_options):
        if body["metadata"]["name"] == "set":
            return {}
        tries.append(1)
        raise UnreachableError("gone")

    cluster.apply = dead
    with pytest.raises(ApplyError, match="1 failed, 99 were not tried"):
        run(cluster, [thing(f"a-{index}") for index in range(100)])
    assert len(tries) == 1


def test_values_of_a_secret_do_not_get_into_errors():
    cluster = MemoryCluster()
    cluster.kinds["", "Secret"] = Resource("", "v1", "Secret", "secrets", True)
    apply = cluster.apply

    def quoting(resource, body, **options):
        if resource.kind == "Secret":
            raise InvalidError(f"expected string, got {body['data']}", 422)
        return apply(resource, body, **options)

    cluster.apply = quoting
    with pytest.raises(ApplyError) as caught:
        run(cluster, [thing("s", kind="Secret", data={"k": {"deep": "hush-hush"}})])
    assert "hush-hush" not in str(caught.value)
    assert "(hidden)" in str(caught.value)


def test_kinds_whose_definition_is_gone_do_not_stop_a_run():
    cluster = MemoryCluster()
    run(cluster, [thing("g", kind="Gadget", version="demo.test/v1")])
    del cluster.kinds["demo.test", "Gadget"]
    assert names(run(cluster, [thing("a")])) == (["ConfigMap shop/a"], ["ConfigMap istio-system/set"], [])
