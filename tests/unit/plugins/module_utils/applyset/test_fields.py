# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.fields import (
    Verdict,
    compare,
    owned_fields,
    project,
)

SAME, UNSURE, CHANGED = Verdict.SAME, Verdict.UNSURE, Verdict.CHANGED
MANAGER = "multimesh.istio"


def key(**fields):
    return "k:" + json.dumps(fields, sort_keys=True)


def live(owned, version="v1", manager=MANAGER, operation="Apply", subresource=None, **fields):
    entry = {"manager": manager, "operation": operation, "apiVersion": version, "fieldsV1": owned}
    if subresource:
        entry["subresource"] = subresource
    return {"apiVersion": version, "kind": "Thing", "metadata": {"name": "a", "managedFields": [entry]}, **fields}


def desired(**fields):
    return {"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "a"}, **fields}


LABELS = {"f:metadata": {"f:labels": {"f:a": {}}}}
PORTS = {
    "f:spec": {
        "f:ports": {
            key(port=53, protocol="TCP"): {".": {}, "f:port": {}},
            key(port=53, protocol="UDP"): {".": {}, "f:port": {}, "f:protocol": {}},
        }
    }
}
LIVE_PORTS = {"ports": [{"port": 53, "protocol": "TCP", "targetPort": 53}, {"port": 53, "protocol": "UDP"}]}


@pytest.mark.parametrize(
    ("wanted", "owned", "found", "verdict"),
    [
        # scalars
        ({"spec": {"a": 1}}, {"f:spec": {"f:a": {}}}, {"spec": {"a": 1, "defaulted": 2}}, SAME),
        ({"spec": {"a": 1}}, {"f:spec": {"f:a": {}}}, {"spec": {"a": 2}}, CHANGED),
        ({"spec": {"a": 1}}, {"f:spec": {"f:a": {}}}, {"spec": {"a": True}}, CHANGED),
        ({"spec": {"a": "x"}}, {"f:spec": {"f:a": {}}}, {"spec": {}}, CHANGED),
        ({"spec": {"a": ""}}, {"f:spec": {"f:a": {}}}, {"spec": {}}, SAME),
        ({"spec": {"a": 0}}, {"f:spec": {"f:a": {}}}, {}, SAME),
        # what we own and what we want must be the same fields
        ({"spec": {"a": 1}}, {"f:spec": {"f:a": {}, "f:b": {}}}, {"spec": {"a": 1, "b": 2}}, CHANGED),
        ({"spec": {"a": 1, "b": 2}}, {"f:spec": {"f:a": {}}}, {"spec": {"a": 1, "b": 2}}, CHANGED),
        ({"spec": {"a": 1}}, {}, {"spec": {"a": 1}}, CHANGED),
        # written differently
        ({"spec": {"cpu": "0.5"}}, {"f:spec": {"f:cpu": {}}}, {"spec": {"cpu": "500m"}}, UNSURE),
        ({"spec": {"mem": "1024Mi"}}, {"f:spec": {"f:mem": {}}}, {"spec": {"mem": "1Gi"}}, UNSURE),
        ({"spec": {"mem": "1e3"}}, {"f:spec": {"f:mem": {}}}, {"spec": {"mem": "1k"}}, UNSURE),
        ({"spec": {"cpu": 1}}, {"f:spec": {"f:cpu": {}}}, {"spec": {"cpu": "1"}}, UNSURE),
        ({"spec": {"cpu": "0.6"}}, {"f:spec": {"f:cpu": {}}}, {"spec": {"cpu": "500m"}}, CHANGED),
        ({"spec": {"t": "60s"}}, {"f:spec": {"f:t": {}}}, {"spec": {"t": "1m0s"}}, UNSURE),
        ({"spec": {"t": "61s"}}, {"f:spec": {"f:t": {}}}, {"spec": {"t": "1m0s"}}, CHANGED),
        # atomic maps and lists
        ({"spec": {"m": {"a": 1}}}, {"f:spec": {"f:m": {}}}, {"spec": {"m": {"a": 1}}}, SAME),
        ({"spec": {"m": {"a": 1}}}, {"f:spec": {"f:m": {}}}, {"spec": {"m": {"a": 1, "b": 2}}}, UNSURE),
        ({"spec": {"m": {"a": 1}}}, {"f:spec": {"f:m": {}}}, {"spec": {"m": {"a": 2, "b": 2}}}, CHANGED),
        ({"spec": {"m": {"a": 1, "b": 2}}}, {"f:spec": {"f:m": {}}}, {"spec": {"m": {"a": 1}}}, CHANGED),
        ({"spec": {"l": [1, 2]}}, {"f:spec": {"f:l": {}}}, {"spec": {"l": [1, 2]}}, SAME),
        ({"spec": {"l": [1, 2]}}, {"f:spec": {"f:l": {}}}, {"spec": {"l": [2, 1]}}, CHANGED),
        ({"spec": {"l": [1]}}, {"f:spec": {"f:l": {}}}, {"spec": {"l": [1, 2]}}, CHANGED),
        ({"spec": {"l": [{"a": 1}]}}, {"f:spec": {"f:l": {}}}, {"spec": {"l": [{"a": 1, "d": 0}]}}, UNSURE),
        ({"spec": {"l": []}}, {"f:spec": {"f:l": {}}}, {"spec": {}}, SAME),
        ({"spec": {"l": [{}]}}, {"f:spec": {"f:l": {}}}, {"spec": {"l": [{}]}}, SAME),
        ({"spec": {}}, {"f:spec": {}}, {"spec": {}}, SAME),
        ({"spec": {"a": ""}}, {"f:spec": {}}, {"spec": {}}, UNSURE),
        ({"spec": {"x": {}}}, {"f:spec": {"f:x": {}}}, {"spec": {"x": []}}, CHANGED),
        # sets
        ({"s": ["a", "b"]}, {"f:s": {'v:"a"': {}, 'v:"b"': {}}}, {"s": ["x", "b", "a"]}, SAME),
        ({"s": ["a"]}, {"f:s": {'v:"a"': {}, 'v:"b"': {}}}, {"s": ["a", "b"]}, CHANGED),
        ({"s": ["a", "c"]}, {"f:s": {'v:"a"': {}, 'v:"b"': {}}}, {"s": ["a", "b", "c"]}, CHANGED),
        ({"s": ["a", "b"]}, {"f:s": {'v:"a"': {}, 'v:"b"': {}}}, {"s": ["a"]}, CHANGED),
        # associative lists; a key field may be defaulted
        ({"spec": {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}]}}, PORTS, {"spec": LIVE_PORTS}, SAME),
        ({"spec": {"ports": [{"port": 53}, {"port": 53, "protocol": "UDP"}]}}, PORTS, {"spec": LIVE_PORTS}, SAME),
        ({"spec": {"ports": [{"port": 53}]}}, PORTS, {"spec": LIVE_PORTS}, CHANGED),
        ({"spec": {"ports": [{"port": 53}, {"port": 80}]}}, PORTS, {"spec": LIVE_PORTS}, CHANGED),
        ({"spec": {"ports": [{"port": 53}, "x"]}}, PORTS, {"spec": LIVE_PORTS}, CHANGED),
        ({"spec": {"ports": {"port": 53}}}, PORTS, {"spec": LIVE_PORTS}, CHANGED),
        ({"spec": {"ports": [{"port": 53}, {"port": 53, "protocol": "UDP"}]}}, PORTS, {"spec": {}}, CHANGED),
    ],
)
def test_compare(wanted, owned, found, verdict):
    assert compare(desired(**wanted), live(owned, **found), MANAGER) is verdict


