# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which calls are planned for an edge, and what the answers mean."""

from __future__ import annotations

import dataclasses
import subprocess

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.verify import probes, verdict


def edge(callers, protocol="HTTP", port=80):
    return {
        "exporter": "east",
        "consumer": "west",
        "host": "reviews.shop.svc.east.global",
        "port": port,
        "protocol": protocol,
        "export": "shop/reviews",
        "callers": callers,
        "expect": "allowed",
    }


def test_a_whole_mesh_is_played_by_the_probe_namespace():
    (probe,) = probes.plan_probes([edge([{}])], "probes")
    assert (probe.namespace, probe.service_account) == ("probes", "default")
    assert [(call.method, call.path, call.expect) for call in probe.calls] == [("GET", "/", "allowed")]


def test_a_narrow_caller_also_needs_a_refusal():
    caller = {"namespace": "shop", "service_account": "cart", "methods": ["POST", "HEAD"], "paths": ["/reviews/*"]}
    found = probes.plan_probes([edge([caller])], "probes")
    assert [(probe.namespace, probe.service_account) for probe in found] == [("probes", "default"), ("shop", "cart")]
    assert [call.expect for call in found[0].calls] == ["denied"]
    assert [(call.method, call.path, call.expect) for call in found[1].calls] == [("HEAD", "/reviews/", "allowed")]


def test_methods_that_change_something_are_never_called():
    found = probes.plan_probes([edge([{"namespace": "shop", "methods": ["POST"]}])], "probes")
    (call,) = found[1].calls
    assert "POST" in call.skip
    assert verdict.judge(call, "shop/default", None).layer == "skipped"


@pytest.mark.parametrize("protocol", ["HTTP", "HTTP2", "GRPC", "HTTPS", "TCP", "TLS"])
def test_the_script_is_a_shell_script(protocol):
    (probe,) = probes.plan_probes([edge([{}], protocol)], "probes")
    text = probes.script(probe.calls, 5)
    assert subprocess.run(["sh", "-n"], input=text, text=True, check=False).returncode == 0


def test_over_tcp_only_who_must_be_refused_says_something():
    refused, admitted = probes.plan_probes([edge([{"namespace": "shop"}], "TCP")], "probes")
    assert [call.expect for probe in (refused, admitted) for call in probe.calls] == ["denied", "allowed"]
    assert "echo; sleep" in probes.script(refused.calls, 5)
    assert "echo; sleep" not in probes.script(admitted.calls, 5)


def test_hosts_and_paths_are_quoted():
    (probe, _rest) = probes.plan_probes([edge([{"namespace": "a", "paths": ["/$(reboot)'"]}])], "b")
    text = probes.script(probe.calls, 5)
    assert "$(reboot)'\"'\"''" in text.replace("\\", "")


