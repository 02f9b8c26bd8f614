# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: run_identity
short_description: Text that names this run of Ansible
version_added: 1.0.0
author:
  - The multimesh.istio authors (@multimesh)
description:
  - Names the run for people, by user, machine, process and, under AWX, the number of the job. It is the same text in
    all tasks of one run, for all hosts, and another one in every other run.
  - Those who hold something exclusively, such as the right to change CAs, are called so. The part in brackets lets
    another run on the same machine see whether this one still lives.
  - It holds no secret.
notes:
  - The machine is the one that Ansible runs on, in a container the container.
"""

EXAMPLES = r"""
- name: Say who we are
  ansible.builtin.debug:
    msg: "{{ lookup('multimesh.istio.run_identity') }}"
"""

RETURN = r"""
_raw:
  description: The name of the run.
  type: list
  elements: str
  sample:
    - ansible@controller, process 4711, AWX job 42 [8c1f0e6a5b7d2394-4711-1827364]
"""

import multiprocessing
import os
from typing import Any

from ansible.executor.process.worker import WorkerProcess
from ansible.plugins.lookup import LookupBase
from ansible_collections.multimesh.istio.plugins.module_utils.run_identity import describe


class LookupModule(LookupBase):
    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:  # noqa: ARG002
        return [describe(_controlling_process(), os.environ)]


def _controlling_process() -> int:
    """The process that forks the workers. Most lookups run in a worker, the others in that process itself."""
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid and isinstance(multiprocessing.current_process(), WorkerProcess):
        return parent.pid
    return os.getpid()
