# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may call what: every identity, method and path against two exporters, and an audit of what is in the clusters.

What is expected is written here a second time, as sentences about one call, and not computed from the inventory.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.e2e import scenario
from tests.e2e.scenario import MESHES
from tests.e2e.support import wait_for
from tests.lab import manifests

CALLERS = {
    "west": [("matrix", "alpha"), ("matrix", "beta"), ("annex", "alpha")],
    "north": [("matrix", "alpha"), ("annex", "alpha")],
    "east": [("matrix", "alpha"), ("annex", "alpha")],
}
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
PATHS = ("/open/a", "/open", "/exact", "/exact/x", "/open/end", "/x/end", "/public/a", "/audit/b", "/none")
WEB, PLAIN = 80, 8081
PORTS = [
    {"number": WEB, "name": "http", "protocol": "HTTP", "target_port": 8080},
    {"number": PLAIN, "name": "tcp-web", "protocol": "TCP"},
]


def records(**more):
    export = {"service": "records", "namespace": "matrix", "ports": PORTS, "service_accounts": ["records"], **more}
    return {"selector": {"app": "records"}, **export}


EAST = records(
    attributes={"tier": "gold", "team": "records"},
    consumers=[
        {
            "mesh": "west",
            "namespace": "matrix",
            "service_account": "alpha",
            "ports": [WEB],
            "methods": ["GET", "HEAD"],
            "paths": ["/open/*", "/exact"],
        },
        {"mesh": "west", "namespace": "matrix", "ports": [WEB], "methods": ["POST"], "paths": ["*/end"]},
        {"mesh": "west", "namespace": "annex", "ports": [PLAIN]},
        {"mesh": "all", "select": "[?attributes.stage=='production']", "ports": [WEB], "paths": ["/public*"]},
    ],
)
GOLD_RULE = {
    "select": "[?attributes.tier=='gold']",
    "consumers": [{"mesh": "north", "namespace": "matrix", "ports": [WEB], "paths": ["/audit/*"]}],
}
NORTH = records(consumers=["west", {"mesh": "east", "namespace": "matrix", "ports": [WEB], "methods": ["DELETE"]}])


@dataclass(frozen=True)
class Call:
    """One call; method and path of a connection that Istio does not look into do not matter."""

    exporter: str
    mesh: str
    namespace: str
    account: str
    port: int
    method: str
    path: str


def expected_of_east(call: Call) -> bool:
    """Sentences about calls to east."""
    if call.port == PLAIN:
        # Only the annex of west may connect.
        return call.mesh == "west" and call.namespace == "annex"
    if call.mesh == "west":
        # West's matrix may POST to what ends with /end. Its alpha may also GET and HEAD /exact, and what is in /open/.
        may_post = call.namespace == "matrix" and call.method == "POST" and call.path in ("/open/end", "/x/end")
        is_alpha = call.namespace == "matrix" and call.account == "alpha"
        may_read = is_alpha and call.method in ("GET", "HEAD") and call.path in ("/exact", "/open/a", "/open/end")
        return may_post or may_read
    # North is in production, so all of it has what is public; its matrix has gold exports' audits too.
    return call.path == "/public/a" or (call.namespace == "matrix" and call.path == "/audit/b")


def expected_of_north(call: Call) -> bool:
    """Sentences about calls to north: all of west may do everything; east's matrix may DELETE."""
    if call.mesh == "west":
        return True
    return call.namespace == "matrix" and call.port == WEB and call.method == "DELETE"


EXPECTED: dict[str, Callable[[Call], bool]] = {"east": expected_of_east, "north": expected_of_north}


def calls() -> list[Call]:
    found = []
    for exporter in EXPECTED:
        for mesh, callers in CALLERS.items():
            for namespace, account in callers if mesh != exporter else ():
                who = (exporter, mesh, namespace, account)
                found += [Call(*who, WEB, method, path) for method, path in itertools.product(METHODS, PATHS)]
                found.append(Call(*who, PLAIN, "GET", "/"))
    return found


def curl_config(asked: Iterable[Call]) -> str:
    """Options of one curl that makes all calls, and prints the status of each; a TCP refusal has none."""
    blocks = []
    for call in asked:
        lines = [
            f'url = "http://records.matrix.svc.{call.exporter}.global:{call.port}{call.path}"',
            "head" if call.method == "HEAD" else f'request = "{call.method}"',
            'output = "/dev/null"',
            'write-out = "%{http_code}\\n"',
            "max-time = 5",
        ]
        blocks.append("\n".join(lines))
    return "\nnext\n".join(blocks) + "\n"


def made(federation, asked: list[Call]) -> dict[Call, str]:
    """What became of calls, of which all are one pod's."""
    first = asked[0]
    command = federation.lab.kubectl_command(
        first.mesh, "exec", "-i", "-n", first.namespace, f"deploy/{first.account}", "-c", first.account, "--",
        "sh", "-c", "curl -s -K - || true",
    )  # fmt: skip
    done = subprocess.run(command, input=curl_config(asked), capture_output=True, text=True, check=True)
    statuses = done.stdout.split()
    assert len(statuses) == len(asked), done.stderr
    return dict(zip(asked, statuses, strict=True))


