# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which calls prove the edges of a consumer mesh, and the pods that make them.

An edge is admitted for identities, so a call only proves something when it is made with that identity: each probe is a
pod with a sidecar that runs as one service account. Nothing here talks to a cluster.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
"""Methods that a probe may use on somebody's service (RFC 9110, section 9.2.1)."""

HTTP_PROTOCOLS = ("HTTP", "HTTP2", "GRPC")
PROBE_LABEL = "multimesh.istio/probe"
CONTAINER = "probe"
END_OF_ROUND = "--"
TCP_HOLD_SECONDS = 2
"""A TCP connection that stays open this long has reached the workload: a sidecar accepts every connection at first and
closes it at once when the way to the workload fails. A policy is asked at the first byte only, which is why a caller
who must be refused sends one. The others send nothing to a service that they do not know."""


@dataclass(frozen=True)
class Call:
    """One call over one edge.

    expect: ``allowed`` or ``denied``.
    via: how calls get there, as the export says it.
    skip: why the call must not be made, else empty.
    """

    exporter: str
    consumer: str
    host: str
    port: int
    protocol: str
    export: str
    method: str
    path: str
    expect: str
    via: str = "passthrough"
    skip: str = ""


@dataclass(frozen=True)
class Probe:
    """One pod: the identity that it calls with, and its calls in order."""

    namespace: str
    service_account: str
    calls: tuple[Call, ...]


def plan_probes(edges: Iterable[Mapping[str, Any]], probe_namespace: str) -> list[Probe]:
    """The probes that prove these edges, ordered by identity.

    edges: dicts as the filter ``multimesh.istio.edges`` returns them.
    probe_namespace: where callers of a whole mesh, and callers whom nobody admitted, are played.
    """
    calls: dict[tuple[str, str], list[Call]] = {}
    for edge in edges:
        whole_mesh = False
        for caller in edge["callers"]:
            namespace, account = caller.get("namespace"), caller.get("service_account")
            whole_mesh = whole_mesh or not namespace
            identity = (namespace or probe_namespace, account or "default")
            calls.setdefault(identity, []).append(_call(edge, caller, "allowed"))
        if not whole_mesh:
            calls.setdefault((probe_namespace, "default"), []).append(_call(edge, {}, "denied"))
    return [Probe(*identity, tuple(dict.fromkeys(found))) for identity, found in sorted(calls.items())]


def _call(edge: Mapping[str, Any], caller: Mapping[str, Any], expect: str) -> Call:
    methods = caller.get("methods") or []
    paths = caller.get("paths") or []
    safe = [method for method in SAFE_METHODS if not methods or method in methods]
    return Call(
        exporter=edge["exporter"],
        consumer=edge["consumer"],
        host=edge["host"],
        port=edge["port"],
        protocol=edge["protocol"],
        export=edge["export"],
        method=safe[0] if safe else "",
        path=_concrete_path(paths[0]) if paths else "/",
        expect=expect,
        via=edge.get("via", "passthrough"),
        skip="" if safe else f"only {', '.join(methods)} admitted, and a probe must not change anything",
    )


def _concrete_path(pattern: str) -> str:
    """A path that an Istio path pattern (exact, ``prefix*``, ``*suffix``, ``*``) matches."""
    path = pattern.replace("*", "")
    return path if path.startswith("/") else f"/{path}"


def pod_name(probe: Probe) -> str:
    """The name of a probe's pod; one per service account and namespace."""
    return f"multimesh-probe-{re.sub(r'[^a-z0-9-]', '-', probe.service_account)}"[:63].rstrip("-")


