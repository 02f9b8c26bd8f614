#!/usr/bin/python
# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_info
short_description: Read what a federation needs to know of one cluster
version_added: 1.0.0
description:
  - Reads versions, the addresses of the east-west gateway and of the ingress controller, exported Services, what the
    cluster remembers of its peers, and its CA.
  - What does not exist is V(null) or empty, so the module can be used on an empty cluster.
  - Registered as C(federation_mesh_info), the result fills in what the inventory leaves out.
author:
  - The multimesh.istio authors (@multimesh)
extends_documentation_fragment:
  - multimesh.istio.connection
  - multimesh.istio.attributes
attributes:
  check_mode:
    support: full
    details:
      - The module only reads.
  diff_mode:
    support: none
    details:
      - The module changes nothing.
  idempotent:
    support: full
options:
  exports:
    description:
      - Entries of C(mesh_exports). The Services that they name are read.
    type: list
    elements: dict
    default: []
  read_conflicts:
    description:
      - Read what others keep in the cluster that the federation could collide with, so that the inventory is refused
        before anything is written.
      - Istio's routing objects can be visible from any namespace, so this takes the right to list them in the whole
        cluster.
    type: bool
    default: false
  namespaces:
    description:
      - With O(read_conflicts=true), namespaces in which something is imported by a name that a Service of the cluster's
        own would have. The names of their Services are read, in one list of the whole cluster.
    type: list
    elements: str
    default: []
  take_over:
    description:
      - Objects that have exactly the kind, namespace and name of one of the federation's will be taken over, as with
        O(multimesh.istio.applyset#module:force_conflicts=true), so they are no collision. Those of another ApplySet
        still are.
    type: bool
    default: false
  gateway_namespace:
    description:
      - Namespace of the east-west gateway's Service.
    type: str
    default: istio-system
  gateway_selector:
    description:
      - Label selector of the east-west gateway's Service.
    type: str
    default: istio=eastwestgateway
  ingress_service:
    description:
      - Namespace and name of the Service by which the ingress controller is reached, separated by C(/).
      - Read only if one of O(exports) is C(via) an C(ingress).
    type: str
    default: istio-system/istio-ingressgateway
  read_ca:
    description:
      - Read the certificates of Secret C(cacerts) in C(istio-system) too.
      - Kubernetes hands out a Secret only as a whole, so this takes the right to read the CA's key. The key is dropped
        at once and never returned. Without this option no Secret is asked for.
      - Also makes it an error if DaemonSets may not be listed in all namespaces, because ztunnel can be in any.
    type: bool
    default: false
  read_remote_secrets:
    description:
      - Count the Secrets in C(istio-system) that hold credentials for other clusters. A federation made by this
        collection needs none.
      - Kubernetes cannot limit a list to some Secrets, so this takes the right to read every one there, the CA's key
        among them.
    type: bool
    default: false
  read_record:
    description:
      - Tell which credentials for other clusters M(multimesh.istio.remote_secrets) has made here, from its ConfigMap
        C(istio-system/multimesh-remote-secrets). No Secret is asked for.
    type: bool
    default: false
  releases:
    description:
      - Helm releases in C(istio-system) to look up, as they are to be. Asking C(helm) would take seconds for each.
      - Helm keeps its records in Secrets, so this takes the right to read every one there, as Helm does.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the release.
        type: str
        required: true
      chart_ref:
        description: Name, URL or local folder of the chart.
        type: str
        required: true
      chart_version:
        description: Version of the chart; that of a folder is read there.
        type: str
      release_values:
        description: Values given to the chart.
        type: dict
        default: {}
seealso:
  - module: multimesh.istio.applyset
"""

EXAMPLES = r"""
- name: Read versions and the address of the gateway
  multimesh.istio.mesh_info:
    mesh: west
    kubeconfig: "{{ mesh_kubeconfig }}"
  register: west

- name: Read what the inventory leaves out of its exports
  multimesh.istio.mesh_info:
    kubeconfig: "{{ mesh_kubeconfig }}"
    exports:
      - service: reviews
        namespace: bookinfo
  register: federation_mesh_info

- name: Read what the federation could collide with as well
  multimesh.istio.mesh_info:
    kubeconfig: "{{ mesh_kubeconfig }}"
    exports: "{{ mesh_exports | default([]) }}"
    read_conflicts: true
    namespaces: [shop]
  register: federation_mesh_info

- name: Read the CA, and fail while there is still time
  multimesh.istio.mesh_info:
    kubeconfig: "{{ mesh_kubeconfig }}"
    read_ca: true
  register: ca
  failed_when: ca.mesh.ca.intermediate.days_left < 14

- name: See whether Helm has anything to do
  multimesh.istio.mesh_info:
    kubeconfig: "{{ mesh_kubeconfig }}"
    releases:
      - name: istio-base
        chart_ref: base
        chart_version: 1.31.1
        release_values:
          defaultRevision: default
  register: installed
"""

RETURN = r"""
mesh:
  description: Facts of the cluster.
  returned: success
  type: dict
  contains:
    kubernetes_version:
      description: Version of the API server.
      type: str
      sample: v1.36.3
    istio:
      description: Istio's control planes and data plane.
      type: dict
      contains:
        revisions:
          description: One entry for each istiod Deployment in C(istio-system).
          type: list
          elements: dict
          contains:
            name:
              description: Name of the revision.
              type: str
              sample: default
            version:
              description: Version of istiod, by its image tag.
              type: str
              sample: 1.31.1
            replicas:
              description: Replicas wanted.
              type: int
              sample: 1
            ready_replicas:
              description: Replicas ready.
              type: int
              sample: 1
        ambient:
          description:
            - Whether the cluster has ambient mode, which is whether ztunnel is installed. Where DaemonSets may not be
              listed in all namespaces, it is looked for in C(istio-system) alone.
          type: bool
          sample: false
    gateway_addresses:
      description: IPs of the east-west gateway, or its names where the load balancer has names only.
      type: list
      elements: str
      sample: [198.51.100.7]
    ingress_addresses:
      description: The same of the Service O(ingress_service), empty if none of O(exports) is C(via) an C(ingress).
      type: list
      elements: str
      sample: []
    services:
      description: The Services that O(exports) names, without those that do not exist.
      type: list
      elements: dict
      contains:
        namespace:
          description: Namespace of the Service.
          type: str
          sample: bookinfo
        name:
          description: Name of the Service.
          type: str
          sample: reviews
        ports:
          description: Its ports.
          type: list
          elements: dict
          contains:
            number:
              description: Port of the Service.
              type: int
              sample: 9080
            name:
              description: Name of the port, if it has one.
              type: str
              sample: http
            protocol:
              description: Protocol that Istio selects for it, V(TCP) where Istio would guess.
              type: str
              sample: HTTP
            target_port:
              description: Port of the pods, V(null) where no pod has a port of that name.
              type: int
              sample: 9080
            target_port_name:
              description: By which the Service names the port of the pods, V(null) where it numbers it.
              type: str
              sample: web
        selector:
          description: Labels of the pods behind it.
          type: dict
          sample: {"app": "reviews"}
        service_accounts:
          description: Service accounts of the pods behind it, or of the workloads whose pods it selects when none runs.
          type: list
          elements: str
          sample: [bookinfo-reviews]
        cluster_ip:
          description: Its address in the cluster; null for a headless one.
          type: str
          sample: 10.96.0.9
        same_pods:
          description: Other Services of the namespace that select all of its pods too.
          type: list
          elements: str
          sample: []
    remembered:
      description: Facts of the peers as they were last applied to this cluster, by inventory host name.
      type: dict
      sample: {"east": {"gateway_addresses": ["198.51.100.9"], "services": []}}
    peers:
      description:
        - Inventory host names of the clusters from which this one imports, and of those to which it offers something,
          as last applied.
      type: list
      elements: str
      sample: [east, north]
    ca:
      description: The CA of the mesh.
      type: dict
      contains:
        cacerts_present:
          description: Whether Secret C(cacerts) exists. V(null) without O(read_ca=true).
          type: bool
          sample: true
        roots:
          description:
            - Root certificates that the mesh trusts, from Secret C(cacerts) with O(read_ca=true), otherwise from
              ConfigMap C(istio-ca-root-cert).
          type: list
          elements: dict
          contains: &certificate
            subject:
              description: Subject.
              type: str
              sample: CN=multimesh root
            issuer:
              description: Issuer.
              type: str
              sample: CN=multimesh root
            serial:
              description: Serial number, in hexadecimal.
              type: str
              sample: 4b7d1c09
            fingerprint_sha256:
              description: SHA-256 fingerprint.
              type: str
              sample: 0f3c6a1f1d6c2f6f0e4f6a1e6a53d0a5a0b7e3a9c1d2e3f405162738495a6b7c
            not_before:
              description: Begin of its validity, in UTC.
              type: str
              sample: "2026-11-21T09:00:00Z"
            not_after:
              description: End of its validity, in UTC.
              type: str
              sample: "2027-02-19T09:00:00Z"
            days_left:
              description: Whole days until then, negative once it is over.
              type: int
              sample: 90
            is_ca:
              description: Whether it may sign certificates.
              type: bool
              sample: true
            self_signed:
              description: Whether it is signed by itself.
              type: bool
              sample: false
            uri_constraints:
              description: Trust domains that it can speak for. Empty means any.
              type: list
              elements: str
              sample: [west.mesh]
        intermediate:
          description: Certificate that the mesh's CA signs with. V(null) without O(read_ca=true).
          type: dict
          contains: *certificate
        chain:
          description: Certificates that go with those it issues. Empty without O(read_ca=true).
          type: list
          elements: dict
          contains: *certificate
        share_of_life:
          description:
            - Share of its life that the intermediate has behind it. Its successor is prepared at 1/2 and signs at 2/3.
              V(null) without O(read_ca=true).
          type: float
          sample: 0.25
        crls:
          description: Revocation lists that the mesh holds. Empty without O(read_ca=true).
          type: list
          elements: dict
          contains:
            issuer:
              description: Subject of the root or CA that it is of.
              type: str
              sample: CN=multimesh root
            number:
              description: Which of the lists of that CA it is.
              type: int
              sample: 3
            this_update:
              description: When it was made, in UTC.
              type: str
              sample: "2026-11-21T09:00:00Z"
            next_update:
              description: When it ends, and with it everything below that CA, in UTC.
              type: str
              sample: "2027-02-19T09:00:00Z"
            age_days:
              description: Whole days since it was made.
              type: int
              sample: 12
            days_left:
              description: Whole days until it ends.
              type: int
              sample: 78
            revoked:
              description: Serial numbers that are revoked, in hexadecimal.
              type: list
              elements: str
              sample: []
    remote_secrets:
      description:
        - Number of Secrets in C(istio-system) that hold credentials for other clusters. V(null) without
          O(read_remote_secrets=true).
      type: int
      sample: 0
    recorded_remote_secrets:
      description:
        - Names of the Secrets that M(multimesh.istio.remote_secrets) has made. V(null) without O(read_record=true).
      type: list
      elements: str
      sample: []
    foreign:
      description: What others keep in the cluster that the federation could collide with. V(null) without
        O(read_conflicts=true).
      type: dict
      contains:
        take_over:
          description: O(take_over).
          type: bool
          sample: false
        services:
          description: Names of the Services, by O(namespaces).
          type: dict
          sample: {"shop": ["cart", "till"]}
        objects:
          description:
            - C(ServiceEntry), C(DestinationRule), C(VirtualService) and C(Gateway) objects whose hosts or names could
              be the federation's, and C(AuthorizationPolicy) and C(ConfigMap) objects that have one of its names.
            - Of a Gateway there is one entry for each server on port 15443 of the east-west gateway.
          type: list
          elements: dict
          contains:
            kind:
              description: Its kind.
              type: str
              sample: ServiceEntry
            namespace:
              description: Its namespace.
              type: str
              sample: shop
            name:
              description: Its name.
              type: str
              sample: legacy
            owner:
              description: Its label C(app.kubernetes.io/managed-by), or empty.
              type: str
              sample: Helm
            part_of:
              description: Id of the ApplySet that it is a member of, or empty.
              type: str
              sample: ""
            hosts:
              description: Its hosts, completed as Istio does, without those that cannot be the federation's.
              type: list
              elements: str
              sample: [reviews.shop.global]
            visible:
              description: Namespaces that see it, or V(*).
              type: list
              elements: str
              sample: ["*"]
            http:
              description: Of a VirtualService, whether it routes requests.
              type: bool
              sample: true
            ports:
              description:
                - Of a VirtualService, the ports on which it routes connections. Empty is every port, V(null) is none.
              type: list
              elements: int
              sample: [5432]
            tls:
              description: Of a Gateway, the mode of the server's TLS, empty for plaintext.
              type: str
              sample: AUTO_PASSTHROUGH
    releases:
      description: O(releases) by their names.
      type: dict
      sample: {istio-base: {chart: base, version: 1.31.1, revision: 1, current: true}}
"""

import importlib.util
import os
from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.multimesh.istio.plugins.module_utils.kube.client import Client
from ansible_collections.multimesh.istio.plugins.module_utils.kube.connection import CONNECTION_OPTIONS, Connection
from ansible_collections.multimesh.istio.plugins.module_utils.mesh_info import Request, read_mesh
from ansible_collections.multimesh.istio.plugins.module_utils.model.ingress import SERVICE
from ansible_collections.multimesh.istio.plugins.module_utils.task import Task, TaskError, serve

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    **CONNECTION_OPTIONS,
    "exports": {"type": "list", "elements": "dict", "default": []},
    "namespaces": {"type": "list", "elements": "str", "default": []},
    "read_conflicts": {"type": "bool", "default": False},
    "take_over": {"type": "bool", "default": False},
    "gateway_namespace": {"type": "str", "default": "istio-system"},
    "gateway_selector": {"type": "str", "default": "istio=eastwestgateway"},
    "ingress_service": {"type": "str", "default": SERVICE},
    "read_ca": {"type": "bool", "default": False},
    "read_remote_secrets": {"type": "bool", "default": False},
    "read_record": {"type": "bool", "default": False},
    "releases": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "chart_ref": {"type": "str", "required": True},
            "chart_version": {"type": "str"},
            "release_values": {"type": "dict", "default": {}},
        },
    },
}


def run(task: Task) -> dict[str, Any]:
    options = task.options
    if importlib.util.find_spec("cryptography") is None:  # certificates are described with it
        raise TaskError(missing_required_lib("cryptography"))
    client = Client.connect(Connection.from_options(options, os.environ), concurrency=16)
    request = Request(
        exports=options["exports"],
        gateway_namespace=options["gateway_namespace"],
        gateway_selector=options["gateway_selector"],
        ingress_service=options["ingress_service"],
        read_ca=options["read_ca"],
        read_remote_secrets=options["read_remote_secrets"],
        read_record=options["read_record"],
        releases=options["releases"],
        namespaces=options["namespaces"],
        read_conflicts=options["read_conflicts"],
        take_over=options["take_over"],
    )
    info = read_mesh(client, request, datetime.now(UTC))
    task.warnings.extend(info.warnings)
    return {"changed": False, "mesh": info.facts}


def main() -> None:
    serve(AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True), run)


if __name__ == "__main__":
    main()