def wrong(federation) -> dict[Call, str]:
    """Calls that did not come out as expected, all of them made once."""
    by_pod: dict[tuple[str, str, str], list[Call]] = {}
    for call in calls():
        by_pod.setdefault((call.mesh, call.namespace, call.account), []).append(call)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda asked: made(federation, asked), by_pod.values()))
    return {call: status for some in answers for call, status in some.items() if status != expected(call)}


def expected(call: Call) -> str:
    if EXPECTED[call.exporter](call):
        return "200"
    return "000" if call.port == PLAIN else "403"


@pytest.fixture(scope="module")
def matrix(federated):
    """The meshes with these exports, and callers of every identity."""
    lab = federated.lab
    for mesh in MESHES:
        injected = {"istio-injection": "enabled"}
        lab.apply(mesh, [manifests.namespace(name, injected) for name in ("matrix", "annex")])
        objects = [item for namespace, name in CALLERS[mesh] for item in manifests.curl(namespace, name)]
        if mesh in EXPECTED:
            objects += manifests.app(mesh, "matrix", "records", ports={"http": WEB, "tcp-web": PLAIN})
        lab.apply(mesh, objects)
    hosts = scenario.hosts()
    hosts["east"] |= {"mesh_export_rules": [GOLD_RULE], "mesh_telemetry_attributes": ["tier", "team"]}
    hosts["west"]["mesh_attributes"] = {"stage": "test"}
    hosts["north"]["mesh_attributes"] = {"stage": "production"}
    # Otherwise everybody is admitted somewhere, and nobody is left for the default deny.
    for values in hosts.values():
        values["mesh_exports"] = []
    hosts["east"]["mesh_exports"] = [EAST]
    hosts["north"]["mesh_exports"] = [NORTH]
    federated.write_inventory(hosts)
    federated.play("site").ok()
    for mesh in MESHES:
        lab.wait_ready(mesh, ["matrix", "annex"])
    yield federated
    for mesh in MESHES:
        lab.kubectl(mesh, "delete", "namespace", "matrix", "annex", "--wait=false")


def test_the_expectation_is_not_trivial():
    allowed = [call for call in calls() if EXPECTED[call.exporter](call)]
    print(f"{len(calls())} calls, {len(allowed)} allowed")
    assert len(calls()) >= 400
    assert 100 < len(allowed) < 300


def test_every_call_comes_out_as_expected(matrix):
    wait_for(lambda: not wrong(matrix), "all calls come out as expected", seconds=120)
    again = wrong(matrix)
    print(f"{len(calls()) - len(again)} of {len(calls())} calls right, made again after all proxies knew")
    assert again == {}


def test_a_second_run_changes_nothing(matrix):
    run = matrix.play("site").ok()
    assert {mesh: counts["changed"] for mesh, counts in run.recap.items()} == dict.fromkeys(MESHES, 0)


def test_local_callers_are_not_touched(matrix):
    for namespace, name in CALLERS["east"]:
        for method in ("GET", "DELETE"):
            url = "http://records.matrix.svc.cluster.local/none"
            assert matrix.call("east", namespace, name, url, "-X", method)[0] == 200


def test_whom_no_export_names_nothing_answers(matrix):
    """The default deny: west's caller of the demo namespace is admitted nowhere, north's everywhere."""
    [policy] = [
        item
        for item in matrix.kubectl_json("east", "get", "authorizationpolicies", "-n", "istio-system")["items"]
        if item["metadata"]["name"] == "multimesh-default-deny"
    ]
    assert policy["spec"]["rules"] == [
        {
            "from": [
                {
                    "source": {
                        "principals": ["west.mesh/*"],
                        "notPrincipals": [
                            "west.mesh/ns/annex/*",
                            "west.mesh/ns/matrix/*",
                            "west.mesh/ns/matrix/sa/alpha",
                        ],
                    }
                }
            ]
        }
    ]


def test_identity_and_attributes_are_in_the_exporters_access_log(matrix):
    def asked(path):
        return matrix.call("west", "matrix", "alpha", f"http://records.matrix.svc.east.global{path}")[0]

    wait_for(lambda: (asked("/open/log"), asked("/closed/log")) == (200, 403), "one call is allowed, one is refused")

    def logged():
        log = matrix.lab.kubectl("east", "logs", "-n", "matrix", "-l", "app=records", "-c", "istio-proxy", "--tail=500")
        wanted = 'caller="spiffe://west.mesh/ns/matrix/sa/alpha"', 'attributes="team=records,tier=gold"'
        lines = [line for line in log.splitlines() if all(part in line for part in wanted)]
        return [
            next(line for line in reversed(lines) if part in line)
            for part in ('"GET /open/log HTTP/1.1" 200', '"GET /closed/log HTTP/1.1" 403')
            if any(part in line for line in lines)
        ]

    found = wait_for(lambda: (lines := logged()) and len(lines) == 2 and lines, "both are in the log with attributes")
    print("\n".join(found))
    assert "multimesh-records" in found[1], "the refusal names the policy"


