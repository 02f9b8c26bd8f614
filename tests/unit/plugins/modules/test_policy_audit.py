# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from ansible.module_utils import basic
from ansible_collections.multimesh.istio.plugins.module_utils.kube.client import Client
from ansible_collections.multimesh.istio.plugins.modules import policy_audit

from tests.unit.plugins.module_utils.test_mesh_info import FakeCluster, service, thing


@pytest.mark.parametrize("check", [True, False])
def test_it_says_who_may_call_and_what_is_wrong(monkeypatch, capsys, check):
    passed_on = {"tls": {"mode": "AUTO_PASSTHROUGH"}, "hosts": ["*.local"]}
    cluster = FakeCluster(
        service("a", {"port": 80, "name": "http"}),
        thing("Gateway", "way", spec={"servers": [passed_on]}),
        thing("ConfigMap", "istio", data={"mesh": "caCertificates: [{trustDomains: [west.mesh]}]"}),
    )
    monkeypatch.setattr(Client, "connect", lambda _connection: cluster)
    arguments = {"mesh": "east", "objects": [], "admissions": [], "_ansible_check_mode": check}
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
    with pytest.raises(SystemExit):
        policy_audit.main()
    result = json.loads(capsys.readouterr().out)
    assert result["changed"] is False
    assert [(grant["service"], grant["caller"], grant["methods"]) for grant in result["grants"]] == [
        ("a", "west.mesh/*", None)
    ]
    assert [difference["kind"] for difference in result["differences"]] == ["exposed", "no_policy"]
    assert result["table"].splitlines()[-2:] == [difference["line"] for difference in result["differences"]]
