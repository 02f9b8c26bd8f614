# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The applyset module against a real API server."""

from __future__ import annotations

import copy
import json
import random
import signal
import time

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.apply import ApplySet, Settings
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.parent import parent_key

from tests.e2e.api.objects import config_map, deployment, destination_rule, service, service_entry

PORTS = [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53}]
CONTAINERS = [
    {
        "name": "app",
        "image": "app:1",
        "args": [],
        "env": [{"name": "A", "value": ""}],
        "ports": [{"containerPort": 80}],
    },
    {"name": "side", "image": "side:1", "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}},
]


def every_sort(namespace):
    """Objects that a server completes in every way we know: defaults, lists by key, atomic parts, conversions."""
    ports, containers = copy.deepcopy(PORTS), copy.deepcopy(CONTAINERS)
    return [
        config_map(namespace, "settings", a="1", b=""),
        service(namespace, "web", ports),
        deployment(
            namespace,
            "web",
            containers,
            volumes=[{"name": "tmp", "emptyDir": {}}, {"name": "cfg", "configMap": {"name": "settings"}}],
            tolerations=[{"key": "a", "operator": "Exists"}],
        ),
        service_entry(namespace, "reviews.shop.svc.east.global"),
        destination_rule(namespace, "reviews.shop.svc.east.global"),
        {
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {
                "name": "any",
                "namespace": namespace,
                "annotations": {"note": "x"},
                "finalizers": ["a.test/b"],
            },
            "spec": {"rules": [{}], "selector": {"matchLabels": {"app": "web"}}},
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "s", "namespace": namespace},
            "stringData": {"k": "v"},
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": "web", "namespace": namespace, "creationTimestamp": None},
            "spec": {
                "rules": [
                    {
                        "host": "a.test",
                        "http": {
                            "paths": [
                                {
                                    "path": "/",
                                    "pathType": "Prefix",
                                    "backend": {"service": {"name": "web", "port": {"number": 80}}},
                                }
                            ]
                        },
                    }
                ]
            },
            "status": {"loadBalancer": {}},
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "r", "namespace": namespace},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
        },
    ]


def test_second_run_sends_no_write(api_cluster, run_set, namespace):
    objects = every_sort(namespace)
    plan = run_set(objects, check=True)
    assert plan["changed"] is True
    first = run_set(objects)
    assert (first["plan"], len(first["plan"]["create"])) == (plan["plan"], len(objects) + 1)
    audit = api_cluster.audit()
    second = run_set(objects)
    assert second["changed"] is False
    assert second["plan"] == {"create": [], "change": [], "delete": [], "unchanged": len(objects)}
    assert audit.writes() == []
    assert second["requests"]["dry_run"] == 0
    assert len(audit.requests()) == sum(second["requests"].values())


def test_check_mode_writes_nothing_and_equals_the_run(api_cluster, run_set, namespace):
    objects = every_sort(namespace)
    run_set(objects[:5])
    changed = [*copy.deepcopy(objects[1:3]), *objects[5:]]
    changed[0]["spec"]["ports"].pop()
    audit = api_cluster.audit()
    plan = run_set(changed, check=True, diff=True)
    assert audit.writes() == []
    done = run_set(changed, diff=True)
    assert (done["plan"], done["diff"]) == (plan["plan"], plan["diff"])
    assert run_set(changed)["changed"] is False


def test_prune_deletes_what_is_no_longer_listed_and_nothing_else(api_cluster, run_set, namespace):
    api_cluster.kubectl("create", "configmap", "-n", namespace, "bystander")
    run_set([config_map(namespace, "a", x="1"), config_map(namespace, "b", x="1"), service(namespace, "c", PORTS)])
    result = run_set([config_map(namespace, "b", x="1")])
    assert result["plan"]["delete"] == [f"ConfigMap {namespace}/a", f"Service {namespace}/c"]
    assert result["plan"]["change"] == [f"ConfigMap {namespace}/set"]  # the parent, which no longer names Services
    assert api_cluster.names("configmap", namespace) == ["b", "bystander", "set"]
    assert api_cluster.names("service", namespace) == []
    assert run_set([config_map(namespace, "b", x="1")])["changed"] is False


