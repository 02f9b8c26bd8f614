# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from ansible.module_utils import basic
from ansible_collections.multimesh.istio.plugins.module_utils.kube.client import Client
from ansible_collections.multimesh.istio.plugins.modules import coredns_hosts

from tests.unit.plugins.module_utils.coredns.fake import FakeCluster

COREFILE = ".:53 {\n    reload\n}\n"
HOSTS = {"reviews.shop.global": ["241.0.0.1"]}


@pytest.fixture
def cluster(monkeypatch):
    fake = FakeCluster({"Corefile": COREFILE})
    monkeypatch.setattr(Client, "connect", lambda _connection: fake)
    return fake


@pytest.fixture
def call(cluster, monkeypatch, capsys):  # noqa: ARG001
    def run(check=False, diff=False, **options):
        arguments = {**options, "_ansible_check_mode": check, "_ansible_diff": diff}
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        with pytest.raises(SystemExit):
            coredns_hosts.main()
        return json.loads(capsys.readouterr().out)

    return run


@pytest.mark.parametrize("check", [True, False])
def test_change_and_diff(call, cluster, check):
    result = call(hosts=HOSTS, check=check, diff=True)
    assert (result["changed"], result["hosts"], result["skipped"]) == (True, ["reviews.shop.global"], [])
    [shown] = result["diff"]
    assert (shown["before"], shown["before_header"]) == (COREFILE, "ConfigMap kube-system/coredns, Corefile")
    assert shown["after"].endswith(f"# END multimesh.istio\n{COREFILE}")
    assert cluster.writes == (0 if check else 1)


def test_twice(call):
    call(hosts=HOSTS)
    result = call(hosts=HOSTS, diff=True)
    assert (result["changed"], "diff" in result) == (False, False)


@pytest.mark.parametrize("options", [{"state": "absent"}, {"state": "absent", "hosts": HOSTS}, {"hosts": {}}])
def test_removed(call, cluster, options):
    call(hosts=HOSTS)
    assert call(**options)["changed"]
    assert cluster.data == {"Corefile": COREFILE}


def test_null_is_no_empty_dictionary(call, cluster):
    call(hosts=HOSTS)
    result = call(hosts=None)
    assert (result["failed"], cluster.writes) == (True, 1)
    assert "hosts is null" in result["msg"]


@pytest.mark.parametrize("ttl", [0, 65536])
def test_ttl(call, ttl):
    assert call(hosts=HOSTS, ttl=ttl)["msg"] == (
        f"ttl: expected seconds from 1 to 65535, found {ttl}. Leave it out for 30."
    )


def test_wildcards_are_skipped_with_a_warning(call, monkeypatch):
    warned = []
    monkeypatch.setattr(basic.AnsibleModule, "warn", lambda _module, text: warned.append(text))
    result = call(hosts={**HOSTS, "*.shop.global": ["241.0.0.2"]})
    assert (result["hosts"], result["skipped"]) == (["reviews.shop.global"], ["*.shop.global"])
    assert warned == ["west: CoreDNS is told no hosts with wildcards, so not *.shop.global"]


def test_errors_are_failures(call):
    result = call(hosts=HOSTS, key="corefile")
    assert result["msg"] == (
        "west: ConfigMap kube-system/coredns, corefile: expected the Corefile of the cluster's DNS, but it has"
        " Corefile. Say where that is."
    )
