# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find a Python of a wanted version on this machine."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

PROBE = "import ctypes, ensurepip, ssl, sys, venv; print('%d.%d' % sys.version_info[:2])"


def candidates(versions: Iterable[str]) -> Iterator[str]:
    """Paths worth asking, the running interpreter first, then by wanted version."""
    yield sys.executable
    pyenv = os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv"))
    for version in versions:
        if found := shutil.which(f"python{version}"):
            yield found
        for folder in (f"{pyenv}/versions/{version}.*", "/usr/local", "/usr", "/opt/*"):
            yield from sorted(glob.glob(f"{folder}/bin/python{version}"), reverse=True)


def version_of(python: str) -> str | None:
    """``major.minor`` of an interpreter that can make virtual environments, else None."""
    try:
        answer = subprocess.run([python, "-c", PROBE], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def find(versions: tuple[str, ...]) -> str | None:
    """First interpreter whose version is one of ``versions`` ("3.11"), or None.

    Every candidate is asked: a shim on the PATH may exist without the version behind it, and Debian packages the
    modules that make virtual environments apart from Python.
    """
    for python in dict.fromkeys(candidates(versions)):
        if version_of(python) in versions:
            return python
    return None
