#!/usr/bin/python
# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: shared_root_ca
short_description: Give one cluster a CA of its own under a root that all meshes share
version_added: 1.0.0
description:
  - Makes the shared root if there is none yet, issues an intermediate for one mesh, and writes it to the Secret
    C(istio-system/cacerts), where istiod reads it.
  - The intermediate can speak for its own trust domain only. It has a critical name constraint that Envoy, OpenSSL and
    Go enforce, so a CA stolen from one mesh is of no use against another. This holds for sidecars, not in ambient mode.
  - A good CA under this root is kept. Whatever is wrong with an existing one is named and nothing is written. This
    module never replaces a CA, neither one of its own nor one of others.
  - Before anything is written, a certificate is signed by the new intermediate and checked as a peer would check it.
  - All four files are written in one request. The namespace C(istio-system) is created if it is missing.
  - No private key leaves the module other than into the Secret and, encrypted, into O(root_directory).
author:
  - The multimesh.istio authors (@multimesh)
extends_documentation_fragment:
  - multimesh.istio.connection
  - multimesh.istio.attributes
attributes:
  check_mode:
    support: full
    details:
      - Writes nothing, to O(root_directory) neither. What is made in the run, such as fingerprints, is not known yet.
  diff_mode:
    support: full
    details:
      - Shows subjects, fingerprints, validity and constraints of certificates, and of keys nothing.
  idempotent:
    support: full
requirements:
  - cryptography >= 42.0 (Python library, on the host that runs the module)
options:
  trust_domain:
    description:
      - SPIFFE trust domain of the mesh. Every mesh has its own, and none is a subdomain of another.
    type: str
    required: true
  root_directory:
    description:
      - Directory of the root on the host that runs the module. It is made with the root and then holds C(root-ca.crt)
        and C(root-ca.key), which is encrypted.
      - It cannot be a mount point itself, but below one. Keep a backup of it, and keep it out of version control.
    type: path
    required: true
  passphrase:
    description:
      - Passphrase of the root's key, 12 characters or more. Keep it elsewhere than O(root_directory) and its backups.
    type: str
    required: true
  known_roots:
    description:
      - SHA-256 fingerprints of the roots that clusters have in their C(cacerts), hexadecimal, with or without colons.
      - If there are some and the root in O(root_directory) is none of them, or missing, nothing is issued.
    type: list
    elements: str
    default: []
  permitted_dns_domains:
    description:
      - DNS names that the mesh may sign for beside its trust domain, with everything below them. C(svc) is what istiod
        needs for its own certificate. An existing intermediate has to have exactly these.
    type: list
    elements: str
    default: [svc]
  root_lifetime_days:
    description:
      - Days that a new root is valid.
    type: int
    default: 3650
  root_key_type:
    description:
      - Key of a new root.
    type: str
    choices: [ecdsa-p256, ecdsa-p384, rsa-3072, rsa-4096]
    default: ecdsa-p384
  intermediate_lifetime_days:
    description:
      - Days that a new intermediate is valid, though never longer than the root.
    type: int
    default: 90
  intermediate_key_type:
    description:
      - Key of a new intermediate. It signs every workload certificate of the mesh, and P-256 does that about 170 times
        as fast as RSA with 4096 bits.
    type: str
    choices: [ecdsa-p256, ecdsa-p384, rsa-3072, rsa-4096]
    default: ecdsa-p256
