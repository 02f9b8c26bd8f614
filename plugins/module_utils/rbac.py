# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rights that each part of the collection needs in one cluster, and the manifests that give them.

https://kubernetes.io/docs/reference/access-authn-authz/rbac/. Kubernetes cannot limit ``create`` by name, because with
POST the name is not known yet. All that the collection itself writes goes through server-side apply, where the name
stands in the URL and the limit holds; a POST is refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.federation import compute, telemetry
from ansible_collections.multimesh.istio.plugins.module_utils.federation.objects import ROOT_NAMESPACE, Object
from ansible_collections.multimesh.istio.plugins.module_utils.model import object_names
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import nearest
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Export, Inventory

RBAC = "rbac.authorization.k8s.io"
MANAGED_BY = {"app.kubernetes.io/managed-by": "multimesh.istio"}
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "bind", "escalate")

_NETWORKING = "networking.istio.io"
_SECURITY = "security.istio.io"
_TELEMETRY = "telemetry.istio.io"
_IMPORTED = ("serviceentries", "destinationrules", "virtualservices")
_ENDPOINTS = ("workloadentries",)
_APPLIED = ("get", "list", "create", "patch", "delete")
_FEDERATION_SET = object_names.FEDERATION_SET
_PEERS = object_names.PEERS
_EXPORTS = (object_names.EXPORTS_GATEWAY, object_names.ROUTED_EXPORTS)
_DEFAULT_DENY = object_names.DEFAULT_DENY
_INGRESSES = "networking.k8s.io"
_INGRESS_CERTIFICATES = "multimesh-ingress-certificates"
READER, SERVING = "multimesh-remote-reader", "multimesh-remote-control-plane"
"""ServiceAccounts as which control planes of other clusters come: to read, and to serve."""


@dataclass(frozen=True, order=True)
class Permission:
    """One thing that a part may do.

    namespace: '' is the whole cluster. group: '' is the core group. name: of an object, '' is any.
    """

    namespace: str
    group: str
    resource: str
    verb: str
    name: str = ""


Permissions = frozenset[Permission]


@dataclass(frozen=True)
class Names:
    """Names that roles let users choose.

    verify_namespace: where role verify plays callers of a whole mesh.
    root_namespace, root_secret: where custody ``secret`` keeps the root in a management cluster.
    dns_namespace, dns_config_map, dns_whole_key: where role dns writes hosts, and whether into a file of their own.
    read_conflicts: whether role federation looks in the whole cluster for what it could collide with.
    revisions: of Istio, by which another cluster's control plane serves this one; '' is the default one.
    revision_tags: that stand for them.
    """

    verify_namespace: str = "multimesh-verify"
    root_namespace: str = "multimesh-istio"
    root_secret: str = "shared-root-ca"  # noqa: S105 - a name
    dns_namespace: str = "kube-system"
    dns_config_map: str = "coredns"
    dns_whole_key: bool = False
    read_conflicts: bool = True
    revisions: tuple[str, ...] = ("",)
    revision_tags: tuple[str, ...] = ()


def permissions(inventory: Inventory, host: str, part: str, names: Names) -> Permissions:
    """All that a part needs in one cluster; none of it includes another.

    host: name of a cluster in the inventory.
    part: one of PARTS.
    Raises MultimeshError.
    """
    if part not in _NEEDS:
        raise MultimeshError(f"{part}: no part of this collection. {nearest(part, PARTS)}.")
    needs = _NEEDS[part](inventory, host, names)
    return frozenset(need for need in needs if not _wider(need) & needs)


def manifests(part: str, granted: Permissions, names: Names, subject: Mapping[str, Any] | None = None) -> list[Object]:
    """Roles and bindings that give exactly these permissions. The namespaces have to be there.

    subject: who gets them, as in a RoleBinding. Unless given, a ServiceAccount, which is then among the manifests.
    Raises MultimeshError.
    """
    objects: list[Object] = []
    if subject is None:
        name = f"multimesh-{_ACCOUNTS.get(part, part)}"
        home = names.root_namespace if part == "custody" else ROOT_NAMESPACE
        subject = {"kind": "ServiceAccount", "name": name, "namespace": home}
        if part not in _ACCOUNTS:
            objects.append(_object("v1", "ServiceAccount", name, home, {}))
    bound = _subject(subject)
    for namespace in sorted({permission.namespace for permission in granted}):
        kind = "Role" if namespace else "ClusterRole"
        name = f"multimesh-{part}"
        rules = _rules(sorted(one for one in granted if one.namespace == namespace))
        reference = {"apiGroup": RBAC, "kind": kind, "name": name}
        binding = {"roleRef": reference, "subjects": [bound]}
        objects.append(_object(f"{RBAC}/v1", kind, name, namespace, {"rules": rules}))
        objects.append(_object(f"{RBAC}/v1", f"{kind}Binding", name, namespace, binding))
    return objects


