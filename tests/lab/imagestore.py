# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""containerd's folder with the lab's images already imported, to be copied instead of imported per cluster."""

from __future__ import annotations

from pathlib import Path


def clone(store: Path, root: Path) -> None:
    """Makes `root`, the root folder of a containerd that is not running yet, a copy of `store`.

    Blobs and unpacked files are hard links where both lie on one file system (they are never written to, and clusters
    then share their pages in memory), real copies elsewhere. Raises `LabError` if `root` exists and is not empty.
    """
    raise NotImplementedError
