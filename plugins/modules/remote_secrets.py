#!/usr/bin/python
# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: remote_secrets
short_description: Give a control plane the credentials for the other clusters of its mesh
version_added: 1.0.0
description:
  - Makes the cluster of a control plane hold exactly these credentials for other clusters of its mesh, each a Secret in
    C(istio-system) with label C(istio/multiCluster), as istiod looks for them. Those that this module made for other
    clusters are deleted; those of others are left alone.
  - A credential is the token of a service account of the other cluster. It is made anew when half of its life is over,
    or when API server, CA, service account or lifetime are not the wanted ones.
  - istiod takes a new token over while it goes on with the old one, which stays valid until its end.
  - A cluster that does not answer keeps the credential it has, with a warning.
author:
  - The multimesh.istio authors (@multimesh)
extends_documentation_fragment:
  - multimesh.istio.connection
  - multimesh.istio.attributes
attributes:
  check_mode:
    support: full
    details:
      - No token is made and nothing is written. A service account that is missing is taken for one to come.
  diff_mode:
    support: full
    details:
      - Shows of each credential the API server, a fingerprint of its CA, the service account and its end.
  idempotent:
    support: full
notes:
  - The connection options are those of the cluster with the control plane. The environment variables C(K8S_AUTH_*) are
    read for the other clusters in the same way.
  - Needs to list Secrets in C(istio-system) and to get, create, patch and delete those; in the other clusters to get
    the service account and to create C(serviceaccounts/token), and with O(token_lifetime_days=0) to get, create, patch
    and delete a Secret beside it.
options:
  clusters:
    description:
      - The other clusters. An empty list deletes all credentials that this module made.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the cluster in Istio.
        type: str
        required: true
      kubeconfig:
        description: Path of its kubeconfig, from which its API server and its CA are taken too.
        type: path
      context:
        description: Context of the kubeconfig.
        type: str
      api_server:
        description:
          - URL of its API server as the control plane reaches it, if it is another than that of the kubeconfig.
        type: str
      service_account:
        description: Service account in C(istio-system) there.
        type: str
        default: multimesh-remote-reader
  token_lifetime_days:
    description:
      - Days until a token ends. An API server may grant less, which is a warning.
      - With V(0) tokens have no end, and are kept in a Secret of their cluster. Whoever gets hold of one can use it
        until that Secret is deleted.
    type: int
    default: 90
seealso:
  - module: multimesh.istio.applyset
"""

EXAMPLES = r"""
- name: Let the control plane of one cluster serve another one
  multimesh.istio.remote_secrets:
    mesh: south-a
    kubeconfig: "{{ mesh_kubeconfig }}"
    clusters:
      - name: south-b
        kubeconfig: "{{ hostvars['south-b'].mesh_kubeconfig }}"
        service_account: multimesh-remote-control-plane

- name: Take all of these credentials away
  multimesh.istio.remote_secrets:
    kubeconfig: "{{ mesh_kubeconfig }}"
    clusters: []
"""

RETURN = r"""
clusters:
  description: The credentials, in the order of O(clusters). Those that are not known are left out.
  returned: success
  type: list
  elements: dict
  contains:
    cluster:
      description: Name of the cluster.
      type: str
      sample: south-b
    server:
      description: URL of its API server.
      type: str
      sample: https://198.51.100.7:6443
    service_account:
      description: Service account that the token is of.
      type: str
      sample: multimesh-remote-control-plane
    lifetime_days:
      description: Days that were asked for.
      type: int
      sample: 90
    ca_sha256:
      description: SHA-256 of the CA that the API server's certificate is checked against. V(null) without one.
      type: str
      sample: 0f3c6a1f1d6c2f6f0e4f6a1e6a53d0a5a0b7e3a9c1d2e3f405162738495a6b7c
    ends:
      description: End of the token, in UTC. V(null) without one.
      type: str
      sample: "2027-02-19T09:00:00Z"
    reason:
      description: Why it was made anew, or in check mode would be. Empty if it was not.
      type: str
      sample: ""
removed:
  description: Secrets that were deleted, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: []
"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multimesh.istio.plugins.module_utils import remote_secrets
from ansible_collections.multimesh.istio.plugins.module_utils.kube.client import Client
from ansible_collections.multimesh.istio.plugins.module_utils.kube.connection import (
    CONNECTION_OPTIONS,
    Connection,
    Credentials,
    open_connection,
)
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import UnreachableError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import SECRETS
from ansible_collections.multimesh.istio.plugins.module_utils.kube.transport import Transport
from ansible_collections.multimesh.istio.plugins.module_utils.remote_secrets import Outcome, RemoteSecretError, Wanted
from ansible_collections.multimesh.istio.plugins.module_utils.task import Task, TaskError, serve

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    **CONNECTION_OPTIONS,
    "clusters": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "kubeconfig": {"type": "path"},
            "context": {"type": "str"},
            "api_server": {"type": "str"},
            "service_account": {"type": "str", "default": "multimesh-remote-reader"},
        },
    },
    "token_lifetime_days": {"type": "int", "default": 90, "no_log": False},
}