# What the parts do


def _federation(inventory: Inventory, host: str, names: Names) -> Permissions:
    """Role federation: mesh_info with the exports, and the set of federation objects.

    An applied set lists every kind of its members in every namespace that has any (applyset/apply.py, _scan).
    """
    own = ROOT_NAMESPACE
    cluster = inventory.clusters[host]
    needs = _inspection(inventory, host)
    if names.read_conflicts:
        needs |= _collisions(inventory, host)
    if not cluster.served:
        # Nothing is applied there; it is made sure that nothing is left of a time when that was otherwise.
        return needs | _grant(own, "", ("configmaps",), ("get",), (_FEDERATION_SET,))
    exporting = {export.namespace for export in cluster.reachable_exports}
    calling = _credential_namespaces(inventory, host)
    if cluster.remote_clusters:
        needs |= _grant("", "", ("namespaces",), ("list", "create"))
    needs |= _grant(own, "", ("configmaps",), ("get", "create", "patch", "delete"), (_FEDERATION_SET, _PEERS))
    needs |= _grant(own, _NETWORKING, _IMPORTED, ("get", "create", "patch", "delete"))
    needs |= _grant(own, _NETWORKING, ("gateways",), ("get", "create", "patch", "delete"), _EXPORTS)
    needs |= _grant(own, _SECURITY, ("authorizationpolicies",), ("get", "create", "patch", "delete"), _EXPORTS[1:])
    for namespace in {own, *exporting, *calling}:
        needs |= _grant(namespace, "", ("configmaps",), ("list",))
        needs |= _grant(namespace, _NETWORKING, (*_IMPORTED, "gateways"), ("list",))
        needs |= _grant(namespace, _SECURITY, ("authorizationpolicies",), ("list",))
    needs |= _grant(own, _SECURITY, ("authorizationpolicies",), ("get", "create", "patch", "delete"), (_DEFAULT_DENY,))
    for namespace in exporting:
        needs |= _grant(namespace, _SECURITY, ("authorizationpolicies",), _APPLIED)
    for namespace in calling:
        needs |= _grant(namespace, _NETWORKING, ("destinationrules",), _APPLIED)
    taking_over = {export.namespace for export in inventory.clusters[host].exports if export.takes_over}
    for namespace in {own, *exporting, *calling} if taking_over else ():
        needs |= _grant(namespace, _NETWORKING, _ENDPOINTS, _APPLIED if namespace in taking_over else ("list",))
    behind = {export.namespace for export in _behind_ingress(inventory, host)}
    for namespace in {own, *exporting, *calling} if behind else ():
        needs |= _grant(namespace, _INGRESSES, ("ingresses",), _APPLIED if namespace in behind else ("list",))
    observed = {item["metadata"]["namespace"] for item in telemetry.objects(inventory.clusters[host])}
    for namespace in {own, *exporting, *calling} if observed else ():
        verbs = _APPLIED if namespace in observed else ("list",)
        needs |= _grant(namespace, _TELEMETRY, ("telemetries",), verbs)
        needs |= _grant(namespace, _NETWORKING, ("envoyfilters",), verbs)
    return needs


def _collisions(inventory: Inventory, host: str) -> Permissions:
    """mesh_info with read_conflicts (conflicts.py): objects of any namespace can be visible in all of them.

    Names of Services matter where something is imported by such a name (roles/federation/vars/main.yml).
    """
    needs = _grant("", _NETWORKING, (*_IMPORTED, "gateways"), ("list",))
    taking_over = any(export.takes_over for cluster in inventory.clusters.values() for export in cluster.own_exports)
    if taking_over or inventory.clusters[host].short_names_in:
        needs |= _grant("", "", ("services",), ("list",))
    return needs


