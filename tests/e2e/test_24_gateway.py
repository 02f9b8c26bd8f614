# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Exports ``via: gateway``: mutual TLS ends at the exporter's gateway, which says who gets in and where calls go."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from tests.e2e import scenario
from tests.e2e.scenario import MESHES, NAMESPACE
from tests.e2e.support import AuditLog, Federation, held, wait_for
from tests.e2e.test_20_exposure import answers_handshake
from tests.lab import manifests

pytestmark = pytest.mark.long  # calls through a gateway are in the table of all ways too

PORTS = {"http": 80, "grpc": 8079, "tcp": 9000, "tls": 8443}
PROTOCOLS = {"http": "HTTP", "grpc": "GRPC", "tcp": "TCP", "tls": "TLS"}
STOCK = "stock.demo.svc.east.global"
PRICES = "prices.demo.svc.east.global"
STUCK = "stuck.demo.svc.east.global"
SHELF = "shelf.shop.global"
INTRUDER = "intruder.example.com"
GUARD = "multimesh-gateway-exports"
LEGACY = "legacy"
"""A namespace whose pods get no sidecar."""
SERVICES = {
    "east": {
        "stock": PORTS,
        "prices": {"http": 80},
        "prices-v2": {"http": 80},
        "stuck": {"http": 80},
        "shelf": {"http": 80},
    },
    "north": {"shelf": {"http": 80}},
}


def gateway_of(mesh: str) -> str:
    return f"spiffe://{mesh}.mesh/ns/istio-system/sa/istio-eastwestgateway"


def workload(mesh: str, account: str = "caller", namespace: str = NAMESPACE) -> str:
    return f"spiffe://{mesh}.mesh/ns/{namespace}/sa/{account}"


def export(
    service: str, *consumers: Any, ports: dict[str, int] | None = None, namespace: str = NAMESPACE, **more: Any
) -> dict[str, Any]:
    return {
        "service": service,
        "namespace": namespace,
        "via": "gateway",
        "ports": [
            {"number": number, "name": name, "protocol": PROTOCOLS[name], "target_port": manifests.APP_PORTS[name]}
            for name, number in (ports or {"http": 80}).items()
        ],
        "service_accounts": [service],
        "consumers": list(consumers),
        **more,
    }


def hosts() -> dict[str, dict[str, Any]]:
    found = scenario.hosts()
    canary = [{"service": "prices-v2"}]
    found["east"]["mesh_exports"] += [
        export("stock", {"mesh": "west", "namespace": NAMESPACE}, ports=PORTS),
        export(
            "prices",
            {"mesh": "west", "namespace": NAMESPACE},
            {"mesh": "west", "namespace": "shop", "service_account": "cart", "methods": ["GET"], "paths": ["/open/*"]},
            routes=[
                {"match": {"paths": ["/v2/*"]}, "destinations": canary},
                {"match": {"headers": {"x-stage": "canary"}}, "destinations": canary},
                {
                    "match": {"paths": ["/share"]},
                    "destinations": [{"service": "prices", "weight": 80}, {"service": "prices-v2", "weight": 20}],
                },
                {"match": {"paths": ["/delay/*"]}, "timeout": "500ms", "retries": 0},
                {"match": {"paths": ["/open/*"]}},
            ],
        ),
        export(
            "stuck", "west", routes=[{"destinations": [{"service": "stuck", "connection_pool": {"max_requests": 2}}]}]
        ),
    ]
    found["east"]["mesh_exports"].append(export("bare", "west", namespace=LEGACY))
    for mesh in ("east", "north"):
        found[mesh]["mesh_exports"].append(export("shelf", "all", host=SHELF))
    return found


