#!/usr/bin/python
# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: policy_audit
short_description: Say who of other meshes may call what, by the policies that a cluster has
version_added: 1.0.0
description:
  - Reads the AuthorizationPolicies, Gateways and ServiceEntries of a cluster, whoever wrote them, and says which
    Services other meshes can ask for, and what each caller may do there.
  - Compares that with what the inventory says, in both directions.
  - Policies are read as Istio documents them. What principals, ports, methods and paths alone do not decide, such as
    conditions, addresses and tokens, is named with the policy as a further limit, and counts as not refused.
  - Exports C(via=passthrough) are judged by the policies of their pods, and exports C(via=gateway) by those of the
    gateway that serves them.
author:
  - The multimesh.istio authors (@multimesh)
extends_documentation_fragment:
  - multimesh.istio.connection
  - multimesh.istio.attributes
attributes:
  check_mode:
    support: full
    details:
      - The module only reads.
  diff_mode:
    support: none
    details:
      - The module changes nothing.
  idempotent:
    support: full
options:
  objects:
    description:
      - Objects of the federation that the cluster should have, as the lookup P(multimesh.istio.federation#lookup) gives
        them. Kinds other than AuthorizationPolicy, Gateway and ServiceEntry are left aside.
    type: list
    elements: dict
    required: true
  admissions:
    description:
      - Who may call what by the inventory, as the filter P(multimesh.istio.admissions#filter) gives it.
    type: list
    elements: dict
    required: true
seealso:
  - module: multimesh.istio.connectivity_test
  - plugin: multimesh.istio.admissions
    plugin_type: filter
"""

EXAMPLES = r"""
- name: See whether the mesh lets in whom it should
  multimesh.istio.policy_audit:
    mesh: west
    kubeconfig: "{{ mesh_kubeconfig }}"
    objects: "{{ lookup('multimesh.istio.federation', 'west') }}"
    admissions: "{{ hostvars | multimesh.istio.admissions('west') }}"
  register: west

- name: Show it
  ansible.builtin.debug:
    msg: "{{ west.table.splitlines() }}"
"""

RETURN = r"""
grants:
  description: Who may call what, sorted by Service, port and caller.
  returned: success
  type: list
  elements: dict
  contains:
    namespace:
      description: Namespace of the Service.
      type: str
      sample: shop
    service:
      description: Name of the Service.
      type: str
      sample: reviews
    port:
      description: Port of the Service.
      type: int
      sample: 9080
    protocol:
      description: Protocol that Istio selects for it.
      type: str
      sample: HTTP
    via:
      description: Whether the workload itself is called, V(passthrough), or a gateway before it, V(gateway).
      type: str
      sample: passthrough
    caller:
      description: Callers, as policies write principals.
      type: str
      sample: west.mesh/ns/shop/*
    except_callers:
      description: Those of them that are treated in another way.
      type: list
      elements: str
      sample: [west.mesh/ns/shop/sa/cart]
    methods:
      description: HTTP methods. V(null) is every one but RV(grants[].except_methods).
      type: list
      elements: str
      sample: [GET]
    except_methods:
      description: Methods that are treated in another way.
      type: list
      elements: str
      sample: []
    paths:
      description: Path patterns. V(null) is every path but RV(grants[].except_paths).
      type: list
      elements: str
      sample: ["/reviews/*"]
    except_paths:
      description: Path patterns that are refused.
      type: list
      elements: str
      sample: []
    limited_by:
      description: Policies, C(namespace/name), that may refuse more than this says.
      type: list
      elements: str
      sample: []
differences:
  description: What is not as the inventory says.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description:
        - V(open), a caller may do more than the inventory says; V(refused), it may do less.
        - V(no_policy), a Gateway leads other meshes to a Service that no policy protects.
        - V(exposed), a Gateway leads to a Service that the inventory does not export; V(not_exposed), none leads to
          one that it does.
        - V(missing), V(changed), V(unexpected), an object of the federation that is not there, is not as it should be,
          or should not be there.
      type: str
      sample: open
    where:
      description: A Service, C(namespace/name) with a port if it is about one, or an object.
      type: str
      sample: shop/reviews:9080
    text:
      description: What it is.
      type: str
      sample: west.mesh/* may use GET on /*, and the inventory does not say so
    line:
      description: All of it in one line.
      type: str
      sample: "open: shop/reviews:9080: west.mesh/* may use GET on /*, and the inventory does not say so"
table:
  description: The same for people.
  returned: success
  type: str
  sample: "SERVICE       PORT  VIA          CALLER       METHODS  PATHS  LIMITED FURTHER BY\n"
"""

import os
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multimesh.istio.plugins.module_utils.audit.read import read_state
from ansible_collections.multimesh.istio.plugins.module_utils.audit.report import audit
from ansible_collections.multimesh.istio.plugins.module_utils.audit.table import table
from ansible_collections.multimesh.istio.plugins.module_utils.kube.client import Client
from ansible_collections.multimesh.istio.plugins.module_utils.kube.connection import CONNECTION_OPTIONS, Connection
from ansible_collections.multimesh.istio.plugins.module_utils.task import Task, serve

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    **CONNECTION_OPTIONS,
    "objects": {"type": "list", "elements": "dict", "required": True},
    "admissions": {"type": "list", "elements": "dict", "required": True},
}


def run(task: Task) -> dict[str, Any]:
    options = task.options
    client = Client.connect(Connection.from_options(options, os.environ))
    admissions = options["admissions"]
    state = read_state(client, {(entry["namespace"], entry["service"]) for entry in admissions})
    report = audit(state, options["objects"], admissions)
    return {
        "changed": False,
        "grants": [asdict(grant) for grant in report.grants],
        "differences": [{**asdict(difference), "line": str(difference)} for difference in report.differences],
        "table": table(report),
    }


def main() -> None:
    serve(AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True), run)


if __name__ == "__main__":
    main()
