# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from collections import Counter

import pytest
from ansible.module_utils import basic
from ansible_collections.multimesh.istio.plugins.module_utils.kube.client import Client
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import CredentialsError, InvalidError
from ansible_collections.multimesh.istio.plugins.modules import applyset

from tests.unit.plugins.module_utils.applyset.memory import MemoryCluster


@pytest.fixture
def cluster(monkeypatch):
    fake = MemoryCluster()
    fake.requests, fake.warnings = Counter(), {}
    monkeypatch.setattr(Client, "connect", lambda _connection, _concurrency: fake)
    return fake


@pytest.fixture
def call(cluster, monkeypatch, capsys):  # noqa: ARG001
    def run(*objects, check=False, diff=False, **options):
        arguments = {"name": "set", "objects": list(objects), "concurrency": 1, **options}
        arguments |= {"_ansible_check_mode": check, "_ansible_diff": diff}
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        with pytest.raises(SystemExit):
            applyset.main()
        return json.loads(capsys.readouterr().out)

    return run


def config_map(name, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"}, "data": data}


@pytest.mark.parametrize("check", [True, False])
def test_plan_and_diff(call, cluster, check):
    result = call(config_map("a", x="1"), check=check, diff=True)
    assert result["changed"] is True
    assert result["plan"] == {
        "create": ["ConfigMap istio-system/set", "ConfigMap shop/a"],
        "change": [],
        "delete": [],
        "unchanged": 0,
    }
    assert [item["after_header"] for item in result["diff"]] == result["plan"]["create"]
    assert cluster.writes == (0 if check else 2)


def test_no_diff_unless_asked(call):
    assert "diff" not in call(config_map("a", x="1"))


def test_a_second_run(call):
    call(config_map("a", x="1"))
    result = call(config_map("a", x="1"))
    assert (result["changed"], result["plan"]["unchanged"]) == (False, 1)


def test_details(call):
    call(config_map("a", x="1"))
    assert "changes" not in call(config_map("a", x="2"), check=True)
    result = call(config_map("a", x="2"), config_map("b"), check=True, details=True)
    assert [(entry["action"], entry["object"]) for entry in result["changes"]] == [
        ("create", "ConfigMap shop/b"),
        ("change", "ConfigMap shop/a"),
    ]


@pytest.mark.parametrize("check", [True, False])
def test_too_many_deletions(call, cluster, check):
    call(config_map("a"), config_map("b"))
    writes = cluster.writes
    result = call(max_deletions=1, check=check)
    assert result["failed"] is True
    assert "2 objects would be deleted, and max_deletions allows 1: ConfigMap shop/a, ConfigMap shop/b" in result["msg"]
    assert cluster.writes == writes
    assert "failed" not in call(max_deletions=2, check=check)


def test_only_the_expected_plan_is_carried_out(call, cluster):
    call(config_map("a", x="1"))
    expected = call(config_map("a", x="2"), check=True, details=True)["changes"]
    writes = cluster.writes
    assert "wants something else of it now" in call(config_map("a", x="3"), expected=expected)["msg"]
    assert "is to be created now" in call(config_map("a", x="2"), config_map("b"), expected=expected)["msg"]
    assert cluster.writes == writes
    assert call(config_map("a", x="2"), expected=expected)["changed"] is True
    assert "is to stay as it is now" in call(config_map("a", x="2"), expected=expected)["msg"]
    assert call(config_map("a", x="2"), expected=[])["changed"] is False


def test_absent(call, cluster):
    call(config_map("a", x="1"))
    assert call(state="absent")["plan"]["delete"] == ["ConfigMap shop/a", "ConfigMap istio-system/set"]
    assert {kind for kind, _namespace, _name in cluster.objects} == {"Namespace"}


def test_a_manifest_is_the_same_as_objects(call, cluster):
    call(config_map("a", x="1"), config_map("b", x="1"))
    text = "\n---\n".join(json.dumps(config_map(name, x="1")) for name in "ab")
    assert call(objects=None, manifest=text)["changed"] is False
    assert call(objects=None, manifest="[]")["plan"]["delete"] == ["ConfigMap shop/a", "ConfigMap shop/b"]
    writes = cluster.writes
    assert "manifest is empty" in call(objects=None, manifest="---\n")["msg"]
    assert "two ways to say the same" in call(config_map("a", x="1"), manifest=text)["msg"]
    assert cluster.writes == writes


def test_null_is_no_empty_list(call, cluster):
    call(config_map("a", x="1"))
    assert "objects is null" in call(objects=None)["msg"]
    assert ("ConfigMap", "shop", "a") in cluster.objects


def test_check_mode_takes_the_namespace_of_the_parent_for_granted(call):
    assert call(namespace="still-to-come", check=True)["plan"]["create"] == ["ConfigMap still-to-come/set"]
    assert "still-to-come" in call(namespace="still-to-come")["msg"]


def test_a_failure_says_what_was_done(call, cluster, monkeypatch):
    apply = cluster.apply

    def failing(resource, body, **options):
        if body["metadata"]["name"] == "bad":
            raise InvalidError("bad is bad", 422)
        return apply(resource, body, **options)

    monkeypatch.setattr(cluster, "apply", failing)
    result = call(config_map("bad"), config_map("good"))
    assert (result["failed"], result["changed"]) == (True, True)
    assert result["done"]["create"] == ["ConfigMap shop/good"]
    assert "bad is bad" in result["msg"]


def test_what_the_server_warns_of(call, cluster, monkeypatch):
    warned = []
    # Where the process has loaded a controller's modules, Ansible shows warnings instead of returning them.
    monkeypatch.setattr(basic.AnsibleModule, "warn", lambda _module, text: warned.append(text))
    cluster.warnings = {"a is deprecated": None}
    call(config_map("a"))
    assert warned == ["west: a is deprecated"]


def test_no_credentials(call, monkeypatch):
    def refuse(_connection, _concurrency):
        raise CredentialsError("west: no credentials")

    monkeypatch.setattr(Client, "connect", refuse)
    result = call(config_map("a"))
    assert (result["failed"], result["msg"]) == (True, "west: no credentials")


def test_values_of_secrets():
    secret = {"kind": "Secret", "data": {"a": "c2VjcmV0MQ==", "short": "x"}, "stringData": {"b": "secret-two"}}
    found = applyset.secret_values([secret, {"kind": "ConfigMap", "data": {"a": "no secret"}}, "text"])
    assert found == {"c2VjcmV0MQ==", "secret-two"}
