# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Services outside every mesh: by name, wildcard, address and range, with TLS made by the proxies; and who is refused.

East declares all of them, for others. The meshes run with REGISTRY_ONLY, so that a call that gets through does so
because of what the collection has written; what ALLOW_ANY would let through is shown at the end.
"""

from __future__ import annotations

import ipaddress
import json
import time

import pytest

from tests.e2e import scenario
from tests.e2e.outside import HTTP, MUTUAL, TCP, TLS, WEB, Outside, name, resolving
from tests.e2e.scenario import MESHES, NAMESPACE
from tests.e2e.support import AuditLog, held, wait_for

pytestmark = [pytest.mark.usefixtures("outside"), pytest.mark.long]

REGISTRY_ONLY = ("-e", "control_plane_outbound_traffic=REGISTRY_ONLY")
TIMEOUT = 1.0
WEB_PORT = {"number": HTTP, "name": "http", "protocol": "HTTP"}
ELSEWHERE = "static.elsewhere.example"
"""A name that no DNS server knows."""


def services(address: str) -> list[dict[str, object]]:
    around = ipaddress.ip_network(f"{address}/30", strict=False)
    originated = {"consumers": ["west"], "addresses": [address], "export_to": [NAMESPACE]}
    return [
        {
            "hosts": [name("api")],
            "ports": [
                WEB_PORT,
                {"number": TLS, "name": "https", "protocol": "HTTPS"},
                {"number": TCP, "name": "tcp", "protocol": "TCP"},
            ],
            "timeout": f"{TIMEOUT:g}s",
            "consumers": ["west"],
        },
        {
            "hosts": [ELSEWHERE],
            "addresses": [address],
            "ports": [WEB_PORT],
            "consumers": ["all"],
            "export_to": [NAMESPACE],
        },
        {
            "hosts": [name("*.wild")],
            "ports": [WEB_PORT, {"number": TLS, "name": "https", "protocol": "HTTPS"}],
            "timeout": f"{TIMEOUT:g}s",
            "consumers": ["west"],
        },
        {
            "addresses": [address],
            "ports": [{"number": WEB, "name": "http", "protocol": "HTTP"}],
            "timeout": f"{TIMEOUT:g}s",
            "consumers": ["west"],
        },
        {
            "addresses": [str(around)],
            "ports": [{"number": TCP, "name": "tcp", "protocol": "TCP"}],
            "consumers": ["west"],
        },
        {
            "hosts": [name("secure"), name("wrong")],
            "ports": [WEB_PORT],
            "tls": {"mode": "simple", "credential": "outside-ca"},
            **originated,
        },
        {
            "hosts": [name("*.safe")],
            "ports": [WEB_PORT],
            "tls": {"mode": "simple", "credential": "outside-ca"},
            "consumers": ["west"],
            "export_to": [NAMESPACE],
        },
        {
            "hosts": [name("public")],
            "ports": [WEB_PORT],
            "tls": {"mode": "simple", "sni": name("secure")},
            **originated,
        },
        {
            "hosts": [name("bank")],
            "ports": [{**WEB_PORT, "target_port": MUTUAL}],
            "tls": {"mode": "mutual", "credential": "bank-client"},
            **originated,
        },
    ]


@pytest.fixture(scope="module")
def outside(federation):
    """The servers, what their clients need, and a federation that knows all of them."""
    lab = federation.lab
    outside = Outside(lab)
    outside.serve()
    reader = {"name": "secret-reader", "namespace": NAMESPACE}
    rbac = "rbac.authorization.k8s.io"
    lab.apply(
        "west",
        [
            outside.secret(NAMESPACE, "outside-ca"),
            outside.secret(NAMESPACE, "bank-client", outside.client("west's caller")),
            # Istio gives a key to those alone who could read it anyway.
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "Role",
                "metadata": reader,
                "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}],
            },
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "RoleBinding",
                "metadata": reader,
                "roleRef": {"apiGroup": rbac, "kind": "Role", "name": reader["name"]},
                "subjects": [{"kind": "ServiceAccount", "name": "caller", "namespace": NAMESPACE}],
            },
        ],
    )
    with resolving(lab, MESHES, outside.address):
        hosts = scenario.hosts()
        hosts["east"]["mesh_external_services"] = services(outside.address)
        federation.write_inventory(hosts)
        federation.play("site", *REGISTRY_ONLY).ok()
        yield outside
        federation.write_inventory(scenario.hosts())
        federation.play("site").ok()
    lab.kubectl("west", "delete", "-n", NAMESPACE, "secret/outside-ca", "secret/bank-client")
    lab.kubectl("west", "delete", "-n", NAMESPACE, "rolebinding/secret-reader", "role/secret-reader")
    outside.close()


def get(federation, mesh, url, *options, namespace=NAMESPACE, pod="caller"):
    """Status and, where a server outside has answered, what it saw."""
    status, body = federation.call(mesh, namespace, pod, url, *options)
    return status, json.loads(body) if body.startswith("{") else {}


def answered(federation, url, *options, mesh="west"):
    """What the server saw of a call that gets through in the end."""

    def call():
        status, saw = get(federation, mesh, url, *options)
        return saw if status == 200 else None

    saw = wait_for(call, f"{mesh} calls {url}")
    print(f"{mesh} {url} -> {saw}")
    assert saw["mesh"] == "outside"
    return saw


def line(federation, mesh, host, port):
    """What comes back when a pod says hello over TCP."""
    shell = f"echo hello | timeout 3 curl -s -m 2 telnet://{host}:{port} || true"
    execute = ["exec", "-n", NAMESPACE, "deploy/caller", "-c", "caller", "--", "sh", "-c", shell]
    return federation.lab.kubectl(mesh, *execute)


# The ways to name a service


def test_by_name_that_dns_resolves(federation):
    assert answered(federation, f"http://{name('api')}/")["host"] == name("api")
    assert "service=partner" in wait_for(lambda: line(federation, "west", name("api"), TCP), "TCP by name")


def test_by_name_with_routes_by_sni(federation):
    assert answered(federation, f"https://{name('api')}/", "-k")["sni"] == name("api")
    # The same address and port, asked for another name.
    disguised = ("-k", "--connect-to", f"{name('other')}:{TLS}:{name('api')}:{TLS}")
    assert get(federation, "west", f"https://{name('other')}/", *disguised)[0] == 0


def test_by_name_with_addresses_that_the_inventory_says(federation):
    for mesh in MESHES:
        assert answered(federation, f"http://{ELSEWHERE}/", mesh=mesh)["host"] == ELSEWHERE


def test_below_a_wildcard(federation):
    assert answered(federation, f"http://{name('a.wild')}/")["host"] == name("a.wild")
    assert answered(federation, f"https://{name('b.wild')}/", "-k")["sni"] == name("b.wild")
    assert get(federation, "west", f"http://{name('other')}/")[0] == 502
    assert get(federation, "west", f"https://{name('other')}/", "-k")[0] == 0


def test_by_address_and_by_range(federation, outside):
    assert answered(federation, f"http://{outside.address}:{WEB}/")["host"] == f"{outside.address}:{WEB}"
    assert "service=partner" in wait_for(lambda: line(federation, "west", outside.address, TCP), "TCP by range")


@pytest.mark.parametrize("which", [name("api"), name("a.wild"), "address"])
def test_a_server_that_takes_too_long_is_given_up(federation, outside, which):
    host = f"{outside.address}:{WEB}" if which == "address" else which
    answered(federation, f"http://{host}/")
    begin = time.monotonic()
    assert get(federation, "west", f"http://{host}/delay/4s")[0] == 504
    took = time.monotonic() - begin
    print(f"http://{host}/delay/4s: given up after {took:.1f} s, with what kubectl takes")
    assert TIMEOUT <= took < 4


# TLS made by the proxies


def test_http_becomes_https_with_a_ca_of_ones_own(federation):
    saw = answered(federation, f"http://{name('secure')}/")
    assert (saw["sni"], saw["host"]) == (name("secure"), name("secure"))
    # Of the server's certificate a wildcard fits.
    assert answered(federation, f"http://{name('a.safe')}/")["sni"] == name("a.safe")


def test_http_becomes_mutual_tls(federation):
    saw = answered(federation, f"http://{name('bank')}/")
    assert (saw["sni"], saw["client"], saw["service"]) == (name("bank"), "west's caller", "bank")


def test_a_pod_that_may_not_read_the_key_does_not_get_it(federation):
    answered(federation, f"http://{name('bank')}/")
    command = ["fortio", "load", "-quiet", "-json", "-", "-n", "1", "-c", "1", f"http://{name('bank')}/"]
    execute = ["exec", "-n", NAMESPACE, "deploy/load", "-c", "load", "--", *command]
    output = federation.lab.kubectl("west", *execute)
    assert json.loads(output[output.index("{") :])["RetCodes"] == {"503": 1}


def test_a_server_with_another_name_or_another_ca_is_refused(federation):
    answered(federation, f"http://{name('secure')}/")
    for host in (name("wrong"), name("public")):
        assert get(federation, "west", f"http://{host}/")[0] == 503

        def logged(host=host):
            log = federation.lab.kubectl(
                "west", "logs", "-n", NAMESPACE, "deploy/caller", "-c", "istio-proxy", "--tail=50"
            )
            wanted = (f'host="{host}"', "CERTIFICATE_VERIFY_FAILED")
            return [line for line in log.splitlines() if all(part in line for part in wanted)]

        # The proxy writes its log every few seconds.
        print(wait_for(logged, f"{host} is refused because of its certificate", 20)[-1])


# Who is refused


@pytest.mark.parametrize("mesh", ["east", "north"])
def test_a_mesh_that_is_not_named_is_refused(federation, outside, mesh):
    answered(federation, f"http://{ELSEWHERE}/", mesh=mesh)
    for url, refused in (
        (f"http://{name('api')}/", 502),
        (f"https://{name('api')}/", 0),
        (f"http://{name('a.wild')}/", 502),
        (f"http://{outside.address}:{WEB}/", 0),
        (f"http://{name('secure')}/", 0),
    ):
        assert get(federation, mesh, url, "-k")[0] == refused, url
    assert "service=partner" not in line(federation, mesh, outside.address, TCP)


def test_a_namespace_that_is_not_named_is_refused(federation, outside):
    answered(federation, f"http://{ELSEWHERE}/")
    # The name does not exist there, nor is the address reachable under it.
    assert get(federation, "west", f"http://{ELSEWHERE}/", namespace="shop", pod="cart")[0] == 0
    by_address = ("-H", f"Host: {ELSEWHERE}")
    assert get(federation, "west", f"http://{outside.address}/", *by_address, namespace="shop", pod="cart")[0] == 502
    assert get(federation, "west", f"http://{outside.address}/", *by_address)[0] == 200
    # Named for the whole mesh.
    assert get(federation, "west", f"http://{name('api')}/", namespace="shop", pod="cart")[0] == 200


# What is written, and what is left of it


def external_objects(federation, mesh):
    """What a cluster holds for external services, by kind, namespace and name."""
    kinds = "serviceentries,destinationrules,virtualservices"
    return {
        (item["kind"], item["metadata"]["namespace"], item["metadata"]["name"])
        for item in federation.kubectl_json(mesh, "get", kinds, "-A")["items"]
        if "multimesh.istio/external-service" in item["metadata"].get("annotations", {})
    }


def test_each_cluster_holds_what_its_mesh_may_use(federation, outside):
    around = ipaddress.ip_network(f"{outside.address}/30", strict=False)
    addresses = {
        f"ip-{str(around).replace('.', '-').replace('/', '-')}-{TCP}.external.global",
        f"ip-{outside.address.replace('.', '-')}-{WEB}.external.global",
    }
    plain = {ELSEWHERE, name("api"), name("wildcard.wild"), name("public"), *addresses}
    credential = {name("secure"), name("wrong"), name("wildcard.safe"), name("bank")}
    for mesh in MESHES:
        wanted = {
            (kind, "istio-system", host)
            for kind in ("ServiceEntry", "VirtualService", "DestinationRule")
            for host in (plain | credential if mesh == "west" else {ELSEWHERE})
            if kind != "DestinationRule" or host not in credential
        }
        if mesh == "west":
            wanted |= {("DestinationRule", NAMESPACE, host) for host in credential}
        assert external_objects(federation, mesh) == wanted


def test_second_run_changes_nothing(federation):
    logs = {mesh: AuditLog(federation.lab.audit_log(mesh)) for mesh in MESHES}
    run = federation.play("site", *REGISTRY_ONLY).ok()
    assert {mesh: counts["changed"] for mesh, counts in run.recap.items()} == dict.fromkeys(MESHES, 0)
    assert {mesh: log.writes() for mesh, log in logs.items()} == {mesh: [] for mesh in MESHES}


def test_removal_and_what_outbound_traffic_means(federation):
    """Without an entry REGISTRY_ONLY refuses, and ALLOW_ANY lets everybody reach what resolves."""
    answered(federation, f"http://{name('api')}/")
    others = {mesh: set(held(federation, mesh)) - external_objects(federation, mesh) for mesh in MESHES}
    federation.write_inventory(scenario.hosts())
    federation.play("site", "--diff", *REGISTRY_ONLY).ok()
    assert {mesh: set(held(federation, mesh)) for mesh in MESHES} == others
    wait_for(lambda: get(federation, "west", f"http://{name('api')}/")[0] == 502, "west is refused")
    for host in (name("secure"), name("bank"), ELSEWHERE):
        wait_for(lambda host=host: get(federation, "west", f"http://{host}/")[0] == 0, f"{host} is unknown")

    federation.play("site", "-e", "control_plane_outbound_traffic=ALLOW_ANY").ok()
    for mesh in MESHES:
        assert answered(federation, f"http://{name('api')}/", mesh=mesh)["host"] == name("api")
    assert get(federation, "west", f"http://{ELSEWHERE}/")[0] == 0
