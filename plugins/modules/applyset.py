#!/usr/bin/python
# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: applyset
short_description: Make a cluster hold exactly these objects
version_added: 1.0.0
description:
  - Creates what is missing, changes what differs, deletes what is no longer listed, and leaves the rest alone.
  - The objects form an ApplySet (L(specification,https://kubernetes.io/docs/reference/labels-annotations-taints/)).
    Its parent is the ConfigMap O(name) in O(namespace), and C(kubectl apply --prune --applyset=configmaps/NAME) works
    on the same set.
  - Uses server-side apply with strict field validation, so an unknown field is an error.
  - An object is unchanged when the fields that this field manager owns are the wanted ones with the wanted values.
    Defaults, status and the fields of others are never a change. A set that is unchanged costs some reading requests,
    whose number does not grow with the number of objects, and no writing one.
  - The parent is written before its members. After an interrupted run, the same run again leads to the same end.
author:
  - The multimesh.istio authors (@multimesh)
extends_documentation_fragment:
  - multimesh.istio.connection
  - multimesh.istio.attributes
attributes:
  check_mode:
    support: full
    details:
      - Sends no writing request. Where a value may only be written differently (V(0.5) and V(500m)), the API server is
        asked by a dry run of server-side apply, in check mode or not.
  diff_mode:
    support: full
    details:
      - Shows of each object the fields listed in O(objects) and those applied before.
      - Values of a Secret are shown as SHA-256 fingerprints.
  idempotent:
    support: full
notes:
  - Whatever takes long says every few seconds how far it is, where it runs inside C(ansible-playbook), which it does
    for clusters of this machine's own Python (C(ansible_connection=local)).
  - The user needs to list, create, patch and delete the kinds in O(objects), in their namespaces, and to get, create,
    patch and delete the parent. To list the kinds in all namespaces saves requests, and to list namespaces gives
    earlier errors, but neither is needed.
  - Values of Secrets are hidden in the result. Set C(no_log) on the task to keep them out of the system log too.
options:
  name:
    description:
      - Name of the set, which is the name of its parent ConfigMap.
    type: str
    required: true
  namespace:
    description:
      - Namespace of the parent ConfigMap. It must exist, except in check mode.
      - Objects do not inherit it; each one names its own namespace.
    type: str
    default: istio-system
  objects:
    description:
      - All objects of the set, as in a manifest. C(status), nulls and what only a server can say (C(uid),
        C(resourceVersion) and the like) are left out of them.
      - An empty list deletes every member and keeps the parent.
      - One of this and O(manifest) is required with O(state=present); neither is used with O(state=absent).
    type: list
    elements: dict
  manifest:
    description:
      - The same objects as one text, documents of YAML or JSON, as in a file for C(kubectl).
      - Of a thousand objects or more it saves seconds, because Ansible looks at every value of a list, and not into a
        text.
      - A text without any document is an error. The document V([]) is an empty list, see O(objects).
    type: str
  state:
    description:
      - V(present) makes the cluster hold exactly O(objects).
      - V(absent) deletes every member and the parent.
    type: str
    choices: [present, absent]
    default: present
  field_manager:
    description:
      - Name under which the fields are owned. Two tools that apply the same set should use the same one.
    type: str
    default: multimesh.istio
  force_conflicts:
    description:
      - Take over fields that another field manager owns with other values. Otherwise they are an error that names
        the manager and the fields.
    type: bool
    default: false
  concurrency:
    description:
      - Number of requests under way at once, at most. There are fewer while the API server refuses some or gets slow.
    type: int
    default: 16
  crd_timeout:
    description:
      - Seconds to wait for a CustomResourceDefinition to be established. Not used in check mode, where objects of kinds
        that are not there are announced as created.
    type: int
    default: 60
  max_deletions:
    description:
      - Refuse to do anything if more members than this would be deleted, and name them. Without it there is no limit.
    type: int
  details:
    description:
      - Return RV(changes), from which M(multimesh.istio.federation_plan) makes the plan of several clusters.
      - Objects that are adopted are then read one by one.
    type: bool
    default: false
  expected:
    description:
      - What RV(changes) of an earlier run in check mode was. Any other plan is refused before anything is written.
    type: list
    elements: dict
  assume_namespaces:
    description:
      - Namespaces that other tasks of the same run create. In check mode they may be missing.
    type: list
    elements: str
    default: []
seealso:
  - module: multimesh.istio.mesh_info
  - module: kubernetes.core.k8s
"""

EXAMPLES = r"""
- name: Hold one set of objects, and delete what earlier runs left of it
  multimesh.istio.applyset:
    kubeconfig: "{{ mesh_kubeconfig }}"
    name: shop-policy
    objects:
      - apiVersion: security.istio.io/v1
        kind: PeerAuthentication
        metadata:
          name: default
          namespace: shop
        spec:
          mtls:
            mode: STRICT

- name: Apply what the inventory says a mesh must hold
  multimesh.istio.applyset:
    mesh: west
    kubeconfig: "{{ mesh_kubeconfig }}"
    name: multimesh-federation
    objects: "{{ lookup('multimesh.istio.federation', 'west') }}"

- name: The same, if that is very much
  multimesh.istio.applyset:
    mesh: west
    kubeconfig: "{{ mesh_kubeconfig }}"
    name: multimesh-federation
    manifest: "{{ lookup('multimesh.istio.federation', 'west', as_text=true) }}"

- name: Remove the whole set
  multimesh.istio.applyset:
    kubeconfig: "{{ mesh_kubeconfig }}"
    name: shop-policy
    state: absent
"""

RETURN = r"""
plan:
  description:
    - What was done, or in check mode what would be done. Objects are named C(Kind namespace/name), sorted.
      The parent is one of them.
  returned: success
  type: dict
  contains:
    create:
      description: Objects that did not exist.
      type: list
      elements: str
      sample: ["ServiceEntry istio-system/reviews.bookinfo.svc.east.global"]
    change:
      description: Objects that differed, or existed without being a member.
      type: list
      elements: str
      sample: ["DestinationRule istio-system/reviews.bookinfo.svc.east.global"]
    delete:
      description: Members that are no longer listed.
      type: list
      elements: str
      sample: []
    unchanged:
      description: Number of objects that are as they should be.
      type: int
      sample: 12
changes:
  description:
    - What RV(plan) counts and names, with what is needed to judge it and to recognize it later. It holds no value of
      any object.
  returned: success, with O(details=true)
  type: list
  elements: dict
  contains:
    action:
      description: V(create), V(change) or V(delete).
      type: str
      sample: change
    object:
      description: The object, as in RV(plan).
      type: str
      sample: ServiceEntry istio-system/reviews.bookinfo.svc.east.global
    origins:
      description: Exports and external services that it is there for, from its annotations.
      type: list
      elements: str
      sample: [east/bookinfo/reviews]
    wanted:
      description: SHA-256 of what is to be applied. V(null) if it is to be deleted.
      type: str
      sample: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
    found:
      description: SHA-256 of what is there of it. V(null) if nothing is.
      type: str
      sample: fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9
    others:
      description:
        - Other field managers that hold wanted fields with other values, the latest first, from
          C(metadata.managedFields).
        - An entry without manager names wanted fields that are not there and that nobody holds.
      type: list
      elements: dict
      contains:
        manager:
          description: Name of the field manager.
          type: str
          sample: kubectl-edit
        operation:
          description: V(Apply) or V(Update).
          type: str
          sample: Update
        time:
          description: When it last wrote any of its fields.
          type: str
          sample: "2026-11-22T03:10:00Z"
        fields:
          description: Paths of the fields.
          type: list
          elements: str
          sample: [spec.endpoints]
done:
  description: When some objects could not be written, the part of RV(plan) that was carried out, in the same form.
  returned: failure after the first write
  type: dict
  sample: {"create": ["ConfigMap shop/settings"], "change": [], "delete": [], "unchanged": 3}
requests:
  description: Number of requests sent to the API server.
  returned: success
  type: dict
  contains:
    get:
      description: Reading single things, such as the kinds it serves and the parent.
      type: int
      sample: 3
    list:
      description: Lists of objects.
      type: int
      sample: 4
    dry_run:
      description: Dry runs of server-side apply.
      type: int
      sample: 0
    write:
      description: Writing requests.
      type: int
      sample: 0
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multimesh.istio.plugins.module_utils.applyset import manifest
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.apply import (
    ApplyError,
    ApplySet,
    Settings,
    texts,
)
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.changes import (
    check_deletions,
    check_expected,
    describe,
)
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.diff import differences
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.parent import parent_key
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.plan import Plan
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.progress import Progress
from ansible_collections.multimesh.istio.plugins.module_utils.kube.client import Client
from ansible_collections.multimesh.istio.plugins.module_utils.kube.connection import CONNECTION_OPTIONS, Connection
from ansible_collections.multimesh.istio.plugins.module_utils.task import Task, TaskError, serve

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    **CONNECTION_OPTIONS,
    "name": {"type": "str", "required": True},
    "namespace": {"type": "str", "default": "istio-system"},
    "objects": {"type": "list", "elements": "dict"},
    "manifest": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "field_manager": {"type": "str", "default": "multimesh.istio"},
    "force_conflicts": {"type": "bool", "default": False},
    "concurrency": {"type": "int", "default": 16},
    "crd_timeout": {"type": "int", "default": 60},
    "max_deletions": {"type": "int"},
    "details": {"type": "bool", "default": False},
    "expected": {"type": "list", "elements": "dict"},
    "assume_namespaces": {"type": "list", "elements": "str", "default": []},
}
REQUIRED_IF = [("state", "present", ["objects", "manifest"], True)]
SORTS = ("get", "list", "dry_run", "write")


def summary(plan: Plan) -> dict[str, Any]:
    return {
        "create": [str(item.key) for item in plan.create],
        "change": [str(item.desired.key) for item in plan.change],
        "delete": [str(item.key) for item in plan.delete],
        "unchanged": len(plan.unchanged),
    }


def secret_values(objects: list[Any]) -> set[str]:
    """What no output may show: the values of Secrets, as they are written."""
    secrets = [item for item in objects if isinstance(item, dict) and item.get("kind") == "Secret"]
    written = (text for item in secrets for text in texts([item.get("data"), item.get("stringData")]))
    # a short one would hide every other word of the output
    return {text for text in written if len(text) >= 8}


def wanted(options: dict[str, Any]) -> list[Any]:
    """All objects of the set."""
    if options["objects"] is not None and options["manifest"] is not None:
        raise TaskError("objects and manifest are two ways to say the same. Give one of them.")
    if options["manifest"] is not None:
        return manifest.read(options["manifest"])
    if options["objects"] is None:
        # required_if lets an explicit null pass, and a template that gave nothing must not remove everything
        raise TaskError("objects is null. Give a list; an empty one removes every object, state absent the set.")
    objects: list[Any] = options["objects"]
    return objects


def run(task: Task) -> dict[str, Any]:
    options = task.options
    objects = wanted(options) if options["state"] == "present" else None
    task.secrets.update(secret_values(objects or []))
    settings = Settings(
        manager=options["field_manager"],
        force_conflicts=options["force_conflicts"],
        concurrency=options["concurrency"],
        crd_timeout=options["crd_timeout"],
        # whoever names the parent's namespace says that it will be there
        assumed_namespaces=frozenset([*options["assume_namespaces"], options["namespace"]]),
    )
    client = Client.connect(Connection.from_options(options, os.environ), options["concurrency"])
    progress = Progress(task.say, f"{client.mesh}: set {options['name']}")
    applyset = ApplySet(client, parent_key(options["namespace"], options["name"]), settings, written=progress.written)
    expected = options["expected"]
    described = options["details"] or expected is not None
    try:
        prepared = applyset.prepare(objects, check_mode=task.check_mode, whole=task.diff or described)
        changes = describe(prepared.shown, settings.manager) if described else []
        check_deletions(client.mesh, prepared.plan.delete, options["max_deletions"])
        if expected is not None:
            check_expected(client.mesh, changes, expected)
        plan = prepared.shown if task.check_mode else applyset.carry_out(prepared)
    except ApplyError as error:
        raise TaskError(str(error), changed=not error.done.empty, done=summary(error.done)) from None
    task.warnings.extend(f"{client.mesh}: {warning}" for warning in client.warnings)
    result: dict[str, Any] = {
        "changed": not plan.empty,
        "plan": summary(plan),
        "requests": {sort: client.requests[sort] for sort in SORTS},
    }
    if options["details"]:
        result["changes"] = changes
    if task.diff:
        result["diff"] = differences(plan, settings.manager)
    return result


def main() -> None:
    serve(AnsibleModule(argument_spec=ARGUMENT_SPEC, required_if=REQUIRED_IF, supports_check_mode=True), run)


if __name__ == "__main__":
    main()