def test_members_in_other_namespaces_are_pruned(api_cluster, run_set, namespace):
    other = api_cluster.make_namespace(f"{namespace}-other")
    run_set([config_map(other, "a", x="1"), config_map(namespace, "b", x="1")])
    assert run_set([config_map(namespace, "b", x="1")])["plan"]["delete"] == [f"ConfigMap {other}/a"]
    assert api_cluster.names("configmap", other) == []
    assert api_cluster.get("configmap", namespace, "set")["metadata"]["annotations"][
        "applyset.kubernetes.io/additional-namespaces"
    ] == ("")


def test_absent_deletes_the_set_and_its_parent(api_cluster, run_set, namespace):
    api_cluster.kubectl("create", "configmap", "-n", namespace, "bystander")
    run_set([config_map(namespace, "a", x="1"), service(namespace, "c", PORTS)])
    plan = run_set(None, state="absent", check=True)["plan"]
    assert plan["delete"] == [f"ConfigMap {namespace}/a", f"Service {namespace}/c", f"ConfigMap {namespace}/set"]
    assert run_set(None, state="absent")["plan"] == plan
    assert api_cluster.names("configmap", namespace) == ["bystander"]
    assert run_set(None, state="absent")["changed"] is False


def test_an_existing_object_is_adopted(api_cluster, run_set, namespace):
    api_cluster.kubectl("create", "configmap", "-n", namespace, "a", "--from-literal=x=1", "--from-literal=theirs=1")
    result = run_set([config_map(namespace, "a", x="1")], diff=True)
    assert result["plan"]["change"] == [f"ConfigMap {namespace}/a"]
    shown = next(item for item in result["diff"] if item["after_header"] == f"ConfigMap {namespace}/a")
    assert "x: '1'" in shown["before"]
    assert "part-of" not in shown["before"]
    assert api_cluster.get("configmap", namespace, "a")["data"] == {"x": "1", "theirs": "1"}
    assert run_set([config_map(namespace, "a", x="1")])["changed"] is False


def test_a_conflict_names_manager_and_field_and_is_forced_only_when_asked(api_cluster, run_set, namespace):
    theirs = json.dumps(config_map(namespace, "a", x="theirs"))
    api_cluster.kubectl("apply", "--server-side", "--field-manager=other-tool", "-f", "-", stdin=theirs)
    objects = [config_map(namespace, "a", x="ours"), config_map(namespace, "b", x="1")]
    result = run_set(objects)
    assert result["failed"] is True
    for part in ("api: ", f"ConfigMap {namespace}/a", "other-tool", ".data.x", "force_conflicts"):
        assert part in result["msg"]
    assert result["done"]["create"] == [f"ConfigMap {namespace}/b"]  # the rest was done all the same
    assert api_cluster.get("configmap", namespace, "a")["data"] == {"x": "theirs"}
    assert run_set(objects, force_conflicts=True)["plan"]["change"] == [f"ConfigMap {namespace}/a"]
    assert run_set(objects)["changed"] is False


@pytest.mark.parametrize(
    ("kind", "name", "patch"),
    [
        ("configmap", "settings", {"data": {"a": "drifted"}}),
        ("configmap", "settings", {"data": {"a": None}}),
        ("service", "web", {"spec": {"ports": [{"port": 80, "name": "renamed"}]}}),
        ("service", "web", {"spec": {"selector": {"app": "other"}}}),
        ("deployment", "web", {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "app:2"}]}}}}),
        ("deployment", "web", {"metadata": {"labels": {"applyset.kubernetes.io/part-of": None}}}),
    ],
)
def test_drift_is_healed(api_cluster, run_set, namespace, kind, name, patch):
    objects = every_sort(namespace)[:3]
    run_set(objects)
    before = api_cluster.get(kind, namespace, name)
    api_cluster.kubectl("patch", kind, "-n", namespace, name, "--type=strategic", "-p", json.dumps(patch))
    result = run_set(objects, force_conflicts=True)
    assert result["plan"]["change"] == [f"{before['kind']} {namespace}/{name}"]
    after = api_cluster.get(kind, namespace, name)
    assert after.get("spec") == before.get("spec")
    assert after.get("data") == before.get("data")
    assert run_set(objects)["changed"] is False


