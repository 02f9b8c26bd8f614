# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one setting of the host's kernel that many clusters need higher: raised while they run, then put back.

To be called under the machine's lock.
"""

from __future__ import annotations

from pathlib import Path

from tests.lab.place import write

INOTIFY_PER_CLUSTER = 25
"""Inotify instances of one cluster's daemons (measured: 20, all of one user); without them a kubelet does not start."""
INOTIFY_OF_THE_HOST = 64

_SETTING = Path("/proc/sys/fs/inotify/max_user_instances")
_FORMER = Path("/run/multimesh.max_user_instances")  # like the setting itself, forgotten when the machine restarts


def raise_for(clusters: int) -> None:
    """Makes room for that many clusters on this machine; notes the former value first, so no crash loses it."""
    needed = INOTIFY_OF_THE_HOST + INOTIFY_PER_CLUSTER * clusters
    current = int(_SETTING.read_text())
    if current >= needed:
        return
    if not _FORMER.exists():
        write(_FORMER, f"{current}\n")
    _SETTING.write_text(f"{needed}\n")


def restore() -> None:
    """Puts the former value back, if it was changed."""
    if _FORMER.exists():
        _SETTING.write_text(_FORMER.read_text())
        _FORMER.unlink()
