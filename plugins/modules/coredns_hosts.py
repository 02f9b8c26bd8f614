#!/usr/bin/python
# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: coredns_hosts
short_description: Make the DNS of a cluster know hosts and their addresses
version_added: 1.0.0
description:
  - Keeps one marked server block in the Corefile of CoreDNS, whose zones are exactly O(hosts) and which answers with
    their addresses. The rest of the Corefile stays as it is, to the byte.
  - The zones are the hosts and no domain above them, so a host that is no longer listed has again whatever answer
    the Corefile gives without the block.
  - The block listens where the server block of the root zone does.
  - The change is refused by the API server if somebody else wrote the ConfigMap since it was read. It is then read and
    written anew, up to five times.
author:
  - The multimesh.istio authors (@multimesh)
extends_documentation_fragment:
  - multimesh.istio.connection
  - multimesh.istio.attributes
attributes:
  check_mode:
    support: full
    details:
      - Only reads the ConfigMap, and fails as it would without check mode.
  diff_mode:
    support: full
    details:
      - Shows the key before and after.
  idempotent:
    support: full
notes:
  - The user needs to get and patch the ConfigMap, and with O(whole_key=true) also to create and delete it.
  - It is an error if another server block has one of O(hosts) as a zone, because CoreDNS then takes no part of the new
    Corefile. Files that the Corefile imports cannot be seen.
  - CoreDNS sees the change if its Corefile has the plugin C(reload), some time after the kubelet did, which together
    takes up to two minutes with usual settings. There is a warning if it has not.
  - The pods of CoreDNS need the plugins C(errors), C(hosts) and C(template), which are part of it unless somebody built
    it without them.
options:
  hosts:
    description:
      - Lists of IP addresses by host.
      - Hosts with a wildcard are skipped with a warning, because the plugin C(hosts) does not know any.
      - Without hosts the block is removed.
      - Required with O(state=present), not used with O(state=absent).
    type: dict
  namespace:
    description:
      - Namespace of the ConfigMap.
    type: str
    default: kube-system
  config_map:
    description:
      - Name of the ConfigMap.
    type: str
    default: coredns
  key:
    description:
      - Key in the ConfigMap that has the Corefile, or with O(whole_key=true) a file of its own.
    type: str
    default: Corefile
  whole_key:
    description:
      - Whether O(key) is a file of its own that the Corefile imports, such as C(multimesh.server) where that has a line
        C(import custom/*.server). It has the block and nothing else, and is removed with it.
      - A ConfigMap that does not exist is made, and removed when nothing is left of it.
      - The block listens on port 53.
    type: bool
    default: false
  ttl:
    description:
      - Seconds for which an answer may be kept.
    type: int
    default: 30
  state:
    description:
      - V(present) makes the DNS know exactly O(hosts).
      - V(absent) removes the block. It is fine if there is no ConfigMap.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - plugin: multimesh.istio.dns_hosts
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Make pods without a sidecar's DNS find what the mesh west imports
  multimesh.istio.coredns_hosts:
    mesh: west
    kubeconfig: "{{ mesh_kubeconfig }}"
    hosts: "{{ hostvars | multimesh.istio.dns_hosts('west') }}"

- name: Use a file that the Corefile imports
  multimesh.istio.coredns_hosts:
    kubeconfig: "{{ mesh_kubeconfig }}"
    config_map: coredns-custom
    key: multimesh.server
    whole_key: true
    hosts:
      reviews.bookinfo.svc.east.global: [241.26.65.188]

- name: Remove the block
  multimesh.istio.coredns_hosts:
    kubeconfig: "{{ mesh_kubeconfig }}"
    state: absent
"""

RETURN = r"""
hosts:
  description: Hosts that the DNS knows now, or would know, sorted.
  returned: success
  type: list
  elements: str
  sample: [reviews.bookinfo.svc.east.global]
skipped:
  description: Hosts with a wildcard, sorted.
  returned: success
  type: list
  elements: str
  sample: []
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multimesh.istio.plugins.module_utils.coredns.apply import Place, hold
from ansible_collections.multimesh.istio.plugins.module_utils.coredns.block import read_hosts
from ansible_collections.multimesh.istio.plugins.module_utils.kube.client import Client
from ansible_collections.multimesh.istio.plugins.module_utils.kube.connection import CONNECTION_OPTIONS, Connection
from ansible_collections.multimesh.istio.plugins.module_utils.task import Task, TaskError, serve

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    **CONNECTION_OPTIONS,
    "hosts": {"type": "dict"},
    "namespace": {"type": "str", "default": "kube-system"},
    "config_map": {"type": "str", "default": "coredns"},
    "key": {"type": "str", "default": "Corefile", "no_log": False},
    "whole_key": {"type": "bool", "default": False, "no_log": False},
    "ttl": {"type": "int", "default": 30},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
REQUIRED_IF = [("state", "present", ["hosts"])]


def run(task: Task) -> dict[str, Any]:
    options = task.options
    if options["state"] == "present" and options["hosts"] is None:
        # required_if lets an explicit null pass, and a template that gave nothing must not remove everything
        raise TaskError("hosts is null. Give a dictionary; an empty one removes the block, as state absent does.")
    hosts, skipped = read_hosts(options["hosts"] if options["state"] == "present" else {})
    if not 0 < options["ttl"] <= 65535:
        raise TaskError(f"ttl: expected seconds from 1 to 65535, found {options['ttl']}. Leave it out for 30.")
    client = Client.connect(Connection.from_options(options, os.environ))
    place = Place(options["namespace"], options["config_map"], options["key"], options["whole_key"])
    written = hold(client, place, hosts, options["ttl"], check_mode=task.check_mode)
    task.warnings.extend(written.warnings)
    if skipped:
        task.warnings.append(f"{client.mesh}: CoreDNS is told no hosts with wildcards, so not {', '.join(skipped)}")
    result: dict[str, Any] = {"changed": written.changed, "hosts": sorted(hosts), "skipped": skipped}
    if task.diff and written.changed:
        header = {"before_header": str(place), "after_header": str(place)}
        result["diff"] = [{"before": written.before or "", "after": written.after or "", **header}]
    return result


def main() -> None:
    serve(AnsibleModule(argument_spec=ARGUMENT_SPEC, required_if=REQUIRED_IF, supports_check_mode=True), run)


if __name__ == "__main__":
    main()
