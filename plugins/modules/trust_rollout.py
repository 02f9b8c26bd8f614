#!/usr/bin/python
# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: trust_rollout
short_description: Wait until every istiod replica and every proxy of a cluster holds a trust bundle
version_added: 1.0.0
description:
  - Asks every replica of istiod and every proxy of a cluster what it holds, until all hold what is wanted. In a
    rotation of the root nobody may go on before that.
  - A proxy is asked through the administration port of its Envoy, which tells the trust bundle, the revocation lists
    and the certificate in use. A replica of istiod is asked for the certificate it shows on port 15012, which it makes
    anew whenever it has accepted the content of Secret C(cacerts), and only then.
  - While it waits, it says every ten seconds who is awaited, if that is not what it said last.
  - Both go through the API server (C(pods/portforward)). No command is run in a pod, and no private key is read.
  - A pod whose proxy does not run is no obstacle, because it takes what istiod has when it starts. Neither is a gateway
    that only passes connections through and uses no certificate of the mesh.
author:
  - The multimesh.istio authors (@multimesh)
extends_documentation_fragment:
  - multimesh.istio.connection
  - multimesh.istio.attributes
attributes:
  check_mode:
    support: full
    description: Looks once, waits for nobody and writes nothing. Does not fail when somebody is behind.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  roots:
    description: SHA-256 fingerprints of the roots that everybody must trust.
    type: list
    elements: str
    default: []
  only_roots:
    description: Whether O(roots) are all that anybody may trust.
    type: bool
    default: false
  issuer:
    description:
      - Subject key identifier, in hexadecimal, of the CA that must have signed the certificate of every proxy and of
        every replica of istiod.
    type: str
  crls:
    description:
      - Revocation lists that every proxy must check its peers against.
      - Istio's injector gives gateways no volume for them; such proxies are named in a warning and not waited for.
    type: list
    elements: dict
    default: []
    suboptions:
      issuer:
        description: Subject key identifier, in hexadecimal, of the CA whose list it is.
        type: str
        required: true
      number:
        description: Lowest number that the list may have. Without it any list will do.
        type: int
  trust_domain:
    description: Trust domain of the identity that every proxy must have.
    type: str
  takes_roots:
    description:
      - Whether everybody must be able to take a changed trust bundle while it runs. istiod can with
        C(ISTIO_MULTIROOT_MESH=true) in its environment, a proxy with C(PROXY_CONFIG_XDS_AGENT=true).
    type: bool
    default: false
  namespaces:
    description: Namespaces whose proxies are asked; all of them unless given.
    type: list
    elements: str
    default: []
  proxies:
    description: Whether proxies are waited for, and not the replicas of istiod alone.
    type: bool
    default: true
  hurry:
    description:
      - Whether to annotate the pods of istiod that are behind, once for each version of the Secret, so that their
        kubelets hand them the new one at once instead of within a minute or so.
    type: bool
    default: false
  served_clusters:
    description:
      - Other clusters that the control plane of this one serves. Their proxies are asked too.
    type: list
    elements: dict
    default: []
    suboptions:
      mesh:
        description: Name of the cluster in messages.
        type: str
        required: true
      kubeconfig:
        description: Path of its kubeconfig.
        type: path
      context:
        description: Context of the kubeconfig.
        type: str
  timeout:
    description: Seconds until everybody has to be ready. With V(0) there is one look.
    type: int
    default: 120
  poll_interval:
    description: Seconds between two looks. Who was ready is not asked again.
    type: int
    default: 2
  pod_timeout:
    description: Seconds that a single pod may take to answer.
    type: int
    default: 10
requirements:
  - cryptography (Python library, on the host that runs the module)
notes:
  - Needs the rights to C(list) Pods, in C(istio-system) and in the namespaces that are asked; to C(get) and C(create)
    C(pods/portforward) there; to C(get) Secret C(cacerts), of which only the metadata is asked for; and with O(hurry)
    to C(patch) Pods in C(istio-system).
  - Proxies outside Kubernetes, such as virtual machines, are not seen.
