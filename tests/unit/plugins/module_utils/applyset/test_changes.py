# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans as data: what they say of each object, and how a later one is told from an earlier one."""

from __future__ import annotations

import copy
import json

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.apply import ApplySet, Settings
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.changes import (
    DeletionsError,
    MovedError,
    check_deletions,
    check_expected,
    describe,
    deviations,
    named,
)
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.parent import parent_key
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import Resource

from tests.unit.plugins.module_utils.applyset.memory import MemoryCluster

KEY = parent_key("istio-system", "set")
MANAGER = "multimesh.istio"


def thing(name, kind="ConfigMap", origins=None, **fields):
    metadata = {"name": name, "namespace": "shop"}
    if origins:
        metadata["annotations"] = {"multimesh.istio/export": origins}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **fields}


def run(cluster, objects):
    one = ApplySet(cluster, KEY, Settings(concurrency=1))
    return one.carry_out(one.prepare(objects))


def changes(cluster, objects):
    prepared = ApplySet(cluster, KEY, Settings(concurrency=1)).prepare(objects, check_mode=True, whole=True)
    return describe(prepared.shown, MANAGER)


def by_object(found):
    return {entry["object"]: entry for entry in found}


@pytest.fixture
def cluster():
    return MemoryCluster()


def test_what_is_said_of_each_object(cluster):
    run(cluster, [thing("gone", origins="east/shop/old"), thing("changed", data={"x": "1"}), thing("same")])
    found = changes(
        cluster,
        [
            thing("new", origins="east/shop/reviews,west/shop/reviews"),
            thing("changed", data={"x": "2"}),
            thing("same"),
        ],
    )
    assert [(entry["action"], entry["object"], entry["origins"]) for entry in found] == [
        ("create", "ConfigMap shop/new", ["east/shop/reviews", "west/shop/reviews"]),
        ("change", "ConfigMap shop/changed", []),
        ("delete", "ConfigMap shop/gone", ["east/shop/old"]),
    ]
    assert [(bool(entry["wanted"]), bool(entry["found"])) for entry in found] == [
        (True, False),
        (True, True),
        (False, True),
    ]
    assert [entry["others"] for entry in found] == [[], [], []], "it is the inventory that changed"


def test_the_same_plan_has_the_same_fingerprints(cluster):
    wanted = [thing("a", data={"x": "1"}), thing("b")]
    assert changes(cluster, wanted) == changes(cluster, list(reversed(wanted)))
    run(cluster, [thing("a"), thing("c")])
    before = changes(cluster, wanted)
    run(cluster, [thing("a"), thing("c")])
    assert deviations(changes(cluster, wanted), json.loads(json.dumps(before))) == []
    check_expected("west", changes(cluster, wanted), before)


def touched(cluster, name, **fields):
    """Somebody else writes, the same uid stays."""
    body = copy.deepcopy(cluster.objects["ConfigMap", "shop", name])
    cluster.put({**body, **fields})


def gone(cluster, name):
    del cluster.objects["ConfigMap", "shop", name]


@pytest.mark.parametrize(
    ("move", "wanted", "message"),
    [
        (
            lambda cluster: touched(cluster, "changed", data={"x": "drifted"}),
            {},
            "ConfigMap shop/changed: somebody has changed it in the cluster since",
        ),
        (
            lambda cluster: touched(cluster, "gone", data={"theirs": "1"}),
            {},
            "ConfigMap shop/gone: somebody has changed it in the cluster since",
        ),
        (
            lambda cluster: gone(cluster, "gone"),
            {},
            "ConfigMap shop/gone: it is to be deleted in the earlier plan, and is to stay as it is now",
        ),
        (
            lambda cluster: gone(cluster, "same"),
            {},
            "ConfigMap shop/same: it is to stay as it is in the earlier plan, and is to be created now",
        ),
        (
            lambda cluster: gone(cluster, "changed"),
            {},
            "ConfigMap shop/changed: it is to be changed in the earlier plan, and is to be created now",
        ),
        (
            lambda _cluster: None,
            {"x": "3"},
            "ConfigMap shop/changed: the inventory or what it is completed from wants something else of it now",
        ),
    ],
)
def test_a_world_that_moved_is_told(cluster, move, wanted, message):
    def objects(**data):
        return [thing("new"), thing("changed", data={"x": "2", **data}), thing("same")]

    run(cluster, [thing("gone"), thing("changed", data={"x": "1"}), thing("same")])
    before = changes(cluster, objects())
    move(cluster)
    after = changes(cluster, objects(**wanted))
    assert deviations(after, before) == [message]
    with pytest.raises(MovedError, match="west: the plan is no longer what was expected: "):
        check_expected("west", after, before)


def test_what_others_own_of_an_object_does_not_make_a_plan_old(cluster):
    run(cluster, [thing("a", data={"x": "1"})])
    wanted = [thing("a", data={"x": "2"})]
    before = changes(cluster, wanted)
    body = cluster.objects["ConfigMap", "shop", "a"]
    cluster.put({**body, "data": {**body["data"], "theirs": "1"}})
    assert deviations(changes(cluster, wanted), before) == []


def test_nothing_of_a_secret_is_in_a_plan(cluster):
    cluster.kinds["", "Secret"] = Resource("", "v1", "Secret", "secrets", True)
    run(cluster, [thing("s", kind="Secret", data={"k": "aHVzaC1odXNo"}), thing("t", kind="Secret", data={"k": "dA=="})])
    found = changes(cluster, [thing("s", kind="Secret", data={"k": "aHVzaC1odXNoIQ=="})])
    assert [entry["action"] for entry in found] == ["change", "delete"]
    assert "aHVza" not in json.dumps(found)


def test_deletions_have_a_limit(cluster):
    run(cluster, [thing(f"a-{index:02}") for index in range(30)])
    prepared = ApplySet(cluster, KEY, Settings(concurrency=1)).prepare([])
    check_deletions("west", prepared.plan.delete, None)
    check_deletions("west", prepared.plan.delete, 30)
    with pytest.raises(DeletionsError) as caught:
        check_deletions("west", prepared.plan.delete, 29)
    message = str(caught.value)
    assert message.startswith("west: 30 objects would be deleted, and max_deletions allows 29: ConfigMap shop/a-00, ")
    assert message.endswith(
        "ConfigMap shop/a-19, and 10 more. Nothing was written. If they shall go, raise max_deletions."
    )


def test_names():
    assert named([]) == ""
    assert named(["a", "b"]) == "a, b"
    assert named((str(index) for index in range(22)), "; ").endswith("; 19; and 2 more")
