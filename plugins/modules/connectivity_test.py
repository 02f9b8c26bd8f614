#!/usr/bin/python
# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: connectivity_test
short_description: Call imported services from inside a mesh
version_added: 1.0.0
description:
  - Starts a short-lived pod with a sidecar for each identity that the edges admit, and one that nobody admitted,
    calls every edge from them, and says for each call what became of it or which layer fails.
  - The calls are made with safe HTTP methods only. Over a TCP connection nothing is sent, save a line
    break by callers who must be refused, because policies are asked at the first byte.
  - The pods are removed again, and end by themselves when the run is killed. No command is run in a pod; what they
    report is read from their logs.
  - An identity whose namespace or service account does not exist in the mesh is not played; its calls are reported as
    skipped.
author:
  - The multimesh.istio authors (@multimesh)
extends_documentation_fragment:
  - multimesh.istio.connection
  - multimesh.istio.attributes
attributes:
  check_mode:
    support: full
    description: Calls need pods. In check mode nothing is made or called, and RV(verdicts) is empty.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  edges:
    description:
      - The edges of which this mesh is the consumer, as the filter P(multimesh.istio.edges#filter) computes them.
    type: list
    elements: dict
    required: true
  image:
    description: Image of the pods. It needs C(sh), and C(curl) 7.84 or newer.
    type: str
    default: docker.io/curlimages/curl:8.11.1
  namespace:
    description:
      - Namespace in which callers of a whole mesh, and callers whom nobody admitted, are played.
      - Made when it is missing, and then removed again.
    type: str
    default: multimesh-verify
  revision:
    description: Istio revision that injects the pods; empty for the default one.
    type: str
    default: ""
  timeout:
    description:
      - Seconds until the calls must come out as expected. They are repeated until then, because a federation just
        applied takes some seconds to reach every proxy.
    type: int
    default: 120
  call_timeout:
    description: Seconds that a single call may take.
    type: int
    default: 5
seealso:
  - plugin: multimesh.istio.edges
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Call everything that mesh west imports
  multimesh.istio.connectivity_test:
    mesh: west
    kubeconfig: "{{ mesh_kubeconfig }}"
    edges: "{{ hostvars | multimesh.istio.edges('west') }}"
  register: calls

- name: Say what became of every call
  ansible.builtin.debug:
    msg: "{{ calls.verdicts | map(attribute='line') }}"
"""

RETURN = r"""
verdicts:
  description: One entry per call, those of one caller together.
  returned: success
  type: list
  elements: dict
  contains:
    exporter:
      description: The mesh that exports the service.
      type: str
      sample: east
    consumer:
      description: The mesh that called.
      type: str
      sample: west
    host:
      description: The host that was called.
      type: str
      sample: reviews.shop.svc.east.global
    port:
      description: Its port.
      type: int
      sample: 9080
    protocol:
      description: The port's protocol.
      type: str
      sample: HTTP
    export:
      description: Namespace and name of the exported Service.
      type: str
      sample: shop/reviews
    via:
      description: How calls get there, as the export says it.
      type: str
      sample: passthrough
    method:
      description: HTTP method of the call.
      type: str
      sample: GET
    path:
      description: HTTP path of the call.
      type: str
      sample: /
    expect:
      description: V(allowed) or V(denied).
      type: str
      sample: allowed
    caller:
      description: Namespace and service account of the caller.
      type: str
      sample: shop/cart
    ok:
      description: Whether the call came out as the inventory says.
      type: bool
      sample: true
    layer:
      description:
        - V(ok), V(skipped), or the layer that fails.
        - V(name), the host does not resolve. V(gateway), the exporter's gateway is not reached. V(tls), the handshake
          fails. V(workload), nobody healthy is behind the gateway, or the service is not exported. V(policy), an
          AuthorizationPolicy refuses. V(open), a caller was answered who should have been refused. V(timeout), no
          answer in time.
      type: str
      sample: ok
    detail:
      description: What was seen, and the way out; empty when all is well.
      type: str
      sample: ""
    line:
      description: All of it in a line for people.
      type: str
      sample: "ok   west -> east  GET reviews.shop.svc.east.global:9080 (HTTP) as shop/cart is allowed"
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multimesh.istio.plugins.module_utils.kube.client import Client
from ansible_collections.multimesh.istio.plugins.module_utils.kube.connection import CONNECTION_OPTIONS, Connection
from ansible_collections.multimesh.istio.plugins.module_utils.task import Task, serve
from ansible_collections.multimesh.istio.plugins.module_utils.verify.run import Settings, verify_edges

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    **CONNECTION_OPTIONS,
    "edges": {"type": "list", "elements": "dict", "required": True},
    "image": {"type": "str", "default": "docker.io/curlimages/curl:8.11.1"},
    "namespace": {"type": "str", "default": "multimesh-verify"},
    "revision": {"type": "str", "default": ""},
    "timeout": {"type": "int", "default": 120},
    "call_timeout": {"type": "int", "default": 5},
}


def run(task: Task) -> dict[str, Any]:
    options = task.options
    if task.check_mode:
        return {"changed": False, "verdicts": []}
    settings = Settings(
        namespace=options["namespace"],
        image=options["image"],
        revision=options["revision"],
        timeout_seconds=options["timeout"],
        call_timeout_seconds=options["call_timeout"],
    )
    client = Client.connect(Connection.from_options(options, os.environ))
    verdicts = verify_edges(client, options["edges"], settings)
    return {"changed": False, "verdicts": [verdict.as_dict() for verdict in verdicts]}


def main() -> None:
    serve(AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True), run)


if __name__ == "__main__":
    main()
