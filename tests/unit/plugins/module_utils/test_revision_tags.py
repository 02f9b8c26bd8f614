# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.revision_tags import manifests


def selected(tag: str, namespace: dict[str, str], pod: dict[str, str]) -> list[str]:
    """Names of the webhooks of a tag that a pod falls under, as Kubernetes reads selectors."""

    def fits(expression: dict[str, Any], labels: dict[str, str]) -> bool:
        value = labels.get(expression["key"])
        if expression["operator"] == "DoesNotExist":
            return value is None
        among = value in expression["values"]
        return among if expression["operator"] == "In" else not among

    [found] = manifests({tag: "1-31-1"})
    return [
        webhook["name"].partition(".sidecar")[0]
        for webhook in found["webhooks"]
        if all(fits(one, namespace) for one in webhook["namespaceSelector"]["matchExpressions"])
        and all(fits(one, pod) for one in webhook["objectSelector"]["matchExpressions"])
    ]


ENABLED = {"istio-injection": "enabled"}


@pytest.mark.parametrize(
    ("tag", "namespace", "pod", "webhooks"),
    [
        ("prod", {"istio.io/rev": "prod"}, {}, ["rev.namespace"]),
        ("prod", {"istio.io/rev": "prod"}, {"sidecar.istio.io/inject": "false"}, []),
        ("prod", {"istio.io/rev": "other"}, {}, []),
        ("prod", {}, {"istio.io/rev": "prod"}, ["rev.object"]),
        ("prod", {"istio.io/rev": "other"}, {"istio.io/rev": "prod"}, []),
        ("prod", ENABLED, {}, []),
        ("default", ENABLED, {}, ["namespace"]),
        ("default", {}, {"sidecar.istio.io/inject": "true"}, ["object"]),
        ("default", {}, {}, []),
        ("default", {"istio.io/rev": "default"}, {"sidecar.istio.io/inject": "true"}, ["rev.namespace"]),
    ],
)
def test_a_pod_is_injected_at_most_once(
    tag: str, namespace: dict[str, str], pod: dict[str, str], webhooks: list[str]
) -> None:
    assert selected(tag, namespace, pod) == webhooks


def test_a_tag_leads_to_the_istiod_of_its_revision() -> None:
    found = manifests({"prod": "1-31-1", "old": ""}, "/inject/cluster/south-b/net/south")
    assert [item["metadata"]["name"] for item in found] == ["istio-revision-tag-old", "istio-revision-tag-prod"]
    assert [item["metadata"]["labels"]["istio.io/rev"] for item in found] == ["default", "1-31-1"]
    services = [item["webhooks"][0]["clientConfig"]["service"] for item in found]
    assert [service["name"] for service in services] == ["istiod", "istiod-1-31-1"]
    assert {service["path"] for service in services} == {"/inject/cluster/south-b/net/south"}


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"prod": "prod"}, r"revision tags: 'prod' stands for itself\. Leave it out, or name another revision\."),
        ({"default": ""}, r"revision tags: 'default' stands for itself\."),
        ({"Prod": "1-31-1"}, r"revision tags: tag 'Prod': expected a DNS label .*\. Write for example 'prod'\."),
        ({"prod": "1.31.1"}, r"revision tags: revision '1\.31\.1': expected a DNS label"),
        ({"prod": 131}, r"revision tags: revision 131: expected a string"),
    ],
)
def test_tags_that_are_none(tags: Any, message: str) -> None:
    with pytest.raises(MultimeshError, match=message):
        manifests(tags)
