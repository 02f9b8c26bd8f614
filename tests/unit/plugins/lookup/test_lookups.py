# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lookups and filters from a playbook: templated variables, terms, wantlist, warnings and errors."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.applyset import manifest

from tests.unit.plugins.playbook import evaluate

PORTS = [{"number": "{{ books_port }}", "name": "http", "protocol": "HTTP"}]

INVENTORY: dict[str, Any] = {
    "all": {
        "children": {
            "meshes": {
                "vars": {"books_port": 9080, "mesh_domain": "{{ 'glo' ~ 'bal' }}"},
                "children": {"eu": {"hosts": {"east": {}, "west": {}}}},
                "hosts": {
                    "east": {
                        "gateway": "192.0.2.1",
                        "mesh_gateway_addresses": ["{{ gateway }}"],
                        "mesh_exports": [
                            {
                                "service": "{{ 'reviews' }}",
                                "namespace": "books",
                                "ports": PORTS,
                                "service_accounts": ["{{ inventory_hostname }}-reviews"],
                                "consumers": ["eu", "asia"],
                            }
                        ],
                        # The registered result of a task is no part of the inventory, whatever it is called.
                        "mesh_info": {"changed": False, "failed": False, "mesh": {}},
                    },
                    "west": {"mesh_imports": [{"from": "east", "select": "[?service=='reviews']"}]},
                    "tokyo": {
                        "mesh_name": "asia",
                        "mesh_imports": [{"from": "east", "export_to": ["shop"]}, {"from": "west"}],
                    },
                    "osaka": {"mesh_name": "asia"},
                },
            },
            "others": {"hosts": {"db": {"mesh_whatever": True}}},
        }
    }
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    lookup, filtered = "lookup('multimesh.istio.{}', {})", "hostvars | multimesh.istio.{}({})"
    return evaluate(
        tmp_path_factory.mktemp("lookups"),
        INVENTORY,
        {
            "one_term": lookup.format("service_entries", "'west'"),
            "wantlist": lookup.format("service_entries", "'west', 'east', wantlist=True"),
            "no_objects": lookup.format("service_entries", "'east'"),
            "list_as_term": lookup.format("service_entries", "['west', 'osaka'], wantlist=True"),
            "query": "query('multimesh.istio.federation', 'west')",
            "everything": lookup.format("federation", "'west'"),
            "state": lookup.format("federation_state", ""),
            "of_a_state": lookup.format("federation", "'west', state=lookup('multimesh.istio.federation_state')"),
            "of_an_unknown_state": lookup.format("federation", "'west', state='x'"),
            "as_text": lookup.format("federation", "'west', as_text=true"),
            "by_filter": filtered.format("federation", "'west'"),
            "entries_by_filter": filtered.format("service_entries", "'west'"),
            "rules": filtered.format("destination_rules", "'west'"),
            "routes": filtered.format("virtual_services", "'west'"),
            "gateways": filtered.format("gateways", "'east'"),
            "policies": filtered.format("authorization_policies", "'east'"),
            "one_cluster_of_a_mesh": lookup.format("service_entries", "'osaka'"),
            "with_a_warning": lookup.format("service_entries", "'tokyo'"),
            "config": filtered.format("mesh_config", "'east'"),
            "config_of_a_state": filtered.format("mesh_config", "'east', lookup('multimesh.istio.federation_state')"),
            "config_of_an_unknown_state": filtered.format("mesh_config", "'east', state='x'"),
            "edges": filtered.format("edges", "'west'"),
            "plain": (
                "{'east': {'mesh_gateway_addresses': ['192.0.2.9'], 'mesh_exports': []}, 'west': {}}"
                " | multimesh.istio.federation('west')"
            ),
        },
        {
            "unknown_term": lookup.format("federation", "'wets'"),
            "number_as_term": lookup.format("federation", "1"),
            "unlike_clusters": filtered.format("federation", "'asia'"),
            "several_clusters": filtered.format("mesh_config", "'asia'"),
            "no_hostvars": "'hostvars' | multimesh.istio.federation('west')",
            "no_meshes": "{'db': {'group_names': ['others']}} | multimesh.istio.federation('db')",
            "problems": "{'east': {'mesh_exprots': []}, 'west': {'mesh_name': 1}} | multimesh.istio.federation('west')",
        },
    )


def test_one_term_gives_its_objects(found: dict[str, Any]) -> None:
    [entry] = found["one_term"]
    assert entry["metadata"]["name"] == "reviews.books.svc.east.global"
    assert entry["spec"]["ports"] == [{"number": 9080, "name": "http", "protocol": "HTTP"}]
    assert entry["spec"]["endpoints"][0]["address"] == "192.0.2.1"
    assert entry["spec"]["subjectAltNames"] == ["spiffe://east.mesh/ns/books/sa/east-reviews"]


def test_a_list_per_term(found: dict[str, Any]) -> None:
    assert found["wantlist"] == [found["one_term"], []]
    assert found["list_as_term"] == [found["one_term"], found["one_cluster_of_a_mesh"]]
    assert found["query"] == [found["everything"]]
    assert found["no_objects"] == []


def test_of_a_state_that_an_earlier_task_has_seen(found: dict[str, Any]) -> None:
    assert len(found["state"]) == 32
    assert found["of_a_state"] == found["of_an_unknown_state"] == found["everything"]
    assert found["config_of_a_state"] == found["config_of_an_unknown_state"] == found["config"]


def test_as_text(found: dict[str, Any]) -> None:
    assert manifest.read(found["as_text"]) == found["everything"]


def test_filters_give_the_same_as_lookups(found: dict[str, Any]) -> None:
    assert found["by_filter"] == found["everything"]
    assert found["entries_by_filter"] == found["one_term"]
    kinds = [found[kind] for kind in ("rules", "entries_by_filter", "routes")]
    assert found["everything"][1:] == [item for items in kinds for item in items]
    assert [item["kind"] for item in found["gateways"] + found["policies"]] == ["Gateway", "AuthorizationPolicy"]
    assert found["plain"] == []


def test_settings_and_edges(found: dict[str, Any]) -> None:
    assert found["config"]["admitted_trust_domains"] == ["asia.mesh", "west.mesh"]
    assert [edge["host"] for edge in found["edges"]] == ["reviews.books.svc.east.global"]


def test_warnings_are_shown(found: dict[str, Any]) -> None:
    assert "[WARNING]: tokyo: mesh_imports[1]: nothing that west offers to asia is selected" in found["stderr"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unknown_term", "wets: no mesh and no host of group 'meshes'. Did you mean 'west'."),
        ("number_as_term", "expected the name of a host or a mesh, found 1"),
        (
            "unlike_clusters",
            (
                "asia: DestinationRule istio-system/reviews.books.svc.east.global differs between the clusters"
                " osaka and tokyo. Ask for one of the hosts osaka, tokyo."
            ),
        ),
        ("several_clusters", "asia: this mesh has several clusters. Ask for one of the hosts osaka, tokyo."),
        ("no_hostvars", "expected hostvars, for example: hostvars | multimesh.istio.federation('west')"),
        ("no_meshes", "The inventory has no host in group 'meshes'. Add one host per cluster to this group."),
        ("problems", "east: mesh_exprots: unknown key. Did you mean 'mesh_exports'."),
        ("problems", "west: mesh_name: expected a string, found 1 (a number). Give the mesh a name such as 'east'."),
    ],
)
def test_errors(found: dict[str, Any], name: str, message: str) -> None:
    assert message in (found[name] or "")
