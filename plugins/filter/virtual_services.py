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
extends_documentation_fragment:
  - multimesh.istio.inventory.hostvars
  - multimesh.istio.inventory.objects
  - multimesh.istio.inventory
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
