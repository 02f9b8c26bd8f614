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
  - Computes from the inventory the C(ServiceEntry) of every host that a mesh imports, or serves under a host of
    its own, and of every external service that it may use.
  - The whole inventory is validated first. All problems are reported together.
  - No cluster is contacted.
positional: _input, term
extends_documentation_fragment:
  - multimesh.istio.inventory.hostvars
  - multimesh.istio.inventory.objects
  - multimesh.istio.inventory
seealso:
  - plugin: multimesh.istio.service_entries
    plugin_type: lookup
  - plugin: multimesh.istio.federation
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Say which hosts the mesh west knows
  ansible.builtin.debug:
    msg: "{{ hostvars | multimesh.istio.service_entries('west') | map(attribute='spec.hosts') | flatten }}"
"""

RETURN = r"""
_value:
  description:
    - The objects, sorted by namespace and name.
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


def service_entries(
    hostvars: Mapping[str, Any], term: str, allow_unknown_addresses: bool = False
) -> list[dict[str, Any]]:
    return objects(hostvars, term, "ServiceEntry", allow_unknown_addresses)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"service_entries": service_entries}