def _ca(inventory: Inventory, host: str, _names: Names) -> Permissions:
    """Role shared_root_ca: mesh_info with read_ca, the Secrets of a mesh's CA and of its Ingresses, and the Lease."""
    own = ROOT_NAMESPACE
    if not inventory.clusters[host].served:
        return frozenset()  # the CA is that of its control plane
    needs = _reading() | _grant("", "apps", ("daemonsets",), ("list",))
    needs |= _grant(own, "", ("secrets",), ("get", "create", "patch"), ("cacerts", "multimesh-next-ca"))
    needs |= _grant(own, "", ("secrets",), ("get",), ("istio-ca-secret",))
    lease = ("multimesh-shared-root-ca",)
    needs |= _grant(own, "coordination.k8s.io", ("leases",), ("get", "create", "patch"), lease)
    needs |= _grant(own, "", ("configmaps",), ("get",), (_INGRESS_CERTIFICATES,))
    written = ("get", "create", "patch", "delete")
    for certificate in compute.ingress_certificates(inventory, host):
        needs |= _grant(own, "", ("configmaps",), written, (_INGRESS_CERTIFICATES,))
        needs |= _grant(certificate["namespace"], "", ("secrets",), written, (certificate["secret"],))
    return needs


def _custody(_inventory: Inventory, _host: str, names: Names) -> Permissions:
    """Custody ``secret`` in its management cluster: the Secret, and the ledger in ConfigMaps whose number grows."""
    needs = _grant(names.root_namespace, "", ("secrets",), ("get", "create", "patch"), (names.root_secret,))
    return needs | _grant(names.root_namespace, "", ("configmaps",), ("get", "create", "patch"))


def _rotation(inventory: Inventory, host: str, _names: Names) -> Permissions:
    """Module trust_rollout, beside ``ca``: it asks every proxy of the cluster, and hurries istiod's pods."""
    needs = _grant("", "", ("pods",), ("list",)) | _grant("", "", ("pods/portforward",), ("get", "create"))
    own = _grant(ROOT_NAMESPACE, "", ("pods",), ("patch",))
    return needs | own if inventory.clusters[host].served else needs


def _adoption(inventory: Inventory, host: str, _names: Names) -> Permissions:
    """Playbook adopt, beside ``ca`` (which lists Deployments) and ``rotation``: it restarts istiod once."""
    if not inventory.clusters[host].served:
        return frozenset()
    return _grant(ROOT_NAMESPACE, "apps", ("deployments",), ("get", "patch"))


def _verify(inventory: Inventory, host: str, names: Names) -> Permissions:
    """Role verify: mesh_info with the exports, and pods that call as everyone whom an edge admits."""
    callers = {caller["namespace"] for edge in compute.edges(inventory, host) for caller in edge["callers"]}
    namespaces = {namespace or names.verify_namespace for namespace in callers} | {names.verify_namespace}
    needs = _inspection(inventory, host) | _grant("", "", ("namespaces",), ("get",), sorted(namespaces))
    for namespace in namespaces:
        needs |= _grant(namespace, "", ("pods",), ("get", "create", "patch", "delete"))
        needs |= _grant(namespace, "", ("pods/log", "serviceaccounts"), ("get",))
    return needs


def _dns(inventory: Inventory, host: str, names: Names) -> Permissions:
    """Role dns: mesh_info with the exports, and the ConfigMap of the cluster's DNS."""
    verbs = ("get", "create", "patch", "delete") if names.dns_whole_key else ("get", "patch")
    place = names.dns_namespace, "", ("configmaps",)
    return _inspection(inventory, host) | _grant(*place, verbs, (names.dns_config_map,))


def _audit(inventory: Inventory, host: str, _names: Names) -> Permissions:
    """Module policy_audit with mesh_info. What nobody asked for can be in any namespace."""
    needs = _inspection(inventory, host) | _grant(ROOT_NAMESPACE, "", ("configmaps",), ("list",))
    needs |= _grant("", "", ("pods", "services"), ("list",))
    needs |= _grant("", _NETWORKING, ("gateways", "serviceentries"), ("list",))
    return needs | _grant("", _SECURITY, ("authorizationpolicies",), ("list",))


