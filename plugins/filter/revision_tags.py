# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: revision_tags
short_description: Names that stand for revisions of Istio
version_added: 1.0.0
author:
  - The multimesh.istio authors (@multimesh)
description:
  - Makes a C(MutatingWebhookConfiguration) for every revision tag. Pods of namespaces with label C(istio.io/rev=<tag>)
    are then injected by the revision for which the tag stands.
  - Used by the role P(multimesh.istio.control_plane#role).
positional: _input
options:
  _input:
    description:
      - Revisions by tag. The empty revision is the default one.
    type: dict
    required: true
  path:
    description:
      - Where istiod injects. A cluster that another one's control plane serves needs its own.
    type: str
    default: /inject
seealso:
  - plugin: multimesh.istio.rights
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Let a tag stand for a revision
  ansible.builtin.debug:
    msg: "{{ {'prod': '1-31-1'} | multimesh.istio.revision_tags }}"
"""

RETURN = r"""
_value:
  description:
    - The webhook configurations, sorted by tag. istiod fills in their CA.
  type: list
  elements: dict
  sample:
    - apiVersion: admissionregistration.k8s.io/v1
      kind: MutatingWebhookConfiguration
      metadata:
        name: istio-revision-tag-prod
        labels:
          istio.io/rev: 1-31-1
          istio.io/tag: prod
      webhooks: []
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible_collections.multimesh.istio.plugins.module_utils import revision_tags as tags
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.plugin_utils.raw_inventory import plain


def revision_tags(found: Mapping[str, str], path: str = "/inject") -> list[dict[str, Any]]:
    try:
        return tags.manifests(plain(found), plain(path))
    except MultimeshError as error:
        raise AnsibleError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"revision_tags": revision_tags}
