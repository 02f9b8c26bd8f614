# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Where the shared root is; the argument specs are in module_utils/pki/custody/choose.py."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of every module that uses the shared root."""

    DOCUMENTATION = r"""
options:
  custody:
    description:
      - Where the root's key is, and who signs with it.
      - V(file), in O(root_directory) on the host that runs the module, encrypted with O(passphrase).
      - V(secret), in the Secret O(root_secret) of a management cluster, encrypted with O(passphrase), which that
        cluster does not hold. For automation controllers whose disks do not last.
      - V(offline), on another machine. Requests are written to O(root_directory), and the run stops with instructions
        until the signed certificates are there.
      - V(vault), in a PKI secrets engine of Vault or OpenBao, which signs. Needs the Python library C(hvac).
    type: str
    choices: [file, secret, offline, vault]
    default: file
  root_directory:
    description:
      - Directory of the root on the host that runs the module. It is made with the root. With V(file) it holds the key
        and the certificate of each root in one file, encrypted, and with every custody but V(secret) the ledger.
      - Keep a backup of it, and keep it out of version control.
    type: path
  passphrase:
    description:
      - Passphrase of the root's key, 12 characters or more. Keep it elsewhere than the key and its backups.
    type: str
  root_kubeconfig:
    description:
      - With O(custody=secret), kubeconfig of the management cluster. Without it as for O(kubeconfig).
    type: path
  root_context:
    description:
      - With O(custody=secret), context of the management cluster.
    type: str
  root_namespace:
    description:
      - With O(custody=secret), namespace of the Secret. It has to exist.
    type: str
    default: multimesh-istio
  root_secret:
    description:
      - With O(custody=secret), name of the Secret.
    type: str
    default: shared-root-ca
  vault_url:
    description:
      - With O(custody=vault). URL of the server, C(https://HOST[:PORT]).
    type: str
  vault_namespace:
    description:
      - With O(custody=vault). Namespace of Vault Enterprise, OpenBao or HCP.
    type: str
    default: ""
  vault_ca_cert:
    description:
      - With O(custody=vault). File with the CA that the server is verified by, instead of those of the system.
    type: path
  vault_auth:
    description:
      - With O(custody=vault). How to log in.
    type: str
    choices: [token, approle, jwt, kubernetes]
    default: token
  vault_auth_mount:
    description:
      - With O(custody=vault). Path of the auth method, if it is not named as the method.
    type: str
    default: ""
  vault_token:
    description:
      - With O(custody=vault). Token.
    type: str
  vault_role:
    description:
      - With O(custody=vault). Role for V(jwt) and V(kubernetes).
    type: str
    default: ""
  vault_role_id:
    description:
      - With O(custody=vault). Role ID for V(approle).
    type: str
  vault_secret_id:
    description:
      - With O(custody=vault). Secret ID for V(approle).
    type: str
  vault_jwt:
    description:
      - With O(custody=vault). Token for V(jwt) and V(kubernetes); in a pod of Kubernetes it may be left out.
    type: str
  vault_mount:
    description:
      - With O(custody=vault). Path of the secrets engine.
    type: str
    default: pki
  vault_issuer:
    description:
      - With O(custody=vault). Name or ID of the root, if the mount has others.
    type: str
    default: ""
  vault_generate:
    description:
      - With O(custody=vault). Make roots that are missing, and let the lists of the mount live as long as they
        do.
    type: bool
    default: false
  vault_destroy_retired:
    description:
      - With O(custody=vault). Delete issuer and key of a root once no mesh trusts it.
    type: bool
    default: false
"""
