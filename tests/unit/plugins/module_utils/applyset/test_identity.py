# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.identity import GroupKind, ObjectKey, applyset_id

SECRET = GroupKind("", "Secret")


def test_id_is_the_one_that_kubectl_computes():
    # the value in kubectl's own tests (kubectl/pkg/cmd/apply/apply_test.go)
    key = ObjectKey(SECRET, "test", "my-set")
    assert applyset_id(key) == "applyset-0eFHV8ySqp7XoShsGvyWFQD3s96yqwHmzc4e0HR1dsY-v1"


@pytest.mark.parametrize(
    "other",
    [
        ObjectKey(SECRET, "test", "other"),
        ObjectKey(SECRET, "other", "my-set"),
        ObjectKey(GroupKind("", "ConfigMap"), "test", "my-set"),
        ObjectKey(GroupKind("demo.test", "Secret"), "test", "my-set"),
    ],
)
def test_every_part_of_the_key_counts(other):
    assert applyset_id(other) != applyset_id(ObjectKey(SECRET, "test", "my-set"))


@pytest.mark.parametrize("text", ["ConfigMap", "ServiceEntry.networking.istio.io"])
def test_kinds_are_written_as_they_are_read(text):
    assert str(GroupKind.parse(text)) == text


def test_names_for_people():
    assert str(ObjectKey(SECRET, "shop", "a")) == "Secret shop/a"
    assert str(ObjectKey(GroupKind("", "Namespace"), "", "shop")) == "Namespace shop"