def test_attributes_travel_with_the_objects(matrix):
    for kind in ("serviceentry", "destinationrule", "virtualservice"):
        item = matrix.kubectl_json("west", "get", kind, "-n", "istio-system", "records.matrix.svc.east.global")
        written = item["metadata"]["annotations"]["multimesh.istio/attributes"]
        assert json.loads(written) == {"east/matrix/records": {"team": "records", "tier": "gold"}}
    [telemetry] = matrix.kubectl_json("east", "get", "telemetry", "-n", "matrix")["items"]
    [override] = telemetry["spec"]["metrics"][0]["overrides"]
    assert override["tagOverrides"] == {"export_team": {"value": '"records"'}, "export_tier": {"value": '"gold"'}}


def test_istiod_makes_tags_of_attributes(matrix):
    """What Istio's own proxies would be told: those of the lab lack the filter for metrics, and refuse it."""
    metadata = {"name": "metrics", "namespace": "matrix"}
    spec = {"metrics": [{"providers": [{"name": "prometheus"}]}]}
    owners = {"apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry", "metadata": metadata, "spec": spec}
    [pod] = matrix.kubectl_json("east", "get", "pods", "-n", "matrix", "-l", "app=records")["items"]
    ask = [
        "/usr/local/bin/pilot-discovery",
        "request",
        "GET",
        f"/debug/config_dump?proxyID={pod['metadata']['name']}.matrix",
    ]
    matrix.lab.apply("east", [owners])
    try:
        dump = wait_for(
            lambda: (
                (found := matrix.lab.kubectl("east", "exec", "-n", "istio-system", "deploy/istiod", "--", *ask))
                and "export_tier" in found
                and found
            ),
            "istiod has made a filter of it",
        )
    finally:
        matrix.lab.kubectl("east", "delete", "telemetry", "-n", "matrix", "metrics")
    tags = set(re.findall(r'"(export_\w+)":\s*"\\"(\w+)\\""', dump))
    print(tags)
    assert tags == {("export_tier", "gold"), ("export_team", "records")}


# The audit


def test_the_audit_reads_what_the_calls_showed(matrix):
    run = matrix.play("audit", "-e", "audit_fail=true").ok()
    lines = run.messages["east"]
    print("\n".join(lines))
    west = "west.mesh/ns/matrix/*", "west.mesh/ns/matrix/sa/alpha"
    http = [
        ("north.mesh/* but north.mesh/ns/matrix/*", "all", "/public*"),
        ("north.mesh/ns/matrix/*", "all", "/audit/*, /public*"),
        (" but ".join(west), "POST", "*/end"),
        (west[1], "GET, HEAD", "/exact, /open/*"),
        (west[1], "POST", "*/end"),
    ]
    assert [re.split(r"\s{2,}", line) for line in lines[1:]] == [
        *(["matrix/records", "80", "passthrough", *words, "-"] for words in http),
        ["matrix/records", "8081", "passthrough", "west.mesh/ns/annex/*", "-", "-", "-"],
    ]


def test_the_audit_says_what_somebody_has_changed(matrix):
    """A policy is edited, one is deleted, and a Gateway of somebody else opens another door."""
    patch = [{"op": "remove", "path": "/spec/rules/0"}]
    matrix.lab.kubectl(
        "east", "patch", "authorizationpolicy", "-n", "matrix", "multimesh-records",
        "--type=json", "-p", json.dumps(patch), "--field-manager=somebody",
    )  # fmt: skip
    matrix.lab.kubectl("north", "delete", "authorizationpolicy", "-n", "matrix", "multimesh-records")
    server = {"port": {"number": 15443, "name": "tls", "protocol": "TLS"}, "tls": {"mode": "AUTO_PASSTHROUGH"}}
    door = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "door", "namespace": scenario.NAMESPACE},
        "spec": {
            "selector": {"istio": "eastwestgateway"},
            "servers": [{**server, "hosts": ["hidden.demo.svc.cluster.local"]}],
        },
    }
    matrix.lab.apply("east", [door])
    try:
        run = matrix.play("audit", "-e", "audit_fail=true", "-e", "audit_format=json")
    finally:
        matrix.lab.kubectl("east", "delete", "gateway", "-n", scenario.NAMESPACE, "door")
    assert run.returncode != 0
    found: dict[str, set[str]] = {}
    for kind, where in re.findall(r'"line": "(\w+): (.+?): ', run.output):
        found.setdefault(kind, set()).add(where)
    print(found)
    assert found["changed"] == {"AuthorizationPolicy matrix/multimesh-records"}
    assert "it was changed by somebody" in run.output
    assert found["missing"] == {"AuthorizationPolicy matrix/multimesh-records"}
    assert found["exposed"] == {"demo/hidden"}
    assert {"matrix/records:80", "matrix/records:8081"} <= found["open"]
    assert run.recap["west"]["failed"] == 0
