# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.desired import ObjectsError, read_objects
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.identity import PART_OF_LABEL, applyset_id
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.parent import parent_key

PARENT = parent_key("istio-system", "set")
SET_ID = applyset_id(PARENT)


def config_map(**metadata):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "shop", **metadata}}


def read(*objects):
    return read_objects("west", objects, SET_ID, PARENT)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("text", "a mapping was expected, not str"),
        ({"apiVersion": "v1", "kind": "ConfigMap"}, "metadata is missing"),
        ({"kind": "ConfigMap", "metadata": {"name": "a"}}, "apiVersion must be a text"),
        ({"apiVersion": "v1", "metadata": {"name": "a"}}, "kind must be a text"),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "a-"}}, "metadata.name must be a text"),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": 1}}, "metadata.name must be a text"),
        (config_map(labels=["a"]), "metadata.labels must be a mapping"),
        (config_map(labels={PART_OF_LABEL: "applyset-other-v1"}), "of another set"),
        (config_map(name="set", namespace="istio-system"), "is the parent of this set"),
    ],
)
def test_what_can_not_be_applied_is_named_by_index(item, message):
    with pytest.raises(ObjectsError) as caught:
        read(config_map(), item)
    assert str(caught.value).startswith("west: ")
    assert "objects[1]: " in str(caught.value)
    assert message in str(caught.value)


def test_all_problems_come_together_and_duplicates_name_the_first():
    with pytest.raises(ObjectsError) as caught:
        read(config_map(), "text", config_map())
    assert len(caught.value.problems) == 2
    assert "objects[2]: ConfigMap shop/a is objects[0] already" in str(caught.value)


def test_what_only_a_server_says_is_left_out():
    given = config_map(uid="x", resourceVersion="1", creationTimestamp=None, managedFields=[], annotations={})
    assert read({**given, "status": {"x": 1}})[0].body == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": "shop", "labels": {PART_OF_LABEL: SET_ID}},
    }


def test_nulls_go_and_what_is_empty_stays():
    given = {**config_map(), "data": {"a": None, "b": ""}, "list": [{"x": None, "y": 0}], "empty": {}}
    body = read(given)[0].body
    assert (body["data"], body["list"], body["empty"]) == ({"b": ""}, [{"y": 0}], {})
    assert given["data"] == {"a": None, "b": ""}  # the caller's objects are left alone


def test_plain_secret_data_is_encoded_and_wins():
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "namespace": "shop"}}
    body = read({**secret, "data": {"k": "eA==", "l": "eQ=="}, "stringData": {"k": "z"}})[0].body
    assert body["data"] == {"k": "eg==", "l": "eQ=="}
    assert "stringData" not in body


def test_objects_are_sorted_by_key():
    assert [str(item.key) for item in read(config_map(name="b"), config_map(name="a"))] == [
        "ConfigMap shop/a",
        "ConfigMap shop/b",
    ]
