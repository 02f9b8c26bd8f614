# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: ingress_certificates
short_description: Certificates that the Ingresses of a cluster need
version_added: 1.0.0
author:
  - The multimesh.istio authors (@multimesh)
description:
  - Lists the certificates for all exports of one cluster that are C(via) C(ingress) and offered to anybody, as module
    M(multimesh.istio.ingress_certificates) takes them.
positional: _input, host
extends_documentation_fragment:
  - multimesh.istio.inventory.hostvars
options:
  host:
    description:
      - Name of a host of group C(meshes), or of a mesh with a single cluster.
    type: str
    required: true
  without:
    description:
      - Hosts that are about to leave the federation.
    type: list
    elements: str
    default: []
seealso:
  - module: multimesh.istio.ingress_certificates
"""

EXAMPLES = r"""
- name: Say by which names the Ingresses of the mesh east are asked for
  ansible.builtin.debug:
    msg: "{{ hostvars | multimesh.istio.ingress_certificates('east') | map(attribute='hosts') | flatten }}"
"""

RETURN = r"""
_value:
  description:
    - One entry for each export, in the order of the inventory.
  type: list
  elements: dict
  contains:
    namespace:
      description: Namespace of the Secret.
      type: str
      returned: always
      sample: bookinfo
    secret:
      description: Name of the Secret.
      type: str
      returned: always
      sample: multimesh-ingress.reviews.bookinfo
    hosts:
      description: DNS names in the certificate, one for each port.
      type: list
      elements: str
      returned: always
      sample: [9080.reviews.bookinfo.svc]
    spiffe_id:
      description: SPIFFE ID in the certificate.
      type: str
      returned: always
      sample: spiffe://east.mesh/ns/bookinfo/sa/ingress_controller
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.multimesh.istio.plugins.plugin_utils import compute
from ansible_collections.multimesh.istio.plugins.plugin_utils.raw_inventory import plain


def ingress_certificates(hostvars: Mapping[str, Any], host: str, without: Sequence[str] = ()) -> list[dict[str, Any]]:
    return compute.ingress_certificates(hostvars, host, plain(without))


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"ingress_certificates": ingress_certificates}
