# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: admissions
short_description: Who may call the exports of a mesh
version_added: 1.0.0
author:
  - The multimesh.istio authors (@multimesh)
description:
  - Lists for each port that a mesh exports the callers whom the inventory admits, with rules and selections resolved.
  - Used by the playbook C(multimesh.istio.audit), which compares it with the policies in the cluster.
positional: _input, term
extends_documentation_fragment:
  - multimesh.istio.inventory.hostvars
options:
  term:
    description:
      - Name of a host of group C(meshes), or of a mesh, whose exports are listed.
    type: str
    required: true
  allow_unknown_addresses:
    description:
      - Whether a gateway whose address nobody knows is no reason to refuse the inventory.
    type: bool
    default: false
seealso:
  - module: multimesh.istio.policy_audit
  - plugin: multimesh.istio.edges
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Say who may call the mesh east
  ansible.builtin.debug:
    msg: "{{ item.service }}:{{ item.port }} is for {{ item.callers | map(attribute='mesh') | unique | join(', ') }}"
  loop: "{{ hostvars | multimesh.istio.admissions('east') }}"
  loop_control:
    label: "{{ item.service }}"
"""

RETURN = r"""
_value:
  description:
    - The exported ports, sorted by namespace, Service and port.
    - In RV(_value[].callers) a null means every namespace, service account, method or path.
  type: list
  elements: dict
  contains:
    namespace:
      description: Namespace of the Service.
      type: str
      returned: always
    service:
      description: Name of the Service.
      type: str
      returned: always
    port:
      description: Port of the Service.
      type: int
      returned: always
    target_port:
      description: Port of the pods, which policies see.
      type: int
      returned: always
    protocol:
      description: Protocol of the port.
      type: str
      returned: always
    via:
      description: The way there.
      type: str
      returned: always
    callers:
      description:
        - Who may call it, each with C(mesh), C(trust_domain), C(namespace), C(service_account), C(methods) and
          C(paths).
      type: list
      elements: dict
      returned: always
  sample:
    - namespace: bookinfo
      service: reviews
      port: 9080
      target_port: 9080
      protocol: HTTP
      via: passthrough
      callers:
        - mesh: west
          trust_domain: west.mesh
          namespace: shop
          service_account: cart
          methods: [GET]
          paths: null
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.multimesh.istio.plugins.plugin_utils.compute import admissions as admissions_of


def admissions(hostvars: Mapping[str, Any], term: str, allow_unknown_addresses: bool = False) -> list[dict[str, Any]]:
    return admissions_of(hostvars, term, allow_unknown_addresses)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"admissions": admissions}