def intrusion(address: str, sni: str, authority: str) -> list[dict[str, Any]]:
    """What a mesh can make itself to reach another's gateway, whether or not that offers it anything."""
    metadata = {"name": "intruder", "namespace": NAMESPACE}
    api = "networking.istio.io/v1"
    entry = {
        "hosts": [INTRUDER],
        "exportTo": ["."],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "endpoints": [
            {
                "address": address,
                "ports": {"http": 15443},
                "network": "elsewhere",
                "labels": {"security.istio.io/tlsMode": "istio"},
            }
        ],
    }
    rule = {
        "host": INTRUDER,
        "exportTo": ["."],
        "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL", "sni": sni}, "connectionPool": {"http": {"maxRetries": 1}}},
    }
    route = {
        "hosts": [INTRUDER],
        "exportTo": ["."],
        "http": [
            {
                "route": [{"destination": {"host": INTRUDER}}],
                "rewrite": {"authority": authority},
                "retries": {"attempts": 0},
            }
        ],
    }
    return [
        {"apiVersion": api, "kind": "ServiceEntry", "metadata": metadata, "spec": entry},
        {"apiVersion": api, "kind": "DestinationRule", "metadata": metadata, "spec": rule},
        {"apiVersion": api, "kind": "VirtualService", "metadata": metadata, "spec": route},
    ]


def intrude(federation: Federation, mesh: str, sni: str, authority: str = "80.stock.demo.svc.cluster.local") -> None:
    federation.lab.apply(mesh, intrusion(federation.lab.node_address("east"), sni, authority))


def withdraw(federation: Federation, mesh: str) -> None:
    federation.lab.kubectl(
        mesh, "delete", "serviceentry,destinationrule,virtualservice", "intruder", "-n", NAMESPACE, "--ignore-not-found"
    )


class Attempts:
    """Calls of an intruder, one after the other, until the block is left. codes: HTTP status -> how often."""

    def __init__(self, federation: Federation, mesh: str) -> None:
        self._federation = federation
        self._mesh = mesh
        self.codes: Counter[str] = Counter()

    def _in_pod(self, script: str) -> list[str]:
        execute = ["exec", "-n", NAMESPACE, "deploy/caller", "-c", "caller", "--", "sh", "-c", script]
        return self._federation.lab.kubectl_command(self._mesh, *execute)

    def __enter__(self) -> Attempts:
        script = (
            "rm -f /tmp/stop; end=$(( $(date +%s) + 300 )); "
            'while [ ! -e /tmp/stop ] && [ "$(date +%s)" -lt $end ]; do '
            f'curl -s -m 2 -o /dev/null -w "%{{http_code}}\\n" http://{INTRUDER}/; sleep 0.05; done'
        )
        self._process = subprocess.Popen(self._in_pod(script), stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_error: object) -> None:
        subprocess.run(self._in_pod("touch /tmp/stop"), check=True)
        written, _none = self._process.communicate(timeout=60)
        self.codes.update(written.split())


@pytest.fixture(scope="module")
def exported(federation: Federation) -> Iterator[SimpleNamespace]:
    for mesh, services in SERVICES.items():
        for service, ports in services.items():
            federation.lab.apply(mesh, manifests.app(mesh, NAMESPACE, service, ports=ports))
    bare = manifests.app("east", LEGACY, "bare", ports={"http": 80})
    federation.lab.apply("east", [manifests.namespace(LEGACY), *bare])
    intrude(federation, "north", "80.stock.demo.svc.cluster.local")
    for mesh in SERVICES:
        federation.lab.wait_ready(mesh, [NAMESPACE, LEGACY])
    log = AuditLog(federation.lab.audit_log("east"))
    federation.write_inventory(hosts())
    with Attempts(federation, "north") as attempts:
        federation.play("site", "--diff").ok()
        wait_for(lambda: answer(federation, f"http://{STOCK}/hello"), "the listed caller gets in")
        time.sleep(3)  # for whoever is not listed, after every proxy knows
    withdraw(federation, "north")
    writes = log.writes()
    yield SimpleNamespace(federation=federation, attempts=attempts.codes, writes=writes)
    intrude(federation, "north", "80.stock.demo.svc.cluster.local")
    wait_for(lambda: federation.call("north", NAMESPACE, "caller", f"http://{INTRUDER}/")[0] == 403, "an intruder")
    federation.write_inventory(scenario.hosts())
    with Attempts(federation, "north") as attempts:
        federation.play("site").ok()
        time.sleep(3)
    withdraw(federation, "north")
    print(f"an intruder while the exports were taken away: {dict(attempts.codes)}")
    assert attempts.codes["403"]
    assert "200" not in attempts.codes
    left = {key for mesh in MESHES for key in held(federation, mesh)}
    assert not [key for key in left if GUARD in key[2] or "stock" in key[2] or "prices" in key[2]]
    for mesh, services in SERVICES.items():
        for service in services:
            federation.lab.kubectl(mesh, "delete", f"deploy/{service}-v1", f"service/{service}", "-n", NAMESPACE)
    federation.lab.kubectl("east", "delete", "namespace", LEGACY)


