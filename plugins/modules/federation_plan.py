#!/usr/bin/python
# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: federation_plan
short_description: Put the plans of all clusters together, show them, and refuse what should not be done
version_added: 1.0.0
description:
  - Takes what M(multimesh.istio.applyset) planned for each cluster with
    O(multimesh.istio.applyset#module:details=true), and shows on one page what is to be created, changed and
    deleted where, because of which exports, and who has changed what.
  - Refuses the plan, with all reasons at once, if it deletes too much, is not the one that was saved, finds anything to
    do where nothing should be, or if a host has left the inventory while clusters still know it.
  - Contacts no cluster. It is meant to run once for all clusters, before the first one is written to.
author:
  - The multimesh.istio authors (@multimesh)
extends_documentation_fragment:
  - multimesh.istio.attributes
attributes:
  action_group:
    support: none
    membership: []
    details:
      - Options for the connection to a cluster have no meaning here.
  check_mode:
    support: full
    details:
      - Does not write O(dest). Set C(check_mode) to V(false) on the task to have the file in check mode too.
  diff_mode:
    support: none
    details:
      - The page is the difference.
  idempotent:
    support: full
    details:
      - Never reports a change; O(dest) is a report.
options:
  plans:
    description:
      - By host, the registered result of M(multimesh.istio.applyset) in check mode with
        O(multimesh.istio.applyset#module:details=true). Hosts whose result is empty or failed are shown as without a
        plan.
    type: dict
    required: true
  hosts:
    description:
      - All hosts of the inventory, within this run or not.
    type: list
    elements: str
    default: []
  known:
    description:
      - By host, the names of the hosts that its cluster remembers as its peers. One that is not among O(hosts) is
        refused.
    type: dict
    default: {}
  gone:
    description:
      - Hosts that have left the inventory for good, so that clusters may forget them.
    type: list
    elements: str
    default: []
  max_deletions:
    description:
      - Refuse a plan that deletes more objects than this, in all clusters together. Without it there is no limit.
    type: int
  fail_on_changes:
    description:
      - Refuse a plan that has anything to do, so that the exit code tells whether the clusters are as the
        inventory says.
    type: bool
    default: false
  dest:
    description:
      - File to write the plan to, as JSON. It holds names and fingerprints, and no value of any object.
      - It is written before anything is refused.
    type: path
  saved:
    description:
      - File that an earlier run wrote to O(dest). Any other plan than that one is refused.
    type: path
seealso:
  - module: multimesh.istio.applyset
"""

EXAMPLES = r"""
- name: Plan each cluster
  multimesh.istio.applyset:
    kubeconfig: "{{ mesh_kubeconfig }}"
    name: multimesh-federation
    objects: "{{ lookup('multimesh.istio.federation', inventory_hostname) }}"
    details: true
  check_mode: true
  register: federation_plan

- name: Show the plan of all clusters, and refuse to delete more than ten objects
  multimesh.istio.federation_plan:
    plans: "{{ dict(ansible_play_hosts | zip(ansible_play_hosts | map('extract', hostvars, 'federation_plan'))) }}"
    max_deletions: 10
    dest: plan.json
  run_once: true
  check_mode: false
"""

RETURN = r"""
table:
  description: The page, line by line.
  returned: always, unless options are wrong
  type: list
  elements: str
  sample:
    - "Plan of the federation: 2 clusters, 3 objects to create, 0 to change, 0 to delete, 12 unchanged"
totals:
  description: Numbers of objects, in all clusters together.
  returned: always, unless options are wrong
  type: dict
  contains:
    create:
      description: Objects that do not exist.
      type: int
      sample: 3
    change:
      description: Objects that differ.
      type: int
      sample: 0
    delete:
      description: Objects that are no longer wanted.
      type: int
      sample: 0
    unchanged:
      description: Objects that are as they should be.
      type: int
      sample: 12
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multimesh.istio.plugins.module_utils.plan import federation
from ansible_collections.multimesh.istio.plugins.module_utils.plan.guard import Limits, RefusedError, check
from ansible_collections.multimesh.istio.plugins.module_utils.plan.table import table
from ansible_collections.multimesh.istio.plugins.module_utils.task import Task, TaskError, serve

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "plans": {"type": "dict", "required": True},
    "hosts": {"type": "list", "elements": "str", "default": []},
    "known": {"type": "dict", "default": {}},
    "gone": {"type": "list", "elements": "str", "default": []},
    "max_deletions": {"type": "int"},
    "fail_on_changes": {"type": "bool", "default": False},
    "dest": {"type": "path"},
    "saved": {"type": "path"},
}


def run(task: Task) -> dict[str, Any]:
    options = task.options
    plan = federation.merge(options["plans"], options["hosts"])
    result = {
        "changed": False,
        "table": table(plan, drift=options["fail_on_changes"]),
        "totals": plan.totals(),
    }
    limits = Limits(
        max_deletions=options["max_deletions"],
        unchanged=options["fail_on_changes"],
        hosts=options["hosts"],
        known=options["known"],
        gone=options["gone"],
        saved=_read(options["saved"]) if options["saved"] else None,
        saved_name=options["saved"] or "",
    )
    if options["dest"] and not task.check_mode:
        _write(options["dest"], federation.dump(plan, datetime.now(UTC)))
    try:
        check(plan, limits)
    except RefusedError as error:
        raise TaskError(str(error), **result) from None
    return result


def _read(path: str) -> federation.FederationPlan:
    try:
        return federation.load(path, Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise TaskError(f"{path}: cannot be read: {error.strerror}. Write a plan with federation_plan_file.") from None


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise TaskError(f"{path}: cannot be written: {error.strerror}. Make its folder, or choose another.") from None


def main() -> None:
    serve(AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True), run)


if __name__ == "__main__":
    main()
