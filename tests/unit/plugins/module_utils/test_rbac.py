# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each part may do, and that the manifests say exactly that. Whether it is enough, and needed, e2e tests show."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils import rbac
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.federation import compute, peers
from ansible_collections.multimesh.istio.plugins.module_utils.pki import cacerts, ingress
from ansible_collections.multimesh.istio.plugins.module_utils.rbac import Names, Permission, permissions
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.model.build import export, host, inventory

INVENTORY = inventory(
    east=host(
        export("reviews", "west"),
        export("quotes", "west", via="gateway"),
        export("ledger", namespace="vault"),
        address="192.0.2.1",
    ),
    west=host(
        export(
            "carts",
            {"mesh": "east", "namespace": "shop", "service_account": "till"},
            {"mesh": "east", "namespace": "kiosk"},
            namespace="carts",
        ),
        address="192.0.2.2",
    ),
)
PLURALS = {"AuthorizationPolicy": "authorizationpolicies", "ConfigMap": "configmaps", "Gateway": "gateways"} | {
    "DestinationRule": "destinationrules",
    "ServiceEntry": "serviceentries",
    "VirtualService": "virtualservices",
}
PARTS = [part for part in rbac.PARTS if part not in ("control-plane", "remote-reader", "remote-control-plane")]


NAMES = Names("probes", "roots", "root")
UNSEEING = replace(NAMES, read_conflicts=False)


def needs(part: str, cluster: str = "east") -> rbac.Permissions:
    return permissions(INVENTORY, cluster, part, NAMES)


