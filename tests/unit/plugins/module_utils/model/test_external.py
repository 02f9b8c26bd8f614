# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""External services as the model holds them: what is read of an entry, and which meshes know it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.model.inventory import parse
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import ExternalService, Inventory, Port

from tests.unit.plugins.module_utils.model.build import host, inventory

HTTPS = {"number": 443, "protocol": "HTTPS"}
HTTP = {"number": 80, "protocol": "HTTP"}


def service(**more: Any) -> dict[str, Any]:
    return {"hosts": ["api.example.com"], "ports": [HTTPS], **more}


def known(found: Inventory, cluster: str) -> list[str]:
    """First host or address of what a cluster knows."""
    return [(entry.hosts or entry.addresses)[0] for entry in found.clusters[cluster].external_services]


def read(**more: Any) -> ExternalService:
    (entry,) = inventory(east=host(external_services=[service(**more)])).clusters["east"].external_services
    return entry


def test_what_is_left_out() -> None:
    entry = read()
    assert entry.ports == (Port(443, "https-443", "HTTPS", 443),)
    assert (entry.consumers, entry.tls.mode, entry.timeout, entry.retries) == (("east",), "none", None, None)
    assert (entry.export_to, entry.addresses, entry.declared_by) == (("*",), (), ("east",))


def test_everything_said() -> None:
    entry = read(
        ports=[{**HTTP, "name": "web", "target_port": 8443}],
        addresses=["192.0.2.9"],
        timeout="1.5s",
        retries=2,
        export_to=["shop"],
        tls={"mode": "mutual", "sni": "server.example.com", "credential": "api-client"},
    )
    assert entry.ports == (Port(80, "web", "HTTP", 8443),)
    assert (entry.timeout, entry.retries, entry.export_to) == (1.5, 2, ("shop",))
    assert (entry.tls.mode, entry.tls.sni, entry.tls.credential) == ("mutual", "server.example.com", "api-client")


@pytest.mark.parametrize(
    ("port", "mode", "target"),
    [
        (HTTP, "simple", 443),
        ({**HTTP, "target_port": 8443}, "simple", 8443),
        ({**HTTP, "number": 8080}, "simple", 8080),
        ({"number": 80, "protocol": "GRPC"}, "simple", 443),
        (HTTP, "none", 80),
    ],
)
def test_http_that_becomes_https_goes_to_its_port(port: dict[str, Any], mode: str, target: int) -> None:
    assert read(ports=[port], tls={"mode": mode}).ports[0].target_port == target


def test_addresses_are_written_in_one_way() -> None:
    ports = [{"number": 5432, "protocol": "TCP"}]
    entry = read(hosts=None, addresses=["192.0.2.9/32", "198.51.100.0/24", "2001:DB8::0:9"], ports=ports)
    assert entry.addresses == ("192.0.2.9", "198.51.100.0/24", "2001:db8::9")


def test_consumers_are_meshes_and_may_be_the_own_one() -> None:
    def consumed(*consumers: str) -> list[str]:
        found = inventory(
            east=host(external_services=[service(consumers=list(consumers))], groups=("eu",)),
            east_2=host(name="east"),
            west=host(groups=("eu",)),
            north=host(),
        )
        return [cluster for cluster in found.clusters if known(found, cluster)]

    assert consumed("west") == ["west"]
    assert consumed("eu") == ["east", "east-2", "west"]
    assert consumed("all") == ["east", "east-2", "north", "west"]
    assert consumed("north", "east") == ["east", "east-2", "north"]


def test_what_several_hosts_say_alike_is_one_service() -> None:
    everywhere = {"external_services": [service(consumers=["all"])]}
    found = inventory(east=host(**everywhere), east_2=host(name="east", **everywhere), west=host(**everywhere))
    for cluster in found.clusters.values():
        assert [entry.declared_by for entry in cluster.external_services] == [("east", "east-2", "west")]


def test_same_host_for_different_consumers() -> None:
    found = inventory(
        east=host(external_services=[service(), service(consumers=["west"], export_to=["shop"])]), west=host()
    )
    assert [found.clusters[name].external_services[0].export_to for name in ("east", "west")] == [("*",), ("shop",)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        # Told apart by name.
        (service(addresses=["192.0.2.9"]), service(hosts=["www.example.com"], addresses=["192.0.2.9"])),
        (service(), service(hosts=["*.example.com"])),
        # Another port, another address, another family.
        (
            {"addresses": ["192.0.2.9"], "ports": [{"number": 1, "protocol": "TCP"}]},
            {"addresses": ["192.0.2.9"], "ports": [{"number": 2, "protocol": "TCP"}]},
        ),
        (
            {"addresses": ["192.0.2.0/25", "0.0.0.1"], "ports": [{"number": 1, "protocol": "TCP"}]},
            {"addresses": ["192.0.2.128/25", "::2"], "ports": [{"number": 1, "protocol": "TCP"}]},
        ),
    ],
)
def test_services_side_by_side(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert len(inventory(east=host(external_services=[first, second])).clusters["east"].external_services) == 2


def test_a_leaving_host_takes_what_it_declares_along() -> None:
    hosts = {"east": host(external_services=[service(consumers=["all"])]), "west": host()}
    assert known(parse({"hosts": hosts}, without=["west"]), "east") == ["api.example.com"]
    assert known(parse({"hosts": hosts}, without=["east"]), "west") == []
