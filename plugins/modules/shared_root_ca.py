#!/usr/bin/python
# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: shared_root_ca
short_description: Give one cluster a CA of its own under a root that all meshes share, renew it and change the root
version_added: 1.0.0
description:
  - Makes the shared root if there is none yet, issues an intermediate for one mesh, and writes it to the Secret
    C(istio-system/cacerts), where istiod reads it. Leads a mesh from one CA or root to the next, one step at a time.
  - The intermediate can speak for its own trust domain only. It has a critical name constraint that Envoy, OpenSSL and
    Go enforce, so a CA stolen from one mesh is of no use against another. This holds for sidecars, not in ambient mode.
  - A good CA under this root is kept until half of its life is over. Then its successor is prepared in the Secret
    C(istio-system/multimesh-next-ca). Whatever is wrong with an existing one is named and nothing is written.
  - The steps know nothing of other meshes. Role P(multimesh.istio.shared_root_ca#role) and the playbooks
    C(multimesh.istio.site), C(multimesh.istio.rotate_root_ca), C(multimesh.istio.revoke) and C(multimesh.istio.adopt)
    take them in an order that no request notices. Prefer those to calling the module.
  - Before anything is written, a certificate is signed by the new intermediate and checked as a peer would check it.
  - All files of a Secret are written in one request. The namespace C(istio-system) is created if it is missing.
  - No private key leaves the module other than into these Secrets and, encrypted, into the place of the root.
author:
  - The multimesh.istio authors (@multimesh)
extends_documentation_fragment:
  - multimesh.istio.connection
  - multimesh.istio.custody
  - multimesh.istio.attributes
attributes:
  check_mode:
    support: full
    details:
      - Writes nothing, to the place of the root neither. What is made in the run, such as fingerprints, is not known
        yet.
  diff_mode:
    support: full
    details:
      - Shows subjects, fingerprints, validity and constraints of certificates, what is revoked, and of keys nothing.
  idempotent:
    support: full
requirements:
  - cryptography >= 42.0 (Python library, on the host that runs the module)
options:
  step:
    description:
      - What to make sure of. Each one looks first and changes only what is missing.
      - V(issue), that the mesh has a CA, and that its successor waits once half of its life is over.
      - V(plug_in), that C(cacerts) holds the mesh's CA, also one that istiod has made for itself. When this changes
        something, istiod has to be restarted, or it does not look there. Needs O(adopt).
      - V(prepare), that a CA under O(target_root) waits to become the mesh's, unless it is that already.
      - V(trust), that the mesh trusts O(target_root) too and holds the revocation lists of all CAs of the federation.
      - V(sign), that the CA that waits signs.
      - V(renew), after V(sign), that every proxy gets its certificate anew from that CA, when nothing that the one
        before has signed may be left. Every replica of istiod has to have the new CA, which module
        M(multimesh.istio.trust_rollout) tells.
      - V(untrust), that the mesh trusts O(target_root) alone.
      - V(retire), that the keys of all roots but O(target_root) are destroyed. Changes no cluster.
      - V(revoke), that all CAs of O(revoke_meshes) are on the root's revocation list. Changes no cluster.
      - V(release), that other runs may change CAs again.
      - V(status) and V(ledger) change nothing.
    type: str
    choices: [issue, plug_in, prepare, trust, sign, renew, untrust, retire, revoke, release, status, ledger]
    default: issue
  trust_domain:
    description:
      - SPIFFE trust domain of the mesh. Every mesh has its own, and none is a subdomain of another.
    type: str
    required: true
  known_roots:
    description:
      - SHA-256 fingerprints of the roots that clusters have in their C(cacerts), hexadecimal, with or without colons.
      - If there are some and no root of the custody is one of them, nothing is issued.
    type: list
    elements: str
    default: []
  target_root:
    description:
      - SHA-256 fingerprint of the root that shall be the only one in the end. Without it the newest one of the custody.
    type: str
  successor_of:
    description:
      - With O(step=prepare), SHA-256 fingerprint of the root to leave. If it is the only one, a new root is made
        beside it. If it has gone already, nothing happens.
    type: str
  certificates:
    description:
      - CA certificates of other meshes (PEM), as this module returned them there.
    type: list
    elements: str
    default: []
  crls:
    description:
      - Revocation lists that other meshes hold or need (PEM), as this module returned them there.
    type: list
    elements: str
    default: []
  new_issuers:
    description:
      - In check mode, whether CAs are to be made whose revocation lists do not exist yet.
    type: bool
    default: false
  revocation:
    description:
      - Whether the mesh holds revocation lists. Without them no mesh can be cut off by O(step=revoke).
    type: bool
    default: true
  revoke_meshes:
    description:
      - With O(step=revoke), names of the meshes whose CAs shall not be believed any more.
    type: list
    elements: str
    default: []
  replace_revoked:
    description:
      - Give a mesh whose CA was revoked a new one. Without it such a mesh is refused.
    type: bool
    default: false
  adopt:
    description:
      - Accept that the CA in C(cacerts) is under another root, to be led to O(target_root), and take over what another
        field manager has written. With O(step=prepare) and no root at all, one is made.
    type: bool
    default: false
  take_over:
    description:
      - Write C(cacerts) although another field manager has written it, because that was done once by hand.
    type: bool
    default: false
  settle_seconds:
    description:
      - With O(step=sign), seconds that a CA must have been waiting, for its revocation list to reach every proxy.
    type: int
    default: 180
  renew_again:
    description:
      - With O(step=renew), do so although it has been done, for proxies that got their certificate too early.
    type: bool
    default: false
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
    type: float
    default: 3650
  root_key_type:
    description:
      - Key of a new root.
    type: str
    choices: [ecdsa-p256, ecdsa-p384, rsa-3072, rsa-4096]
    default: ecdsa-p384
  intermediate_lifetime_days:
    description:
      - Days that a new intermediate is valid, though never longer than the root. Its successor is prepared after half
        of them and signs after two thirds.
    type: float
    default: 90
  intermediate_key_type:
    description:
      - Key of a new intermediate. It signs every workload certificate of the mesh, and P-256 does that about 170 times
        as fast as RSA with 4096 bits.
    type: str
    choices: [ecdsa-p256, ecdsa-p384, rsa-3072, rsa-4096]
    default: ecdsa-p256
  run:
    description:
      - Names this run in the lease that keeps other runs away, and in the ledger.
      - Lookup P(multimesh.istio.run_identity#lookup) gives a text that all tasks of one run share.
    type: str
    default: a run without a name
  break_lease:
    description:
      - Go on although another run holds the lease, because it is known to be over.
    type: bool
    default: false
notes:
  - Set C(ansible_pipelining) to V(true), as role P(multimesh.istio.shared_root_ca#role) does, or the arguments of the
    module, O(passphrase) among them, stand in a temporary file while it runs.
seealso:
  - name: Plug in CA certificates
    description: What istiod reads from the Secret.
    link: https://istio.io/latest/docs/tasks/security/cert-management/plugin-ca-cert/
  - module: multimesh.istio.mesh_info
  - module: multimesh.istio.trust_rollout
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

- name: See how far the mesh is on the way to the newest root
  multimesh.istio.shared_root_ca:
    step: status
    mesh: east
    kubeconfig: "{{ mesh_kubeconfig }}"
    trust_domain: east.mesh
    root_directory: /var/lib/multimesh/ca
    passphrase: "{{ shared_root_ca_passphrase }}"
  vars:
    ansible_pipelining: true
"""

RETURN = r"""
root:
  description: The root that the mesh is under, or being led to.
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
    key_id:
      description: Subject key identifier, hexadecimal.
      type: str
      sample: 5d1c7a0c7a54c3fb1a3ac0b62ba3d7f6bb5f1e0a
intermediate:
  description: The CA of the mesh.
  returned: success, unless it is still to be made in check mode
  type: dict
  contains: *certificate
candidate:
  description: The CA that waits to become the mesh's.
  returned: when one does
  type: dict
  contains: *certificate
stage:
  description:
    - How far the mesh is on the way to the target root, C(absent) without a CA, C(other) without trust in that root,
      C(trust) with it, C(sign) once its CA is under that root, C(done) once no other root is trusted.
  returned: success
  type: str
  sample: done
roots:
  description: SHA-256 fingerprints of the roots of the custody, oldest first; two while the root is being changed.
  returned: success
  type: list
  elements: str
  sample: [04892a3f690753528c60992c0abeae3188cc5748fe0b19ecd4a0bd2ddcff3049]
trusted_roots:
  description: SHA-256 fingerprints of the roots that the mesh trusts.
  returned: success
  type: list
  elements: str
  sample: [04892a3f690753528c60992c0abeae3188cc5748fe0b19ecd4a0bd2ddcff3049]
renewal_due:
  description: Whether the candidate shall sign as soon as it can.
  returned: success
  type: bool
  sample: false
renewal_pending:
  description: Whether proxies have yet to get certificates of the CA that signs now, see O(step=renew).
  returned: success
  type: bool
  sample: false
share_of_life:
  description: Share of its life that the mesh's CA has behind it, 0 to 1; 0 without one.
  returned: success
  type: float
  sample: 0.25
certificates:
  description: CA certificates of this mesh (PEM), for O(certificates) in other meshes.
  returned: success
  type: list
  elements: str
  sample: []
crls:
  description: Revocation lists that this mesh holds or that its peers need (PEM), for O(crls) in other meshes.
  returned: success
  type: list
  elements: str
  sample: []
held_crls:
  description: Revocation lists that this mesh holds (PEM).
  returned: success
  type: list
  elements: str
  sample: []
ingress_certificates:
  description:
    - How many certificates of Ingresses were made under the mesh's CA,
      see M(multimesh.istio.ingress_certificates).
  returned: with O(step=issue), unless something is to be signed elsewhere
  type: int
  sample: 0
crl_numbers:
  description:
    - Authority key identifiers (hexadecimal) and numbers of the revocation lists that this mesh holds, as module
      M(multimesh.istio.trust_rollout) takes them.
  returned: success
  type: list
  elements: dict
  sample: [{issuer: 5d1c7a0c7a54c3fb1a3ac0b62ba3d7f6bb5f1e0a, number: 1}]
ledger:
  description:
    - What has happened to roots and CAs, oldest first. Each entry has C(time), C(action), C(mesh), C(subject),
      C(fingerprint), C(serial), C(not_before), C(not_after), C(issuer), C(trust_domain), C(run), C(certificate)
      (PEM) and C(note).
  returned: with O(step=ledger), when something has
  type: list
  elements: dict
  sample: []
ledger_table:
  description: The same for people.
  returned: with O(step=ledger), when something has
  type: str
  sample: "TIME  ACTION  MESH  SUBJECT  SHA-256  VALID UNTIL  RUN  NOTE"
pending:
  description: What somebody else has to do before the run can go on.
  returned: when a signature is missing
  type: str
  sample: "east: sign requests/east.csr"
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
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.multimesh.istio.plugins.module_utils.kube.client import Client
from ansible_collections.multimesh.istio.plugins.module_utils.kube.connection import CONNECTION_OPTIONS, Connection
from ansible_collections.multimesh.istio.plugins.module_utils.pki import ingress, public
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import (
    IntermediateProfile,
    RootProfile,
    SignaturePending,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.choose import CUSTODY_OPTIONS, choose
from ansible_collections.multimesh.istio.plugins.module_utils.pki.keys import KEY_TYPES
from ansible_collections.multimesh.istio.plugins.module_utils.pki.request import Request
from ansible_collections.multimesh.istio.plugins.module_utils.pki.steps import Steps
from ansible_collections.multimesh.istio.plugins.module_utils.task import Task, TaskError, serve

STEPS = [
    "issue",
    "plug_in",
    "prepare",
    "trust",
    "sign",
    "renew",
    "untrust",
    "retire",
    "revoke",
    "release",
    "status",
    "ledger",
]
ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    **CONNECTION_OPTIONS,
    **CUSTODY_OPTIONS,
    "step": {"type": "str", "choices": STEPS, "default": "issue"},
    "trust_domain": {"type": "str", "required": True},
    "known_roots": {"type": "list", "elements": "str", "default": []},
    "target_root": {"type": "str"},
    "successor_of": {"type": "str"},
    "certificates": {"type": "list", "elements": "str", "default": []},
    "crls": {"type": "list", "elements": "str", "default": []},
    "new_issuers": {"type": "bool", "default": False},
    "revocation": {"type": "bool", "default": True},
    "revoke_meshes": {"type": "list", "elements": "str", "default": []},
    "replace_revoked": {"type": "bool", "default": False},
    "adopt": {"type": "bool", "default": False},
    "take_over": {"type": "bool", "default": False},
    "renew_again": {"type": "bool", "default": False},
    "settle_seconds": {"type": "int", "default": 180},
    "permitted_dns_domains": {"type": "list", "elements": "str", "default": ["svc"]},
    "root_lifetime_days": {"type": "float", "default": 3650},
    "root_key_type": {"type": "str", "choices": list(KEY_TYPES), "default": "ecdsa-p384", "no_log": False},
    "intermediate_lifetime_days": {"type": "float", "default": 90},
    "intermediate_key_type": {
        "type": "str",
        "choices": list(KEY_TYPES),
        "default": "ecdsa-p256",
        "no_log": False,
    },
    "run": {"type": "str", "default": "a run without a name"},
    "break_lease": {"type": "bool", "default": False},
}


def request_of(options: dict[str, Any], mesh: str) -> Request:
    return Request(
        profile=IntermediateProfile(
            mesh=mesh,
            trust_domain=options["trust_domain"],
            dns_domains=options["permitted_dns_domains"],
            lifetime=timedelta(days=options["intermediate_lifetime_days"]),
        ),
        key_type=options["intermediate_key_type"],
        root=RootProfile(timedelta(days=options["root_lifetime_days"]), options["root_key_type"]),
        run=options["run"],
        known_roots=frozenset(public.plain_fingerprint(shown) for shown in options["known_roots"]),
        target=public.plain_fingerprint(options["target_root"]) if options["target_root"] else None,
        successor_of=public.plain_fingerprint(options["successor_of"]) if options["successor_of"] else None,
        certificates=public.read_certificates(options["certificates"]),
        crls=public.read_crls(options["crls"]),
        new_issuers=options["new_issuers"],
        revocation=options["revocation"],
        revoke=tuple(options["revoke_meshes"]),
        replace_revoked=options["replace_revoked"],
        adopt=options["adopt"],
        take_over=options["take_over"],
        break_lease=options["break_lease"],
        renew_again=options["renew_again"],
        settle=timedelta(seconds=options["settle_seconds"]),
    )


def run(task: Task) -> dict[str, Any]:
    options = task.options
    if importlib.util.find_spec("cryptography") is None:
        raise TaskError(missing_required_lib("cryptography >= 42.0"))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold the keys
    client = Client.connect(Connection.from_options(options, os.environ))
    custody = choose(options, os.environ)
    now = datetime.now(UTC)
    taken = Steps(client, custody, request_of(options, client.mesh), now, check=task.check_mode)
    result: dict[str, Any] = {"changed": False, "trust_domain": options["trust_domain"]}
    try:
        outcome = getattr(taken, options["step"])()
    except SignaturePending as pending:
        return {**result, "changed": True, "pending": str(pending)}
    task.warnings.extend((*outcome.warnings, *(f"{client.mesh}: {warning}" for warning in client.warnings)))
    result |= public.result(outcome, now)
    if options["step"] == "issue":
        result["ingress_certificates"] = len(ingress.recorded(client))
    if task.diff:
        header = f"{client.mesh}: Secret istio-system/cacerts"
        result["diff"] = {
            "before": outcome.before,
            "after": outcome.after,
            "before_header": header,
            "after_header": header,
        }
    return result


def main() -> None:
    serve(AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True), run)


if __name__ == "__main__":
    main()
