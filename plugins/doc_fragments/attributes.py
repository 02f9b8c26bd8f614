# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Attributes that the modules of this collection state."""

from __future__ import annotations


class ModuleDocFragment:
    """Every module says by itself what it supports of check_mode, diff_mode and idempotent."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and say what it would change, changing nothing.
  diff_mode:
    description: Shows what it changes, or would change, in diff mode.
  idempotent:
    description: Changes nothing when it is run again with the same options and nobody else changed anything.
  platform:
    description: Where the module can run.
    platforms: posix
    support: full
  action_group:
    description: Use C(group/multimesh.istio.all) in C(module_defaults) to set options for this module.
    support: full
    membership:
      - multimesh.istio.all
"""