seealso:
  - module: multimesh.istio.shared_root_ca
"""

EXAMPLES = r"""
- name: Wait until mesh west trusts both roots
  multimesh.istio.trust_rollout:
    mesh: west
    kubeconfig: "{{ mesh_kubeconfig }}"
    roots: "{{ [old_root_fingerprint, new_root_fingerprint] }}"
    hurry: true
    timeout: 300

- name: Wait until everything in mesh west is signed by its new CA
  multimesh.istio.trust_rollout:
    mesh: west
    kubeconfig: "{{ mesh_kubeconfig }}"
    issuer: 6f0c3c0f5d2a1b0e9d8c7b6a5f4e3d2c1b0a9f8e
"""

RETURN = r"""
ready:
  description: Whether everybody holds what is wanted.
  returned: always, when the cluster was looked at
  type: bool
  sample: true
pending:
  description: Whether it is worth waiting on. V(false) when everybody is ready, or somebody cannot become so.
  returned: always, when the cluster was looked at
  type: bool
  sample: false
late_renewal:
  description:
    - Whether every replica of istiod is ready and proxies wait all the same. A proxy that renewed its certificate at a
      replica that was not ready yet keeps what it got for up to half a day, unless the bytes of C(root-cert.pem) change
      once more, with all replicas ready.
  returned: always, when the cluster was looked at
  type: bool
  sample: false
line:
  description: All of it in a line for people.
  returned: always, when the cluster was looked at
  type: str
  sample: "west: istiod 2/2, proxies 16/17; sidecar shop/cart-1: waiting: it does not trust root 0f3c6a1f1d6c"
seconds:
  description: How long it took.
  returned: always, when the cluster was looked at
  type: int
  sample: 14
counts:
  description: How many replicas of istiod and how many proxies are in which state.
  returned: always, when the cluster was looked at
  type: dict
  sample:
    replicas: {"ready": 2, "waiting": 0, "unreachable": 0, "unsupported": 0}
    proxies: {"ready": 16, "waiting": 1, "unreachable": 0, "unsupported": 0}
hurried:
  description: Pods of istiod that were annotated.
  returned: always, when the cluster was looked at
  type: list
  elements: str
  sample: [istiod-7f9c5d6b8-x2x4z]
replicas:
  description: The replicas of istiod.
  returned: always, when the cluster was looked at
  type: list
  elements: dict
  contains: &entry
    namespace:
      description: Namespace of the pod.
      type: str
      sample: shop
    name:
      description: Name of the pod.
      type: str
      sample: cart-7d9c5f5b6d-abcde
    kind:
      description: V(istiod), V(sidecar), V(gateway), V(waypoint) or V(ztunnel).
      type: str
      sample: sidecar
    state:
      description:
        - V(ready); V(waiting), it lacks something; V(unreachable), it did not answer; or V(unsupported), it cannot be
          asked and ends the wait at once.
      type: str
      sample: ready
    reason:
      description: Why it is in that state; empty for most that are ready.
      type: str
      sample: ""
    roots:
      description: SHA-256 fingerprints of the roots it trusts. Those of istiod cannot be read.
      type: list
      elements: str
      sample: [0f3c6a1f1d6c2f6f0e4f6a1e6a53d0a5a0b7e3a9c1d2e3f405162738495a6b7c]
    issuer:
      description: Key identifier, in hexadecimal, of the CA that signed its certificate. V(null) without a certificate.
      type: str
      sample: 6f0c3c0f5d2a1b0e9d8c7b6a5f4e3d2c1b0a9f8e
    serial:
      description: Serial number of its certificate, in hexadecimal. V(null) without a certificate.
      type: str
      sample: 4b7d1c09
    not_before:
      description: Begin of its certificate's validity, in UTC. V(null) without a certificate.
      type: str
      sample: "2026-11-21T09:00:00Z"
    not_after:
      description: End of its certificate's validity, in UTC. V(null) without a certificate.
      type: str
      sample: "2026-11-22T09:02:00Z"
    crls:
      description: Revocation lists it checks its peers against. Those of istiod cannot be read.
      type: list
      elements: dict
      contains:
        issuer:
          description: Key identifier, in hexadecimal, of the CA whose list it is.
          type: str
          sample: 6f0c3c0f5d2a1b0e9d8c7b6a5f4e3d2c1b0a9f8e
        number:
          description: Number of the list.
          type: int
          sample: 3
