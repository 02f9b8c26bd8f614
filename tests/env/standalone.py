# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Another Python out of Debian packages, for a machine that lacks it; the system's own stays as it is."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.lab import packages
from tests.lab.cache import artifact, digest
from tests.lab.errors import LabError
from tests.lab.images import distribution_sources
from tests.lab.progress import step

# Which release of the host's own distribution has which Python.
RELEASES = {
    "Debian": {"3.11": "bookworm", "3.13": "trixie"},
    "Ubuntu": {"3.12": "noble"},
}

# Loads the packages' own C library beside the host's. Python finds its library from the path it is called by, also
# through the links of a virtual environment.
LAUNCHER = """\
#!/bin/sh
root=$(dirname "$(dirname "$(dirname "$(readlink -f "$0")")")")
for loader in "$root"/usr/lib/*/ld-linux-*.so.* "$root"/lib/*/ld-linux-*.so.*; do
    [ -e "$loader" ] && break
done
folder=$(basename "$(dirname "$loader")")
exec "$loader" --argv0 "$0" --library-path "$root/usr/lib/$folder:$root/lib/$folder" "$root/usr/bin/{name}.elf" "$@"
"""


def host_mirror() -> tuple[str, str]:
    """Name of the host's distribution and the address it gets packages from. Raises `LabError` on other systems."""
    if packages.find("apt-get"):
        columns = "$(ORIGIN)|$(REPO_URI)|$(CODENAME)|$(COMPONENT)"
        command = ["apt-get", "indextargets", "--format", columns, "Created-By: Packages"]
        targets = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        release = dict(re.findall(r'(?m)^(\w+)="?([^"\n]*)', Path("/etc/os-release").read_text()))
        for line in distribution_sources(targets).splitlines():
            _deb, address, suite, part = line.split()
            if suite == release.get("VERSION_CODENAME") and part == "main":
                return ("Debian" if f"Debian|{address}|" in targets else "Ubuntu"), address
    raise LabError("neither Debian nor Ubuntu")


def unpack(folder: Path, version: str, suite: str, mirror: str) -> None:
    """Fill `folder` with a Python of `version` that runs from there."""
    name = f"python{version}"
    root = folder / "root"
    command = ["mmdebstrap", "--mode=root", "--variant=extract", "--quiet", f"--include={name},{name}-venv", suite]
    source = f"deb {mirror} {suite} main\n"
    done = subprocess.run([*command, str(root), "-"], input=source, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"mmdebstrap could not unpack {name} of {suite}:\n{done.stderr}")
    program = root / "usr" / "bin" / name
    program.rename(program.with_name(f"{name}.elf"))
    program.write_text(LAUNCHER.format(name=name))
    program.chmod(0o755)
    library = root / "usr" / "lib" / name
    for wheel in (root / "usr/share/python-wheels").glob("*.whl"):  # ensurepip would look for them on the host
        bundled = library / "ensurepip" / "_bundled"
        bundled.mkdir(exist_ok=True)
        wheel.rename(bundled / wheel.name)
    for data in library.glob("_sysconfigdata*.py"):
        data.write_text(re.sub(r"'WHEEL_PKG_DIR': .*", "'WHEEL_PKG_DIR': None,", data.read_text()))


def python(versions: tuple[str, ...]) -> str:
    """Path of an interpreter of one of `versions`, unpacked into the cache on first use.

    Raises SystemExit naming the versions where that can't be done.
    """
    try:
        distribution, mirror = host_mirror()
        releases = RELEASES[distribution]
        version = next(version for version in versions if version in releases)
        if os.geteuid() != 0:
            raise LabError("unpacking one from packages needs root")
        packages.ensure_packages()

        def build(folder: Path) -> None:
            with step(f"Python {version}: unpacking from {releases[version]}", 10):
                unpack(folder, version, releases[version], mirror)

        folder = artifact(f"python{version}", digest(releases[version], Path(__file__)), build)
    except (LabError, StopIteration) as problem:
        wanted = " or ".join(versions)
        raise SystemExit(
            f"Python {wanted} is needed here, with its modules venv and ensurepip, and was not found: {problem}. "
            "Install one, for example with the distribution's packages python3.x and python3.x-venv."
        ) from None
    return str(folder / "root" / "usr" / "bin" / f"python{version}")
