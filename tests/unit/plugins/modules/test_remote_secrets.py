# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.kube.client import Client
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import UnreachableError
from ansible_collections.multimesh.istio.plugins.module_utils.remote_secrets import recorded
from ansible_collections.multimesh.istio.plugins.module_utils.task import Task, answer
from ansible_collections.multimesh.istio.plugins.modules import remote_secrets

from tests.unit.plugins.module_utils.test_remote_secrets import ACCOUNT, Cluster


class Lab:
    """A control plane, and the cluster that it reads."""

    def __init__(self, tmp_path, monkeypatch):
        now = datetime.now(UTC)
        self.control_plane, self.remote = Cluster("south-a", now), Cluster("south-b", now)
        self.remote.account()
        ca = tmp_path / "ca.crt"
        ca.write_text("-----CA-----\n")
        self.configuration = SimpleNamespace(verify_ssl=True, ssl_ca_cert=str(ca), tls_server_name=None)
        credentials = SimpleNamespace(server="https://192.0.2.7:6443", configuration=self.configuration)
        self.secrets = set()
        monkeypatch.setattr(Client, "connect", lambda _connection, **_options: self.control_plane)
        monkeypatch.setattr(remote_secrets, "connect", lambda _options, _environ: (self.remote, credentials))

    def __call__(self, *names, check_mode=False, **options):
        """Result and warnings."""
        clusters = [{"name": name, "api_server": None, "service_account": ACCOUNT} for name in names]
        task = Task({"token_lifetime_days": 90, "clusters": clusters, **options}, check_mode, diff=True)
        result = answer(remote_secrets.run, task)
        self.secrets = task.secrets
        return SimpleNamespace(**{"failed": False, **result}, warnings=task.warnings, text=json.dumps(result))

    @property
    def token(self):
        [secret] = [body for (kind, _namespace, _name), body in self.control_plane.objects.items() if kind == "Secret"]
        return remote_secrets.remote_secrets.read(secret, "south-b").token.text


@pytest.fixture
def call(tmp_path, monkeypatch):
    return Lab(tmp_path, monkeypatch)


def test_it_makes_one_says_so_and_shows_no_token(call):
    result = call("south-b")
    assert result.changed is True
    [made] = result.clusters
    assert (made["server"], made["service_account"], made["reason"]) == (
        "https://192.0.2.7:6443",
        ACCOUNT,
        "it has none",
    )
    assert result.warnings == [
        (
            f"south-a: this cluster holds a credential for cluster south-b, in Secret"
            f" istio-system/istio-remote-secret-south-b: whoever reads that Secret can do there what service account"
            f" {ACCOUNT} may."
        )
    ]
    [diff] = result.diff
    assert diff["after_header"] == "Secret istio-system/istio-remote-secret-south-b"
    assert diff["after"]["ends"] == made["ends"]
    assert call.token not in result.text
    assert call.secrets == {call.token}


def test_what_is_made_is_recorded_before(call):
    def refuse(*_arguments):
        raise UnreachableError("south-b: no answer.")

    call.remote.create_token = refuse
    call("south-b")
    assert recorded(call.control_plane) == ["istio-remote-secret-south-b"]


def test_a_second_run_changes_nothing(call):
    call("south-b")
    writes = call.control_plane.writes
    result = call("south-b")
    assert (result.changed, result.diff, result.warnings) == (False, [], [])
    assert call.control_plane.writes == writes


def test_check_mode_writes_nothing(call):
    result = call("south-b", check_mode=True)
    assert (result.changed, result.clusters[0]["ends"]) == (True, "to be made")
    assert call.control_plane.writes == call.remote.writes == 0


def test_clusters_that_left_lose_their_credential(call):
    call("south-b")
    planned = call(check_mode=True)
    done = call()
    assert planned.removed == done.removed == ["istio-remote-secret-south-b"]
    assert done.diff[0]["before_header"] == "Secret istio-system/istio-remote-secret-south-b"
    assert done.diff[0]["after"] == {}
    assert recorded(call.control_plane) == []
    assert call().changed is False


def test_an_api_server_that_grants_little_time(call):
    call.remote.granted_days = 1
    [_first, short] = call("south-b").warnings
    assert short == (
        "south-b: its API server grants tokens of 24 hours and not of 90 days. Run playbook multimesh.istio.site at"
        " least twice in that time, or choose tokens without end (control_plane_token_lifetime_days: 0)."
    )


def test_a_cluster_that_does_not_answer_keeps_what_it_has(call):
    call("south-b")

    def refuse(*_arguments, **_options):
        raise UnreachableError("south-b: no answer.")

    call.remote.get = refuse
    result = call("south-b")
    assert (result.changed, result.clusters, result.failed) == (False, [], False)
    [warning] = result.warnings
    assert warning.startswith("south-b: no answer. Its credential stays as it is and ends on ")


def test_an_api_server_that_nobody_checks(call):
    call.configuration.verify_ssl = False
    assert call("south-b").msg == (
        "south-b: its kubeconfig does not check the certificate of the API server, so the control plane would give its"
        " token to whoever answers. Give the kubeconfig the CA (certificate-authority)."
    )


def test_a_lifetime_that_is_none(call):
    assert call("south-b", token_lifetime_days=-1).msg == (
        "token_lifetime_days: expected 0 or more days, found -1. Write 0 for tokens without end."
    )
