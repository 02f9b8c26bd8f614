# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import importlib.util
import json

import pytest
from ansible.module_utils import basic
from ansible_collections.multimesh.istio.plugins.module_utils.kube.client import Client
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import UnreachableError
from ansible_collections.multimesh.istio.plugins.modules import mesh_info

from tests.unit.plugins.module_utils.applyset.memory import MemoryCluster


@pytest.fixture
def call(monkeypatch, capsys):
    cluster = MemoryCluster()
    cluster.get_path = lambda _path: {"gitVersion": "v1.36.3"}
    monkeypatch.setattr(Client, "connect", lambda _connection, **_options: cluster)

    def run(**arguments):
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        with pytest.raises(SystemExit):
            mesh_info.main()
        return json.loads(capsys.readouterr().out)

    return run


@pytest.mark.parametrize("check", [True, False])
def test_it_reads(call, check):
    result = call(mesh="west", exports=[{"service": "a", "namespace": "shop"}], _ansible_check_mode=check)
    assert result["changed"] is False
    assert result["mesh"]["kubernetes_version"] == "v1.36.3"


def test_a_cluster_that_does_not_answer(call, monkeypatch):
    def refuse(_connection, **_options):
        raise UnreachableError("west: no answer")

    monkeypatch.setattr(Client, "connect", refuse)
    assert call()["msg"] == "west: no answer"


def test_a_missing_library(call, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "cryptography" else find(name))
    assert "cryptography" in call()["msg"]
