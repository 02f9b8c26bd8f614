# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: dns_hosts
short_description: Addresses of the hosts that a cluster imports
version_added: 1.0.0
author:
  - The multimesh.istio authors (@multimesh)
description:
  - Computes from the inventory which address every imported host has in one cluster, as the C(ServiceEntry) says it.
  - It is what a DNS server has to answer to clients whose sidecar does not capture DNS. Used by the role
    P(multimesh.istio.dns#role).
  - A host that is the name of a Service of the cluster's own is left out, because the Service has an address.
  - No cluster is contacted.
positional: _input, host
extends_documentation_fragment:
  - multimesh.istio.inventory.hostvars
options:
  host:
    description:
      - Name of a host of group C(meshes), or of a mesh with a single cluster.
    type: str
    required: true
  allow_unknown_addresses:
    description:
      - Whether a gateway whose address nobody knows is let pass, instead of refusing the inventory.
      - Meant for check mode on clusters that have no gateway yet.
    type: bool
    default: false
  without:
    description:
      - Hosts of group C(meshes) that are about to leave; what they offer is left out.
    type: list
    elements: str
    default: []
seealso:
  - plugin: multimesh.istio.service_entries
    plugin_type: filter
  - module: multimesh.istio.coredns_hosts
"""

EXAMPLES = r"""
- name: Say what a DNS server has to answer in the mesh west
  ansible.builtin.debug:
    msg: "{{ item.value | join(' ') }} {{ item.key }}"
  loop: "{{ hostvars | multimesh.istio.dns_hosts('west') | dict2items }}"
  loop_control:
    label: "{{ item.key }}"
"""

RETURN = r"""
_value:
  description:
    - Lists of addresses by host.
  type: dict
  sample:
    reviews.bookinfo.svc.east.global: [241.26.65.188]
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.multimesh.istio.plugins.plugin_utils.compute import dns_hosts as hosts_of


def dns_hosts(
    hostvars: Mapping[str, Any], host: str, allow_unknown_addresses: bool = False, without: Sequence[str] = ()
) -> dict[str, list[str]]:
    return hosts_of(hostvars, host, allow_unknown_addresses, without)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"dns_hosts": dns_hosts}