def manifests(part: str, granted: rbac.Permissions, subject: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    return rbac.manifests(part, granted, NAMES, subject)


def told(part: str, **options: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """Manifests by kind and namespace."""
    objects = manifests(part, needs(part), **options)
    found = {(item["kind"], item["metadata"].get("namespace", "")): item for item in objects}
    assert len(found) == len(objects)
    return found


def allowed(objects: list[dict[str, Any]]) -> set[Permission]:
    """What roles allow, as Kubernetes reads them."""
    return {
        Permission(item["metadata"].get("namespace", ""), group, resource, verb, name)
        for item in objects
        if item["kind"] in ("Role", "ClusterRole")
        for rule in item["rules"]
        for group, resource, verb, name in product(
            rule["apiGroups"], rule["resources"], rule["verbs"], rule.get("resourceNames", [""])
        )
    }


@pytest.mark.parametrize("part", PARTS)
def test_nobody_lists_secrets_or_writes_roles(part: str) -> None:
    for permission in needs(part):
        assert permission.group != rbac.RBAC
        if permission.resource == "secrets":
            assert permission.name
            assert permission.verb in ("get", "create", "patch")


BEHIND_INGRESS = inventory(
    east=host(
        export("reviews", "west", via="ingress"),
        export("ledger", "west", namespace="vault"),
        export("nobodys", via="ingress", namespace="attic"),
        address="192.0.2.1",
        ingress_service="edge/web",
        facts={"gateway_addresses": [], "ingress_addresses": ["192.0.2.21"], "services": []},
    ),
    west=host(),
)


def added(part: str) -> set[Permission]:
    """What a part may do for Ingresses alone."""
    exports = [export("reviews", "west"), export("ledger", "west", namespace="vault")]
    exports.append(export("nobodys", namespace="attic"))
    without = inventory(east=host(*exports, address="192.0.2.1"), west=host())
    return set(permissions(BEHIND_INGRESS, "east", part, NAMES) - permissions(without, "east", part, NAMES))


def test_for_an_ingress_the_ca_may_write_its_secret_and_no_other() -> None:
    verbs = ("get", "create", "patch", "delete")
    assert added("ca") == {
        *(Permission("books", "", "secrets", verb, "multimesh-ingress.reviews.books") for verb in verbs),
        *(Permission("istio-system", "", "configmaps", verb, "multimesh-ingress-certificates") for verb in verbs[1:]),
    }


def test_for_an_ingress_the_federation_may_write_ingresses_where_there_are_some() -> None:
    ingresses = "networking.k8s.io", "ingresses"
    assert added("federation") == {
        *(Permission("books", *ingresses, verb) for verb in ("get", "list", "create", "patch", "delete")),
        *(Permission(namespace, *ingresses, "list") for namespace in ("istio-system", "vault", "attic")),
        Permission("edge", "", "services", "get", "web"),
    }
    assert added("verify") == {Permission("edge", "", "services", "get", "web")}


def test_addresses_in_the_inventory_are_not_read() -> None:
    found = inventory(
        east=host(export("reviews", "west", via="ingress"), ingress_addresses=["192.0.2.21"]), west=host()
    )
    assert "services" not in {
        one.resource for one in permissions(found, "east", "federation", NAMES) if one.verb == "get"
    }


def test_federation_sees_no_secret_and_of_the_whole_cluster_routing_only() -> None:
    assert {permission.namespace for permission in needs("federation")} == {"", "istio-system", "books", "vault"}
    assert "secrets" not in {permission.resource for permission in needs("federation")}
    assert {permission for permission in needs("federation") if not permission.namespace} == {
        Permission("", "networking.istio.io", resource, "list")
        for resource in ("serviceentries", "destinationrules", "virtualservices", "gateways")
    }


def test_federation_that_looks_for_no_collisions_stays_in_its_namespaces() -> None:
    granted = permissions(INVENTORY, "east", "federation", UNSEEING)
    assert {permission.namespace for permission in granted} == {"istio-system", "books", "vault"}
    lists = {permission for permission in needs("federation") if permission.verb == "list" and permission.namespace}
    assert lists < granted


@pytest.mark.parametrize(
    ("exported", "imported"),
    [({"host": "reviews.books.svc.cluster.local"}, {}), ({}, {"imports": [{"from": "east", "short_names_in": ["a"]}]})],
)
def test_services_are_seen_where_their_names_matter(exported: dict[str, Any], imported: dict[str, Any]) -> None:
    own = inventory(east=host(export("reviews", "west", **exported), address="192.0.2.1"), west=host(**imported))
    seen = permissions(own, "west", "federation", NAMES) - permissions(own, "west", "federation", UNSEEING)
    assert Permission("", "", "services", "list") in seen
    assert Permission("", "", "services", "list") not in permissions(own, "west", "verify", NAMES)


def test_federation_writes_only_where_it_has_objects() -> None:
    written = {
        (permission.namespace, permission.resource, permission.name)
        for permission in needs("federation")
        if permission.verb in ("create", "patch", "delete")
    }
    assert written == {
        ("istio-system", "configmaps", "multimesh-federation"),
        ("istio-system", "configmaps", "multimesh-peers"),
        ("istio-system", "serviceentries", ""),
        ("istio-system", "destinationrules", ""),
        ("istio-system", "virtualservices", ""),
        ("istio-system", "gateways", "multimesh-exports"),
        ("istio-system", "gateways", "multimesh-gateway-exports"),
        ("istio-system", "authorizationpolicies", "multimesh-gateway-exports"),
        ("istio-system", "authorizationpolicies", "multimesh-default-deny"),
        ("books", "authorizationpolicies", ""),
        ("vault", "authorizationpolicies", ""),
    }
    for item in compute.federation(INVENTORY, "east"):
        place = item["metadata"]["namespace"], PLURALS[item["kind"]]
        assert (*place, "") in written or (*place, item["metadata"]["name"]) in written


def test_federation_writes_where_callers_of_external_services_have_a_credential() -> None:
    service = {
        "hosts": ["api.example.com"],
        "ports": [{"number": 80, "protocol": "HTTP"}],
        "tls": {"mode": "simple", "credential": "api"},
        "export_to": ["shop"],
    }
    found = inventory(west=host(external_services=[service]))
    granted = {one for one in permissions(found, "west", "federation", UNSEEING) if one.namespace == "shop"}
    resources = ("destinationrules", "gateways", "serviceentries", "virtualservices")
    assert granted == {
        Permission("shop", "", "configmaps", "list"),
        Permission("shop", "security.istio.io", "authorizationpolicies", "list"),
        *(Permission("shop", "networking.istio.io", resource, "list") for resource in resources),
        *(
            Permission("shop", "networking.istio.io", "destinationrules", verb)
            for verb in ("get", "create", "patch", "delete")
        ),
    }


def test_endpoints_are_written_where_a_service_has_some_in_other_meshes() -> None:
    own = "stock.books.svc.cluster.local"
    found = inventory(
        east=host(export("stock", "west", host=own), export("ledger", "west", namespace="vault"), address="192.0.2.1"),
        west=host(export("stock", "east", host=own), address="192.0.2.2"),
    )
    granted = {
        (permission.namespace, permission.verb)
        for permission in permissions(found, "east", "federation", NAMES)
        if permission.resource == "workloadentries"
    }
    assert granted == {
        ("istio-system", "list"),
        ("vault", "list"),
        *(("books", verb) for verb in ("get", "list", "create", "patch", "delete")),
    }
    assert "WorkloadEntry" in {item["kind"] for item in compute.federation(found, "east")}
    assert "workloadentries" not in {permission.resource for permission in needs("federation")}


def test_ca_may_do_this_and_no_more() -> None:
    assert allowed(manifests("ca", needs("ca"))) == {
        Permission("", "apps", "daemonsets", "list"),
        Permission("istio-system", "", "configmaps", "get", "istio-ca-root-cert"),
        Permission("istio-system", "", "configmaps", "get", peers.NAME),
        Permission("istio-system", "", "configmaps", "get", ingress.RECORD),
        *(
            Permission("istio-system", "", "secrets", verb, name)
            for verb in ("get", "create", "patch")
            for name in (cacerts.SECRET, "multimesh-next-ca")
        ),
        Permission("istio-system", "", "secrets", "get", cacerts.SELF_SIGNED),
        Permission("istio-system", "", "services", "list"),
        Permission("istio-system", "apps", "deployments", "list"),
        *(
            Permission("istio-system", "coordination.k8s.io", "leases", verb, "multimesh-shared-root-ca")
            for verb in ("get", "create", "patch")
        ),
    }


def test_custody_has_its_own_namespace_in_its_own_cluster() -> None:
    assert {(item["kind"], item["metadata"]["namespace"]) for item in manifests("custody", needs("custody"))} == {
        ("ServiceAccount", "roots"),
        ("Role", "roots"),
        ("RoleBinding", "roots"),
    }
    assert Permission("roots", "", "secrets", "patch", "root") in needs("custody")


def test_verify_has_pods_where_callers_are_played() -> None:
    played = {permission.namespace for permission in needs("verify") if permission.resource == "pods/log"}
    assert played == {"shop", "kiosk", "probes"}
    seen = {permission.name for permission in needs("verify") if permission.resource == "namespaces"}
    assert seen == played


@pytest.mark.parametrize(
    ("whole_key", "verbs"), [(False, {"get", "patch"}), (True, {"get", "create", "patch", "delete"})]
)
def test_dns_writes_one_config_map(whole_key: bool, verbs: set[str]) -> None:
    names = Names(dns_namespace="dns", dns_config_map="coredns-custom", dns_whole_key=whole_key)
    granted = permissions(INVENTORY, "east", "dns", names)
    assert {one for one in granted if one.namespace == "dns"} == {
        Permission("dns", "", "configmaps", verb, "coredns-custom") for verb in verbs
    }
    assert {one.verb for one in granted if one.namespace != "dns"} == {"get", "list"}


def test_rotation_is_done_as_the_account_of_the_ca() -> None:
    binding = told("rotation")["ClusterRoleBinding", ""]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "multimesh-ca", "namespace": "istio-system"}]
    assert ("ServiceAccount", "istio-system") not in told("rotation")
    assert ("ServiceAccount", "istio-system") in told("ca")


