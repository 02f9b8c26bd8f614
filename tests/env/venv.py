# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Virtual environments with pinned packages, made once per set of pins."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.env import interpreter, standalone
from tests.env.checkout import CHECKOUT
from tests.lab.cache import cache_dir, digest, locked
from tests.lab.progress import step

REQUIREMENTS = CHECKOUT / "tests" / "requirements"

# What each pinned ansible-core supports as controller, preferred version first.
PYTHONS = {
    "main": ("3.11", "3.12", "3.13"),
    "oldest": ("3.11", "3.12", "3.10"),
    "newest": ("3.13", "3.12", "3.14"),
}
MARKER = ".complete"


def run(command: list[str]) -> str:
    """Output of a command. Raises SystemExit with that output when the command fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stdout}\nFailed: {' '.join(command)}")
    return done.stdout


def python_for(name: str) -> str:
    """An interpreter that the environment's ansible-core supports; unpacked from Debian packages if need be."""
    return interpreter.find(PYTHONS[name]) or standalone.python(PYTHONS[name])


def create(target: Path, python: str, requirements: Path) -> None:
    """Make the environment ``target`` anew and install ``requirements`` into it."""
    shutil.rmtree(target, ignore_errors=True)
    run([python, "-m", "venv", str(target)])
    pip = [str(target / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    run([*pip, "--no-compile", "--prefer-binary", "-r", str(requirements)])


def ensure(name: str) -> Path:
    """Path of the environment ``main``, ``oldest`` or ``newest``, made first if it is not there yet.

    The folder is keyed by the pins and the Python. It can't be moved into place when done, since its scripts hold its
    path, so a marker tells a whole environment from an interrupted one, which is made anew.
    """
    requirements = REQUIREMENTS / f"{name}.txt"
    python = python_for(name)
    target = cache_dir() / f"venv-{name}-{digest(requirements, os.path.realpath(python))}"
    if not (target / MARKER).exists():
        with locked(f"venv-{name}"):
            if not (target / MARKER).exists():
                with step(f"Python environment {name}: installing packages", 60):
                    create(target, python, requirements)
                (target / MARKER).touch()
    return target


def pin(name: str) -> None:
    """Resolve ``<name>.in`` in a fresh environment and write what was installed to ``<name>.txt``."""
    target = cache_dir() / f".venv-{name}-pin-{os.getpid()}"
    wanted = REQUIREMENTS / f"{name}.in"
    try:
        with step(f"resolving {wanted.name}", 60):
            create(target, python_for(name), wanted)
        frozen = run([str(target / "bin" / "python"), "-m", "pip", "freeze", "--local"])
    finally:
        shutil.rmtree(target, ignore_errors=True)
    header = "".join(line + "\n" for line in wanted.read_text().splitlines()[:2])
    (REQUIREMENTS / f"{name}.txt").write_text(f"{header}#\n# Written by `make pins` from {wanted.name}.\n{frozen}")
