# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.identity import (
    ID_LABEL,
    KINDS_ANNOTATION,
    NAMESPACES_ANNOTATION,
    TOOLING_ANNOTATION,
    GroupKind,
    ObjectKey,
)
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.parent import (
    Parent,
    ParentError,
    parent_key,
    read_parent,
)

KEY = parent_key("istio-system", "set")
GATEWAY = GroupKind("networking.istio.io", "Gateway")
SECRET = GroupKind("", "Secret")


def test_what_is_written_is_what_is_read():
    parent = Parent(KEY).declaring(
        [
            ObjectKey(GATEWAY, "istio-system", "a"),
            ObjectKey(SECRET, "shop", "b"),
            ObjectKey(GroupKind("", "Namespace"), "", "n"),
        ]
    )
    body = parent.body()
    assert body["metadata"]["annotations"] == {
        KINDS_ANNOTATION: "Gateway.networking.istio.io,Namespace,Secret",
        NAMESPACES_ANNOTATION: "shop",
        TOOLING_ANNOTATION: "kubectl/v1.27.0",
    }
    assert read_parent("west", KEY, body) == parent
    assert parent.scope == {"istio-system", "shop"}


def test_the_tooling_that_kubectl_left_is_kept():
    body = Parent(KEY).body()
    body["metadata"]["annotations"][TOOLING_ANNOTATION] = "kubectl/v1.36.3"
    again = read_parent("west", KEY, body).declaring([]).body()
    assert again["metadata"]["annotations"][TOOLING_ANNOTATION] == "kubectl/v1.36.3"


def test_annotations_may_be_empty_or_missing():
    body = Parent(KEY).body()
    del body["metadata"]["annotations"][NAMESPACES_ANNOTATION]
    assert read_parent("west", KEY, body) == Parent(KEY)


def test_joined_declares_both():
    first = Parent(KEY).declaring([ObjectKey(SECRET, "a", "x")])
    second = Parent(KEY).declaring([ObjectKey(GATEWAY, "b", "x")])
    assert first.joined(second) == second.joined(first)
    assert first.joined(second).kinds == {SECRET, GATEWAY}
    assert first.joined(second).namespaces == {"a", "b"}


@pytest.mark.parametrize(
    ("labels", "annotations", "message"),
    [
        ({}, {}, "found none"),
        ({ID_LABEL: "applyset-other-v1"}, {}, "found applyset-other-v1"),
        ({ID_LABEL: Parent(KEY).set_id}, {TOOLING_ANNOTATION: "kpt/v1.0.0"}, "another tool"),
        ({ID_LABEL: Parent(KEY).set_id}, {}, "another tool"),
    ],
)
def test_what_is_not_our_parent_is_refused(labels, annotations, message):
    live = {"metadata": {"name": "set", "labels": labels, "annotations": annotations}}
    with pytest.raises(ParentError, match=message):
        read_parent("west", KEY, live)
