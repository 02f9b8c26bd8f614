# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: virtual_services
short_description: VirtualServices a mesh must hold
version_added: 1.0.0
author:
  - The multimesh.istio authors (@multimesh)
description:
  - Computes from the inventory the C(VirtualService) of every imported host with HTTP ports, which says which failed
    requests are repeated, and where.
  - External services have one each, whatever their protocol.
  - The whole inventory is validated first. All problems are reported together.
  - No cluster is contacted.
positional: _input, term
options:
  _input:
    description:
      - Ansible's C(hostvars), or a mapping of the same shape, host names to variables.
    type: dict
    required: true
  term:
    description:
      - Name of a host of group C(meshes), or of a mesh.
      - For a mesh of several clusters the objects of all of them are put together.
        If two clusters need different objects of the same name, ask for the hosts instead.
    type: str
    required: true
  allow_unknown_addresses:
    description:
      - Whether a gateway whose address nobody knows is named by the placeholder V(pending.<mesh>.invalid),
        instead of refusing the inventory.
      - Meant for check mode on clusters that have no gateway yet.
    type: bool
    default: false
seealso:
  - plugin: multimesh.istio.federation
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Say what the mesh west repeats
  ansible.builtin.debug:
    msg: "{{ item.spec.http | map(attribute='retries.retryOn') | unique }}"
  loop: "{{ hostvars | multimesh.istio.virtual_services('west') }}"
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
    - apiVersion: networking.istio.io/v1
      kind: VirtualService
      metadata:
        name: reviews.bookinfo.svc.east.global
        namespace: istio-system
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.multimesh.istio.plugins.plugin_utils.compute import objects


def virtual_services(
    hostvars: Mapping[str, Any], term: str, allow_unknown_addresses: bool = False
) -> list[dict[str, Any]]:
    return objects(hostvars, term, "VirtualService", allow_unknown_addresses)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"virtual_services": virtual_services}
