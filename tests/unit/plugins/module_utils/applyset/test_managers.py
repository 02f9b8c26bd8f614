# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who else has a hand in an object. The managed fields are as kube-apiserver 1.36 wrote them."""

from __future__ import annotations

from ansible_collections.multimesh.istio.plugins.module_utils.applyset.managers import held_by_others, labelled_by

OURS = "multimesh.istio"
PART_OF = "applyset.kubernetes.io/part-of"


def entry(manager, fields, operation="Update", time="2026-11-22T03:10:00Z", **more):
    return {
        "manager": manager,
        "operation": operation,
        "apiVersion": "v1",
        "fieldsType": "FieldsV1",
        "time": time,
        "fieldsV1": fields,
        **more,
    }


def live(spec, *entries, labels=None):
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop", "labels": labels or {}, "managedFields": list(entries)},
        "spec": spec,
    }


def wanted(**spec):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"}, "spec": spec}


def test_a_field_taken_over_names_its_manager_and_time():
    found = live(
        {"type": "NodePort", "selector": {"app": "x"}, "sessionAffinity": "None"},
        entry(OURS, {"f:spec": {"f:selector": {}}}, "Apply"),
        entry("kubectl-edit", {"f:spec": {"f:type": {}, "f:sessionAffinity": {}}}),
    )
    assert held_by_others(wanted(type="ClusterIP", selector={"app": "x"}), found, OURS) == [
        {"manager": "kubectl-edit", "operation": "Update", "time": "2026-11-22T03:10:00Z", "fields": ["spec.type"]}
    ]


def test_the_latest_comes_first_and_status_does_not_count():
    found = live(
        {"type": "NodePort", "selector": {"app": "y"}},
        entry("early", {"f:spec": {"f:type": {}}}, time="2026-11-20T00:00:00Z"),
        entry("late", {"f:spec": {"f:selector": {}}}, "Apply"),
        entry("controller", {"f:spec": {"f:type": {}}}, subresource="status"),
    )
    others = held_by_others(wanted(type="ClusterIP", selector={"app": "x"}), found, OURS)
    assert [(other["manager"], other["operation"], other["fields"]) for other in others] == [
        ("late", "Apply", ["spec.selector"]),
        ("early", "Update", ["spec.type"]),
    ]


def test_items_of_a_list_are_named_by_their_keys():
    port = 'k:{"port":80,"protocol":"TCP"}'
    found = live(
        {"ports": [{"port": 80, "protocol": "TCP", "name": "web"}]},
        entry(OURS, {"f:spec": {"f:ports": {port: {".": {}, "f:port": {}}}}}, "Apply"),
        entry("kubectl-patch", {"f:spec": {"f:ports": {port: {"f:name": {}}}}}),
    )
    others = held_by_others(wanted(ports=[{"port": 80, "name": "http"}]), found, OURS)
    assert [other["fields"] for other in others] == [["spec.ports[port=80,protocol=TCP].name"]]


def test_a_field_that_is_held_with_the_wanted_value_is_nobodys_change():
    found = live(
        {"type": "ClusterIP"},
        entry(OURS, {"f:spec": {"f:selector": {}}}, "Apply"),
        entry("other", {"f:spec": {"f:type": {}}}),
    )
    assert [other["manager"] for other in held_by_others(wanted(type="ClusterIP"), found, OURS)] == []


def test_what_somebody_removed_leaves_no_trace_of_him():
    found = live({"selector": {"app": "x"}}, entry(OURS, {"f:spec": {"f:selector": {}}}, "Apply"))
    assert held_by_others(wanted(type="ClusterIP", selector={"app": "x"}), found, OURS) == [
        {"manager": None, "operation": None, "time": None, "fields": ["spec.type"]}
    ]
    never_ours = live({"selector": {"app": "x"}}, entry("other", {"f:spec": {"f:selector": {}}}))
    assert held_by_others(wanted(type="ClusterIP", selector={"app": "x"}), never_ours, OURS) == []


def test_what_the_inventory_changed_is_nobody_elses():
    found = live({"type": "NodePort"}, entry(OURS, {"f:spec": {"f:type": {}}}, "Apply"))
    assert held_by_others(wanted(type="ClusterIP"), found, OURS) == []


def test_who_made_an_object_a_member():
    labelled = live({}, entry("kubectl-label", {"f:metadata": {"f:labels": {".": {}, f"f:{PART_OF}": {}}}}))
    assert labelled_by(labelled, OURS) == [
        {
            "manager": "kubectl-label",
            "operation": "Update",
            "time": "2026-11-22T03:10:00Z",
            "fields": [f"metadata.labels.{PART_OF}"],
        }
    ]
    ours = live({}, entry(OURS, {"f:metadata": {"f:labels": {f"f:{PART_OF}": {}}}}, "Apply"))
    assert labelled_by(ours, OURS) == []
