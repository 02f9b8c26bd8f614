# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python -m tests.molecule.deploy MESH``: the demo's services in one mesh of the scenarios' lab."""

from __future__ import annotations

import sys

from tests.demo import NAMESPACE, deploy
from tests.lab import manifests
from tests.lab.api import Lab

if __name__ == "__main__":
    lab, mesh = Lab("molecule"), sys.argv[1]
    lab.apply(mesh, [manifests.namespace(NAMESPACE, {"istio-injection": "enabled"})])
    deploy(lab, mesh)
