# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: authorization_policies
short_description: AuthorizationPolicies a mesh must hold
version_added: 1.0.0
author:
  - The multimesh.istio authors (@multimesh)
description:
  - Computes from the inventory the C(AuthorizationPolicy) of every Service that a mesh offers. It denies callers
    of other meshes that the export does not name, and leaves local callers and the owner's own policies alone.
  - The whole inventory is validated first. All problems are reported together.
  - No cluster is contacted.
positional: _input, term
extends_documentation_fragment:
  - multimesh.istio.inventory.hostvars
  - multimesh.istio.inventory.objects
  - multimesh.istio.inventory
seealso:
  - plugin: multimesh.istio.federation
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Say which policies the mesh east gets
  ansible.builtin.debug:
    msg: "{{ item.metadata.namespace }}/{{ item.metadata.name }}"
  loop: "{{ hostvars | multimesh.istio.authorization_policies('east') }}"
  loop_control:
    label: "{{ item.metadata.name }}"
"""

RETURN = r"""
_value:
  description:
    - The objects, sorted by namespace and name.
  type: list
  elements: dict
  sample:
    - apiVersion: security.istio.io/v1
      kind: AuthorizationPolicy
      metadata:
        name: multimesh-reviews
        namespace: bookinfo
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.multimesh.istio.plugins.plugin_utils.compute import objects


def authorization_policies(
    hostvars: Mapping[str, Any], term: str, allow_unknown_addresses: bool = False
) -> list[dict[str, Any]]:
    return objects(hostvars, term, "AuthorizationPolicy", allow_unknown_addresses)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"authorization_policies": authorization_policies}