def answer(federation: Federation, url: str, *options: str, mesh: str = "west") -> dict[str, Any] | None:
    status, body = federation.call(mesh, NAMESPACE, "caller", url, *options)
    return json.loads(body) if status == 200 else None


def gateway_log(federation: Federation, *parts: str) -> list[str]:
    """Lines of the log of east's gateway that have all these parts; the proxy writes it every few seconds."""
    log = federation.lab.kubectl("east", "logs", "-n", "istio-system", "-l", "istio=eastwestgateway", "--tail=2000")
    return [line for line in log.splitlines() if all(part in line for part in parts)]


def logged(federation: Federation, *parts: str) -> list[str]:
    lines = wait_for(lambda: gateway_log(federation, *parts), f"the gateway's log has {parts}")
    print(lines[-1])
    return lines


def test_nobody_got_in_while_it_was_being_opened(exported):
    print(f"an intruder while the exports were opened: {dict(exported.attempts)}")
    assert exported.attempts["403"]
    assert "200" not in exported.attempts


def test_the_policy_was_there_before_what_it_guards(exported):
    created = {
        kind: next(index for index, write in enumerate(exported.writes) if f"/{kind}/{GUARD}" in write)
        for kind in ("authorizationpolicies", "gateways")
    }
    routes = [index for index, write in enumerate(exported.writes) if "/virtualservices/80.stock" in write]
    assert created["authorizationpolicies"] < min(created["gateways"], *routes)


def test_http_and_whom_everybody_sees(exported):
    found = answer(exported.federation, f"http://{STOCK}/hello")
    print(json.dumps({**found, "xfcc": re.sub(r'Cert="[^"]*"', 'Cert="..."', found["xfcc"])}, indent=1))
    assert found["mesh"] == "east"
    assert found["host"] == "stock.demo.svc.cluster.local"
    assert found["caller"] == gateway_of("east")
    assert re.findall(r"URI=(\S+?)(?:[;,]|$)", found["xfcc"]) == [workload("west"), gateway_of("east")]
    wanted = (f'caller="{workload("west")}"', f'served_by="{workload("east", "stock")}"', 'route="demo/stock:80"')
    logged(exported.federation, *wanted)


def test_a_forged_header_does_not_pass_the_gateway(exported):
    forged = f"x-forwarded-client-cert: By=x;URI={workload('east')}"
    found = answer(exported.federation, f"http://{STOCK}/hello", "-H", forged)
    assert workload("east") not in found["xfcc"]


def test_grpc_tcp_and_tls(exported):
    lab = exported.federation.lab

    def grpc() -> bool:
        command = ["fortio", "grpcping", "-health", "-n", "3", f"{STOCK}:8079"]
        return "SERVING" in lab.kubectl("west", "exec", "-n", NAMESPACE, "deploy/load", "-c", "load", "--", *command)

    wait_for(grpc, "west asks east over gRPC")
    wait_for(lambda: "mesh=east service=stock" in tcp(exported.federation, NAMESPACE, "caller"), "west talks over TCP")
    found = wait_for(lambda: answer(exported.federation, f"https://{STOCK}:8443/", "-k"), "west calls over TLS")
    assert (found["mesh"], found["service"], found["sni"], found["xfcc"]) == ("east", "stock", STOCK, "")
    for port, account in ((8079, "load"), (9000, "caller"), (8443, "caller")):
        wanted = (f'caller="{workload("west", account)}"', f'sni="{port}.stock.demo.svc.cluster.local"')
        served = f'served_by="{workload("east", "stock")}"'
        logged(exported.federation, *wanted, served)


def tcp(federation: Federation, namespace: str, pod: str) -> str:
    shell = f"echo hello | timeout 3 curl -s -m 2 telnet://{STOCK}:9000 || true"
    return federation.lab.kubectl("west", "exec", "-n", namespace, f"deploy/{pod}", "-c", pod, "--", "sh", "-c", shell)


