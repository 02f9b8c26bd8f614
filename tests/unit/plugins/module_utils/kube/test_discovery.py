# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.kube.discovery import Discovery
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import NotFoundError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import (
    Resource,
    describe,
    split_api_version,
)

CONFIG_MAP = Resource("", "v1", "ConfigMap", "configmaps", True)
NAMESPACE = Resource("", "v1", "Namespace", "namespaces", False)
GATEWAY = Resource("networking.istio.io", "v1", "Gateway", "gateways", True)
OLD_GATEWAY = Resource("networking.istio.io", "v1beta1", "Gateway", "gateways", True)
OTHER_GATEWAY = Resource("gateway.networking.k8s.io", "v1", "Gateway", "gateways", True)


def aggregated(*groups):
    return {
        "kind": "APIGroupDiscoveryList",
        "items": [
            {
                "metadata": {"name": name} if name else {},
                "versions": [
                    {
                        "version": version,
                        "resources": [
                            {
                                "resource": resource.plural,
                                "responseKind": {"kind": resource.kind},
                                "scope": "Namespaced" if resource.namespaced else "Cluster",
                                "subresources": [{"subresource": "status"}],
                            }
                            for resource in resources
                        ],
                    }
                    for version, resources in versions
                ],
            }
            for name, versions in groups
        ],
    }


def resource_list(*resources):
    listed = [{"name": item.plural, "kind": item.kind, "namespaced": item.namespaced} for item in resources]
    return {
        "kind": "APIResourceList",
        "resources": [*listed, {"name": "x/status", "kind": "ConfigMap", "namespaced": True}],
    }


NEW = {
    "/api": aggregated(("", [("v1", [CONFIG_MAP, NAMESPACE])])),
    "/apis": aggregated(
        ("networking.istio.io", [("v1", [GATEWAY]), ("v1beta1", [OLD_GATEWAY])]),
        ("gateway.networking.k8s.io", [("v1", [OTHER_GATEWAY])]),
    ),
}
OLD = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/api/v1": resource_list(CONFIG_MAP, NAMESPACE),
    "/apis": {
        "kind": "APIGroupList",
        "groups": [
            {
                "name": "networking.istio.io",
                "versions": [{"version": "v1beta1"}, {"version": "v1"}, {"version": "v1alpha3"}],
                "preferredVersion": {"version": "v1"},
            },
            {
                "name": "gateway.networking.k8s.io",
                "versions": [{"version": "v1"}],
                "preferredVersion": {"version": "v1"},
            },
        ],
    },
    "/apis/networking.istio.io/v1": resource_list(GATEWAY),
    "/apis/networking.istio.io/v1beta1": resource_list(OLD_GATEWAY),
    "/apis/gateway.networking.k8s.io/v1": resource_list(OTHER_GATEWAY),
}


def discovery(server):
    asked = []

    def fetch(path, _accept):
        asked.append(path)
        if path not in server:
            raise NotFoundError(path, 404)
        return server[path]

    return Discovery(fetch), asked


@pytest.mark.parametrize("server", [NEW, OLD], ids=["aggregated", "older"])
def test_kinds_are_found(server):
    found, _asked = discovery(server)
    assert found.find("", "ConfigMap") == CONFIG_MAP
    assert found.find("", "Namespace", "v1") == NAMESPACE
    assert found.find("networking.istio.io", "Gateway") == GATEWAY
    assert found.find("networking.istio.io", "Gateway", "v1beta1") == OLD_GATEWAY
    assert found.find("gateway.networking.k8s.io", "Gateway") == OTHER_GATEWAY
    assert found.find("networking.istio.io", "Gateway", "v9") is None
    assert found.find("none.test", "Gateway") is None


def test_aggregated_discovery_takes_two_requests():
    found, asked = discovery(NEW)
    for _again in range(3):
        found.find("", "ConfigMap")
        found.find("networking.istio.io", "Gateway")
    assert sorted(asked) == ["/api", "/apis"]


def test_older_servers_are_asked_only_for_the_groups_in_question():
    found, asked = discovery(OLD)
    found.find("gateway.networking.k8s.io", "Gateway")
    assert asked == ["/apis", "/apis/gateway.networking.k8s.io/v1"]


def test_what_was_forgotten_is_asked_anew():
    server = {"/apis": aggregated()}
    found, _asked = discovery(server)
    assert found.find("networking.istio.io", "Gateway") is None
    server["/apis"] = NEW["/apis"]
    assert found.find("networking.istio.io", "Gateway") is None
    found.forget()
    assert found.find("networking.istio.io", "Gateway") == GATEWAY


def test_paths():
    assert CONFIG_MAP.path() == "/api/v1/configmaps"
    assert CONFIG_MAP.path("shop", "a") == "/api/v1/namespaces/shop/configmaps/a"
    assert NAMESPACE.path(None, "shop") == "/api/v1/namespaces/shop"
    assert GATEWAY.path("a/b") == "/apis/networking.istio.io/v1/namespaces/a%2Fb/gateways"
    assert split_api_version(GATEWAY.api_version) == ("networking.istio.io", "v1")
    assert split_api_version(CONFIG_MAP.api_version) == ("", "v1")


def test_names_for_people():
    assert describe("Secret", "shop", "a") == "Secret shop/a"
    assert describe("Namespace", None, "shop") == "Namespace shop"
    assert describe("Secret", "shop", None) == "Secret in shop"
    assert describe("Secret", None, None) == "Secret"