def _control_plane(inventory: Inventory, host: str, _names: Names) -> Permissions:
    """Roles control_plane and gateway: Helm with Istio's charts, which write roles, webhooks and definitions.

    Whoever may write roles and bind them may do everything; the list says what is used, it does not protect.
    """
    own, changed = ROOT_NAMESPACE, ("get", "list", "watch", "create", "update", "patch", "delete")
    admission = (
        "mutatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "validatingwebhookconfigurations",
    )
    needs = _grant("", "", ("namespaces",), ("get", "create"))
    needs |= _grant("", "apiextensions.k8s.io", ("customresourcedefinitions",), changed)
    needs |= _grant("", "admissionregistration.k8s.io", admission, changed)
    needs |= _grant("", RBAC, ("clusterroles", "clusterrolebindings"), changed)
    needs |= _grant("", RBAC, ("clusterroles",), ("bind", "escalate"))
    needs |= _grant("", "apps", ("daemonsets",), ("list",))
    needs |= _grant(own, RBAC, ("roles", "rolebindings"), changed)
    needs |= _grant(own, RBAC, ("roles",), ("bind", "escalate"))
    needs |= _grant(own, "", ("configmaps", "secrets", "serviceaccounts", "services"), changed)  # Helm keeps Secrets
    needs |= _grant(own, "", ("endpoints", "events", "pods"), ("get", "list", "watch"))
    needs |= _grant(own, "apps", ("deployments",), changed)
    needs |= _grant(own, "apps", ("replicasets",), ("get", "list", "watch"))
    needs |= _grant(own, "autoscaling", ("horizontalpodautoscalers",), changed)
    needs |= _grant(own, "discovery.k8s.io", ("endpointslices",), changed)
    needs |= _grant(own, "networking.k8s.io", ("networkpolicies",), changed)
    needs |= _grant(own, "policy", ("poddisruptionbudgets",), changed)
    needs |= _grant(own, _TELEMETRY, ("telemetries",), changed)
    if any(host in cluster.remote_clusters for cluster in inventory.clusters.values()):
        needs |= _grant("", "", ("namespaces",), ("patch",), (own,))
        needs |= _grant(own, "", ("serviceaccounts/token",), ("create",), (READER, SERVING))
    return needs | _grant(own, _SECURITY, ("peerauthentications",), changed)


def _remote_reader(_inventory: Inventory, _host: str, names: Names) -> Permissions:
    """A control plane elsewhere in the mesh that reads Services and endpoints.

    istio.io/istio, pkg/kube/multicluster/cluster.go and pilot/pkg/serviceregistry/kube/controller. It looks through all
    Secrets for gateways' certificates, and without that right a cluster counts as out of reach. With
    PILOT_ENABLE_REMOTE_CREDENTIALS_CONTROLLER=false, which is to spare it, istiod 1.31 ends with a panic.
    """
    read = ("get", "list", "watch")
    needs = _grant("", "", ("namespaces", "nodes", "pods", "secrets", "services"), read)
    needs |= _grant("", "discovery.k8s.io", ("endpointslices",), read)
    needs |= _grant("", "apiextensions.k8s.io", ("customresourcedefinitions",), read)
    needs |= _grant("", _NETWORKING, ("workloadentries",), read)
    needs |= _grant("", "gateway.networking.k8s.io", ("gateways",), read)
    return needs | _grant(ROOT_NAMESPACE, "", ("configmaps",), read, _of_revisions("istio", names))


def _remote_control_plane(inventory: Inventory, host: str, names: Names) -> Permissions:
    """A control plane that serves this cluster: it hands out the trust bundle, keeps the webhooks' up to date, asks
    whose token a proxy shows, and whether a gateway may have a certificate.

    istio.io/istio, pilot/pkg/serviceregistry/kube/controller/multicluster.go.
    """
    own = ROOT_NAMESPACE
    needs = _remote_reader(inventory, host, names)
    needs |= _grant("", "authentication.k8s.io", ("tokenreviews",), ("create",))
    bundles = ("istio-ca-root-cert", "istio-ca-crl")
    needs |= _grant("", "", ("configmaps",), ("get", "list", "watch", "update"), bundles)
    needs |= _grant("", "", ("configmaps",), ("create",))
    needs |= _grant(own, "", ("configmaps",), ("get", "update"), ("istio-namespace-controller-election",))
    admission = ("mutatingwebhookconfigurations",)
    webhooks = _of_revisions("istio-sidecar-injector", names) + [
        f"istio-revision-tag-{tag}" for tag in names.revision_tags
    ]
    needs |= _grant("", "admissionregistration.k8s.io", admission, ("get", "list", "watch"))
    needs |= _grant("", "admissionregistration.k8s.io", admission, ("update",), webhooks)
    needs |= _grant("", "authorization.k8s.io", ("subjectaccessreviews",), ("create",))
    return needs


def _of_revisions(name: str, names: Names) -> list[str]:
    return [f"{name}-{revision}" if revision else name for revision in names.revisions]


