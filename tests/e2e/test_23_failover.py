# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Meshes that export one host back each other up, and calls come home again."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.e2e import scenario
from tests.e2e.load import Burst
from tests.e2e.scenario import NAMESPACE
from tests.e2e.support import Federation, wait_for
from tests.lab import manifests

pytestmark = pytest.mark.load

HOST = "quotes.shop.global"
EXPORTERS = ("east", "north")
PORTS = {"http": 80, "grpc": 8079, "tcp-echo": 9001}
PROTOCOLS = {"http": "HTTP", "grpc": "GRPC", "tcp-echo": "TCP"}
QPS = 200
SECONDS = 25
CONNECT_TIMEOUT = "450ms"
"""A request may wait for it twice, because Istio turns to the next rank after two attempts."""
STALL = 1.0
"""No request may take longer, whatever breaks."""
CONNECTIONS = 4
"""TCP connections that are open while something breaks."""


def quotes(**traffic: object) -> dict[str, object]:
    """The export that east and north have in common."""
    return {
        "service": "quotes",
        "namespace": NAMESPACE,
        "host": HOST,
        "ports": [
            {"number": number, "name": name, "protocol": PROTOCOLS[name], "target_port": manifests.APP_PORTS[name]}
            for name, number in PORTS.items()
        ],
        "service_accounts": ["quotes"],
        "consumers": ["all"],
        **({"traffic": traffic} if traffic else {}),
    }


def share(federation: Federation, **traffic: object) -> None:
    """Both meshes export the host, and calls are shared out like this."""
    hosts = scenario.hosts()
    for mesh in EXPORTERS:
        hosts[mesh]["mesh_exports"].append(quotes(**traffic))
    federation.write_inventory(hosts)
    federation.play("federate").ok()


@pytest.fixture(scope="module")
def merged(federation):
    for mesh in EXPORTERS:
        federation.lab.apply(mesh, manifests.app(mesh, NAMESPACE, "quotes", ports=PORTS))
    for mesh in EXPORTERS:
        federation.lab.wait_ready(mesh, [NAMESPACE])
    share(federation, order=list(EXPORTERS), connect_timeout=CONNECT_TIMEOUT)
    wait_for(lambda: answered(federation, "west", 20) == {"east": 20}, "calls go to the preferred mesh")
    yield federation
    federation.write_inventory(scenario.hosts())
    federation.play("federate").ok()
    for mesh in EXPORTERS:
        federation.lab.kubectl(mesh, "delete", "deploy/quotes-v1", "service/quotes", "-n", NAMESPACE)


def answered(federation: Federation, caller: str, calls: int) -> dict[str, int]:
    """Which mesh answered how many of some calls."""
    url = f"http://{HOST}/?[1-{calls}]"
    status, body = federation.call(caller, NAMESPACE, "caller", url)
    assert status == 200, body
    decoder, found, rest = json.JSONDecoder(), Counter(), body
    while start := rest.find("{") + 1:
        answer, end = decoder.raw_decode(rest[start - 1 :])
        found[answer["mesh"]] += 1
        rest = rest[start - 1 + end :]
    return dict(found)


def kill_pods(federation: Federation) -> Callable[[], None]:
    federation.lab.kubectl("east", "delete", "pods", "-n", NAMESPACE, "-l", "app=quotes", "--grace-period=0", "--force")
    return lambda: federation.lab.wait_ready("east", [NAMESPACE])


def kill_gateway(federation: Federation) -> Callable[[], None]:
    federation.lab.kubectl(
        "east", "delete", "pods", "-n", "istio-system", "-l", "istio=eastwestgateway", "--grace-period=0", "--force"
    )
    return lambda: federation.lab.wait_ready("east", ["istio-system"])


def kill_mesh(federation: Federation) -> Callable[[], None]:
    federation.lab.kill("east")

    def back() -> None:
        federation.lab.restart("east")
        federation.lab.wait_ready("east", ["istio-system", NAMESPACE])

    return back


DISASTERS = {"pods": kill_pods, "gateway": kill_gateway, "mesh": kill_mesh}


@pytest.mark.parametrize(("disaster", "caller"), [*itertools.product(("pods", "gateway"), ("west",)), ("pods", "east")])
def test_no_request_fails_when_the_preferred_ends(merged, disaster, caller):
    survive(merged, disaster, caller)


def survive(federation: Federation, disaster: str, caller: str) -> None:
    """End the preferred mesh's part under load, and see that nobody notices and that calls come home without a run."""
    home = {"east": 10}
    assert answered(federation, caller, 10) == home
    web = Burst(federation, caller, f"http://{HOST}/", QPS, SECONDS, "8")
    streams = Burst(federation, caller, f"tcp://{HOST}:{PORTS['tcp-echo']}", 40, SECONDS, str(CONNECTIONS))
    calls = Burst(federation, caller, f"{HOST}:{PORTS['grpc']}", 40, SECONDS, str(CONNECTIONS), "-grpc", "-health")
    time.sleep(3)  # so that the load is there
    back = DISASTERS[disaster](federation)
    if caller == "west":
        print(f"during: {answered(federation, caller, 10)}")
    back()
    web.wait()
    streams.wait()
    calls.wait()
    broken = sum(count for code, count in streams.codes.items() if code != "OK")
    print(
        f"{disaster} of east ended, called from {caller}: HTTP {web.codes}, slowest {web.slowest:.3f} s;"
        f" gRPC {calls.codes}, slowest {calls.slowest:.3f} s;"
        f" TCP {streams.codes}, {broken} broken, slowest {streams.slowest:.3f} s"
    )
    wait_for(lambda: answered(federation, caller, 10) == home, "calls come home without a run")
    assert web.codes == {"200": QPS * SECONDS}, web.said[-2000:]
    assert web.slowest <= STALL
    # A call that somebody may have carried out is not repeated: what was under way on an open connection is lost. A pod
    # that is ending answers that it does not serve any more, which is an answer.
    assert calls.codes.get("ERROR", 0) <= CONNECTIONS
    assert calls.codes.keys() <= {"SERVING", "NOT_SERVING", "ERROR"}
    # A proxy cannot send bytes under way again, so every open connection breaks. When clients open it anew, a proxy
    # takes it before it knows whether there is a way, until three failures in a row have shown that there is none.
    assert broken <= CONNECTIONS * (1 + 3)


def test_no_request_fails_when_the_preferred_mesh_ends(merged):
    survive(merged, "mesh", "west")


def test_calls_within_an_exporting_mesh_stay_there(merged):
    assert answered(merged, "east", 20) == {"east": 20}
    assert answered(merged, "north", 20) == {"north": 20}


def test_weights_share_calls_out(merged):
    share(merged, weights={"east": 75, "north": 25})

    def shares() -> bool:
        found = answered(merged, "west", 400)
        print(found)
        return 0.65 < found.get("east", 0) / 400 < 0.85

    wait_for(shares, "three of four calls go to east")


def test_without_order_and_weights_the_nearest_region_is_called(merged):
    share(merged)
    wait_for(lambda: answered(merged, "west", 20) == {"east": 20}, "calls go to the exporter of the same region")
    survive(merged, "pods", "west")
