# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import hashlib

from ansible_collections.multimesh.istio.plugins.module_utils.applyset.desired import read_objects
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.diff import differences, fingerprint
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.identity import applyset_id
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.parent import parent_key
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.plan import Change, Live, Plan

PARENT = parent_key("istio-system", "set")


def wanted(kind="ConfigMap", **fields):
    body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "a", "namespace": "shop"}, **fields}
    return read_objects("west", [body], applyset_id(PARENT), PARENT)[0]


def test_created_changed_and_deleted():
    item = wanted(data={"x": "2"})
    live = Live(
        item.key,
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": "a",
                "namespace": "shop",
                "uid": "u",
                "managedFields": [
                    {"manager": "m", "operation": "Apply", "apiVersion": "v1", "fieldsV1": {"f:data": {"f:x": {}}}}
                ],
            },
            "data": {"x": "1", "theirs": "1"},
        },
    )
    created, changed, deleted = differences(Plan((item,), (Change(item, live),), (live,)), "m")
    assert created["before"] == ""
    assert "x: '2'" in created["after"]
    assert "x: '1'" in changed["before"]
    assert "theirs" not in changed["before"]
    assert "x: '2'" in changed["after"]
    assert "x: '1'" in deleted["before"]
    assert deleted["after"] == ""
    assert {"uid", "managedFields"} & set(changed["before"].split(":")) == set()
    assert created["before_header"] == "ConfigMap shop/a"


def test_a_text_of_several_lines_is_shown_as_these_lines():
    text = differences(Plan((wanted(data={"x": '{\n  "a": 1\n}\n'}),)), "m")[0]["after"]
    assert '  x: |\n    {\n      "a": 1\n    }\n' in text


def test_secrets_are_shown_by_fingerprint():
    item = wanted(kind="Secret", stringData={"k": "hush"})
    text = differences(Plan((item,)), "m")[0]["after"]
    assert f"k: sha256:{hashlib.sha256(b'hush').hexdigest()}" in text
    assert base64.b64encode(b"hush").decode() not in text


def test_a_secret_value_that_is_no_base64_is_hidden_too():
    assert "hush!" not in fingerprint("hush!")
