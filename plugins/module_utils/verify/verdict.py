# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an answer, or the lack of one, says about an edge."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.verify.probes import (
    END_OF_ROUND,
    HTTP_PROTOCOLS,
    Call,
)

CURL_UNRESOLVED, CURL_UNCONNECTED, CURL_TIMEOUT = 6, 7, 28
"""Exit codes of curl (its manual page, EXIT CODES)."""

WAYS_OUT = {
    "name": "the host does not resolve: is DNS capture on (ISTIO_META_DNS_CAPTURE) and the ServiceEntry applied?",
    "gateway": "no connection to the exporter's gateway: is its address right and port 15443 reachable from here?",
    "tls": "the handshake failed: do both meshes share the root, and does the exported service account serve it?",
    "workload": "the exporter's gateway has no healthy workload for it, or does not export it",
    "policy": "an AuthorizationPolicy of the exporter refused the caller",
    "open": "a caller that nobody admitted was answered: is the exporter's AuthorizationPolicy applied?",
    "timeout": "no answer in time",
}

PROXIES_SAY = ("no healthy upstream", "upstream connect error", "upstream request timeout")
"""How Envoy's own answers begin when it has none of whom it called."""


@dataclass(frozen=True)
class Answer:
    """One line of the probe's script, parsed.

    exit_code: curl's. status: HTTP status, 0 for none. upstream: the answer came from the workload, or from a gateway
    that terminates, and not from the caller's own sidecar. Of TCP: some bytes came.
    """

    exit_code: int
    status: int
    seconds: float
    upstream: bool
    body: str


@dataclass(frozen=True)
class Verdict:
    """What became of one call.

    layer: ``ok``, ``skipped``, or the layer that fails: ``name``, ``gateway``, ``tls``, ``workload``, ``policy``,
    ``open``, ``timeout``.
    """

    call: Call
    caller: str
    ok: bool
    layer: str
    detail: str

    def as_dict(self) -> dict[str, Any]:
        """Plain data for a module's result, with the human line under ``line``."""
        call = asdict(self.call)
        call.pop("skip")
        return {
            **call,
            "caller": self.caller,
            "ok": self.ok,
            "layer": self.layer,
            "detail": self.detail,
            "line": self.line,
        }

    @property
    def line(self) -> str:
        """One line for people: verdict, edge, caller, reason."""
        word = "skip" if self.layer == "skipped" else "ok  " if self.ok else "FAIL"
        call = self.call
        what = f"{call.method} " if call.protocol in HTTP_PROTOCOLS and call.method else ""
        reason = f": {self.detail}" if self.detail else ""
        return (
            f"{word} {call.consumer} -> {call.exporter}  {what}{call.host}:{call.port} ({call.protocol}) "
            f"as {self.caller} is {call.expect if self.ok else self.layer}{reason}"
        )


def parse_line(line: str) -> tuple[int, Answer]:
    """One output line of the probe's script: the index of its call, and the answer.

    Raises ValueError when the line is none of the script's.
    """
    index, exit_code, status, seconds, upstream, grpc_message, body = line.split("\t", 6)
    text = f"{grpc_message} {body}".strip()
    return int(index), Answer(int(exit_code), int(status), float(seconds), bool(upstream), text)


def last_round(log: str) -> dict[int, Answer]:
    """Answers of the last complete round in a probe's log, by index of the call; empty when there is none yet."""
    rounds = log.split(f"{END_OF_ROUND}\n")
    if len(rounds) < 2:
        return {}
    return dict(parse_line(line) for line in rounds[-2].splitlines() if line.count("\t") >= 6)


def judge(call: Call, caller: str, answer: Answer | None) -> Verdict:
    """The verdict on one call; an answer of None is one that never came back."""
    if call.skip:
        return Verdict(call, caller, True, "skipped", call.skip)
    layer = "timeout" if answer is None else _layer(call, answer)
    refused = layer == "policy"
    if call.expect == "denied":
        if layer == "ok":
            return Verdict(call, caller, False, "open", WAYS_OUT["open"])
        if refused:
            return Verdict(call, caller, True, "ok", "")
    if layer == "ok":
        return Verdict(call, caller, True, "ok", "")
    seen = f" (seen: {_seen(answer)})" if answer else ""
    return Verdict(call, caller, False, layer, WAYS_OUT[layer] + seen)


def _seen(answer: Answer) -> str:
    status = f"{answer.status} " if answer.status else f"curl exit code {answer.exit_code} "
    return (status + answer.body[:200]).strip()


def _layer(call: Call, answer: Answer) -> str:
    if answer.exit_code == CURL_UNRESOLVED:
        return "name"
    if call.protocol not in (*HTTP_PROTOCOLS, "HTTPS"):
        return _tcp_layer(call, answer)
    # A gRPC refusal comes as status 200 with a grpc-message, as does every other answer that a sidecar makes itself.
    if "RBAC: access denied" in answer.body and (answer.status == 403 or call.protocol == "GRPC"):
        return "policy"
    text = answer.body.lower()
    if answer.upstream and call.via != "passthrough" and any(words in text for words in PROXIES_SAY):
        return "workload"
    if answer.upstream or (call.protocol != "GRPC" and answer.status and answer.status not in (502, 503, 504)):
        return "ok"
    if "tls_error" in text or "certificate" in text or "ssl" in text:
        return "tls"
    if "no healthy upstream" in text or "connection termination" in text or "reset" in text:
        return "workload"
    if answer.exit_code == CURL_TIMEOUT:
        return "timeout"
    return "gateway"


def _tcp_layer(call: Call, answer: Answer) -> str:
    if answer.exit_code == CURL_TIMEOUT or answer.upstream:
        return "ok"
    # A refusal by policy and a way that fails look the same to a TCP client: the connection is closed at once.
    return "policy" if call.expect == "denied" else "workload"
