# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs that come as pinned Python packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.lab import cache, progress
from tests.lab.errors import LabError

PINS = Path(__file__).with_name("wheels.txt")


def ensure(name: str, expected_seconds: float) -> Path:
    """The folder that package `name`, pinned with its hashes in `wheels.txt`, is unpacked in."""
    pin = next(line for line in PINS.read_text().splitlines() if line.startswith(f"{name}=="))

    def build(folder: Path) -> None:
        requirement = folder / "requirements.txt"
        requirement.write_text(pin + "\n")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--no-compile", "--only-binary=:all:", "--root-user-action=ignore", "--require-hashes",
                   "--target", str(folder), "--requirement", str(requirement)]  # fmt: skip
        with progress.step(f"fetching {pin.split()[0]}", expected_seconds):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(
                f"pip could not fetch {pin.split()[0]}: {done.stderr.strip()}\n"
                "Run the lab with a Python that has pip, and see that its package index is reachable (pip config list)."
            )

    return cache.artifact(name, cache.digest(pin), build)
