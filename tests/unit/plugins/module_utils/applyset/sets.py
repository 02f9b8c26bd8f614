# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sets of objects for properties, and what is done with them on a cluster in memory."""

from __future__ import annotations

from ansible_collections.multimesh.istio.plugins.module_utils.applyset.apply import ApplySet, Settings
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.parent import parent_key
from hypothesis import strategies as st

KEY = parent_key("istio-system", "set")


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def applyset(cluster, **options):
    clock = Clock()
    return ApplySet(cluster, KEY, Settings(**{"concurrency": 1, **options}), clock, clock.sleep)


def run(cluster, objects, **options):
    one = applyset(cluster, **options)
    return one.carry_out(one.prepare(objects))


def plan(cluster, objects, **options):
    return applyset(cluster, **options).prepare(objects, check_mode=True).shown


def names(found):
    return (
        [str(item.key) for item in found.create],
        [str(item.desired.key) for item in found.change],
        [str(item.key) for item in found.delete],
    )


def thing(name, namespace="shop", kind="ConfigMap", version="v1", **fields):
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}, **fields}


def wanted_state(cluster):
    """What the cluster holds, without what differs by history: server-side apply leaves emptied maps behind."""
    return {
        key: {
            **{name: without_empty(value) for name, value in body.items() if name != "metadata"},
            "labels": body["metadata"].get("labels"),
        }
        for key, body in cluster.objects.items()
    }


def without_empty(value):
    if not isinstance(value, dict):
        return value
    below = {key: without_empty(item) for key, item in value.items()}
    return {key: item for key, item in below.items() if item != {}}


values = st.recursive(
    st.sampled_from(["", "x", "y", 0, 1, True]),
    lambda below: st.dictionaries(st.sampled_from("abc"), below, max_size=3) | st.lists(below, max_size=2),
    max_leaves=6,
)
objects = st.builds(
    thing,
    name=st.sampled_from(["one", "two", "three"]),
    namespace=st.sampled_from(["shop", "other", "istio-system"]),
    kind=st.sampled_from(["ConfigMap", "Service"]),
    spec=values,
)
sets = st.lists(
    objects, max_size=6, unique_by=lambda item: (item["kind"], item["metadata"]["namespace"], item["metadata"]["name"])
)
