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
positional: _input, term
extends_documentation_fragment:
  - multimesh.istio.inventory.hostvars
  - multimesh.istio.inventory.objects
  - multimesh.istio.inventory
seealso:
  - plugin: multimesh.istio.federation
    plugin_type: lookup
  - module: multimesh.istio.applyset
"""

EXAMPLES = r"""
- name: Say which objects the mesh west must hold
  ansible.builtin.debug:
    msg: "{{ item.kind }} {{ item.metadata.namespace }}/{{ item.metadata.name }}"
  loop: "{{ hostvars | multimesh.istio.federation('west') }}"
  loop_control:
    label: "{{ item.metadata.name }}"
"""

RETURN = r"""
_value:
  description:
    - The objects, sorted by kind, namespace and name.
  type: list
  elements: dict
  sample:
    - apiVersion: networking.istio.io/v1
      kind: ServiceEntry
      metadata:
        name: reviews.bookinfo.svc.east.global
        namespace: istio-system
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.multimesh.istio.plugins.plugin_utils.compute import objects


def federation(hostvars: Mapping[str, Any], term: str, allow_unknown_addresses: bool = False) -> list[dict[str, Any]]:
    return objects(hostvars, term, None, allow_unknown_addresses)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"federation": federation}
