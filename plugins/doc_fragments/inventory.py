# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What filters and lookups are asked about the inventory with."""

from __future__ import annotations


class ModuleDocFragment:
    """DOCUMENTATION: gateways that nobody knows. HOSTVARS: input of a filter. OBJECTS: whose objects are wanted."""

    DOCUMENTATION = r"""
options:
  allow_unknown_addresses:
    description:
      - Whether a gateway whose address nobody knows is named by the placeholder V(pending.<mesh>.invalid),
        instead of refusing the inventory.
      - Meant for check mode on clusters that have no gateway yet.
    type: bool
    default: false
"""

    HOSTVARS = r"""
options:
  _input:
    description:
      - Ansible's C(hostvars), or a mapping of the same shape, host names to variables.
    type: dict
    required: true
"""

    OBJECTS = r"""
options:
  term:
    description:
      - Name of a host of group C(meshes), or of a mesh.
      - For a mesh of several clusters the objects of all of them are put together.
        If two clusters need different objects of the same name, ask for the hosts instead.
    type: str
    required: true
"""
