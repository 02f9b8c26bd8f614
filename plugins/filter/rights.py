# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: rights
short_description: Roles that let one part of the collection work in a cluster, and no more
version_added: 1.0.0
author:
  - The multimesh.istio authors (@multimesh)
description:
  - Computes from the inventory what one part of the collection has to be allowed to do in one cluster, as manifests of
    C(Role), C(ClusterRole) and their bindings.
  - The playbook C(multimesh.istio.render) writes them to files. Somebody who may give rights applies those.
  - Namespaces that the manifests name have to exist.
positional: _input, host, part
extends_documentation_fragment:
  - multimesh.istio.inventory.hostvars
options:
  host:
    description:
      - Name of a host of group C(meshes), or of a mesh with a single cluster.
    type: str
    required: true
  part:
    description:
      - V(federation), role P(multimesh.istio.federation#role). It may read no Secret.
      - V(ca), role P(multimesh.istio.shared_root_ca#role).
      - V(custody), for the cluster in which O(multimesh.istio.shared_root_ca#module:custody=secret) keeps the root.
      - V(rotation), what the playbooks C(multimesh.istio.rotate_root_ca) and C(multimesh.istio.revoke) need beside
        V(ca) to wait for every proxy.
      - V(verify), role P(multimesh.istio.verify#role).
      - V(dns), role P(multimesh.istio.dns#role).
      - V(audit), module M(multimesh.istio.policy_audit).
      - V(control-plane), roles P(multimesh.istio.control_plane#role) and P(multimesh.istio.gateway#role). Whoever has
        these rights can get all others.
      - V(remote-reader), what a control plane of another cluster of the mesh needs that knows this one's endpoints, and
        V(remote-control-plane), what it needs to serve this cluster. Role P(multimesh.istio.control_plane#role) gives
        these rights.
    type: str
    choices:
      - federation
      - ca
      - custody
      - rotation
      - adoption
      - verify
      - dns
      - audit
      - control-plane
      - remote-reader
      - remote-control-plane
    required: true
  subject:
    description:
      - Who gets the rights, as in a C(RoleBinding), with C(kind), C(name) and for a ServiceAccount C(namespace).
      - Unless given, a ServiceAccount C(multimesh-<part>), which is one of the manifests, in C(istio-system), or for
        V(custody) in O(root_namespace). For V(rotation) and V(adoption) it is that of V(ca).
    type: dict
  verify_namespace:
    description:
      - What O(multimesh.istio.verify#role:main:verify_namespace) is set to.
    type: str
    default: multimesh-verify
  root_namespace:
    description:
      - What O(multimesh.istio.shared_root_ca#module:root_namespace) is set to.
    type: str
    default: multimesh-istio
  root_secret:
    description:
      - What O(multimesh.istio.shared_root_ca#module:root_secret) is set to.
    type: str
    default: shared-root-ca
  dns_namespace:
    description:
      - What O(multimesh.istio.dns#role:main:dns_namespace) is set to.
    type: str
    default: kube-system
  dns_config_map:
    description:
      - What O(multimesh.istio.dns#role:main:dns_config_map) is set to.
    type: str
    default: coredns
  dns_whole_key:
    description:
      - What O(multimesh.istio.dns#role:main:dns_whole_key) is set to.
    type: bool
    default: false
  read_conflicts:
    description:
      - What O(multimesh.istio.federation#role:main:federation_read_conflicts) is set to.
    type: bool
    default: true
  revisions:
    description:
      - Revisions of Istio by which another cluster's control plane serves this one, for V(remote-reader) and
        V(remote-control-plane). The empty one is the default.
    type: list
    elements: str
    default: [""]
  revision_tags:
    description:
      - Tags that stand for revisions, for V(remote-control-plane).
    type: list
    elements: str
    default: []
seealso:
  - plugin: multimesh.istio.federation
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show what the federation part needs in the mesh east
  ansible.builtin.debug:
    msg: "{{ roles | map('to_nice_yaml') | join('---\n') }}"
  vars:
    roles: "{{ hostvars | multimesh.istio.rights('east', 'federation') }}"

- name: Say which namespaces the CA part has rights in, for a group of people
  ansible.builtin.debug:
    msg: "{{ roles | selectattr('kind', 'eq', 'Role') | map(attribute='metadata.namespace') }}"
  vars:
    roles: "{{ hostvars | multimesh.istio.rights('east', 'ca', subject={'kind': 'Group', 'name': 'pki'}) }}"
"""

RETURN = r"""
_value:
  description:
    - The manifests, a ServiceAccount first, then a role and its binding for each namespace.
  type: list
  elements: dict
  sample:
    - apiVersion: rbac.authorization.k8s.io/v1
      kind: Role
      metadata:
        name: multimesh-rotation
        namespace: istio-system
        labels:
          app.kubernetes.io/managed-by: multimesh.istio
      rules:
        - apiGroups: [""]
          resources: [pods]
          verbs: [patch]
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.rbac import Names
from ansible_collections.multimesh.istio.plugins.plugin_utils import compute
from ansible_collections.multimesh.istio.plugins.plugin_utils.raw_inventory import plain


def rights(
    hostvars: Mapping[str, Any],
    host: str,
    part: str,
    subject: Mapping[str, Any] | None = None,
    verify_namespace: str = Names.verify_namespace,
    root_namespace: str = Names.root_namespace,
    root_secret: str = Names.root_secret,
    dns_namespace: str = Names.dns_namespace,
    dns_config_map: str = Names.dns_config_map,
    dns_whole_key: bool = Names.dns_whole_key,
    read_conflicts: bool = Names.read_conflicts,
    revisions: Sequence[str] = Names.revisions,
    revision_tags: Sequence[str] = Names.revision_tags,
) -> list[dict[str, Any]]:
    names = Names(
        plain(verify_namespace),
        plain(root_namespace),
        plain(root_secret),
        plain(dns_namespace),
        plain(dns_config_map),
        bool(dns_whole_key),
        bool(read_conflicts),
        tuple(plain(revisions)),
        tuple(plain(revision_tags)),
    )
    return compute.rights(hostvars, host, part, names, plain(subject))


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"rights": rights}