def test_who_is_not_listed_is_refused_and_logged(exported):
    federation = exported.federation
    status, body = federation.call("west", "shop", "other", f"http://{STOCK}/hello")
    assert (status, body) == (403, "RBAC: access denied")
    identity = workload("west", "other", "shop")
    policy = f"rbac_access_denied_matched_policy[ns[istio-system]-policy[{GUARD}]"
    wanted = ('"GET /hello ', " 403 ", f'caller="{identity}"', policy)
    logged(federation, *wanted)
    assert "mesh=" not in tcp(federation, "shop", "other")
    status, _body = federation.call("west", "shop", "other", f"https://{STOCK}:8443/", "-k")
    assert status == 0
    for port in (9000, 8443):
        logged(federation, f'caller="{identity}"', f'sni="{port}.stock.demo.svc.cluster.local"', f'ended="{policy}')


@pytest.mark.parametrize(
    ("path", "options", "expected"),
    [
        ("/open/book", (), 200),
        ("/closed/book", (), 403),
        ("/open/book", ("-X", "POST"), 403),
        ("/v2/book", (), 403),
    ],
)
def test_methods_and_paths_are_the_gateways_business(exported, path, options, expected):
    status, _body = exported.federation.call("west", "shop", "cart", f"http://{PRICES}{path}", *options)
    assert status == expected


@pytest.mark.parametrize(
    ("mesh", "sni", "expected"),
    [
        ("north", "80.stock.demo.svc.cluster.local", {403}),
        ("east", "80.stock.demo.svc.cluster.local", {403}),
        # The pods are not offered by passthrough, and the gateway knows no other name of them.
        ("north", "outbound_.80_._.stock.demo.svc.cluster.local", {503}),
        ("north", "80.STOCK.demo.svc.cluster.local", {403, 503}),
        ("north", "80.prices-v2.demo.svc.cluster.local", {503}),
    ],
)
def test_whoever_makes_itself_a_way_is_refused(exported, mesh, sni, expected):
    federation = exported.federation
    intrude(federation, mesh, sni)
    try:
        found = wait_for(
            lambda: (
                (status := federation.call(mesh, NAMESPACE, "caller", f"http://{INTRUDER}/")[0]) in expected and status
            ),
            f"{mesh} is refused",
        )
        again = {federation.call(mesh, NAMESPACE, "caller", f"http://{INTRUDER}/")[0] for _time in range(5)}
    finally:
        withdraw(federation, mesh)
        wait_for(lambda: federation.call(mesh, NAMESPACE, "caller", f"http://{INTRUDER}/")[0] == 0, "the way is gone")
    print(f"{mesh} asks for {sni}: {found}, then {again}")
    assert again <= expected


def test_a_listed_caller_gets_to_nothing_else(exported):
    """SNI of one export, authority of another."""
    federation = exported.federation
    intrude(federation, "west", "80.stock.demo.svc.cluster.local", "80.prices.demo.svc.cluster.local")
    try:
        wait_for(
            lambda: federation.call("west", NAMESPACE, "caller", f"http://{INTRUDER}/open/a")[0] == 404, "no such route"
        )
    finally:
        withdraw(federation, "west")


def test_routes_by_path_and_header(exported):
    federation = exported.federation
    assert answer(federation, f"http://{PRICES}/open/a")["service"] == "prices"
    found = answer(federation, f"http://{PRICES}/v2/a")
    assert (found["service"], found["path"], found["host"]) == ("prices-v2", "/v2/a", "prices.demo.svc.cluster.local")
    assert answer(federation, f"http://{PRICES}/open/a", "-H", "x-stage: canary")["service"] == "prices-v2"
    assert answer(federation, f"http://{PRICES}/open/a", "-H", "x-stage: other")["service"] == "prices"
    assert federation.call("west", NAMESPACE, "caller", f"http://{PRICES}/elsewhere")[0] == 404
    wanted = ('route="demo/prices:80/0"', 'caller="', "/v2/a")
    logged(federation, *wanted)


def test_weights(exported):
    status, body = exported.federation.call("west", NAMESPACE, "caller", f"http://{PRICES}/share?[1-300]", "-m", "30")
    shares = Counter(re.findall(r'"service":"([^"]*)"', body))
    print(f"300 calls: {dict(shares)}")
    assert sum(shares.values()) == 300, (status, body[-500:])
    assert 30 <= shares["prices-v2"] <= 95


