# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: service_entries
short_description: ServiceEntries a mesh must hold
version_added: 1.0.0
author:
  - The multimesh.istio authors (@multimesh)
description:
  - Computes from the inventory the C(ServiceEntry) of every host that a mesh imports, or serves under a host of its
    own, and of every external service that it may use.
  - The whole inventory is validated first. All problems are reported together.
  - No cluster is contacted.
extends_documentation_fragment:
  - multimesh.istio.inventory
options:
  _terms:
    description:
      - Names of hosts of group C(meshes), or of meshes.
      - For a mesh of several clusters the objects of all of them are put together.
        If two clusters need different objects of the same name, ask for the hosts instead.
    type: list
    elements: str
    required: true
notes:
  - Variables that begin with C(mesh_) are read of all hosts in group C(meshes), within C(--limit) or not.
  - What the inventory leaves out is taken from the registered result C(federation_mesh_info) of
    M(multimesh.istio.mesh_info), where a host has one.
seealso:
  - plugin: multimesh.istio.service_entries
    plugin_type: filter
  - plugin: multimesh.istio.federation
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Say which hosts the mesh west knows
  ansible.builtin.debug:
    msg: "{{ lookup('multimesh.istio.service_entries', 'west') | map(attribute='spec.hosts') | flatten }}"

- name: Count the ServiceEntries of two meshes
  ansible.builtin.debug:
    msg: "{{ item | length }}"
  loop: "{{ lookup('multimesh.istio.service_entries', 'east', 'west', wantlist=True) }}"
  loop_control:
    label: one mesh
"""

RETURN = r"""
_list:
  description:
    - One list of objects per term, each sorted by namespace and name.
  type: list
  elements: list
  sample:
    - - apiVersion: networking.istio.io/v1
        kind: ServiceEntry
        metadata:
          name: reviews.bookinfo.svc.east.global
          namespace: istio-system
"""

from typing import Any

from ansible.plugins.lookup import LookupBase
from ansible_collections.multimesh.istio.plugins.plugin_utils.compute import objects


class LookupModule(LookupBase):
    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        variables = variables or {}
        self.set_options(var_options=variables, direct=kwargs)
        allow = self.get_option("allow_unknown_addresses")
        return [
            objects(variables["hostvars"], term, "ServiceEntry", allow, variables["groups"])
            for term in self._flatten(terms)
        ]
