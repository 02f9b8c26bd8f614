# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every Molecule scenario as a test. ``molecule test --all`` in extensions/ does the same without pytest-ansible."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.usefixtures("lab")
def test_scenario(molecule_scenario: Any) -> None:
    assert molecule_scenario.test().returncode == 0