notes:
  - Set C(ansible_pipelining) to V(true), as role P(multimesh.istio.shared_root_ca#role) does, or the arguments of the
    module, O(passphrase) among them, stand in a temporary file while it runs.
seealso:
  - name: Plug in CA certificates
    description: What istiod reads from the Secret.
    link: https://istio.io/latest/docs/tasks/security/cert-management/plugin-ca-cert/
  - module: multimesh.istio.mesh_info
  - module: multimesh.istio.applyset
"""

EXAMPLES = r"""
- name: Give the mesh a CA under the shared root
  multimesh.istio.shared_root_ca:
    mesh: east
    kubeconfig: "{{ mesh_kubeconfig }}"
    trust_domain: east.mesh
    root_directory: /var/lib/multimesh/ca
    passphrase: "{{ shared_root_ca_passphrase }}"
  vars:
    ansible_pipelining: true

- name: Refuse to go on when the clusters know another root
  multimesh.istio.shared_root_ca:
    mesh: west
    kubeconfig: "{{ mesh_kubeconfig }}"
    trust_domain: west.mesh
    root_directory: /var/lib/multimesh/ca
    passphrase: "{{ shared_root_ca_passphrase }}"
    known_roots: "{{ (mesh_roots | default([])) }}"
    intermediate_lifetime_days: 30
  vars:
    ansible_pipelining: true
"""

RETURN = r"""
root:
  description: The shared root.
  returned: success, unless it is still to be made in check mode
  type: dict
  contains: &certificate
    subject:
      description: Subject (RFC 4514).
      type: str
      sample: CN=Mesh federation root 3f9c2a71,O=multimesh.istio
    issuer:
      description: Issuer (RFC 4514).
      type: str
      sample: CN=Mesh federation root 3f9c2a71,O=multimesh.istio
    serial:
      description: Serial number, hexadecimal.
      type: str
      sample: 6832a5cee703ad456425270955a944a11ddb0d46
    fingerprint_sha256:
      description: SHA-256 of the certificate, lower-case hexadecimal.
      type: str
      sample: 04892a3f690753528c60992c0abeae3188cc5748fe0b19ecd4a0bd2ddcff3049
    not_before:
      description: Begin of validity, UTC.
      type: str
      sample: "2027-01-31T08:00:00Z"
    not_after:
      description: End of validity, UTC.
      type: str
      sample: "2037-01-28T08:05:00Z"
    days_left:
      description: Whole days until then.
      type: int
      sample: 3649
    is_ca:
      description: Whether it may sign certificates.
      type: bool
      sample: true
    self_signed:
      description: Whether it is signed by itself.
      type: bool
      sample: true
    uri_constraints:
      description: Trust domains it can speak for, empty for a root.
      type: list
      elements: str
      sample: []
intermediate:
  description: The CA of the mesh.
  returned: success, unless it is still to be made in check mode
  type: dict
  contains: *certificate
trust_domain:
  description: Trust domain of the mesh.
  returned: success
  type: str
  sample: east.mesh
"""

import importlib.util
import os
import resource
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.client import Client
from ansible_collections.multimesh.istio.plugins.module_utils.kube.connection import CONNECTION_OPTIONS, Connection
from ansible_collections.multimesh.istio.plugins.module_utils.pki.cacerts import Request, provide
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.file import FileCustody
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import describe
from ansible_collections.multimesh.istio.plugins.module_utils.pki.keys import KEY_TYPES


def run(module: AnsibleModule) -> dict[str, Any]:
    options = module.params
    client = Client.connect(Connection.from_options(options, os.environ))
    request = Request(
        mesh=client.mesh,
        trust_domain=options["trust_domain"],
        dns_domains=options["permitted_dns_domains"],
        root_lifetime=timedelta(days=options["root_lifetime_days"]),
        root_key_type=options["root_key_type"],
        lifetime=timedelta(days=options["intermediate_lifetime_days"]),
        key_type=options["intermediate_key_type"],
        known_roots=frozenset(shown.replace(":", "").lower() for shown in options["known_roots"]),
    )
    custody = FileCustody(Path(options["root_directory"]), options["passphrase"])
    now = datetime.now(UTC)
    outcome = provide(client, custody, request, now, check=module.check_mode)
    for warning in (*outcome.warnings, *(f"{client.mesh}: {warning}" for warning in client.warnings)):
        module.warn(warning)
    result: dict[str, Any] = {"changed": outcome.changed, "trust_domain": request.trust_domain}
    for name, certificate in (("root", outcome.root), ("intermediate", outcome.intermediate)):
        if certificate is not None:
            result[name] = describe(certificate, now)
    if module._diff:
        header = f"{client.mesh}: Secret istio-system/cacerts"
        result["diff"] = {
            "before": outcome.before,
            "after": outcome.after,
            "before_header": header,
            "after_header": header,
        }
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            "trust_domain": {"type": "str", "required": True},
            "root_directory": {"type": "path", "required": True},
            "passphrase": {"type": "str", "required": True, "no_log": True},
            "known_roots": {"type": "list", "elements": "str", "default": []},
            "permitted_dns_domains": {"type": "list", "elements": "str", "default": ["svc"]},
            "root_lifetime_days": {"type": "int", "default": 3650},
            "root_key_type": {"type": "str", "choices": list(KEY_TYPES), "default": "ecdsa-p384", "no_log": False},
            "intermediate_lifetime_days": {"type": "int", "default": 90},
            "intermediate_key_type": {
                "type": "str",
                "choices": list(KEY_TYPES),
                "default": "ecdsa-p256",
                "no_log": False,
            },
        },
        supports_check_mode=True,
    )
    if importlib.util.find_spec("cryptography") is None:
        module.fail_json(msg=missing_required_lib("cryptography >= 42.0"))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold the keys
    try:
        result = run(module)
    except MultimeshError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
