# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: edges
short_description: Who may call what across meshes
version_added: 1.0.0
author:
  - The multimesh.istio authors (@multimesh)
description:
  - Lists the calls that the inventory allows from one mesh to others, one entry per exporter, host and port.
  - Used by the role P(multimesh.istio.verify#role), which makes these calls.
positional: _input, term
extends_documentation_fragment:
  - multimesh.istio.inventory.hostvars
  - multimesh.istio.inventory
options:
  term:
    description:
      - Name of a host of group C(meshes), or of a mesh, whose calls are listed.
    type: str
    required: true
seealso:
  - plugin: multimesh.istio.federation
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Say what the mesh west may call
  ansible.builtin.debug:
    msg: "{{ item.consumer }} -> {{ item.exporter }}: {{ item.host }}:{{ item.port }}"
  loop: "{{ hostvars | multimesh.istio.edges('west') }}"
  loop_control:
    label: "{{ item.host }}"
"""

RETURN = r"""
_value:
  description:
    - The calls, sorted by host, port and exporter.
    - In RV(_value[].callers) a null means every namespace, service account, method or path.
  type: list
  elements: dict
  contains:
    exporter:
      description: Mesh that offers the Service.
      type: str
      returned: always
    exporter_cluster:
      description: Its cluster, by host name.
      type: str
      returned: always
    consumer:
      description: Mesh that calls.
      type: str
      returned: always
    consumer_cluster:
      description: Its cluster, by host name.
      type: str
      returned: always
    host:
      description: Host that is called.
      type: str
      returned: always
    port:
      description: Port that is called.
      type: int
      returned: always
    protocol:
      description: Protocol of the port.
      type: str
      returned: always
    export:
      description: Namespace and name of the Service in the exporter's mesh.
      type: str
      returned: always
    via:
      description: How calls get there, as the export says it.
      type: str
      returned: always
    callers:
      description: Entries of the export that admit the consumer, each with C(namespace), C(service_account), C(methods)
        and C(paths).
      type: list
      elements: dict
      returned: always
    expect:
      description: What such a call must give.
      type: str
      returned: always
  sample:
    - exporter: east
      exporter_cluster: east
      consumer: west
      consumer_cluster: west
      host: reviews.bookinfo.svc.east.global
      port: 9080
      protocol: HTTP
      export: bookinfo/reviews
      via: passthrough
      callers:
        - namespace: null
          service_account: null
          methods: null
          paths: null
      expect: allowed
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.multimesh.istio.plugins.plugin_utils.compute import edges as edges_of


def edges(hostvars: Mapping[str, Any], term: str, allow_unknown_addresses: bool = False) -> list[dict[str, Any]]:
    return edges_of(hostvars, term, allow_unknown_addresses)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"edges": edges}