@pytest.mark.parametrize(
    "other",
    [{"manager": "kubectl"}, {"operation": "Update"}, {"version": "v1beta1"}, {"subresource": "status"}],
)
def test_only_our_own_entry_of_this_version_counts(other):
    assert compare(desired(a=1), live({"f:a": {}}, **other, a=1), MANAGER) is CHANGED


def test_an_object_without_managed_fields_is_not_ours():
    assert owned_fields({"metadata": {}}, MANAGER) is None


@pytest.mark.parametrize(
    ("wanted", "owned", "found", "shown"),
    [
        ({"spec": {"a": 1}}, {"f:spec": {"f:b": {}}}, {"spec": {"a": 1, "b": 2, "c": 3}}, {"spec": {"a": 1, "b": 2}}),
        ({}, {"f:m": {}}, {"m": {"a": 1}, "status": {"x": 1}}, {"m": {"a": 1}}),
        ({}, {"f:s": {'v:"a"': {}}}, {"s": ["a", "theirs"]}, {"s": ["a"]}),
        (
            {"spec": {"ports": [{"port": 53, "name": "dns"}]}},
            {"f:spec": {"f:ports": {key(port=53, protocol="TCP"): {".": {}, "f:port": {}}}}},
            {"spec": {"ports": [{"port": 53, "protocol": "TCP", "name": "dns"}, {"port": 80}]}},
            {"spec": {"ports": [{"port": 53, "name": "dns"}]}},
        ),
        (
            {"metadata": {"name": "a", "labels": {"x": "1"}}},
            None,
            {"metadata": {"name": "a", "uid": "u", "labels": {"x": "0", "y": "1"}}},
            {"metadata": {"name": "a", "labels": {"x": "0"}}},
        ),
    ],
)
def test_a_diff_shows_what_is_wanted_or_owned(wanted, owned, found, shown):
    body = {"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "a", "managedFields": []}, **found}
    expected = {"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "a"}, **shown}
    assert project(body, desired(**wanted), owned) == expected
