# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""One lab for all scenarios instead of one for each."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.env.checkout import CHECKOUT


@pytest.fixture(scope="session")
def lab() -> Iterator[None]:
    """Keeps the clusters from one scenario to the next, and removes them at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOLECULE_OPTS", "--destroy=never")
        patch.setenv("ANSIBLE_NOCOLOR", "1")
        yield
    command = [sys.executable, "-m", "molecule", "destroy", "-s", "default"]
    assert subprocess.run(command, cwd=CHECKOUT, check=False).returncode == 0