def test_timeout(exported):
    federation = exported.federation
    begin = time.monotonic()
    status, body = federation.call("west", NAMESPACE, "caller", f"http://{PRICES}/delay/20s")
    elapsed = time.monotonic() - begin
    print(f"{status} after {elapsed:.1f} s: {body}")
    assert (status, body) == (504, "upstream request timeout")
    assert elapsed < 4.5  # one try and three more of the caller's own proxy
    assert answer(federation, f"http://{PRICES}/delay/10ms")["service"] == "prices"
    lines = logged(federation, '"GET /delay/20s', " 504 UT ")
    assert all(450 <= int(re.search(r"duration_ms=(\d+)", line)[1]) < 1500 for line in lines)


def test_a_stuck_export_does_not_take_the_gateway_from_the_others(exported):
    federation = exported.federation
    loop = (
        "for i in 1 2 3 4 5 6; do "
        f'curl -s -m 9 -o /dev/null -w "%{{http_code}} %{{time_total}}\\n" http://{STUCK}/delay/6s & done; wait'
    )
    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(
            federation.lab.kubectl,
            "west", "exec", "-n", NAMESPACE, "deploy/caller", "-c", "caller", "--", "sh", "-c", loop,
        )  # fmt: skip
        time.sleep(1.5)
        begin = time.monotonic()
        for _time in range(5):
            assert answer(federation, f"http://{STOCK}/hello")
        elapsed = time.monotonic() - begin
        lines = stuck.result().splitlines()
    print(f"stuck: {lines}; five calls of the other export meanwhile took {elapsed:.1f} s")
    assert Counter(line.split()[0] for line in lines) == {"200": 2, "503": 4}
    assert all(float(line.split()[1]) < 3 for line in lines if line.startswith("503"))


def test_a_workload_without_sidecar(exported):
    found = answer(exported.federation, "http://bare.legacy.svc.east.global/hello")
    assert (found["mesh"], found["service"]) == ("east", "bare")
    assert re.findall(r"URI=(\S+?)(?:[;,]|$)", found["xfcc"]) == [workload("west")]


def test_passthrough_on_the_same_port_is_what_it_was(exported):
    found = answer(exported.federation, f"http://greeter.{NAMESPACE}.svc.east.global/hello")
    assert (found["mesh"], found["caller"]) == ("east", workload("west"))
    assert found["host"] == f"greeter.{NAMESPACE}.svc.east.global"


@pytest.mark.parametrize("mesh", ["east", "north"])
def test_reachable_is_exactly_what_is_exported(exported, mesh):
    federation = exported.federation
    services = federation.kubectl_json(mesh, "get", "services", "-A")["items"]
    names = {
        (item["metadata"]["name"], item["metadata"]["namespace"], port["port"])
        for item in services
        for port in item["spec"].get("ports", [])
    }
    address = federation.lab.node_address(mesh)
    ways = {"passthrough": "outbound_.{2}_._.{0}.{1}.svc.cluster.local", "gateway": "{2}.{0}.{1}.svc.cluster.local"}
    exports = federation.hosts[mesh]["mesh_exports"]
    for via, form in ways.items():
        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(lambda name, form=form: answers_handshake(address, form.format(*name)), names)
            found = {name for name, answered in zip(names, answers, strict=True) if answered}
        print(f"{mesh}: {len(names)} names of {via} swept, {len(found)} answer")
        wanted = [item for item in exports if item.get("via", "passthrough") == via]
        if via == "gateway":
            assert found == {
                (item["service"], item["namespace"], port["number"]) for item in wanted for port in item["ports"]
            }
        else:
            assert {name[:2] for name in found} == {(item["service"], item["namespace"]) for item in wanted}


def test_a_mesh_that_serves_the_host_itself_goes_home_first(exported):
    federation = exported.federation
    at_home = answer(federation, f"http://{SHELF}/a", mesh="east")
    assert (at_home["mesh"], at_home["caller"]) == ("east", workload("east"))
    assert at_home["host"] == "80.shelf.demo.svc.cluster.local"
    assert answer(federation, f"http://{SHELF}/a")["caller"] == gateway_of("east")
    try:
        federation.lab.kubectl("east", "scale", "deploy/shelf-v1", "-n", NAMESPACE, "--replicas=0")

        def away(mesh: str) -> bool:
            found = answer(federation, f"http://{SHELF}/a", mesh=mesh)
            return bool(found) and (found["mesh"], found["caller"]) == ("north", gateway_of("north"))

        wait_for(lambda: away("east"), "east is answered by north")
        wait_for(lambda: away("west"), "west is answered by north")
    finally:
        federation.lab.kubectl("east", "scale", "deploy/shelf-v1", "-n", NAMESPACE, "--replicas=1")
        federation.lab.wait_ready("east", [NAMESPACE])
    wait_for(lambda: answer(federation, f"http://{SHELF}/a", mesh="east")["mesh"] == "east", "calls come home")