def test_an_export_of_istios_own_namespace() -> None:
    own = inventory(east=host(export("a", "west", namespace="istio-system"), address="192.0.2.1"), west=host())
    granted = permissions(own, "east", "federation", UNSEEING)
    [account, role, binding] = manifests("federation", granted)
    assert [item["kind"] for item in (account, role, binding)] == ["ServiceAccount", "Role", "RoleBinding"]
    assert allowed([role]) == granted


def test_manifests() -> None:
    labels = {"app.kubernetes.io/managed-by": "multimesh.istio"}
    assert manifests("rotation", needs("rotation"), {"kind": "Group", "name": "pki"})[2:] == [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "multimesh-rotation", "labels": labels, "namespace": "istio-system"},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "multimesh-rotation", "labels": labels, "namespace": "istio-system"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "multimesh-rotation"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "pki"}],
        },
    ]


@pytest.mark.parametrize("cluster", ["east", "west"])
@pytest.mark.parametrize("part", rbac.PARTS)
def test_rules_are_few(part: str, cluster: str) -> None:
    for item in manifests(part, needs(part, cluster)):
        rules = item.get("rules", [])
        assert len(rules) <= 16
        assert len({str(rule) for rule in rules}) == len(rules)


some = st.builds(
    Permission,
    st.sampled_from(["", "a", "b"]),
    st.sampled_from(["", "apps"]),
    st.sampled_from(["x", "y", "z"]),
    st.sampled_from(rbac.VERBS),
    st.sampled_from(["", "one", "two"]),
)


