# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: federation_state
short_description: Compute a federation once for all hosts of a play
version_added: 1.0.0
author:
  - The multimesh.istio authors (@multimesh)
description:
  - Reads the variables of all hosts in group C(meshes), computes federation objects and settings of every host of
    the play, with C(serial) of the batch, and keeps them in Ansible's folder for temporary files until the run ends.
  - Gives a text that names this state of the inventory, for option O(multimesh.istio.federation#lookup:state)
    and option O(multimesh.istio.mesh_config#filter:state).
  - Meant for a task with C(run_once).
options:
  allow_unknown_addresses:
    description:
      - As in P(multimesh.istio.federation#lookup), which has to be asked with the same value.
    type: bool
    default: false
  without:
    description:
      - As in P(multimesh.istio.federation#lookup), which has to be asked with the same value.
    type: list
    elements: str
    default: []
notes:
  - After a change of variables, among them what M(multimesh.istio.mesh_info) gave, it has to be asked again.
seealso:
  - plugin: multimesh.istio.federation
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Compute what every mesh must hold
  ansible.builtin.set_fact:
    federation_state: "{{ lookup('multimesh.istio.federation_state') }}"
  run_once: true

- name: Say how many objects the mesh west must hold by that
  ansible.builtin.debug:
    msg: "{{ lookup('multimesh.istio.federation', 'west', state=federation_state) | length }}"
"""

RETURN = r"""
_raw:
  description: Name of the state.
  type: list
  elements: str
  sample:
    - 0f343b0931126a20f133d67c2b018a3b
"""

from typing import Any

from ansible.plugins.lookup import LookupBase
from ansible_collections.multimesh.istio.plugins.plugin_utils.compute import federation_state


class LookupModule(LookupBase):
    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:  # noqa: ARG002
        variables = variables or {}
        self.set_options(var_options=variables, direct=kwargs)
        groups = variables["groups"]
        hosts = [host for host in variables.get("ansible_play_batch", ()) if host in groups.get("meshes", ())]
        allow, without = self.get_option("allow_unknown_addresses"), self.get_option("without")
        return [federation_state(variables["hostvars"], hosts or groups.get("meshes", [""]), allow, groups, without)]
