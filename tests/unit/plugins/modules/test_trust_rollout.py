# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import importlib.util
import json
from types import SimpleNamespace

import pytest
from ansible.module_utils import basic
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import UnreachableError
from ansible_collections.multimesh.istio.plugins.module_utils.rollout.held import Held, Trust
from ansible_collections.multimesh.istio.plugins.modules import trust_rollout

from tests.unit.plugins.module_utils.rollout.pods import pod

OLD, NEW = "a" * 64, "b" * 64


class Cluster:
    mesh = "west"
    applied = 0

    def get(self, *_arguments, **_options):
        return {"metadata": {"resourceVersion": "5", "creationTimestamp": "2026-11-21T12:00:00Z"}}

    def list_objects(self, _resource, namespace=None, **_options):
        return [] if namespace else [pod("cart")]


@pytest.fixture
def call(monkeypatch, capsys):
    asker = SimpleNamespace(proxy=lambda _target: Held((Trust(frozenset({OLD})),)))
    monkeypatch.setattr(trust_rollout, "open_connection", lambda _connection, **_options: SimpleNamespace())
    monkeypatch.setattr(trust_rollout, "PodStreams", lambda _credentials, _mesh: None)
    monkeypatch.setattr(trust_rollout, "Transport", lambda *_arguments: None)
    monkeypatch.setattr(trust_rollout, "Client", lambda _transport, _mesh: Cluster())
    monkeypatch.setattr(trust_rollout, "Reader", lambda _streams, _timeout: asker)

    def run(**arguments):
        given = {"mesh": "west", "timeout": 0, **arguments}
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": given}).encode())
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        with pytest.raises(SystemExit):
            trust_rollout.main()
        return json.loads(capsys.readouterr().out)

    return run


def test_it_is_ready(call):
    result = call(roots=[OLD])
    assert (result["ready"], result["changed"], result["seconds"]) == (True, False, 0)
    assert result["line"] == "west: istiod 0/0, proxies 1/1"
    assert "failed" not in result


def test_it_is_not(call):
    result = call(roots=[NEW])
    assert result["failed"] is True
    assert result["ready"] is False
    assert result["msg"].startswith("west: not everybody holds what is wanted, ready are istiod 0/0, proxies 0/1:\n")
    assert "sidecar shop/cart: waiting: it does not trust root bbbbbbbbbbbb, only aaaaaaaaaaaa" in result["msg"]
    assert result["proxies"][0]["roots"] == [OLD]


def test_a_check_does_not_wait(call):
    result = call(roots=[NEW], timeout=600, hurry=True, _ansible_check_mode=True)
    assert (result["ready"], "failed" in result) == (False, False)


def test_options(call):
    assert call()["msg"].startswith("west: there is nothing to wait for")
    assert call(crls=[{"number": 3}])["msg"].startswith("missing required arguments: issuer")


def test_a_cluster_that_does_not_answer(call, monkeypatch):
    def refuse(_connection, **_options):
        raise UnreachableError("west: no answer")

    monkeypatch.setattr(trust_rollout, "open_connection", refuse)
    assert call(roots=[OLD])["msg"] == "west: no answer"


def test_a_missing_library(call, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "cryptography" else find(name))
    assert "cryptography" in call(roots=[OLD])["msg"]
