# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: coredns_hosts
short_description: The server block that makes CoreDNS know these hosts
version_added: 1.0.0
author:
  - The multimesh.istio authors (@multimesh)
description:
  - Writes what the module M(multimesh.istio.coredns_hosts) keeps in a Corefile, for those who look after the
    configuration of CoreDNS by other means.
positional: _input
options:
  _input:
    description:
      - Lists of addresses by host, such as the filter P(multimesh.istio.dns_hosts#filter) gives.
      - Hosts with a wildcard are skipped.
    type: dict
    required: true
  ttl:
    description:
      - Seconds for which an answer may be kept.
    type: int
    default: 30
  port:
    description:
      - Port that CoreDNS listens on.
    type: int
    default: 53
seealso:
  - module: multimesh.istio.coredns_hosts
  - plugin: multimesh.istio.dns_hosts
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show what CoreDNS has to know in the mesh west
  ansible.builtin.debug:
    msg: "{{ hostvars | multimesh.istio.dns_hosts('west') | multimesh.istio.coredns_hosts }}"
"""

RETURN = r"""
_value:
  description:
    - The server block, between two marks. Empty without hosts.
  type: str
  sample: |
    # BEGIN multimesh.istio
    reviews.bookinfo.svc.east.global:53 {
        errors
        hosts {
            241.26.65.188 reviews.bookinfo.svc.east.global
            ttl 30
        }
        template ANY ANY {
            match ^_
            rcode NXDOMAIN
            fallthrough
        }
    }
    # END multimesh.istio
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible_collections.multimesh.istio.plugins.module_utils.coredns.block import read_hosts, render
from ansible_collections.multimesh.istio.plugins.module_utils.coredns.corefile import Listening
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.plugin_utils.raw_inventory import plain


def coredns_hosts(hosts: Mapping[str, Any], ttl: int = 30, port: int = 53) -> str:
    try:
        written, _skipped = read_hosts(plain(hosts))
    except MultimeshError as error:
        raise AnsibleError(str(error)) from error
    return render(written, int(ttl), Listening(f":{int(port)}")) if written else ""


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"coredns_hosts": coredns_hosts}