def _inspection(inventory: Inventory, host: str) -> Permissions:
    """mesh_info with the exports of the cluster (mesh_info.py, _services_in)."""
    needs = _reading()
    for namespace in {export.namespace for export in inventory.clusters[host].own_exports}:
        needs |= _grant(namespace, "", ("pods", "services"), ("list",))
        needs |= _grant(namespace, "apps", ("daemonsets", "deployments", "statefulsets"), ("list",))
    controller = inventory.clusters[host].ingress
    if controller.addresses is None and any(export.via == "ingress" for export in inventory.clusters[host].exports):
        needs |= _grant(controller.service_namespace, "", ("services",), ("get",), (controller.service_name,))
    return needs


def _reading() -> Permissions:
    """mesh_info without exports. Secrets are not asked for, and DaemonSets in one namespace will do."""
    own = ROOT_NAMESPACE
    needs = _grant(own, "", ("services",), ("list",)) | _grant(own, "apps", ("daemonsets", "deployments"), ("list",))
    return needs | _grant(own, "", ("configmaps",), ("get",), (_PEERS, "istio-ca-root-cert"))


_NEEDS: dict[str, Callable[[Inventory, str, Names], Permissions]] = {
    "federation": _federation,
    "ca": _ca,
    "custody": _custody,
    "rotation": _rotation,
    "adoption": _adoption,
    "verify": _verify,
    "dns": _dns,
    "audit": _audit,
    "control-plane": _control_plane,
    "remote-reader": _remote_reader,
    "remote-control-plane": _remote_control_plane,
}
PARTS = tuple(_NEEDS)
_ACCOUNTS = {"rotation": "ca", "adoption": "ca"}
"""Parts that are done as the account of another one."""


def _credential_namespaces(inventory: Inventory, host: str) -> set[str]:
    """Where DestinationRules name a credential for external services (federation/external.py)."""
    services = inventory.clusters[host].external_services
    return {namespace for service in services if service.tls.credential for namespace in service.export_to}


def _behind_ingress(inventory: Inventory, host: str) -> list[Export]:
    return [export for export in inventory.clusters[host].exports if export.offers and export.via == "ingress"]


def _wider(permission: Permission) -> Permissions:
    """Those that would include it."""
    everywhere, any_name = replace(permission, namespace=""), replace(permission, name="")
    return frozenset({everywhere, any_name, replace(everywhere, name="")} - {permission})


def _grant(
    namespace: str, group: str, resources: Iterable[str], verbs: Iterable[str], names: Iterable[str] = ("",)
) -> Permissions:
    return frozenset(
        Permission(namespace, group, resource, verb, name) for resource, verb, name in product(resources, verbs, names)
    )


# Manifests


def _rules(granted: Iterable[Permission]) -> list[Object]:
    """As few rules as say the same, in a stable order: resources that are alike, and names that are, stand together."""
    names: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for permission in granted:
        names[permission.group, permission.resource, permission.verb].add(permission.name)
    verbs: dict[tuple[str, str, tuple[str, ...]], list[str]] = defaultdict(list)
    for (group, resource, verb), found in names.items():
        limits = ("",) if "" in found else tuple(sorted(found))  # any name includes every one
        verbs[group, resource, limits].append(verb)
    resources: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = defaultdict(list)
    for (group, resource, limits), used in verbs.items():
        resources[group, limits, tuple(sorted(used, key=VERBS.index))].append(resource)
    rules = []
    by_group = sorted(resources.items(), key=lambda one: (one[0][0], sorted(one[1]), one[0]))
    for (group, limits, actions), alike in by_group:
        limit: Object = {} if limits == ("",) else {"resourceNames": list(limits)}
        rules.append({"apiGroups": [group], "resources": sorted(alike), **limit, "verbs": list(actions)})
    return rules


def _subject(given: Mapping[str, Any]) -> Object:
    kind, name, namespace = given.get("kind"), given.get("name"), given.get("namespace")
    if kind in ("User", "Group") and name and namespace is None:
        return {"apiGroup": RBAC, "kind": kind, "name": name}
    if kind == "ServiceAccount" and name and namespace:
        return {"kind": kind, "name": name, "namespace": namespace}
    raise MultimeshError(
        f"subject: expected kind User or Group with a name, or kind ServiceAccount with name and namespace, found "
        f"{dict(given)}. Name one such as {{kind: Group, name: mesh-operators}}."
    )


def _object(api_version: str, kind: str, name: str, namespace: str, body: Mapping[str, Any]) -> Object:
    metadata: Object = {"name": name, "labels": dict(MANAGED_BY)}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}
