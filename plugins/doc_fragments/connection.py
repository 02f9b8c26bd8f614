# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

"""How a cluster is reached; the argument specs are in module_utils/kube/connection.py."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of every module that talks to a cluster."""

    DOCUMENTATION = r"""
options:
  mesh:
    description:
      - Name of the mesh or cluster in messages. Without it the context, the host or the kubeconfig names it.
    type: str
  kubeconfig:
    description:
      - Path of a kubeconfig. Credential plugins in it (C(exec)) are run.
      - When this option is set, no connection option is taken from the environment.
      - Without it the environment variable E(K8S_AUTH_KUBECONFIG) is used, then E(KUBECONFIG) or C(~/.kube/config),
        then the service account of the pod this runs in.
    type: path
  context:
    description:
      - Context of the kubeconfig. Without it E(K8S_AUTH_CONTEXT), then the current context.
    type: str
  host:
    description:
      - URL of the API server, instead of O(kubeconfig) and O(context). Without it E(K8S_AUTH_HOST), unless
        E(K8S_AUTH_KUBECONFIG) is set.
    type: str
  api_key:
    description:
      - Bearer token. Without it E(K8S_AUTH_API_KEY), where O(host) or E(K8S_AUTH_HOST) says which API server it is for.
    type: str
  ca_cert:
    description:
      - File with the certificates that the API server's certificate is checked against. Without it
        E(K8S_AUTH_SSL_CA_CERT).
    type: path
  client_cert:
    description:
      - Client certificate file. Without it E(K8S_AUTH_CERT_FILE).
    type: path
  client_key:
    description:
      - Key file of the client certificate. Without it E(K8S_AUTH_KEY_FILE).
    type: path
  validate_certs:
    description:
      - Whether the API server's certificate is checked. Without it E(K8S_AUTH_VERIFY_SSL), then what the kubeconfig
        says, then V(true).
    type: bool
  request_timeout:
    description:
      - Seconds that one request may take, including its repetitions after broken connections and the HTTP statuses 429,
        500, 502, 503 and 504.
    type: int
    default: 30
requirements:
  - kubernetes (Python library, on the host that runs the module)
"""
