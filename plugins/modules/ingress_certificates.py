#!/usr/bin/python
# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: ingress_certificates
short_description: Give the Ingresses of a mesh certificates that the other meshes believe
version_added: 1.0.0
description:
  - Makes the Secrets of type C(kubernetes.io/tls) that an ingress controller serves exports C(via) C(ingress) with, and
    deletes those that nobody needs any more.
  - They are signed by the CA of the mesh, whose key is read from the Secret C(istio-system/cacerts). Each certificate
    has the DNS names of the Ingress, and the SPIFFE ID that callers check. C(tls.crt) holds it and that of the CA.
  - A good certificate is kept. It is issued anew, with a new key, when two thirds of its life are over, when its names
    change, when another CA signs for the mesh, and when anything is wrong with it.
  - Which Secrets there are stands in the ConfigMap C(istio-system/multimesh-ingress-certificates), so no Secret is ever
    listed.
  - No private key leaves the module other than into these Secrets.
author:
  - The multimesh.istio authors (@multimesh)
extends_documentation_fragment:
  - multimesh.istio.connection
  - multimesh.istio.attributes
attributes:
  check_mode:
    support: full
    details:
      - Writes nothing. Fingerprints of certificates that would be made are not known. Where the mesh has no CA yet, it
        is taken for granted that it gets one.
  diff_mode:
    support: full
    details:
      - Shows names, fingerprints, signers and validity, and of keys nothing.
  idempotent:
    support: full
requirements:
  - cryptography >= 42.0 (Python library, on the host that runs the module)
