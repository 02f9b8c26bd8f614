# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""``via: ingress`` with Istio's own ingress controller: calls, identities, forgery, renewal, rotation, removal."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.pki import keys
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import Authority, sign_server
from ansible_collections.multimesh.istio.plugins.module_utils.pki.bundle import certificate_pem
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from tests.canary import Canary
from tests.e2e import ingress_controller, scenario
from tests.e2e.ingress_controller import RELEASE
from tests.e2e.load import Load
from tests.e2e.scenario import MESHES, NAMESPACE
from tests.e2e.support import AuditLog, Federation, cacerts, wait_for
from tests.e2e.test_10_site import PLANNED, changed_tasks
from tests.e2e.test_30_trust import REQUEST, leaf
from tests.lab import manifests

pytestmark = pytest.mark.long  # calls through an Ingress are in the table of all ways too

EXPORTERS = ("east", "west")
APPS = {"east": ("prices", "catalog"), "west": ("catalog",)}
PRICES = f"prices.{NAMESPACE}.svc.east.global"
CATALOG = "catalog.shop.global"
ASKED_FOR = f"80.prices.{NAMESPACE}.svc"
SERVED = f"spiffe://east.mesh/ns/{NAMESPACE}/sa/ingress_controller"
SECRET = f"multimesh-ingress.prices.{NAMESPACE}"
RECORD = "multimesh-ingress-certificates"


def prices() -> dict[str, Any]:
    """For west alone; ports, accounts and pods are read from the cluster."""
    return {"service": "prices", "namespace": NAMESPACE, "via": "ingress", "consumers": ["west"]}


def catalog() -> dict[str, Any]:
    """East and west back each other up."""
    return {**prices(), "service": "catalog", "host": CATALOG, "consumers": ["all"]}


def hosts(**exports: list[dict[str, Any]]) -> dict[str, Any]:
    found = scenario.hosts()
    for mesh in EXPORTERS:
        found[mesh] |= {"mesh_ingress_class": ingress_controller.CLASS, "mesh_ingress_secret_namespace": "istio-system"}
        found[mesh]["mesh_exports"] += exports.get(mesh, [])
    return found


@pytest.fixture(scope="module")
def ingress(federated):
    """The meshes federated through Ingresses too; check, first and again are runs of ``site``."""
    for mesh in EXPORTERS:
        ingress_controller.install(federated, mesh)
        for app in APPS[mesh]:
            ports = {"http": 80, "grpc": 8079} if app == "prices" else {"http": 80}
            federated.lab.apply(mesh, manifests.app(mesh, NAMESPACE, app, ports=ports))
    for mesh in EXPORTERS:
        federated.lab.wait_ready(mesh, [NAMESPACE, "istio-system"])
    federated.write_inventory(hosts(east=[prices(), catalog()], west=[catalog()]))
    check = federated.play("site", "--check", "--diff").ok()
    first = federated.play("site", "--diff", "-vvvv").ok()
    logs = {mesh: AuditLog(federated.lab.audit_log(mesh)) for mesh in MESHES}
    again = federated.play("site").ok()
    writes = {mesh: log.writes() for mesh, log in logs.items()}
    yield SimpleNamespace(federation=federated, check=check, first=first, again=again, writes=writes)
    for mesh in EXPORTERS:
        ingress_controller.uninstall(federated, mesh)
        for app in APPS[mesh]:
            federated.lab.kubectl(mesh, "delete", f"deploy/{app}-v1", f"service/{app}", "-n", NAMESPACE)


def answer(federation: Federation, caller: str, url: str) -> dict[str, Any] | None:
    status, body = federation.call(caller, NAMESPACE, "caller", url)
    return json.loads(body) if status == 200 else None


def logged(federation: Federation, path: str) -> str:
    """What the proxy of the caller in west says of the last request for this path."""
    log = federation.lab.kubectl("west", "logs", "-n", NAMESPACE, "deploy/caller", "-c", "istio-proxy", "--tail=200")
    return next((line for line in reversed(log.splitlines()) if f" {path} " in line), "")


def tls_secret(federation: Federation) -> dict[str, bytes]:
    data = federation.kubectl_json("east", "get", "secret", "-n", "istio-system", SECRET)["data"]
    return {name: base64.b64decode(value) for name, value in data.items()}


def fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def held(federation: Federation) -> str:
    """Fingerprint of the certificate in the Secret."""
    return fingerprint(x509.load_pem_x509_certificate(tls_secret(federation)["tls.crt"]))


def handshake(federation: Federation, host: str, context: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection((federation.lab.node_address("east"), 443), timeout=5)
    return context.wrap_socket(plain, server_hostname=host)


def served(federation: Federation, host: str = ASKED_FOR) -> str:
    """Fingerprint of the certificate that the controller of east shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with handshake(federation, host, context) as secure:
        return fingerprint(x509.load_der_x509_certificate(secure.getpeercert(binary_form=True)))


# Calls


def test_check_mode_announces_what_the_run_then_does(ingress):
    assert changed_tasks(ingress.check.output) == changed_tasks(ingress.first.output)
    assert set(PLANNED.findall(ingress.check.output)) == set(PLANNED.findall(ingress.first.output))
    assert f"Ingress {NAMESPACE}/multimesh-prices" in ingress.first.output


def test_a_second_run_changes_nothing_and_writes_nothing(ingress):
    assert {mesh: counts["changed"] for mesh, counts in ingress.again.recap.items()} == dict.fromkeys(MESHES, 0)
    assert ingress.writes == {mesh: [] for mesh in MESHES}


def test_no_output_has_a_key(ingress):
    secret = ingress.federation.kubectl_json("east", "get", "secret", "-n", "istio-system", "cacerts")["data"]
    found = {"leaf": tls_secret(ingress.federation)["tls.key"], "ca": base64.b64decode(secret["ca-key.pem"])}
    assert Canary(found).find((ingress.check.output + ingress.first.output).encode()) == set()


def test_a_call_goes_through_the_ingress_and_both_sides_know_whom_they_talk_to(ingress):
    federation = ingress.federation
    found = wait_for(lambda: answer(federation, "west", f"http://{PRICES}/through"), "west calls prices of east", 30)
    print(json.dumps(found))
    assert (found["mesh"], found["service"]) == ("east", "prices")
    assert found["host"] == ASKED_FOR, "the controller routes by it"
    assert found["caller"] == "spiffe://east.mesh/ns/istio-system/sa/istio-ingressgateway"

    seen = wait_for(lambda: logged(federation, "/through"), "the caller's proxy writes its log")
    print(seen)
    assert f'served_by="{SERVED}"' in seen
    assert f'upstream="{federation.lab.node_address("east")}:443"' in seen


def test_grpc_goes_the_same_way(ingress):
    command = ["fortio", "grpcping", "-health", "-n", "3", f"{PRICES}:8079"]
    execute = ["exec", "-n", NAMESPACE, "deploy/load", "-c", "load", "--", *command]
    wait_for(lambda: "SERVING" in ingress.federation.lab.kubectl("west", *execute), "west asks prices over gRPC")


def test_one_address_has_many_virtual_hosts(ingress):
    federation = ingress.federation
    east = federation.lab.node_address("east")
    for caller, host, service in (("west", PRICES, "prices"), ("north", CATALOG, "catalog")):

        def from_east(caller=caller, host=host):
            found = answer(federation, caller, f"http://{host}/")
            return found if found and found["mesh"] == "east" else None

        found = wait_for(from_east, f"{caller} calls {host}")
        print(host, json.dumps(found))
        assert found["service"] == service
    assert served(federation) != served(federation, f"80.{CATALOG}.svc"), "each has a certificate of its own"

    def status():
        items = federation.kubectl_json("east", "get", "ingress", "-A")["items"]
        return {item["metadata"]["name"]: item["status"]["loadBalancer"].get("ingress") for item in items}

    wanted = {f"multimesh-{service}": [{"ip": east}] for service in ("prices", "catalog")}
    wait_for(lambda: status() == wanted, "the controller says where it is")


def test_the_east_west_gateway_has_no_part_in_it(ingress):
    gateway = ingress.federation.kubectl_json(
        "east", "get", "gateways.networking.istio.io", "-n", "istio-system", "multimesh-exports"
    )
    assert "prices" not in json.dumps(gateway)
    command = ["exec", "-n", "istio-system", "deploy/istio-eastwestgateway", "-c", "istio-proxy", "--"]
    config = ingress.federation.lab.kubectl(
        "east", *command, "pilot-agent", "request", "GET", "config_dump?resource=dynamic_listeners"
    )
    assert "15443" in config
    assert ASKED_FOR not in config


def test_whoever_reaches_the_address_may_call(ingress):
    """North is no consumer of prices: it does not know the name. But an Ingress asks nobody who they are."""
    federation = ingress.federation
    assert federation.call("north", NAMESPACE, "caller", f"http://{PRICES}/")[0] == 0
    resolve = f"{ASKED_FOR}:443:{federation.lab.node_address('east')}"
    status, body = federation.call("north", NAMESPACE, "caller", f"https://{ASKED_FOR}/", "-k", "--resolve", resolve)
    assert (status, json.loads(body)["service"]) == (200, "prices")


def test_source_ranges_keep_others_away(ingress):
    federation = ingress.federation
    east, west = federation.lab.node_address("east"), federation.lab.node_address("west")
    direct = f"https://{ASKED_FOR}/", "-k", "--resolve", f"{ASKED_FOR}:443:{east}"
    service = "patch", "service", RELEASE, "-n", "istio-system", "--type=merge", "-p"

    def allow(*ranges: str) -> None:
        federation.lab.kubectl("east", *service, json.dumps({"spec": {"loadBalancerSourceRanges": list(ranges)}}))

    allow(f"{west}/32")
    try:
        wait_for(lambda: federation.call("north", NAMESPACE, "caller", *direct)[0] == 0, "north is kept away")
        assert answer(federation, "west", f"http://{PRICES}/")
        assert federation.call("west", NAMESPACE, "caller", *direct)[0] == 200
    finally:
        allow()
    wait_for(lambda: federation.call("north", NAMESPACE, "caller", *direct)[0] == 200, "north is let in again")


def test_an_exporter_calls_its_own_service_first_and_the_other_through_its_ingress(ingress):
    federation = ingress.federation
    url = f"http://{CATALOG}/"
    found = wait_for(lambda: answer(federation, "east", url), url)
    assert (found["mesh"], found["caller"]) == ("east", f"spiffe://east.mesh/ns/{NAMESPACE}/sa/caller")
    federation.lab.kubectl("east", "scale", "deploy/catalog-v1", "-n", NAMESPACE, "--replicas=0")

    def from_west() -> dict[str, Any] | None:
        other = answer(federation, "east", url)
        return other if other and other["mesh"] == "west" else None

    found = wait_for(from_west, "west answers for east")
    print(json.dumps(found))
    assert found["caller"] == "spiffe://west.mesh/ns/istio-system/sa/istio-ingressgateway"
    assert wait_for(lambda: answer(federation, "north", url), "north asks either")["mesh"] == "west"
    federation.lab.kubectl("east", "scale", "deploy/catalog-v1", "-n", NAMESPACE, "--replicas=1")
    wait_for(lambda: (answer(federation, "east", url) or {}).get("mesh") == "east", "calls are at home again")


def test_verify_calls_it_too(ingress):
    run = ingress.federation.play("verify").ok()
    assert PRICES in run.output
    assert "FAIL" not in run.output


# Certificates


def authority(federation: Federation, mesh: str) -> Authority:
    """The CA of a mesh, as a thief of it has it."""
    data = federation.kubectl_json(mesh, "get", "secret", "-n", "istio-system", "cacerts")["data"]
    key = serialization.load_pem_private_key(base64.b64decode(data["ca-key.pem"]), None)
    return Authority(x509.load_pem_x509_certificate(base64.b64decode(data["ca-cert.pem"])), key)


def put_certificate(
    federation: Federation, signer: str, spiffe_id: str, lifetime: timedelta = timedelta(days=30)
) -> str:
    """Let the controller of east serve a certificate of our own for the right DNS names; its fingerprint."""
    ca, key = authority(federation, signer), keys.generate("ecdsa-p256")
    names = [ASKED_FOR, ASKED_FOR.replace("80", "8079", 1)]
    certificate = sign_server(ca, key.public_key(), spiffe_id, names, lifetime, datetime.now(UTC))
    files = {
        "tls.crt": certificate_pem(certificate) + certificate_pem(ca.certificate),
        "tls.key": keys.private_pem(key, None),
    }
    patch = {"data": {name: base64.b64encode(content).decode() for name, content in files.items()}}
    federation.lab.kubectl(
        "east", "patch", "secret", SECRET, "-n", "istio-system", "--type=merge", "-p", json.dumps(patch)
    )
    made = fingerprint(certificate)
    wait_for(lambda: served(federation) == made, "the controller serves it")
    return made


def pods(federation: Federation) -> int:
    return len(federation.kubectl_json("west", "get", "pods", "-n", NAMESPACE, "-l", "app=caller")["items"])


@pytest.mark.parametrize(
    ("signer", "claimed", "accepted"),
    [("west", "east", False), ("west", "west", False), ("east", "west", False), ("east", "east", True)],
)
def test_no_other_ca_can_speak_for_the_ingress(ingress, signer, claimed, accepted):
    """The CA of another mesh may sign for the DNS name, but not for the identity that callers ask for."""
    federation = ingress.federation
    made = put_certificate(federation, signer, SERVED.replace("east", claimed))
    # Connections that are open stay open; a fresh proxy makes its own.
    federation.lab.kubectl("west", "rollout", "restart", "deploy/caller", "-n", NAMESPACE)
    federation.lab.kubectl("west", "rollout", "status", "deploy/caller", "-n", NAMESPACE, "--timeout=60s")
    wait_for(lambda: pods(federation) == 1, "the former pod has ended")
    wait_for(
        lambda: answer(federation, "west", f"http://greeter.{NAMESPACE}.svc.east.global/"), "the new proxy is ready"
    )
    if accepted:
        wait_for(lambda: answer(federation, "west", f"http://{PRICES}/"), "west believes it")
    else:
        for number in range(5):
            status, body = federation.call("west", NAMESPACE, "caller", f"http://{PRICES}/forged-{number}")
            assert status == 503, body
        seen = wait_for(lambda: logged(federation, "/forged-4"), "the caller's proxy writes its log")
        print(signer, claimed, body, seen)
        assert "CERTIFICATE_VERIFY_FAILED" in seen
    assert served(federation) == made


def test_nobody_can_call_with_the_certificate_of_an_ingress(ingress, tmp_path):
    """It is for servers. The same identity in a certificate of a workload would be let in by west's greeter."""
    federation = ingress.federation
    files = tls_secret(federation)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    own.check_hostname, own.verify_mode = False, ssl.CERT_NONE
    own.set_alpn_protocols(["istio"])
    own.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    secret = federation.kubectl_json("east", "get", "secret", "-n", "istio-system", "cacerts")["data"]
    for context, accepted in ((leaf(secret, SERVED, tmp_path), True), (own, False)):
        gateway = federation.lab.node_address("west"), 15443
        with socket.create_connection(gateway, timeout=5) as plain:
            try:
                sni = f"outbound_.80_._.greeter.{NAMESPACE}.svc.cluster.local"
                with context.wrap_socket(plain, server_hostname=sni) as secure:
                    secure.sendall(REQUEST)
                    found = secure.recv(65536)
            except (ssl.SSLError, ConnectionError) as error:
                found = str(error).encode()
        print(accepted, found[:200])
        assert found.startswith(b"HTTP/1.1 200") is accepted


def test_a_run_puts_a_wrong_certificate_right(ingress):
    federation = ingress.federation
    made = put_certificate(federation, "west", SERVED)
    run = federation.play("site", "--diff").ok()
    assert {mesh: counts["changed"] for mesh, counts in run.recap.items()} == {"east": 1, "west": 0, "north": 0}
    assert made in run.output
    assert held(federation) != made
    wait_for(lambda: answer(federation, "west", f"http://{PRICES}/"), "west believes it again")


class Prices(Load):
    """Calls of prices in east through its Ingress."""

    def _url(self, caller: str, callee: str, kept: bool) -> str:  # noqa: ARG002
        return f"http://{PRICES}/"


class Handshakes:
    """New connections to the controller, one after the other, each checked against what a proxy of west trusts then."""

    def __init__(self, federation: Federation) -> None:
        self._federation = federation
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.good = 0
        self.failures: list[str] = []

    def __enter__(self) -> Handshakes:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._stop.wait(0.2):
            try:
                self._once()
                self.good += 1
            except (OSError, AssertionError, KeyError, ValueError, subprocess.CalledProcessError) as error:
                self.failures.append(f"{datetime.now(UTC):%H:%M:%S} {type(error).__name__}: {error}")

    def _roots(self) -> str:
        command = ["exec", "-n", NAMESPACE, "deploy/caller", "-c", "istio-proxy", "--", "pilot-agent", "request"]
        dump = self._federation.lab.kubectl("west", *command, "GET", "config_dump?resource=dynamic_active_secrets")
        secrets = {entry["name"]: entry["secret"] for entry in json.loads(dump)["configs"]}
        return base64.b64decode(secrets["ROOTCA"]["validation_context"]["trusted_ca"]["inline_bytes"]).decode()

    def _once(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=self._roots())
        with handshake(self._federation, ASKED_FOR, context) as secure:
            shown = x509.load_der_x509_certificate(secure.getpeercert(binary_form=True))
            names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert names.get_values_for_type(x509.UniformResourceIdentifier) == [SERVED]
            secure.sendall(f"GET / HTTP/1.1\r\nHost: {ASKED_FOR}\r\nConnection: close\r\n\r\n".encode())
            assert secure.recv(4096).startswith(b"HTTP/1.1 200")


def test_a_certificate_is_renewed_and_no_request_fails(ingress):
    federation = ingress.federation
    # It begins five minutes ago, so two thirds of its life are over.
    before = put_certificate(federation, "east", SERVED, lifetime=timedelta(seconds=145))
    with Prices(federation, [("west", "east")], qps=50) as load, Handshakes(federation) as handshakes:
        wait_for(lambda: answer(federation, "west", f"http://{PRICES}/"), "west believes it")
        run = federation.play("site").ok()
        wait_for(lambda: served(federation) == held(federation), "the controller serves the new one")
        load.wait_for(1500)
    print(f"{load.total} requests, {handshakes.good} handshakes")
    assert run.recap["east"]["changed"] == 1
    assert held(federation) != before
    assert (load.failed, load.problems, handshakes.failures) == ({}, [], [])
    assert load.total >= 1500


def test_the_root_is_exchanged_and_no_request_fails(ingress):
    federation = ingress.federation
    (old,) = cacerts(federation, "east").roots
    before = held(federation)
    with Prices(federation, [("west", "east")], qps=50) as load, Handshakes(federation) as handshakes:
        run = federation.play("rotate_root_ca", "-e", f"shared_root_ca_rotate_from={old}").ok()
        load.wait_for(3000)
    print(f"{run.seconds:.0f} s, {load.total} requests, {handshakes.good} handshakes, failed: {load.failed or 'none'}")
    assert (load.failed, load.problems, handshakes.failures) == ({}, [], [])
    (new,) = cacerts(federation, "east").roots
    assert new != old
    chain = x509.load_pem_x509_certificates(tls_secret(federation)["tls.crt"])
    assert fingerprint(chain[0]) != before
    assert fingerprint(chain[1]) == cacerts(federation, "east").signer
    again = federation.play("site").ok()
    assert {mesh: counts["changed"] for mesh, counts in again.recap.items()} == dict.fromkeys(MESHES, 0)


# Removal


def test_a_removed_export_takes_its_ingress_and_its_certificate_along(ingress):
    federation = ingress.federation
    federation.write_inventory(hosts(east=[catalog()], west=[catalog()]))
    check = federation.play("site", "--check", "--diff").ok()
    run = federation.play("site", "--diff").ok()
    assert changed_tasks(check.output) == changed_tasks(run.output)
    names = [item["metadata"]["name"] for item in federation.kubectl_json("east", "get", "ingress", "-A")["items"]]
    assert names == ["multimesh-catalog"]
    secrets = federation.kubectl_json("east", "get", "secrets", "-A")["items"]
    assert [item["metadata"]["name"] for item in secrets if item["type"] == "kubernetes.io/tls"] == [
        f"multimesh-ingress.catalog.{NAMESPACE}"
    ]
    wait_for(lambda: federation.call("west", NAMESPACE, "caller", f"http://{PRICES}/")[0] == 0, "the name is gone")
    wait_for(lambda: answer(federation, "west", f"http://{CATALOG}/"), "the other one stays")


def test_the_last_one_leaves_nothing(ingress):
    federation = ingress.federation
    federation.write_inventory(hosts())
    federation.play("site").ok()
    for mesh in EXPORTERS:
        assert federation.kubectl_json(mesh, "get", "ingress", "-A")["items"] == []
        secrets = federation.kubectl_json(mesh, "get", "secrets", "-A")["items"]
        assert [item for item in secrets if item["type"] == "kubernetes.io/tls"] == []
        maps = federation.kubectl_json(mesh, "get", "configmaps", "-n", "istio-system")["items"]
        assert RECORD not in [item["metadata"]["name"] for item in maps]
