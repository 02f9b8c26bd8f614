# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: mesh_config
short_description: Settings of a cluster's control plane
version_added: 1.0.0
author:
  - The multimesh.istio authors (@multimesh)
description:
  - Computes from the inventory what the control plane of one cluster must be set to, so that its mesh can be federated.
  - Used by the role P(multimesh.istio.control_plane#role).
positional: _input, host, state
extends_documentation_fragment:
  - multimesh.istio.inventory.hostvars
options:
  host:
    description:
      - Name of a host of group C(meshes), or of a mesh with a single cluster.
    type: str
    required: true
  state:
    description:
      - What lookup P(multimesh.istio.federation_state#lookup) gave in an earlier task of this run. The settings are
        those that it has computed, and variables that have changed since are not looked at.
    type: str
seealso:
  - plugin: multimesh.istio.federation
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Say which trust domains the mesh east admits
  ansible.builtin.debug:
    msg: "{{ (hostvars | multimesh.istio.mesh_config('east')).admitted_trust_domains }}"
"""

RETURN = r"""
_value:
  description:
    - The settings.
  type: dict
  contains:
    mesh_name:
      description: Name of the mesh.
      type: str
      returned: always
    cluster_name:
      description: Name of the cluster, which is that of the host.
      type: str
      returned: always
    trust_domain:
      description: SPIFFE trust domain of the mesh.
      type: str
      returned: always
    network:
      description: Istio network of the cluster's pods.
      type: str
      returned: always
    locality:
      description: Locality of the cluster, or null.
      type: str
      returned: always
    admitted_trust_domains:
      description:
        - Trust domains of the meshes that this mesh offers something to or shares a host with, sorted.
      type: list
      elements: str
      returned: always
    ca_certificates:
      description:
        - What C(meshConfig.caCertificates) must be, so that each of these trust domains is admitted on its own.
      type: list
      elements: dict
      returned: always
  sample:
    mesh_name: east
    cluster_name: east
    trust_domain: east.mesh
    network: east
    locality: null
    admitted_trust_domains:
      - west.mesh
    ca_certificates:
      - trustDomains:
          - west.mesh
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.multimesh.istio.plugins.plugin_utils.compute import mesh_config as settings


def mesh_config(hostvars: Mapping[str, Any], host: str, state: str | None = None) -> dict[str, Any]:
    return settings(hostvars, host, state)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"mesh_config": mesh_config}
