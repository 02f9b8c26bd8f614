# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""containerd's folder with the lab's images already imported, to be copied instead of imported per cluster."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from tests.lab import packages
from tests.lab.errors import LabError

_START_SECONDS = 30
# containerd's databases are the only files it writes in place.
_DATABASES = "*.db"


def build(archive: Path, store: Path) -> None:
    """Imports the images of an OCI archive into `store`, the root folder of a containerd that runs only meanwhile."""
    programs = packages.ensure_packages()
    # A socket's path may have 107 characters at most, so it lies in a short folder of its own.
    with tempfile.TemporaryDirectory(prefix="multimesh-") as folder:
        state = Path(folder)
        (state / "config.toml").write_text(
            "version = 2\n"
            f'root = "{store}"\nstate = "{state / "state"}"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]\n'
            f'[grpc]\naddress = "{state / "socket"}"\n'
        )
        # Dies with this process, and its mounts with its mount namespace: nothing stays behind, however this ends.
        command: list[Path | str] = [programs["setpriv"], "--pdeathsig", "KILL", programs["unshare"], "--mount",
                                     programs["containerd"], "--config", state / "config.toml"]  # fmt: skip
        with (state / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as daemon:
            try:
                ctr: list[Path | str] = [programs["ctr"], "--address", state / "socket", "--namespace", "k8s.io"]
                _wait(ctr, daemon, state / "log")
                done = subprocess.run([*ctr, "images", "import", archive], capture_output=True, text=True, check=False)
                if done.returncode:
                    raise LabError(f"containerd could not import the lab's images: {done.stderr.strip()}")
            finally:
                daemon.terminate()
    shutil.rmtree(store / "io.containerd.grpc.v1.introspection")  # every containerd makes its own identity


def _wait(ctr: list[Path | str], daemon: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while subprocess.run([*ctr, "version"], capture_output=True, check=False).returncode:
        if daemon.poll() is not None or time.monotonic() > deadline:
            raise LabError(f"containerd did not start within {_START_SECONDS} s:\n{log.read_text()[-2000:]}")
        time.sleep(0.05)


def clone(store: Path, root: Path) -> None:
    """Makes `root`, the root folder of a containerd that is not running yet, a copy of `store`.

    Blobs and unpacked files are hard links where both lie on one file system (they are never written to, and clusters
    then share their pages in memory), real copies elsewhere. Raises `LabError` if `root` exists and is not empty.
    """
    root.mkdir(parents=True, exist_ok=True)
    if any(root.iterdir()):
        raise LabError(f"{root} is not empty: remove the cluster that it belongs to first")
    how = "--link" if store.stat().st_dev == root.stat().st_dev else "--reflink=auto"
    subprocess.run(["cp", "--archive", how, f"{store}/.", root], check=True)
    for database in root.rglob(_DATABASES):
        database.unlink()
        shutil.copyfile(store / database.relative_to(root), database)
