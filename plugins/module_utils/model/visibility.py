# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading of ``export_to``: the namespaces in which a host exists."""

from __future__ import annotations

from ansible_collections.multimesh.istio.plugins.module_utils.model import names
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Fields


def read_export_to(fields: Fields) -> tuple[str, ...]:
    """Namespaces, or ``*`` for all, which is the default."""
    found = fields.texts("export_to", names.visibility, "Name the namespaces that may see the host, or leave it out")
    if found and "*" in found and len(found) > 1:
        fields.note("export_to", "expected '*' alone or namespaces, found both", "Remove '*' or the namespaces")
    return tuple(sorted(found)) if found else ("*",)