proxies:
  description: The proxies.
  returned: always, when the cluster was looked at
  type: list
  elements: dict
  contains: *entry
"""

import importlib.util
import os
from dataclasses import fields, replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.multimesh.istio.plugins.module_utils.kube.client import Client
from ansible_collections.multimesh.istio.plugins.module_utils.kube.connection import (
    CONNECTION_OPTIONS,
    Connection,
    open_connection,
)
from ansible_collections.multimesh.istio.plugins.module_utils.kube.streams import PodStreams
from ansible_collections.multimesh.istio.plugins.module_utils.kube.transport import Transport
from ansible_collections.multimesh.istio.plugins.module_utils.rollout.reader import Reader
from ansible_collections.multimesh.istio.plugins.module_utils.rollout.wait import Place, Rollout, Settings, wait
from ansible_collections.multimesh.istio.plugins.module_utils.rollout.wanted import Wanted
from ansible_collections.multimesh.istio.plugins.module_utils.task import Task, TaskError, serve

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    **CONNECTION_OPTIONS,
    "roots": {"type": "list", "elements": "str", "default": []},
    "only_roots": {"type": "bool", "default": False},
    "issuer": {"type": "str"},
    "crls": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"issuer": {"type": "str", "required": True}, "number": {"type": "int"}},
    },
    "trust_domain": {"type": "str"},
    "takes_roots": {"type": "bool", "default": False},
    "namespaces": {"type": "list", "elements": "str", "default": []},
    "proxies": {"type": "bool", "default": True},
    "hurry": {"type": "bool", "default": False},
    "served_clusters": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "mesh": {"type": "str", "required": True},
            "kubeconfig": {"type": "path"},
            "context": {"type": "str"},
        },
    },
    "timeout": {"type": "int", "default": 120},
    "poll_interval": {"type": "int", "default": 2},
    "pod_timeout": {"type": "int", "default": 10},
}


def _place(connection: Connection, pod_timeout: int) -> Place:
    credentials = open_connection(connection, pool_size=4)
    client = Client(Transport(credentials, connection.request_timeout), connection.mesh)
    return Place(client, Reader(PodStreams(credentials, connection.mesh), pod_timeout))


def run(task: Task) -> dict[str, Any]:
    options = task.options
    if importlib.util.find_spec("cryptography") is None:  # certificates are described with it
        raise TaskError(missing_required_lib("cryptography"))
    connection = Connection.from_options(options, os.environ)
    wanted = Wanted.from_options(connection.mesh, options)
    settings = Settings(**{field.name: options[field.name] for field in fields(Settings)})
    if task.check_mode:
        settings = replace(settings, timeout=0, hurry=False)
    pod_timeout = options["pod_timeout"]
    served = [Connection.from_options(cluster, os.environ) for cluster in options["served_clusters"]]
    rollout = Rollout(_place(connection, pod_timeout), wanted, settings, [_place(one, pod_timeout) for one in served])
    report, seconds = wait(rollout, settings)
    task.warnings.extend(report.warnings)
    result = {"changed": bool(report.hurried), "seconds": int(seconds), **report.as_dict()}
    if not report.ready and not task.check_mode:
        raise TaskError(report.failure, **result)
    return result


def main() -> None:
    serve(AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True), run)


if __name__ == "__main__":
    main()
