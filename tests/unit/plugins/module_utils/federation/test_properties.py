# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What holds for the federation of any inventory."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.federation.compute import edges, federation
from ansible_collections.multimesh.istio.plugins.module_utils.federation.objects import identity
from ansible_collections.multimesh.istio.plugins.module_utils.model.inventory import parse
from hypothesis import given, settings
from hypothesis import strategies as st

MESHES = ("east", "north", "south", "west")
SERVICES = ("cart", "ratings", "reviews")
Raw = dict[str, Any]


def consumers(mesh: str) -> st.SearchStrategy[list[Any]]:
    others = st.sampled_from([*(name for name in MESHES if name != mesh), "all", "eu"])
    narrow = st.fixed_dictionaries(
        {"mesh": others, "namespace": st.just("shop")}, optional={"methods": st.just(["GET"])}
    )
    return st.lists(others | narrow, max_size=3)


@st.composite
def inventories(draw: st.DrawFn) -> Raw:
    """Meshes with one or two clusters. A service has the same ports everywhere, so that hosts can be shared."""
    hosts: Raw = {}
    for mesh in MESHES:
        for number in range(draw(st.integers(1, 2)) if mesh == "east" else 1):
            exports = []
            for service in draw(st.lists(st.sampled_from(SERVICES), unique=True)):
                export = {
                    "service": service,
                    "namespace": "books",
                    "ports": [
                        {"number": 80, "name": "http", "protocol": "HTTP"},
                        {"number": 81, "protocol": "GRPC", "target_port": 8081},
                    ],
                    "service_accounts": [service],
                    "consumers": draw(consumers(mesh)),
                }
                if draw(st.booleans()):
                    # Two names for what backs each other up, and two Services that may share a name.
                    shared = draw(st.sampled_from([service, f"{service}-2"]))
                    export["host"] = f"{shared}.shop.global"
                exports.append(export)
            name = mesh if number == 0 else f"{mesh}-{number + 1}"
            variables: Raw = {
                "mesh_name": mesh,
                "mesh_gateway_addresses": [f"192.0.2.{len(hosts) + 1}"],
                "mesh_exports": exports,
            }
            if draw(st.booleans()):
                variables["mesh_imports"] = draw(
                    st.lists(
                        st.fixed_dictionaries(
                            {"from": st.sampled_from(["all", "eu", *MESHES])},
                            optional={"select": st.sampled_from(["[?service=='cart']", "[*]"])},
                        ),
                        max_size=2,
                    )
                )
            groups = ["meshes", "eu"] if draw(st.booleans()) else ["meshes"]
            hosts[name] = {"vars": variables, "groups": groups}
    hosts["west"]["groups"] = ["meshes", "eu"]
    return {"hosts": hosts}


def everything(raw: Raw) -> dict[str, list[Raw]]:
    inventory = parse(raw)
    return {host: federation(inventory, host) for host in inventory.clusters}


few = settings(max_examples=25, deadline=None)


@few
@given(inventories(), st.integers())
def test_order_means_nothing(raw: Raw, seed: int) -> None:
    dice = random.Random(seed)
    shuffled = {"hosts": dict(dice.sample(sorted(raw["hosts"].items()), len(raw["hosts"])))}
    shuffled = copy.deepcopy(shuffled)
    for host in shuffled["hosts"].values():
        for export in host["vars"]["mesh_exports"]:
            dice.shuffle(export["consumers"])
            dice.shuffle(export["ports"])
        dice.shuffle(host["vars"]["mesh_exports"])
        dice.shuffle(host["groups"])
    expected, found = everything(raw), everything(shuffled)
    assert json.dumps(found, sort_keys=True) == json.dumps(expected, sort_keys=True)
    for host, items in found.items():
        assert items == sorted(items, key=identity), host
        assert len({identity(item) for item in items}) == len(items)


@few
@given(inventories(), st.data())
def test_removing_an_export_removes_its_objects_only(raw: Raw, data: st.DataObject) -> None:
    exporters = sorted(host for host, entry in raw["hosts"].items() if entry["vars"]["mesh_exports"])
    if not exporters:
        return
    host = data.draw(st.sampled_from(exporters))
    less = copy.deepcopy(raw)
    gone = less["hosts"][host]["vars"]["mesh_exports"].pop()
    origin = f"{raw['hosts'][host]['vars']['mesh_name']}/{gone['namespace']}/{gone['service']}"
    before, after = everything(raw), everything(less)
    for cluster in before:
        old = {identity(item): item for item in before[cluster]}
        new = {identity(item): item for item in after[cluster]}
        assert set(new) <= set(old)
        for key, item in old.items():
            origins = item["metadata"].get("annotations", {}).get("multimesh.istio/export", "").split(",")
            summary = item["kind"] in ("Gateway", "ConfigMap") or item["metadata"]["name"] == "multimesh-default-deny"
            # Exporters of a common host may agree on a Service name once one of them is gone.
            common = bool(gone.get("host")) and gone["host"] in json.dumps(item)
            if not summary and not common and origin not in origins:
                assert new.get(key) == item
            if key not in new:
                assert summary or origins == [origin]


@few
@given(inventories())
def test_what_consumers_ask_for_is_what_exporters_let_in(raw: Raw) -> None:
    inventory = parse(raw)
    objects = {host: federation(inventory, host) for host in inventory.clusters}
    gateways = {
        host: {name for item in items if item["kind"] == "Gateway" for name in item["spec"]["servers"][0]["hosts"]}
        for host, items in objects.items()
    }
    address = {host: entry["vars"]["mesh_gateway_addresses"][0] for host, entry in raw["hosts"].items()}
    asked: dict[str, set[str]] = {host: set() for host in objects}
    for cluster, items in objects.items():
        entries = {item["metadata"]["name"]: item["spec"] for item in items if item["kind"] == "ServiceEntry"}
        rules = {item["metadata"]["name"]: item["spec"] for item in items if item["kind"] == "DestinationRule"}
        assert set(entries) == set(rules)
        for edge in edges(inventory, cluster):
            exporter = edge["exporter_cluster"]
            endpoints = [endpoint["address"] for endpoint in entries[edge["host"]]["endpoints"]]
            assert address[exporter] in endpoints
            settings_of = {
                setting["port"]["number"]: setting
                for setting in rules[edge["host"]]["trafficPolicy"]["portLevelSettings"]
            }
            tls = settings_of[edge["port"]]["tls"]
            prefix = f"outbound_.{edge['port']}_._."
            assert tls["sni"].startswith(prefix)
            assert tls["sni"].removeprefix(prefix) in gateways[exporter]
            asked[exporter].add(edge["export"])
            namespace, service = edge["export"].split("/")
            identity_of = f"spiffe://{edge['exporter']}.mesh/ns/{namespace}/sa/{service}"
            assert identity_of in tls["subjectAltNames"]
            assert entries[edge["host"]]["subjectAltNames"] == tls["subjectAltNames"]
        for entry in entries.values():
            own = [endpoint for endpoint in entry["endpoints"] if "network" not in endpoint]
            assert len(own) <= 1
            assert inventory.clusters[cluster].network not in [
                endpoint.get("network") for endpoint in entry["endpoints"]
            ]
    for host, exports in asked.items():
        policies = {
            f"{item['metadata']['namespace']}/{item['metadata']['name'].removeprefix('multimesh-')}"
            for item in objects[host]
            if item["kind"] == "AuthorizationPolicy"
        }
        assert exports <= policies
