# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from tests.lab import manifests, versions
from tests.lab.kubeapi import path_of


def by_kind(objects: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {item["kind"]: item for item in objects}


def pod(objects: Iterable[dict[str, Any]]) -> dict[str, Any]:
    template: dict[str, Any] = by_kind(objects)["Deployment"]["spec"]["template"]
    return template


def test_app_says_where_it_runs() -> None:
    objects = manifests.app("east", "shop", "reviews", version="v2", replicas=2)
    assert {item["metadata"]["namespace"] for item in objects} == {"shop"}
    container = pod(objects)["spec"]["containers"][0]
    assert container["image"] == versions.IMAGE_APP
    assert container["env"] == [{"name": "MESH", "value": "east"}, {"name": "SERVICE", "value": "reviews"}]
    assert pod(objects)["metadata"]["labels"] == {"app": "reviews", "version": "v2"}
    assert by_kind(objects)["Deployment"]["spec"]["replicas"] == 2


def test_app_ports_are_named_by_protocol() -> None:
    service = by_kind(manifests.app("east", "shop", "reviews"))["Service"]
    assert [(port["name"], port["port"]) for port in service["spec"]["ports"]] == list(manifests.APP_PORTS.items())
    service = by_kind(manifests.app("east", "shop", "reviews", ports={"http": 80}))["Service"]
    assert service["spec"]["ports"] == [{"name": "http", "port": 80, "targetPort": 8080}]


def test_app_with_a_certificate_of_a_secret() -> None:
    objects = manifests.app("east", "shop", "reviews", service_type="LoadBalancer", tls_secret="reviews-tls")
    assert by_kind(objects)["Service"]["spec"]["type"] == "LoadBalancer"
    spec = pod(objects)["spec"]
    (mount,) = spec["containers"][0]["volumeMounts"]
    assert {"name": "TLS_DIRECTORY", "value": mount["mountPath"]} in spec["containers"][0]["env"]
    assert spec["volumes"] == [{"name": mount["name"], "secret": {"secretName": "reviews-tls"}}]


def test_service_account_is_the_name_unless_given() -> None:
    for given, account in ((None, "reviews"), ("books", "books")):
        objects = manifests.app("east", "shop", "reviews", service_account=given)
        assert by_kind(objects)["ServiceAccount"]["metadata"]["name"] == account
        assert pod(objects)["spec"]["serviceAccountName"] == account


@pytest.mark.parametrize("client", [manifests.fortio, manifests.curl])
def test_clients_have_identities_of_their_own(client: Any) -> None:
    objects = client("shop", "caller")
    assert pod(objects)["spec"]["serviceAccountName"] == "caller"
    assert by_kind(objects)["ServiceAccount"]["metadata"] == {"name": "caller", "namespace": "shop"}


def test_no_image_is_ever_pulled() -> None:
    lists = [manifests.app("m", "n", "a"), manifests.fortio("n"), manifests.curl("n"), manifests.dns("coredns:1")]
    for objects in lists:
        assert [c["imagePullPolicy"] for c in pod(objects)["spec"]["containers"]] == ["IfNotPresent"]


def test_selectors_find_their_pods() -> None:
    for objects in (manifests.app("m", "n", "a"), manifests.dns("coredns:1")):
        labels = pod(objects)["metadata"]["labels"]
        assert by_kind(objects)["Service"]["spec"]["selector"].items() <= labels.items()
        assert by_kind(objects)["Deployment"]["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_dns_answers_for_the_cluster_before_it_denies_the_rest() -> None:
    corefile = by_kind(manifests.dns("coredns:1"))["ConfigMap"]["data"]["Corefile"]
    cluster, everything = corefile.split(".:53 {")
    assert "kubernetes cluster.local" in cluster
    assert "template" not in cluster
    assert "NXDOMAIN" in everything


@pytest.mark.parametrize(
    ("version", "kind", "metadata", "path"),
    [
        ("v1", "Namespace", {"name": "shop"}, "/api/v1/namespaces/shop"),
        ("v1", "Service", {"name": "a", "namespace": "shop"}, "/api/v1/namespaces/shop/services/a"),
        ("v1", "Secret", {"name": "a"}, "/api/v1/namespaces/default/secrets/a"),
        (
            "apps/v1",
            "Deployment",
            {"name": "a", "namespace": "shop"},
            "/apis/apps/v1/namespaces/shop/deployments/a",
        ),
        (
            "rbac.authorization.k8s.io/v1",
            "ClusterRole",
            {"name": "system:coredns"},
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:coredns",
        ),
        ("networking.k8s.io/v1", "IngressClass", {"name": "i"}, "/apis/networking.k8s.io/v1/ingressclasses/i"),
        (
            "networking.k8s.io/v1",
            "Ingress",
            {"name": "i", "namespace": "n"},
            "/apis/networking.k8s.io/v1/namespaces/n/ingresses/i",
        ),
        (
            "networking.k8s.io/v1",
            "NetworkPolicy",
            {"name": "p", "namespace": "n"},
            "/apis/networking.k8s.io/v1/namespaces/n/networkpolicies/p",
        ),
        ("networking.istio.io/v1", "Gateway", {"name": "g", "namespace": "n"},
         "/apis/networking.istio.io/v1/namespaces/n/gateways/g"),
    ],
)  # fmt: skip
def test_paths(version: str, kind: str, metadata: dict[str, str], path: str) -> None:
    assert path_of({"apiVersion": version, "kind": kind, "metadata": metadata}) == path