def test_an_owners_rule_comes_before_the_limits(exported):
    """The limits of the gateway yield to a DestinationRule that the Service's owner has made."""
    federation = exported.federation
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "owners", "namespace": NAMESPACE},
        "spec": {
            "host": "stock.demo.svc.cluster.local",
            "trafficPolicy": {"connectionPool": {"http": {"http2MaxRequests": 77}}},
        },
    }

    def limit() -> str:
        command = ["pilot-agent", "request", "GET", "clusters"]
        listed = federation.lab.kubectl(
            "east", "exec", "-n", "istio-system", "deploy/istio-eastwestgateway", "--", *command
        )
        cluster = re.escape("outbound|80||stock.demo.svc.cluster.local::default_priority::max_requests::")
        return re.search(f"{cluster}(\\d+)", listed)[1]

    assert limit() == "1024"
    federation.lab.apply("east", [rule])
    try:
        wait_for(lambda: limit() == "77", "the owner's rule holds at the gateway")
    finally:
        federation.lab.kubectl("east", "delete", "destinationrule", "owners", "-n", NAMESPACE)
    wait_for(lambda: limit() == "1024", "the limits are back")


def test_verify_says_that_it_is_so(exported):
    run = exported.federation.play("verify").ok()
    for host in (STOCK, PRICES, STUCK, SHELF):
        lines = [line for line in run.output.splitlines() if f"{host}:" in line]
        assert lines
        print("\n".join(sorted(line.strip(' ",') for line in lines)))
        assert not [line for line in lines if "FAIL" in line]


def test_the_audit_reads_the_gateways_policies(exported):
    """Also one that somebody else has made for the gateway's pods, by another of their labels."""
    federation = exported.federation
    sni = {"key": "connection.sni", "values": ["80.stock.*"]}
    ban = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "ban", "namespace": "istio-system"},
        "spec": {
            "selector": {"matchLabels": {"app": "istio-eastwestgateway"}},
            "action": "DENY",
            "rules": [{"to": [{"operation": {"paths": ["/secret/*"]}}], "when": [sni]}],
        },
    }
    federation.play("audit", "-e", "audit_fail=true").ok()
    federation.lab.apply("east", [ban])
    try:
        wait_for(
            lambda: federation.call("west", NAMESPACE, "caller", f"http://{STOCK}/secret/a")[0] == 403, "it is banned"
        )
        lines = federation.play("audit").ok().messages["east"]
    finally:
        federation.lab.kubectl("east", "delete", "authorizationpolicy", "ban", "-n", "istio-system")
    print("\n".join(lines))
    words = [re.split(r"\s{2,}", line) for line in lines]
    demo, cart = "west.mesh/ns/demo/*", "west.mesh/ns/shop/sa/cart"
    assert [line for line in words if line[0] in ("demo/prices", "demo/stock")] == [
        ["demo/prices", "80", "gateway", demo, "all", "all", "-"],
        ["demo/prices", "80", "gateway", cart, "GET", "/open/*", "-"],
        ["demo/stock", "80", "gateway", demo, "all", "all but /secret/*", "-"],
        ["demo/stock", "8079", "gateway", demo, "all", "all", "-"],
        ["demo/stock", "8443", "gateway", demo, "-", "-", "-"],
        ["demo/stock", "9000", "gateway", demo, "-", "-", "-"],
    ]
    refused = "may use all methods on all paths by the inventory, and the cluster refuses some of it"
    assert [line for line in lines if ": " in line] == [f"refused: demo/stock:80: {demo} {refused}"]


def test_second_run_changes_nothing(exported):
    run = exported.federation.play("site").ok()
    assert {mesh: counts["changed"] for mesh, counts in run.recap.items()} == dict.fromkeys(MESHES, 0)