options:
  certificates:
    description:
      - All certificates that there have to be. Those of earlier runs that are not among them are deleted.
      - Without this option, those of the run before are kept good, as far as their Secrets are still there.
      - Filter P(multimesh.istio.ingress_certificates#filter) gives the list for a host of the inventory.
    type: list
    elements: dict
    suboptions:
      namespace:
        description: Namespace of the Secret.
        type: str
        required: true
      secret:
        description: Name of the Secret.
        type: str
        required: true
      hosts:
        description: DNS names in the certificate.
        type: list
        elements: str
        required: true
      spiffe_id:
        description: SPIFFE ID in the certificate.
        type: str
        required: true
  lifetime_days:
    description:
      - Days that a new certificate is valid, though never longer than the CA of the mesh.
    type: float
    default: 30
  key_type:
    description:
      - Key of a new certificate.
    type: str
    choices: [ecdsa-p256, ecdsa-p384, rsa-3072, rsa-4096]
    default: ecdsa-p256
  run:
    description:
      - Names this run in the lease that keeps other runs from changing the CA meanwhile.
      - Lookup P(multimesh.istio.run_identity#lookup) gives a text that all tasks of one run share.
    type: str
    default: a run without a name
  break_lease:
    description:
      - Go on although another run holds the lease, because it is known to be over.
    type: bool
    default: false
notes:
  - The user needs to get, create, patch and delete these Secrets and the ConfigMap
    C(multimesh-ingress-certificates), to get, create and patch the Lease C(multimesh-shared-root-ca), and to get the
    Secret C(cacerts), all of it by name.
seealso:
  - module: multimesh.istio.shared_root_ca
  - plugin: multimesh.istio.ingress_certificates
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Have exactly the certificates that the Ingresses of the mesh need
  multimesh.istio.ingress_certificates:
    mesh: east
    kubeconfig: "{{ mesh_kubeconfig }}"
    certificates: "{{ hostvars | multimesh.istio.ingress_certificates('east') }}"

- name: Keep those of the run before good
  multimesh.istio.ingress_certificates:
    mesh: east
    kubeconfig: "{{ mesh_kubeconfig }}"
"""

RETURN = r"""
certificates:
  description: What has become of each certificate, sorted by namespace and Secret, deleted ones included.
  returned: success
  type: list
  elements: dict
  contains:
    namespace:
      description: Namespace of the Secret.
      type: str
      sample: bookinfo
    secret:
      description: Name of the Secret.
      type: str
      sample: multimesh-ingress.reviews.bookinfo
    hosts:
      description: DNS names in the certificate.
      type: list
      elements: str
      sample: [9080.reviews.bookinfo.svc]
    spiffe_id:
      description: SPIFFE ID in the certificate.
      type: str
      sample: spiffe://east.mesh/ns/bookinfo/sa/ingress_controller
    action:
      description: C(kept), C(issued), C(renewed) or C(deleted).
      type: str
      sample: renewed
    reason:
      description: Why, empty for one that was kept.
      type: str
      sample: two thirds of its life are over
    signed_by:
      description: Subject of the CA (RFC 4514).
      type: str
      returned: where there is a certificate after the run
      sample: CN=east mesh CA 5f2c11aa,O=multimesh.istio
    fingerprint_sha256:
      description: SHA-256 of the certificate, lower-case hexadecimal.
      type: str
      returned: where there is a certificate after the run
      sample: 04892a3f690753528c60992c0abeae3188cc5748fe0b19ecd4a0bd2ddcff3049
    not_before:
      description: Begin of validity, UTC.
      type: str
      returned: where there is a certificate after the run
      sample: "2027-01-31T08:00:00Z"
    not_after:
      description: End of validity, UTC.
      type: str
      returned: where there is a certificate after the run
      sample: "2027-03-02T08:05:00Z"
    days_left:
      description: Whole days until then.
      type: int
      returned: where there is a certificate after the run
      sample: 29
"""

import importlib.util
import os
import resource
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.multimesh.istio.plugins.module_utils.kube.client import Client
from ansible_collections.multimesh.istio.plugins.module_utils.kube.connection import CONNECTION_OPTIONS, Connection
from ansible_collections.multimesh.istio.plugins.module_utils.pki import ingress
from ansible_collections.multimesh.istio.plugins.module_utils.pki.keys import KEY_TYPES
from ansible_collections.multimesh.istio.plugins.module_utils.task import Task, TaskError, serve

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    **CONNECTION_OPTIONS,
    "certificates": {
        "type": "list",
        "elements": "dict",
        "options": {
            "namespace": {"type": "str", "required": True},
            "secret": {"type": "str", "required": True, "no_log": False},
            "hosts": {"type": "list", "elements": "str", "required": True},
            "spiffe_id": {"type": "str", "required": True},
        },
    },
    "lifetime_days": {"type": "float", "default": 30},
    "key_type": {"type": "str", "choices": list(KEY_TYPES), "default": "ecdsa-p256", "no_log": False},
    "run": {"type": "str", "default": "a run without a name"},
    "break_lease": {"type": "bool", "default": False},
}


def run(task: Task) -> dict[str, Any]:
    options = task.options
    if importlib.util.find_spec("cryptography") is None:
        raise TaskError(missing_required_lib("cryptography >= 42.0"))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold the keys
    client = Client.connect(Connection.from_options(options, os.environ))
    wanted = options["certificates"]
    if options["lifetime_days"] <= 0:
        raise TaskError(
            f"{client.mesh}: lifetime_days: {options['lifetime_days']:g} cannot be used, expected more than 0."
        )
    request = ingress.Request(
        wanted=None if wanted is None else [ingress.Wanted.of(one) for one in wanted],
        lifetime=timedelta(days=options["lifetime_days"]),
        key_type=options["key_type"],
        run=options["run"],
        break_lease=options["break_lease"],
    )
    now = datetime.now(UTC)
    outcome = ingress.ensure(client, request, now, check=task.check_mode)
    task.warnings.extend((*outcome.warnings, *(f"{client.mesh}: {warning}" for warning in client.warnings)))
    result: dict[str, Any] = {
        "changed": outcome.changed,
        "certificates": [
            {
                **entry.wanted.as_dict(),
                **(ingress.shown(entry, now, after=True) if entry.after else {}),
                "action": entry.action,
                "reason": entry.reason,
            }
            for entry in outcome.entries
        ],
    }
    if task.diff:
        header = f"{client.mesh}: certificates of Ingresses"
        result["diff"] = {
            **{
                side: {
                    entry.wanted.place: ingress.shown(entry, now, after=side == "after") for entry in outcome.entries
                }
                for side in ("before", "after")
            },
            "before_header": header,
            "after_header": header,
        }
    return result


def main() -> None:
    serve(AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True), run)


if __name__ == "__main__":
    main()