def test_an_object_deleted_by_hand_comes_back(api_cluster, run_set, namespace):
    objects = every_sort(namespace)[:3]
    run_set(objects)
    api_cluster.kubectl("delete", "service", "-n", namespace, "web")
    assert run_set(objects)["plan"]["create"] == [f"Service {namespace}/web"]


def test_fields_of_others_are_no_change(api_cluster, run_set, namespace):
    objects = every_sort(namespace)[:4]
    run_set(objects)
    api_cluster.kubectl("annotate", "service", "-n", namespace, "web", "theirs=1")
    api_cluster.kubectl("scale", "deployment", "-n", namespace, "web", "--replicas=3")
    api_cluster.kubectl("patch", "configmap", "-n", namespace, "settings", "-p", '{"data": {"theirs": "1"}}')
    condition = {
        "type": "a.test/Ready",
        "status": "True",
        "reason": "x",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    status = json.dumps({"status": {"conditions": [condition]}})
    api_cluster.kubectl("patch", "service", "-n", namespace, "web", "--subresource=status", "-p", status)
    audit = api_cluster.audit()
    assert run_set(objects)["changed"] is False
    assert audit.writes() == []


@pytest.mark.parametrize(
    "drop",
    [
        lambda objects: objects[0]["data"].pop("a"),
        lambda objects: objects[1]["spec"]["ports"].pop(),
        lambda objects: objects[1]["spec"]["selector"].pop("tier"),
        lambda objects: objects[2]["spec"]["template"]["spec"]["containers"].pop(),
        lambda objects: objects[2]["spec"]["template"]["spec"]["containers"][1].pop("resources"),
        lambda objects: objects[2]["spec"]["template"]["spec"].pop("tolerations"),
        lambda objects: objects[3]["spec"]["endpoints"][0].pop("labels"),
        lambda objects: objects[3]["spec"].pop("location"),
        lambda objects: objects[5]["metadata"].pop("annotations"),
        lambda objects: objects[5]["metadata"].pop("finalizers"),
        lambda objects: objects[5]["spec"].pop("selector"),
        lambda objects: objects[6]["stringData"].pop("k"),
    ],
)
def test_a_field_no_longer_wanted_is_removed(run_set, namespace, drop):
    objects = every_sort(namespace)
    objects[1]["spec"]["selector"]["tier"] = "gold"
    run_set(objects)
    drop(objects)
    assert len(run_set(objects)["plan"]["change"]) == 1
    second = run_set(objects)
    assert (second["changed"], second["requests"]["write"]) == (False, 0)


@pytest.mark.parametrize(
    "edit",
    [
        lambda objects: objects[1]["spec"]["ports"].reverse(),
        lambda objects: objects[2]["spec"]["template"]["spec"]["containers"][0].update(args=None),
        lambda objects: objects[1].update(status={"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}}),
        lambda objects: objects[1]["metadata"].update(resourceVersion="1", uid="x", managedFields=[]),
    ],
)
def test_what_does_not_matter_is_no_change(run_set, namespace, edit):
    objects = every_sort(namespace)
    objects[2]["spec"]["template"]["spec"]["containers"][0].pop("args")
    run_set(objects)
    edit(objects)
    assert run_set(objects)["changed"] is False


def test_a_value_that_the_server_writes_differently_is_asked_by_dry_run(api_cluster, run_set, namespace):
    containers = [{"name": "app", "image": "app:1", "resources": {"requests": {"cpu": "0.5"}}}]
    objects = [deployment(namespace, "web", containers)]
    run_set(objects)
    audit = api_cluster.audit()
    result = run_set(objects)
    assert (result["changed"], result["requests"]["dry_run"], result["requests"]["write"]) == (False, 1, 0)
    assert all("dryRun=All" in write for write in audit.writes())


def test_an_unknown_field_is_an_error_that_names_it(api_cluster, run_set, namespace):
    entry = service_entry(namespace, "a.test", endpointz=[])
    result = run_set([entry, config_map(namespace, "b", x="1")])
    assert result["failed"] is True
    assert "spec.endpointz" in result["msg"]
    assert f"ServiceEntry {namespace}/a.test" in result["msg"]
    assert api_cluster.names("configmap", namespace) == ["b", "set"]


def test_all_failures_are_reported_together_and_the_next_run_converges(run_set, namespace):
    bad = [config_map(namespace, f"bad_{index}", x="1") for index in range(3)]
    good = [config_map(namespace, f"good-{index}", x="1") for index in range(3)]
    result = run_set([*bad, *good])
    assert all(f"ConfigMap {namespace}/bad_{index}" in result["msg"] for index in range(3))
    assert len(result["done"]["create"]) == 3
    assert run_set(good)["plan"]["unchanged"] == 3
    assert run_set(good)["changed"] is False


def test_members_of_another_set_are_refused_before_any_write(api_cluster, run_set, namespace):
    run_set([config_map(namespace, "a", x="1")])
    audit = api_cluster.audit()
    result = api_cluster.module(
        "applyset", name="second", namespace=namespace, objects=[config_map(namespace, "a", x="2")]
    )
    assert result["failed"] is True
    assert f"ConfigMap {namespace}/a is a member of applyset-" in result["msg"]
    assert audit.writes() == []


def test_a_foreign_config_map_is_not_taken_for_the_parent(api_cluster, run_set, namespace):
    api_cluster.kubectl("create", "configmap", "-n", namespace, "set")
    assert "is not the parent of this set" in run_set([config_map(namespace, "a", x="1")])["msg"]
    assert api_cluster.names("configmap", namespace) == ["set"]


def test_missing_namespaces_are_named_before_any_write(api_cluster, run_set, namespace):
    objects = [config_map("nowhere", "a", x="1"), config_map(namespace, "b", x="1")]
    audit = api_cluster.audit()
    for check in (True, False):
        result = run_set(objects, check=check)
        assert "nowhere (needed by ConfigMap nowhere/a)" in result["msg"]
    assert audit.writes() == []
    plan = run_set(objects, check=True, assume_namespaces=["nowhere"])["plan"]
    assert f"ConfigMap {namespace}/b" in plan["create"]
    assert "ConfigMap nowhere/a" in plan["create"]


def test_a_missing_kind_is_announced_in_check_mode_and_awaited_in_a_run(api_cluster, run_set, namespace):
    objects = [{"apiVersion": "demo.test/v1", "kind": "Gadget", "metadata": {"name": "g", "namespace": namespace}}]
    assert run_set(objects, check=True)["plan"]["create"] == [f"ConfigMap {namespace}/set", f"Gadget {namespace}/g"]
    audit = api_cluster.audit()
    message = run_set(objects, crd_timeout=1)["msg"]
    assert "does not serve: Gadget.demo.test v1" in message
    assert audit.writes() == []
    process = api_cluster.start_module("applyset", name="set", namespace=namespace, objects=objects, crd_timeout=30)
    time.sleep(1)
    api_cluster.kubectl("apply", "-f", "-", stdin=json.dumps(definition("Gadget")))
    result = json.loads(process.communicate(timeout=60)[0])
    assert result["plan"]["create"] == [f"ConfigMap {namespace}/set", f"Gadget {namespace}/g"]


def test_a_set_may_hold_its_namespaces_and_definitions(run_set, namespace):
    objects = [
        {"apiVersion": "demo.test/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": f"{namespace}-new"}},
        definition("Widget"),
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{namespace}-new"}},
    ]
    plan = run_set(objects, check=True)["plan"]
    result = run_set(objects)
    assert (result["plan"], len(plan["create"])) == (plan, 4)
    assert run_set(objects)["changed"] is False
    result = run_set(objects[1:])
    assert result["plan"]["delete"] == [f"Widget {namespace}-new/w"]
    assert run_set(None, state="absent")["changed"] is True


def definition(kind):
    plural = f"{kind.lower()}s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.demo.test"},
        "spec": {
            "group": "demo.test",
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {
                                "spec": {
                                    "type": "object",
                                    "properties": {
                                        "parts": {
                                            "type": "array",
                                            "items": {
                                                "type": "object",
                                                "properties": {
                                                    "name": {"type": "string"},
                                                    "size": {"type": "integer", "default": 1},
                                                },
                                            },
                                        }
                                    },
                                }
                            },
                        }
                    },
                }
            ],
        },
    }


