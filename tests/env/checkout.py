# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make this checkout importable as ``ansible_collections.multimesh.istio``, wherever it was cloned to."""

from __future__ import annotations

import os
from pathlib import Path

from tests.lab.cache import cache_dir, digest

CHECKOUT = Path(__file__).resolve().parents[2]


def collections_root() -> Path:
    """Folder for ANSIBLE_COLLECTIONS_PATH and PYTHONPATH in which the collection is a link to this checkout."""
    root = cache_dir() / "checkouts" / digest(str(CHECKOUT))
    link = root / "ansible_collections" / "multimesh" / "istio"
    if not link.is_symlink() or link.readlink() != CHECKOUT:
        link.parent.mkdir(parents=True, exist_ok=True)
        fresh = link.with_name(f".istio-{os.getpid()}")
        fresh.symlink_to(CHECKOUT)
        fresh.replace(link)
    return root


def environment(venv: Path) -> dict[str, str]:
    """The process environment in which the virtual environment and the collection are the ones found first."""
    root = str(collections_root())
    inherited = {key: value for key, value in os.environ.items() if key not in ("PYTHONHOME", "PYTHONPATH")}
    return inherited | {
        "PATH": f"{venv / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "VIRTUAL_ENV": str(venv),
        "PYTHONPATH": root,
        "ANSIBLE_COLLECTIONS_PATH": root,
        # Molecule keeps its state there by the mere name of the checkout's folder.
        "ANSIBLE_HOME": f"{root}/home",
        "MULTIMESH_CACHE": str(cache_dir()),
        "LC_ALL": "C.UTF-8",
    }
