# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every Molecule scenario as a test. ``molecule test --all`` does the same without pytest-ansible."""

from __future__ import annotations

from typing import Any

import pytest

from tests.env.checkout import CHECKOUT


@pytest.mark.usefixtures("lab")
def test_scenario(molecule_scenario: Any) -> None:
    molecule_scenario.parent_directory = CHECKOUT  # from where Molecule finds the configuration that all share
    assert molecule_scenario.test().returncode == 0
