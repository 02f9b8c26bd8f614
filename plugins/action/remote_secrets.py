# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Runs the module of the same name."""

from __future__ import annotations

from ansible_collections.multimesh.istio.plugins.modules import remote_secrets
from ansible_collections.multimesh.istio.plugins.plugin_utils.module_action import ModuleAction


class ActionModule(ModuleAction):
    """Inside ansible-playbook if possible."""

    MODULE = remote_secrets
