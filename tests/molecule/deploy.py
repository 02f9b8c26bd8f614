# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python -m tests.molecule.deploy MESH``: the demo's services in one mesh of the scenarios' lab."""

from __future__ import annotations

import sys

from tests.demo import deploy
from tests.lab.api import Lab

if __name__ == "__main__":
    deploy(Lab("molecule"), sys.argv[1])
