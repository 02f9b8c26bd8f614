# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters on plain mappings, as they come from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible import constants
from ansible.errors import AnsibleError
from ansible.utils.display import Display
from ansible_collections.multimesh.istio.plugins.filter import (
    authorization_policies,
    coredns_hosts,
    destination_rules,
    dns_hosts,
    edges,
    federation,
    gateways,
    mesh_config,
    service_entries,
    virtual_services,
)
from ansible_collections.multimesh.istio.plugins.module_utils.model import inventory
from ansible_collections.multimesh.istio.plugins.plugin_utils import compute

PLUGINS = {
    module.__name__.rpartition(".")[2]: module
    for module in (
        authorization_policies,
        coredns_hosts,
        destination_rules,
        dns_hosts,
        edges,
        federation,
        gateways,
        mesh_config,
        service_entries,
        virtual_services,
    )
}

EXPORT = {
    "service": "reviews",
    "namespace": "books",
    "ports": [{"number": 9080, "name": "http", "protocol": "HTTP"}],
    "service_accounts": ["reviews"],
    "consumers": ["west"],
}
HOSTVARS: dict[str, Any] = {
    "east": {"mesh_gateway_addresses": ["192.0.2.1"], "mesh_exports": [EXPORT]},
    "west": {},
}


def use(name: str, *arguments: Any, **options: Any) -> Any:
    return PLUGINS[name].FilterModule().filters()[name](*arguments, **options)


@pytest.mark.parametrize("name", PLUGINS)
def test_a_file_holds_the_filter_of_its_name(name: str) -> None:
    assert set(PLUGINS[name].FilterModule().filters()) == {name}


@pytest.mark.parametrize(
    ("name", "cluster", "kind"),
    [
        ("service_entries", "west", "ServiceEntry"),
        ("destination_rules", "west", "DestinationRule"),
        ("virtual_services", "west", "VirtualService"),
        ("gateways", "east", "Gateway"),
        ("authorization_policies", "east", "AuthorizationPolicy"),
    ],
)
def test_a_kind_is_a_part_of_the_federation(name: str, cluster: str, kind: str) -> None:
    everything = use("federation", HOSTVARS, cluster)
    found = use(name, HOSTVARS, cluster)
    assert len(found) == 1
    assert found == [item for item in everything if item["kind"] == kind]


def test_hosts_for_dns() -> None:
    hosts = use("dns_hosts", HOSTVARS, "west")
    [entry] = use("service_entries", HOSTVARS, "west")
    assert hosts == {entry["spec"]["hosts"][0]: entry["spec"]["addresses"]}
    assert use("dns_hosts", HOSTVARS, "west", without=["east"]) == {}
    text = use("coredns_hosts", hosts, ttl=5, port=5353)
    assert "reviews.books.svc.east.global:5353 {" in text
    assert "        ttl 5\n" in text
    assert use("coredns_hosts", {}) == ""
    with pytest.raises(AnsibleError, match="hosts: a b: expected a DNS name"):
        use("coredns_hosts", {"a b": ["241.0.0.1"]})


def test_hosts_for_dns_in_one_of_the_clusters_of_a_mesh() -> None:
    hostvars = {**HOSTVARS, "west": {}, "west-2": {"mesh_name": "west"}}
    assert use("dns_hosts", hostvars, "west") == use("dns_hosts", hostvars, "west-2")


def test_hosts_for_dns_that_istiod_alone_knows() -> None:
    with pytest.raises(AnsibleError) as caught:
        use("dns_hosts", {**HOSTVARS, "west": {"mesh_address_range": "auto"}}, "west")
    assert str(caught.value) == (
        "The inventory has 1 problem:\n  - west: mesh_address_range: expected a range, because addresses that istiod"
        " gives out are no others' to know, found 'auto'. Choose a range, or leave role dns out."
    )


def test_unknown_addresses_are_refused_unless_asked_for() -> None:
    hostvars = {**HOSTVARS, "east": {"mesh_exports": [EXPORT]}}
    with pytest.raises(AnsibleError, match="Add mesh_gateway_addresses"):
        use("federation", hostvars, "west")
    [entry] = use("service_entries", hostvars, "west", allow_unknown_addresses=True)
    assert entry["spec"]["endpoints"][0]["address"] == "pending.east.invalid"


def test_settings_are_known_before_there_is_a_gateway() -> None:
    hostvars = {**HOSTVARS, "east": {"mesh_exports": [EXPORT]}}
    assert use("mesh_config", hostvars, "east")["admitted_trust_domains"] == ["west.mesh"]


def test_of_a_state_nobody_reads_the_variables_again() -> None:
    state = compute.federation_state(HOSTVARS, ["east", "west"], False, {"meshes": ["east", "west"]}, ())
    assert use("mesh_config", {}, "west", state) == use("mesh_config", HOSTVARS, "west")


def test_warnings_concern_the_cluster_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(Display, "warning", lambda _self, text: shown.append(text))
    hostvars = {**HOSTVARS, "west": {"federation_mesh_info": {"changed": False, "mesh": {}}}}
    hostvars["east"] = {"mesh_exports": [EXPORT]}
    use("federation", hostvars, "east")
    assert shown == []
    assert use("federation", hostvars, "west") == []
    assert shown == ["west: east was not reached and nothing is remembered of it: east/books/reviews is left out"]


def test_an_inventory_is_parsed_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parsed: list[Any] = []
    original = inventory.parse
    monkeypatch.setattr(inventory, "parse", lambda *arguments: parsed.append(1) or original(*arguments))
    monkeypatch.setattr(compute, "_memo", {})
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    for name in ("federation", "service_entries", "edges"):
        use(name, HOSTVARS, "west")
    assert len(parsed) == 1
    use("federation", {**HOSTVARS, "north": {}}, "west")
    assert len(parsed) == 2


def test_results_may_be_changed_without_harm() -> None:
    use("federation", HOSTVARS, "west")[0]["metadata"].clear()
    assert use("federation", HOSTVARS, "west")[0]["metadata"]