def pod_manifest(
    probe: Probe, *, image: str, revision: str, call_timeout_seconds: int, lifetime_seconds: int
) -> dict[str, Any]:
    """The Pod of a probe: unprivileged, with a sidecar, and ended by the kubelet when nobody removes it.

    It makes its calls over and over and prints their outcome: reading a log asks for less trust than running commands
    in a pod, and a federation that was just applied takes some seconds to reach every proxy.

    image: an image with ``sh`` and ``curl``.
    revision: Istio revision that injects the sidecar; empty for the default one.
    lifetime_seconds: after this the kubelet kills the pod even when the caller died.
    """
    labels = {
        "app.kubernetes.io/managed-by": "multimesh.istio",
        PROBE_LABEL: "true",
        "sidecar.istio.io/inject": "true",
    }
    if revision:
        labels["istio.io/rev"] = revision
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_name(probe),
            "namespace": probe.namespace,
            "labels": labels,
            "annotations": {"proxy.istio.io/config": '{"holdApplicationUntilProxyStarts": true}'},
        },
        "spec": {
            "serviceAccountName": probe.service_account,
            "automountServiceAccountToken": False,
            "restartPolicy": "Never",
            "activeDeadlineSeconds": lifetime_seconds,
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": CONTAINER,
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["sh", "-c", script(probe.calls, call_timeout_seconds)],
                    "resources": {"requests": {"cpu": "1m", "memory": "8Mi"}, "limits": {"memory": "128Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "runAsNonRoot": True,
                        "runAsUser": 65534,
                        "capabilities": {"drop": ["ALL"]},
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                }
            ],
        },
    }


def script(calls: Iterable[Call], timeout_seconds: int) -> str:
    """A POSIX shell script that makes all calls at once, again and again, and prints one line for each.

    A line is: index of the call, curl's exit code, HTTP status, seconds, x-envoy-upstream-service-time, grpc-message,
    the start of the body, separated by tabs (see :func:`..verdict.parse_line`); ``--`` ends a round.
    """
    lines = ["t() { head -c 300 | tr '\\n\\t' '  '; }", "while :; do"]
    for index, call in enumerate(calls):
        if call.skip:
            continue
        url = f"{_scheme(call.protocol)}://{call.host}:{call.port}"
        if call.protocol in HTTP_PROTOCOLS or call.protocol == "HTTPS":
            lines.append(f"( {_http_call(index, call, url + call.path, timeout_seconds)} ) &")
        else:
            lines.append(f"( {_tcp_call(index, call, url)} ) &")
    return "\n".join([*lines, "wait", f"echo {END_OF_ROUND}", "sleep 1", "done"])


def _scheme(protocol: str) -> str:
    if protocol in HTTP_PROTOCOLS:
        return "http"
    return "https" if protocol == "HTTPS" else "telnet"


def _http_call(index: int, call: Call, url: str, timeout_seconds: int) -> str:
    options = ["-sS", "-k", "--max-time", str(timeout_seconds), "-o", "-"]
    if call.protocol == "GRPC":
        # Any answer with a gRPC status proves the edge; no method of the service has to be known.
        options += [
            "--http2-prior-knowledge",
            "-X",
            "POST",
            "-H",
            "content-type: application/grpc",
            "-H",
            "te: trailers",
        ]
    else:
        if call.protocol == "HTTP2":
            options.append("--http2-prior-knowledge")
        options += ["--head"] if call.method == "HEAD" else ["-X", call.method]
    form = "\\n%{http_code}\\t%{time_total}\\t%header{x-envoy-upstream-service-time}\\t%header{grpc-message}"
    command = " ".join(["curl", *map(shlex.quote, options), "-w", shlex.quote(form), shlex.quote(url)])
    return (
        f"o=$({command} 2>&1); e=$?; s=$(printf '%s' \"$o\" | tail -n 1); b=$(printf '%s' \"$o\" | sed '$d' | t); "
        f'printf \'%s\\t%s\\t%s\\t%s\\n\' {index} $e "$s" "$b"'
    )


def _tcp_call(index: int, call: Call, url: str) -> str:
    hold = TCP_HOLD_SECONDS
    say = "echo; " if call.expect == "denied" else ""
    form = shlex.quote("%{exitcode}\\t%{size_download}\\t%{errormsg}")
    return (
        f"o=$({{ {say}sleep {hold + 1}; }} | curl -s -o /dev/null --max-time {hold} -w {form} {shlex.quote(url)}); "
        'e=${o%%\t*}; o=${o#*\t}; d=${o%%\t*}; [ "$d" != 0 ] || d=; '
        f'printf \'%s\\t%s\\t000\\t{hold}\\t%s\\t\\t%s\\n\' {index} "$e" "$d" "$(printf \'%s\' "${{o#*\t}}" | t)"'
    )
