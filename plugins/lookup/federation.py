# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: federation
short_description: Every federation object of a mesh
version_added: 1.0.0
author:
  - The multimesh.istio authors (@multimesh)
description:
  - Computes from the inventory the objects that a mesh must hold to be federated, in both directions.
    These are C(ServiceEntry), C(DestinationRule) and C(VirtualService) of every imported host and of every external
    service that it may use, the C(Gateway) and the C(AuthorizationPolicy) objects of its own exports, and the
    C(ConfigMap) that remembers its peers.
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
  without:
    description:
      - Hosts that are about to leave. What they offer, and what others offer to them, is left out.
      - Used by the playbook C(multimesh.istio.remove) to make the other meshes forget them first.
    type: list
    elements: str
    default: []
  state:
    description:
      - What lookup P(multimesh.istio.federation_state#lookup) gave in an earlier task of this run. The objects are
        those that it has computed, and variables that have changed since are not looked at.
      - Reading the variables of a hundred hosts takes Ansible longer than all the rest, and every host does it again.
    type: str
  as_text:
    description:
      - Give one text per term, as option O(multimesh.istio.applyset#module:manifest) takes it, instead of a list.
    type: bool
    default: false
notes:
  - Variables that begin with C(mesh_) are read of all hosts in group C(meshes), within C(--limit) or not.
  - What the inventory leaves out is taken from the registered result C(federation_mesh_info) of
    M(multimesh.istio.mesh_info), where a host has one.
seealso:
  - plugin: multimesh.istio.federation
    plugin_type: filter
  - plugin: multimesh.istio.service_entries
    plugin_type: lookup
  - module: multimesh.istio.applyset
"""

EXAMPLES = r"""
- name: Say how many objects the mesh west must hold
  ansible.builtin.debug:
    msg: "{{ lookup('multimesh.istio.federation', 'west') | length }}"

- name: Show the kinds of objects of two meshes
  ansible.builtin.debug:
    msg: "{{ item | map(attribute='kind') | unique }}"
  loop: "{{ lookup('multimesh.istio.federation', 'east', 'west', wantlist=True) }}"
"""

RETURN = r"""
_list:
  description:
    - One list of objects per term, each sorted by kind, namespace and name; with O(as_text) one text per term.
  type: list
  elements: raw
  sample:
    - - apiVersion: networking.istio.io/v1
        kind: ServiceEntry
        metadata:
          name: reviews.bookinfo.svc.east.global
          namespace: istio-system
"""

from typing import Any

from ansible.plugins.lookup import LookupBase
from ansible_collections.multimesh.istio.plugins.module_utils.applyset import manifest
from ansible_collections.multimesh.istio.plugins.plugin_utils.compute import objects


class LookupModule(LookupBase):
    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        variables = variables or {}
        self.set_options(var_options=variables, direct=kwargs)
        allow = self.get_option("allow_unknown_addresses")
        without = self.get_option("without")
        hostvars, groups = variables["hostvars"], variables["groups"]
        state = self.get_option("state")
        found = [objects(hostvars, term, None, allow, groups, without, state) for term in self._flatten(terms)]
        return [manifest.write(items) for items in found] if self.get_option("as_text") else found
