# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bad attributes, rules and consumers, each with the exact message that refuses it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.errors import InventoryError
from ansible_collections.multimesh.istio.plugins.module_utils.model.inventory import parse

from tests.unit.plugins.module_utils.model.test_refusals import DROP, export, inventory, ports

NOBODY = "List meshes, groups or 'all'; an empty list offers the Service to nobody."
RULE = {"select": "[?attributes.tier=='gold']", "consumers": ["west"]}
TWO_PORTS = [{"number": 80, "protocol": "HTTP"}, {"number": 9000, "protocol": "TCP"}]

REFUSALS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "attributes whose names are no strings": (
        {"east.mesh_exports.0.attributes": {"tiers": [{1: "gold"}]}},
        [
            (
                "east: mesh_exports[0].attributes.tiers[0]: expected names that are strings, found 1 (a number). "
                "Write names and values, for example {tier: gold}."
            )
        ],
    ),
    "attributes of a mesh no mapping": (
        {"east.mesh_attributes": ["production"]},
        [
            (
                "east: mesh_attributes: expected a mapping, found a list. "
                "Write names and values, for example {stage: test}."
            )
        ],
    ),
    "attributes of one mesh that differ": (
        {
            "east.mesh_attributes": {"stage": "production"},
            "east-2": {"mesh_name": "east", "mesh_gateway_addresses": ["192.0.2.3"]},
        },
        [
            (
                "east-2: mesh_attributes: expected those of east, because consumers are whole meshes, found others. "
                "Set the same on every cluster of mesh east."
            )
        ],
    ),
    "tag that Prometheus would not have": (
        {"east.mesh_telemetry_attributes": ["cost-centre"]},
        [
            (
                "east: mesh_telemetry_attributes[0]: expected a name of letters, digits and '_' that does not "
                "begin with a digit, found 'cost-centre'. Name attributes of exports, for example [tier]."
            )
        ],
    ),
    "consumer ports that are not exported": (
        {"east.mesh_exports.0.consumers": [{"mesh": "west", "ports": [80, 9080]}]},
        [
            (
                "east: mesh_exports[0].consumers[0].ports: expected ports that mesh_exports[0] has (9080), found 80. "
                "Name ports of the Service, or leave it out to allow all that are exported."
            )
        ],
    ),
    "consumer ports by name": (
        {"east.mesh_exports.0.consumers": [{"mesh": "west", "ports": ["http"]}]},
        [
            (
                "east: mesh_exports[0].consumers[0].ports[0]: expected a number from 1 to 65535, found 'http'. "
                "List ports of the Service, or leave it out to allow all of them."
            )
        ],
    ),
    "consumer ports empty": (
        {"east.mesh_exports.0.consumers": [{"mesh": "west", "ports": []}]},
        [
            (
                "east: mesh_exports[0].consumers[0].ports: expected at least one entry, found an empty list. "
                "List ports of the Service, or leave it out to allow all of them."
            )
        ],
    ),
    "consumer ports no list": (
        {"east.mesh_exports.0.consumers": [{"mesh": "west", "ports": 9080}]},
        [
            (
                "east: mesh_exports[0].consumers[0].ports: expected a list, found 9080 (a number). "
                "List ports of the Service, or leave it out to allow all of them."
            )
        ],
    ),
    "methods on a port that is not HTTP": (
        {
            "east.mesh_exports.0.ports": TWO_PORTS,
            "east.mesh_exports.0.consumers": [{"mesh": "west", "ports": [80, 9000], "methods": ["GET"]}],
        },
        [
            (
                "east: mesh_exports[0].consumers: methods and paths need HTTP, and port 9000 is TCP. "
                "Give the consumer ports that are HTTP, or admit it without methods and paths."
            )
        ],
    ),
    "consumer select no expression": (
        {"east.mesh_exports.0.consumers": [{"mesh": "all", "select": "[?stage"}]},
        [
            (
                "east: mesh_exports[0].consumers[0].select: expected a JMESPath expression over meshes: Invalid "
                "jmespath expression: Incomplete expression. See https://jmespath.org."
            )
        ],
    ),
    "consumer select that gives names": (
        {"east.mesh_exports.0.consumers": [{"mesh": "all", "select": "[].name"}]},
        [
            (
                "east: mesh_exports[0].consumers[0].select: expected a list of meshes, found a list with 'west'. "
                "Select whole meshes, for example [?attributes.stage=='production']."
            )
        ],
    ),
    "consumer select without mesh": (
        {"east.mesh_exports.0.consumers": [{"select": "[*]"}]},
        ["east: mesh_exports[0].consumers[0].mesh: expected a value, found nothing. Name a mesh, a group or 'all'."],
    ),
    "nobody names consumers": (
        {
            "east.mesh_exports.0.consumers": DROP,
            "east.mesh_exports.0.attributes": {"tier": "silver"},
            "east.mesh_export_rules": [RULE],
        },
        [f"east: mesh_exports[0].consumers: expected a list, found nothing. {NOBODY}"],
    ),
    "rules no list": (
        {"east.mesh_export_rules": RULE},
        [
            (
                "east: mesh_export_rules: expected a list, found a mapping. "
                "Write a list of rules, each with select and consumers."
            )
        ],
    ),
    "rule without anything": (
        {"east.mesh_export_rules": [{}]},
        [
            "east: mesh_export_rules[0].consumers: expected a list, found nothing. List meshes, groups or 'all'.",
            (
                "east: mesh_export_rules[0].select: expected a value, found nothing. Write a JMESPath expression over "
                "exports, for example [?attributes.tier=='gold'], or [*] for all."
            ),
        ],
    ),
    "rule with an unknown key": (
        {"east.mesh_export_rules": [{**RULE, "consumer": "west"}]},
        ["east: mesh_export_rules[0].consumer: unknown key. Did you mean 'consumers'."],
    ),
    "rule whose select is no expression": (
        {"east.mesh_export_rules": [{**RULE, "select": "[?tier"}]},
        [
            (
                "east: mesh_export_rules[0].select: expected a JMESPath expression over exports: Invalid "
                "jmespath expression: Incomplete expression. See https://jmespath.org."
            )
        ],
    ),
    "rule that gives attributes": (
        {"east.mesh_export_rules": [{**RULE, "select": "[].service"}]},
        [
            (
                "east: mesh_export_rules[0].select: expected a list of exports of east, found a list with 'reviews'. "
                "Select whole exports, for example [?attributes.tier=='gold']."
            )
        ],
    ),
    "unknown consumer in a rule that matches nothing": (
        {"east.mesh_export_rules": [{**RULE, "consumers": ["weest"]}]},
        [
            (
                "east: mesh_export_rules[0].consumers[0]: expected a mesh, a group of meshes or 'all', found "
                "'weest', which this run's inventory lacks. Did you mean 'west'; job slicing takes hosts out of "
                "an inventory."
            )
        ],
    ),
    "ports that one export of a rule lacks": (
        {
            "east.mesh_exports.1": export(ports=ports(number=80)),
            "east.mesh_export_rules": [{"select": "[*]", "consumers": [{"mesh": "west", "ports": [9080]}]}],
        },
        [
            (
                "east: mesh_export_rules[0].consumers[0].ports: expected ports that mesh_exports[1] has (80), "
                "found 9080. Name ports of the Service, or leave it out to allow all that are exported."
            )
        ],
    ),
    "an import's host for two exports, in the words of its team": (
        {
            "east.mesh_exports.1": export(),
            "group:books": "west",
            "west.mesh_imports": [{"from": "east", "host": "one.shop.global"}],
        },
        [
            (
                "west (books): mesh_imports[0].host: one host cannot stand for 2 selected exports: "
                "ratings.books.svc.east.global, reviews.books.svc.east.global. "
                "Narrow from and select to one export, or leave out host."
            )
        ],
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal(name: str) -> None:
    changes, messages = REFUSALS[name]
    with pytest.raises(InventoryError) as caught:
        parse(inventory(changes))
    assert [str(problem) for problem in caught.value.problems] == messages
