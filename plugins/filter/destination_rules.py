# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: destination_rules
short_description: DestinationRules a mesh must hold
version_added: 1.0.0
author:
  - The multimesh.istio authors (@multimesh)
description:
  - Computes from the inventory the C(DestinationRule) of every host that a mesh imports, with mutual TLS to exactly
    the serving identities, and how a failing exporter is left for another.
  - Those of external services are among them, with the TLS that callers' proxies make.
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
- name: Say how the mesh west calls its imports
  ansible.builtin.debug:
    msg: "{{ item.spec.host }}: {{ item.spec.trafficPolicy.keys() | join(', ') }}"
  loop: "{{ hostvars | multimesh.istio.destination_rules('west') }}"
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
      kind: DestinationRule
      metadata:
        name: reviews.bookinfo.svc.east.global
        namespace: istio-system
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.multimesh.istio.plugins.plugin_utils.compute import objects


def destination_rules(
    hostvars: Mapping[str, Any], term: str, allow_unknown_addresses: bool = False
) -> list[dict[str, Any]]:
    return objects(hostvars, term, "DestinationRule", allow_unknown_addresses)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"destination_rules": destination_rules}