@pytest.mark.parametrize(
    ("protocol", "expect", "line", "layer"),
    [
        ("HTTP", "allowed", "0\t0\t200\t0.01\t3\t\thello", "ok"),
        ("HTTP", "allowed", "0\t0\t404\t0.01\t3\t\tno such page", "ok"),
        ("HTTP", "allowed", "0\t0\t503\t0.01\t3\t\tbusy", "ok"),
        ("HTTP", "allowed", "0\t0\t403\t0.01\t3\t\tRBAC: access denied", "policy"),
        ("HTTP", "denied", "0\t0\t403\t0.01\t3\t\tRBAC: access denied", "ok"),
        ("HTTP", "denied", "0\t0\t200\t0.01\t3\t\thello", "open"),
        ("HTTP", "allowed", "0\t6\t000\t0.01\t\t\tcurl: (6) Could not resolve host", "name"),
        ("HTTP", "allowed", "0\t0\t503\t0.01\t\t\tupstream connect error: TLS_error: CERTIFICATE_VERIFY_FAILED", "tls"),
        ("HTTP", "allowed", "0\t0\t503\t0.01\t\t\tno healthy upstream", "workload"),
        ("HTTP", "allowed", "0\t0\t503\t1.01\t\t\tupstream connect error: connection timeout", "gateway"),
        ("HTTP", "allowed", "0\t28\t000\t5.00\t\t\tOperation timed out", "timeout"),
        ("GRPC", "allowed", "0\t0\t200\t0.01\t3\tunknown method\t", "ok"),
        ("GRPC", "denied", "0\t0\t200\t0.01\t\tRBAC: access denied\t", "ok"),
        ("GRPC", "allowed", "0\t0\t200\t0.01\t\tupstream connect error: reset\t", "workload"),
        ("TCP", "allowed", "0\t28\t000\t2\t\t\t", "ok"),
        ("TCP", "allowed", "0\t56\t000\t2\t\t\treset by peer", "workload"),
        ("TCP", "denied", "0\t56\t000\t2\t\t\treset by peer", "ok"),
        ("TCP", "denied", "0\t28\t000\t2\t\t\t", "open"),
        ("TCP", "denied", "0\t0\t000\t2\t10\t\t", "open"),
    ],
)
def test_judgement(protocol, expect, line, layer):
    call = probes.Call("east", "west", "reviews.global", 80, protocol, "shop/reviews", "GET", "/", expect)
    index, answer = verdict.parse_line(line)
    found = verdict.judge(call, "shop/cart", answer)
    assert index == 0
    assert found.layer == layer
    assert found.ok is (layer == "ok")
    assert ("FAIL" in found.line) is (not found.ok)
    assert found.ok or found.detail


@pytest.mark.parametrize(
    ("protocol", "expect", "line", "layer"),
    [
        ("HTTP", "allowed", "0\t0\t200\t0.01\t3\t\thello", "ok"),
        ("HTTP", "allowed", "0\t0\t503\t0.01\t3\t\tbusy", "ok"),
        ("HTTP", "allowed", "0\t0\t503\t0.01\t3\t\tno healthy upstream", "workload"),
        ("HTTP", "allowed", "0\t0\t504\t0.01\t3\t\tupstream request timeout", "workload"),
        ("HTTP", "allowed", "0\t0\t503\t0.01\t\t\tupstream connect error: connection timeout", "gateway"),
        ("HTTP", "denied", "0\t0\t403\t0.01\t3\t\tRBAC: access denied", "ok"),
        ("HTTP", "denied", "0\t0\t503\t0.01\t3\t\tno healthy upstream", "workload"),
        ("GRPC", "allowed", "0\t0\t200\t0.01\t3\tunknown method\t", "ok"),
        ("GRPC", "allowed", "0\t0\t200\t0.01\t3\tno healthy upstream\t", "workload"),
    ],
)
def test_what_a_gateway_answers_itself_proves_no_workload(protocol, expect, line, layer):
    planned = {**edge([{}], protocol), "via": "gateway"}
    (probe,) = probes.plan_probes([planned], "probes")
    call = dataclasses.replace(probe.calls[0], expect=expect)
    assert call.via == "gateway"
    found = verdict.judge(call, "shop/cart", verdict.parse_line(line)[1])
    assert found.layer == layer
    assert found.as_dict()["via"] == "gateway"


def test_only_a_complete_round_counts():
    line = "{}\t0\t200\t0.01\t3\t\thello\n"
    log = "noise of the shell\n" + line.format(0) + "--\n" + line.format(1) + "--\n" + line.format(2)
    assert list(verdict.last_round(log)) == [1]
    assert verdict.last_round(line.format(0)) == {}


def test_the_pod_holds_no_credentials_and_ends_by_itself():
    (probe,) = probes.plan_probes([edge([{}])], "probes")
    pod = probes.pod_manifest(probe, image="curl", revision="canary", call_timeout_seconds=5, lifetime_seconds=60)
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["activeDeadlineSeconds"] == 60
    assert pod["metadata"]["labels"]["istio.io/rev"] == "canary"