def connect(options: dict[str, Any], environ: Any) -> tuple[Client, Credentials]:
    connection = Connection.from_options(options, environ)
    credentials = open_connection(connection, pool_size=4)
    return Client(Transport(credentials, connection.request_timeout), connection.mesh), credentials


def wanted(cluster: dict[str, Any], days: int, credentials: Credentials) -> Wanted:
    """Raises RemoteSecretError."""
    configuration = credentials.configuration
    if not configuration.verify_ssl:
        raise RemoteSecretError(
            f"{cluster['name']}: its kubeconfig does not check the certificate of the API server, so the control plane"
            " would give its token to whoever answers. Give the kubeconfig the CA (certificate-authority)."
        )
    return Wanted(
        cluster=cluster["name"],
        server=cluster["api_server"] or credentials.server,
        ca=Path(configuration.ssl_ca_cert).read_text(encoding="ascii") if configuration.ssl_ca_cert else "",
        account=cluster["service_account"],
        days=days,
        server_name=getattr(configuration, "tls_server_name", None) or "",
    )


def run(task: Task) -> dict[str, Any]:
    options = task.options
    days = options["token_lifetime_days"]
    if days < 0:
        raise TaskError(f"token_lifetime_days: expected 0 or more days, found {days}. Write 0 for tokens without end.")
    control_plane = Client.connect(Connection.from_options(options, os.environ))
    now = datetime.now(UTC)
    others = []
    for cluster in options["clusters"]:
        remote, credentials = connect({**cluster, "mesh": cluster["name"]}, os.environ)
        others.append((remote, wanted(cluster, days, credentials)))
    superfluous = remote_secrets.superfluous(control_plane, [one for _remote, one in others])
    removed = [str(metadata["name"]) for metadata in superfluous]
    names = {one.secret for _remote, one in others}
    if not task.check_mode:
        remote_secrets.record(control_plane, names.union(removed))
    outcomes = []
    for remote, one in others:
        try:
            outcome = remote_secrets.renew(control_plane, remote, one, now, check_mode=task.check_mode)
        except UnreachableError as error:
            held = remote_secrets.read(control_plane.get(SECRETS, remote_secrets.NAMESPACE, one.secret), one.cluster)
            task.warnings.append(_left(one, held, error))
            continue
        if outcome.token:
            task.secrets.add(outcome.token.text)
        task.warnings.extend([*_first(control_plane.mesh, outcome), *_short(outcome)])
        outcomes.append(outcome)
    if not task.check_mode:
        for metadata in superfluous:
            control_plane.delete(SECRETS, remote_secrets.NAMESPACE, metadata["name"], metadata["uid"])
        remote_secrets.record(control_plane, names)
    result: dict[str, Any] = {
        "changed": bool(removed or any(outcome.reason for outcome in outcomes)),
        "clusters": [{**outcome.after, "reason": outcome.reason} for outcome in outcomes],
        "removed": removed,
    }
    if task.diff:
        changes = {outcome.wanted.secret: (outcome.before, outcome.after) for outcome in outcomes if outcome.reason}
        changes |= {name: ({"name": name}, {}) for name in removed}
        result["diff"] = [_diff(name, *change) for name, change in changes.items()]
    return result


def _diff(name: str, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    header = f"Secret {remote_secrets.NAMESPACE}/{name}"
    return {"before_header": header, "after_header": header, "before": before, "after": after}


def _left(one: Wanted, held: remote_secrets.Held, error: UnreachableError) -> str:
    if held.token is None:
        return f"{error} The control plane has no credential for {one.cluster} yet."
    end = f"ends on {held.token.ends:%Y-%m-%d}" if held.token.ends else "has no end"
    return f"{error} Its credential stays as it is and {end}."


def _first(holder: str, outcome: Outcome) -> list[str]:
    if outcome.before:
        return []
    one = outcome.wanted
    return [
        (
            f"{holder}: this cluster holds a credential for cluster {one.cluster}, in Secret"
            f" {remote_secrets.NAMESPACE}/{one.secret}: whoever reads that Secret can do there what service account"
            f" {one.account} may."
        )
    ]


def _short(outcome: Outcome) -> list[str]:
    token, days = outcome.token, outcome.wanted.days
    if not (days and token and token.begins and token.ends):
        return []
    granted = token.ends - token.begins
    if granted >= timedelta(days=days) * 0.9:
        return []
    hours = granted.total_seconds() / 3600
    return [
        (
            f"{outcome.wanted.cluster}: its API server grants tokens of {hours:.0f} hours and not of {days} days. Run"
            " playbook multimesh.istio.site at least twice in that time, or choose tokens without end"
            " (control_plane_token_lifetime_days: 0)."
        )
    ]


def main() -> None:
    serve(AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True), run)


if __name__ == "__main__":
    main()
