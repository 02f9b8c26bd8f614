# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is not exported cannot be reached, and who is not listed is refused."""

from __future__ import annotations

import json
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e import scenario
from tests.e2e.scenario import LEDGER, MESHES, NAMESPACE
from tests.e2e.support import wait_for

LEDGER_HOST = "ledger.vault.svc.east.global"


def answers_handshake(address: str, sni: str) -> bool:
    """Whether something behind the gateway answers a TLS handshake for this name.

    The gateway has no certificate to show for a name that it does not know, and closes the connection.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["istio"])
    try:
        with (
            socket.create_connection((address, 15443), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname=sni) as secure,
        ):
            return secure.version() is not None
    except (ssl.SSLError, ConnectionError):
        return False


@pytest.mark.parametrize("mesh", MESHES)
def test_reachable_is_exactly_what_is_exported(federation, mesh):
    services = federation.kubectl_json(mesh, "get", "services", "-A")["items"]
    names = {
        (item["metadata"]["name"], item["metadata"]["namespace"], port["port"])
        for item in services
        for port in item["spec"].get("ports", [])
    }
    address = federation.lab.node_address(mesh)

    def reachable(name: tuple[str, str, int]) -> bool:
        service, namespace, port = name
        return answers_handshake(address, f"outbound_.{port}_._.{service}.{namespace}.svc.cluster.local")

    with ThreadPoolExecutor(8) as pool:
        found = {name for name, answered in zip(names, pool.map(reachable, names), strict=True) if answered}
    print(f"{mesh}: {len(names)} names swept, {len(found)} answer")
    exported = {(item["service"], item["namespace"]) for item in federation.hosts[mesh]["mesh_exports"]}
    assert {name[:2] for name in found} == exported
    assert ("hidden", NAMESPACE) in {name[:2] for name in names}


@pytest.fixture(scope="module")
def ledger(federation):
    """East's ledger, exported for one service account of west; the cluster tells its ports and pods."""
    hosts = scenario.hosts()
    hosts["east"]["mesh_exports"].append(LEDGER)
    federation.write_inventory(hosts)
    federation.play("federate").ok()
    wait_for(lambda: call(federation, "west", "shop", "cart", "/open/book")[0] == 200, "the listed caller gets in")
    return federation


def call(federation, mesh, namespace, pod, path, *options):
    return federation.call(mesh, namespace, pod, f"http://{LEDGER_HOST}{path}", *options)


def test_a_listed_caller_gets_in(ledger):
    status, body = call(ledger, "west", "shop", "cart", "/open/book")
    assert status == 200
    assert json.loads(body)["caller"] == "spiffe://west.mesh/ns/shop/sa/cart"


@pytest.mark.parametrize(
    ("namespace", "pod", "path", "options"),
    [
        ("shop", "other", "/open/book", ()),
        (NAMESPACE, "caller", "/open/book", ()),
        ("shop", "cart", "/closed/book", ()),
        ("shop", "cart", "/open/book", ("-X", "POST")),
    ],
)
def test_everybody_and_everything_else_is_refused_and_logged(ledger, namespace, pod, path, options):
    wait_for(lambda: call(ledger, "west", namespace, pod, path, *options)[0] == 403, "the refusal arrives")
    identity = f"spiffe://west.mesh/ns/{namespace}/sa/{pod}"
    request = f"{'POST' if options else 'GET'} {path} "

    def logged():
        log = ledger.lab.kubectl("east", "logs", "-n", "vault", "-l", "app=ledger", "-c", "istio-proxy", "--tail=200")
        wanted = (
            f'"{request}',
            identity,
            " 403 ",
            "rbac_access_denied_matched_policy[ns[vault]-policy[multimesh-ledger]",
        )
        return [line for line in log.splitlines() if all(part in line for part in wanted)]

    # The proxy writes its log every few seconds.
    print(wait_for(logged, f"{identity} is in the log")[-1])


def test_local_callers_are_not_touched(ledger):
    for path in ("/open/book", "/closed/book"):
        status, body = ledger.call(
            "east", NAMESPACE, "caller", f"http://ledger.vault.svc.cluster.local{path}", "-X", "POST"
        )
        assert status == 200
        assert json.loads(body)["caller"] == f"spiffe://east.mesh/ns/{NAMESPACE}/sa/caller"


def test_a_mesh_that_is_not_listed_does_not_know_the_name(ledger):
    assert call(ledger, "north", NAMESPACE, "caller", "/open/book")[0] == 0
