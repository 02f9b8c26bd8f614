# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Offline and applied are the same objects."""

from __future__ import annotations

import ast
import json
import os
import subprocess

import pytest
import yaml

from tests.e2e import scenario
from tests.e2e.scenario import MESHES

SERVER_SIDE = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "uid")
KINDS = "serviceentries,destinationrules,virtualservices,gateways,authorizationpolicies,configmaps"


@pytest.fixture(scope="module")
def offline(federation):
    """The inventory with everything in it that has to be known offline."""
    hosts = scenario.hosts()
    federation.write_inventory(hosts)
    federation.play("federate").ok()
    for mesh, values in hosts.items():
        values["mesh_gateway_addresses"] = [federation.lab.node_address(mesh)]
        values["mesh_exports"][0]["selector"] = {"app": "greeter"}
    federation.write_inventory(hosts)
    return federation


def by_identity(objects):
    return {(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]): item for item in objects}


@pytest.fixture(scope="module")
def applied(offline):
    """What the clusters hold of the federation, without what API servers add."""
    found = {}
    for mesh in MESHES:
        items = offline.kubectl_json(mesh, "get", KINDS, "-A", "-l", "app.kubernetes.io/managed-by=multimesh.istio")[
            "items"
        ]
        for item in items:
            item.pop("status", None)
            for key in SERVER_SIDE:
                item["metadata"].pop(key, None)
            item["metadata"]["labels"].pop("applyset.kubernetes.io/part-of", None)
        found[mesh] = {
            key: item
            for key, item in by_identity(items).items()
            if "applyset.kubernetes.io/id" not in item["metadata"]["labels"]
        }
    return found


def test_render_gives_what_site_applied(offline, applied):
    folder = offline.folder / "rendered"
    offline.play("render", "-e", f"render_dir={folder}", env={"K8S_AUTH_KUBECONFIG": "/nonexistent"}).ok()
    for mesh in MESHES:
        rendered = by_identity(yaml.safe_load_all((folder / mesh / "federation.yml").read_text()))
        assert rendered.keys() == applied[mesh].keys()
        for key, item in rendered.items():
            assert item == applied[mesh][key], key
        print(f"{mesh}: {len(rendered)} objects, equal field by field")


@pytest.mark.parametrize(
    ("expression", "kinds"),
    [
        ("lookup('multimesh.istio.federation', 'west')", None),
        ("hostvars | multimesh.istio.federation('west')", None),
        ("lookup('multimesh.istio.service_entries', 'west')", {"ServiceEntry"}),
        ("hostvars | multimesh.istio.service_entries('west')", {"ServiceEntry"}),
        ("hostvars | multimesh.istio.destination_rules('west')", {"DestinationRule"}),
        ("hostvars | multimesh.istio.virtual_services('west')", {"VirtualService"}),
        ("hostvars | multimesh.istio.gateways('west')", {"Gateway"}),
        ("hostvars | multimesh.istio.authorization_policies('west')", {"AuthorizationPolicy"}),
    ],
)
def test_lookups_and_filters_give_the_same_ad_hoc(offline, applied, expression, kinds):
    command = [
        "ansible",
        "-i",
        str(offline.inventory),
        "west",
        "-m",
        "ansible.builtin.debug",
        "-a",
        f"msg={{{{ {expression} | to_json }}}}",
    ]
    answer = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "ANSIBLE_NOCOLOR": "1"}
    )
    message = json.loads(answer.stdout[answer.stdout.index("{") :])["msg"]
    objects = (
        message
        if isinstance(message, list)
        else json.loads(message)
        if message.startswith("[")
        else ast.literal_eval(message)
    )
    wanted = {key: item for key, item in applied["west"].items() if kinds is None or key[0] in kinds}
    assert wanted
    assert by_identity(objects) == wanted