@given(st.frozensets(some))
def test_manifests_say_exactly_what_is_granted(granted: frozenset[Permission]) -> None:
    said = allowed(manifests("federation", granted))
    wide = {permission for permission in granted if not permission.name}
    narrow = {
        permission
        for permission in granted
        if Permission(permission.namespace, permission.group, permission.resource, permission.verb) not in wide
    }
    assert said == wide | narrow


@pytest.mark.parametrize(
    "subject", [{}, {"kind": "ServiceAccount", "name": "a"}, {"kind": "Robot", "name": "a"}, {"kind": "Group"}]
)
def test_a_subject_that_is_none(subject: dict[str, str]) -> None:
    with pytest.raises(MultimeshError, match="subject: expected kind User or Group with a name"):
        manifests("ca", needs("ca"), subject)


def test_a_part_that_is_none() -> None:
    with pytest.raises(MultimeshError, match=r"federatoin: no part of this collection\. Did you mean 'federation'\."):
        needs("federatoin")


# Clusters of one mesh

ONE_MESH = inventory(
    south_a=host(name="south", address="192.0.2.1"),
    south_b=host(export("reviews", "west"), name="south", control_plane="south-a"),
    west=host(),
)


def granted(cluster: str, part: str) -> set[tuple[str, str, str]]:
    found = permissions(ONE_MESH, cluster, part, NAMES)
    return {(permission.namespace, permission.resource, permission.verb) for permission in found}


def test_what_a_served_cluster_exports_is_written_where_its_control_plane_is() -> None:
    assert ("books", "authorizationpolicies", "patch") in granted("south-a", "federation")
    assert ("", "namespaces", "create") in granted("south-a", "federation")
    written = {right for right in granted("south-b", "federation") if right[2] not in ("get", "list")}
    assert written == set()
    assert ("books", "pods", "list") in granted("south-b", "federation")


def test_a_served_cluster_has_no_ca() -> None:
    assert granted("south-b", "ca") == granted("south-b", "adoption") == set()
    assert granted("south-b", "rotation") == {
        ("", "pods", "list"),
        ("", "pods/portforward", "get"),
        ("", "pods/portforward", "create"),
    }


def test_tokens_are_made_of_clusters_that_others_read() -> None:
    token = ("istio-system", "serviceaccounts/token", "create")
    assert token in granted("south-b", "control-plane")
    assert token not in granted("south-a", "control-plane") | granted("west", "control-plane")


def test_whoever_reads_writes_nothing_and_no_secret() -> None:
    assert {verb for _namespace, _resource, verb in granted("south-b", "remote-reader")} == {"get", "list", "watch"}
    secrets = {
        verb for _namespace, resource, verb in granted("south-b", "remote-control-plane") if resource == "secrets"
    }
    assert secrets == {"get", "list", "watch"}
