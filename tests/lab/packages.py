# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs of the host: Debian packages, and Go."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def require_privileges() -> None:
    """Raises `LabError` naming every privilege that this process lacks to run a lab (root, capabilities, kernel features)."""
    raise NotImplementedError


def ensure_packages() -> Mapping[str, Path]:
    """Installs the missing ones of the host programs the lab needs; returns the path of each by name."""
    raise NotImplementedError


def ensure_go() -> Path:
    """The ``go`` command: the host's if it is new enough, else the pinned one, fetched into the cache."""
    raise NotImplementedError