def test_defaults_inside_an_atomic_list_are_no_change_and_leftovers_are(api_cluster, run_set, namespace):
    def parts(**part):
        metadata = {"name": "g", "namespace": namespace}
        gizmo = {"apiVersion": "demo.test/v1", "kind": "Gizmo", "metadata": metadata, "spec": {"parts": [part]}}
        return [definition("Gizmo"), gizmo]

    run_set(parts(name="a"))
    audit = api_cluster.audit()
    assert run_set(parts(name="a"))["changed"] is False
    assert all("dryRun=All" in write for write in audit.writes())
    assert run_set(parts(name="a", size=5))["plan"]["change"] == [f"Gizmo {namespace}/g"]
    assert run_set(parts(name="a"))["plan"]["change"] == [f"Gizmo {namespace}/g"]
    assert api_cluster.get("gizmos.demo.test", namespace, "g")["spec"] == {"parts": [{"name": "a", "size": 1}]}
    assert run_set(None, state="absent")["changed"] is True


def test_kubectl_agrees_on_the_set(api_cluster, run_set, namespace, tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECTL_APPLYSET", "true")
    objects = [*every_sort(namespace)[:5], config_map(namespace, "extra", x="1")]
    run_set(objects)
    manifest = tmp_path / "set.json"

    def kubectl_apply(wanted):
        manifest.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": wanted}))
        return api_cluster.kubectl(
            *("apply", "--server-side", "--field-manager=multimesh.istio", "--prune", "-n", namespace),
            *("--applyset=configmaps/set", "-f", str(manifest)),
        )

    assert "pruned" not in kubectl_apply(objects)
    audit = api_cluster.audit()
    assert run_set(objects)["changed"] is False
    assert audit.writes() == []
    assert "configmap/extra pruned" in kubectl_apply(objects[:5])
    assert run_set(objects[:5])["changed"] is False
    assert run_set(objects)["plan"]["create"] == [f"ConfigMap {namespace}/extra"]


class CutShort(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("cut", range(9))
def test_a_run_cut_short_at_any_write_is_completed_by_the_next(api_cluster, namespace, cut):
    before = [service(namespace, "old", PORTS), config_map(namespace, "kept", x="1")]
    after = [config_map(namespace, "kept", x="2"), *every_sort(namespace)[3:5], config_map(namespace, "new", x="1")]

    def run(objects, client):
        applyset = ApplySet(client, parent_key(namespace, "set"), Settings(concurrency=1))
        return applyset.carry_out(applyset.prepare(objects))

    run(before, api_cluster.client())
    client = api_cluster.client()
    left = [cut]

    def counted(write):
        def attempt(*args, **options):
            if not left[0]:
                raise CutShort
            left[0] -= 1
            return write(*args, **options)

        return attempt

    client.apply, client.delete = counted(client.apply), counted(client.delete)
    try:
        run(after, client)
        assert cut >= 7
    except CutShort:
        pass
    run(after, api_cluster.client())
    assert api_cluster.names("configmap", namespace) == ["kept", "new", "set"]
    assert api_cluster.names("service", namespace) == []
    assert run(after, api_cluster.client()).empty


@pytest.mark.parametrize("attempt", range(5))
def test_a_killed_process_leaves_nothing_behind(api_cluster, run_set, namespace, attempt):  # noqa: ARG001
    before = [service(namespace, f"old-{index}", PORTS) for index in range(40)]
    after = [config_map(namespace, f"new-{index}", x="1") for index in range(200)]
    run_set(before)
    process = api_cluster.start_module("applyset", name="set", namespace=namespace, objects=after)
    time.sleep(random.uniform(0.4, 1.2))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run_set(after)
    assert len(api_cluster.names("configmap", namespace)) == 201
    assert api_cluster.names("service", namespace) == []
    assert run_set(after)["changed"] is False


def test_the_number_of_requests_does_not_grow_with_the_set(api_cluster, run_set, namespace, record_property):
    hosts = [f"s{index}.shop.svc.east.global" for index in range(500)]
    objects = [make(namespace, host) for host in hosts for make in (service_entry, destination_rule)]
    changed = [service_entry(namespace, hosts[0], "192.0.2.99"), *objects[1:]]
    requests, seen = {}, {}
    for label, wanted in (
        ("ten", objects[:10]),
        ("ten unchanged", objects[:10]),
        ("the rest", objects),
        ("unchanged", objects),
        ("one changed", changed),
        ("pruned", objects[:10]),
    ):
        audit, start = api_cluster.audit(), time.monotonic()
        requests[label] = run_set(wanted)["requests"]
        seconds = time.monotonic() - start
        seen[label] = (len(audit.requests()), len(audit.writes()))
        record_property(f"{label}_seconds", round(seconds, 2))
        print(f"1000 Istio objects, {label}: {seconds:.2f} s, {requests[label]}")
    assert requests["unchanged"] == {"get": 2, "list": 2, "dry_run": 0, "write": 0}
    assert seen["ten unchanged"] == seen["unchanged"] == (4, 0)
    assert seen["one changed"] == (5, 1)
    assert (requests["ten"]["write"], requests["the rest"]["write"], requests["pruned"]["write"]) == (11, 990, 991)


def test_secrets_are_not_shown(run_set, namespace):
    value = "correct horse battery staple"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": namespace}}
    first = run_set([{**secret, "stringData": {"k": value}}], diff=True)
    second = run_set([{**secret, "stringData": {"k": f"{value}!"}}], diff=True)
    for result in (first, second):
        assert "horse" not in json.dumps(result)
        assert "Y29ycmVjdCBob3JzZSBiYXR0ZXJ5" not in json.dumps(result)
    shown = second["diff"][0]
    assert shown["before"].count("sha256:") == shown["after"].count("sha256:") == 1
    assert shown["before"] != shown["after"]
    failed = run_set([{**secret, "data": {"k": {"x": value}}}])
    assert failed["failed"] is True
    assert "horse" not in json.dumps(failed)


def test_rights_in_one_namespace_are_enough(api_cluster, run_set, namespace):
    other = api_cluster.make_namespace(f"{namespace}-other")
    objects = [config_map(namespace, "a", x="1"), config_map(other, "b", x="1")]
    host, token = api_cluster.make_user(namespace, [namespace, other])
    options = {"host": host, "api_key": token, "validate_certs": False, "kubeconfig": None}
    assert len(run_set(objects, **options)["plan"]["create"]) == 3
    audit = api_cluster.audit()
    assert run_set(objects, **options)["changed"] is False
    assert audit.writes() == []
    denied = run_set([service(namespace, "web", PORTS)], **options)
    assert denied["failed"] is True
    for part in ("HTTP 403", 'resource "services"', f'namespace "{namespace}"', "Role"):
        assert part in denied["msg"]
    assert token not in json.dumps(denied)


def test_messages_for_what_does_not_answer(api_cluster, run_set, namespace):
    objects = [config_map(namespace, "a", x="1")]
    start = time.monotonic()
    refused = run_set(objects, host="https://127.0.0.1:9", mesh="west", kubeconfig=None)
    assert refused["msg"].startswith("west: ")
    assert "no answer from the API server https://127.0.0.1:9" in refused["msg"]
    assert time.monotonic() - start < 20
    server = api_cluster.make_user(namespace, [])[0]
    wrong = run_set(objects, host=server, api_key="x" * 20, validate_certs=False, mesh="west", kubeconfig=None)
    assert "HTTP 401" in wrong["msg"]
    untrusted = run_set(objects, host=server, api_key="x" * 20, mesh="west", kubeconfig=None)
    assert "CERTIFICATE_VERIFY_FAILED" in untrusted["msg"]
    missing = run_set(objects, kubeconfig="/nonexistent/config", mesh="west")
    assert "no usable credentials" in missing["msg"]
