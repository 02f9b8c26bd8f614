# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter ``rights``: from hostvars to manifests, and its errors. What is in them, test_rbac tells."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible_collections.multimesh.istio.plugins.filter.rights import DOCUMENTATION, FilterModule
from ansible_collections.multimesh.istio.plugins.module_utils.rbac import PARTS

ROOT = Path(__file__).resolve().parents[4]
RIGHTS = FilterModule().filters()["rights"]
REVIEWS = {
    "service": "reviews",
    "namespace": "books",
    "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
    "service_accounts": ["reviews"],
    "consumers": [{"mesh": "west", "namespace": "shop"}],
}
HOSTVARS: dict[str, Any] = {"east": {"mesh_exports": [REVIEWS]}, "west": {}}


def namespaces(part: str, host: str = "east", **options: Any) -> set[str]:
    roles = [item for item in RIGHTS(HOSTVARS, host, part, **options) if item["kind"] == "Role"]
    return {role["metadata"]["namespace"] for role in roles}


def test_gateways_need_no_address_yet() -> None:
    assert namespaces("federation") == {"istio-system", "books"}
    assert namespaces("federation", "west") == {"istio-system"}


def test_names_that_are_set_otherwise() -> None:
    assert namespaces("verify", "west", verify_namespace="probes") == {"istio-system", "probes", "shop"}
    assert namespaces("custody", root_namespace="vaults") == {"vaults"}
    assert namespaces("dns", "west") == {"istio-system", "kube-system"}
    assert namespaces("dns", "west", dns_namespace="dns") == {"istio-system", "dns"}


def test_a_federation_that_looks_for_no_collisions() -> None:
    kinds = [
        {item["kind"] for item in RIGHTS(HOSTVARS, "east", "federation", read_conflicts=look)} for look in (True, False)
    ]
    assert kinds[0] - kinds[1] == {"ClusterRole", "ClusterRoleBinding"}


def test_a_control_plane_of_another_cluster_updates_the_webhooks_of_its_revisions_alone() -> None:
    objects = RIGHTS(HOSTVARS, "east", "remote-control-plane", revisions=["", "canary"], revision_tags=["prod"])
    [role] = [item for item in objects if item["kind"] == "ClusterRole"]
    [rule] = [
        rule
        for rule in role["rules"]
        if "mutatingwebhookconfigurations" in rule["resources"] and "update" in rule["verbs"]
    ]
    assert rule["resourceNames"] == [
        "istio-revision-tag-prod",
        "istio-sidecar-injector",
        "istio-sidecar-injector-canary",
    ]


def test_errors_are_those_of_ansible() -> None:
    with pytest.raises(AnsibleError, match="pki: no part of this collection"):
        RIGHTS(HOSTVARS, "east", "pki")
    with pytest.raises(AnsibleError, match="subject: expected kind User or Group"):
        RIGHTS(HOSTVARS, "east", "ca", subject={"kind": "Robot"})


def test_every_part_is_documented_and_rendered() -> None:
    assert yaml.safe_load(DOCUMENTATION)["options"]["part"]["choices"] == list(PARTS)
    page = (ROOT / "docs/rights.md").read_text()
    assert [part for part in PARTS if f"| `{part}` |" not in page] == []
    [rendered] = re.findall(r"loop: \[(.*)\]", (ROOT / "playbooks/render.yml").read_text())
    # Those of other clusters' control planes are among the objects of role control_plane.
    assert {*rendered.split(", "), "custody", "remote-reader", "remote-control-plane"} == set(PARTS)
