# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs built from Go modules."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.lab import cache, packages, progress, versions
from tests.lab.errors import LabError

LAB = Path(__file__).parent


@dataclass(frozen=True)
class Module:
    """One Go module of the lab and the programs that are built from it."""

    name: str
    folder: Path
    programs: tuple[str, ...]
    """Import paths of the main packages; a program is named as the last element."""
    expected_seconds: float
    """What building takes with empty caches on two cores, beside the other modules."""
    stamps: tuple[str, ...] = ()
    """`variable=value` set by the linker (`-X`)."""
    tags: tuple[str, ...] = ()
    """Build tags."""


KUBERNETES = Module(
    name="kubernetes",
    folder=LAB / "go/kubernetes",
    programs=(
        "multimesh.istio/lab/kubernetes/etcd",
        "k8s.io/kubernetes/cmd/kube-apiserver",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-proxy",
        "k8s.io/kubernetes/cmd/kube-scheduler",
        "k8s.io/kubernetes/cmd/kubectl",
        "k8s.io/kubernetes/cmd/kubelet",
    ),
    expected_seconds=560,
    stamps=tuple(
        f"k8s.io/component-base/version.{variable}={value}"
        for variable, value in (
            ("gitVersion", f"v{versions.KUBERNETES}"),
            ("gitMajor", versions.KUBERNETES.split(".", maxsplit=1)[0]),
            ("gitMinor", versions.KUBERNETES.split(".")[1]),
            ("gitTreeState", "clean"),
        )
    ),
)
ISTIO = Module(
    name="istio",
    folder=LAB / "go/istio",
    programs=(
        "istio.io/istio/pilot/cmd/pilot-discovery",
        "istio.io/istio/pilot/cmd/pilot-agent",
        "istio.io/istio/istioctl/cmd/istioctl",
        "multimesh.istio/lab/istio/charts",
    ),
    expected_seconds=470,
    stamps=tuple(
        f"istio.io/istio/pkg/version.{variable}={value}"
        for variable, value in (
            ("buildVersion", versions.ISTIO),
            ("buildTag", versions.ISTIO),
            ("buildGitRevision", versions.ISTIO_REVISION),
            ("buildStatus", "Clean"),
            ("buildHub", versions.ISTIO_HUB),
        )
    ),
)
TOOLS = Module(
    name="tools",
    folder=LAB / "go/tools",
    programs=("fortio.org/fortio", "github.com/coredns/coredns", "helm.sh/helm/v3/cmd/helm"),
    expected_seconds=150,
    stamps=(f"helm.sh/helm/v3/internal/version.version=v{versions.HELM}",),
)
VAULT = Module(
    name="vault",
    folder=LAB / "go/vault",
    programs=("github.com/hashicorp/vault",),
    expected_seconds=420,
    tags=("minimal",),
)
"""No part of a cluster: built by the tests that need it."""
APP = Module(
    name="app",
    folder=LAB / "app",
    programs=("multimesh.istio/lab/app", "multimesh.istio/lab/app/pause"),
    expected_seconds=20,
)


def ensure(module: Module, afterwards: Callable[[Path], None] | None = None) -> Path:
    """The folder with the programs of `module` in `bin/`; `afterwards(folder)` may add to a folder just built."""
    flags = ["-trimpath", "-ldflags", " ".join(["-s", "-w", *(f"-X {stamp}" for stamp in module.stamps)])]
    flags += ["-tags", ",".join(module.tags)] if module.tags else []

    def build(folder: Path) -> None:
        names = ", ".join(program.rpartition("/")[2] for program in module.programs)
        (folder / "bin").mkdir()
        with progress.step(f"building {names}", module.expected_seconds):
            run(module.folder, "build", *flags, "-o", f"{folder / 'bin'}/", *module.programs)
        if afterwards:
            afterwards(folder)

    return cache.artifact(module.name, cache.digest(module.folder, *flags, *module.programs), build)


def run(folder: Path, *arguments: str) -> str:
    """Runs the go command in a module's folder and returns what it printed; raises `LabError` with its messages."""
    # Settings of this host's other Go work (workspaces, build flags) must not reach the lab's modules.
    environment = os.environ | {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-buildvcs=false"}
    environment.setdefault("HOME", str(Path.home()))
    command = [str(packages.ensure_go()), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        messages = [line for line in done.stderr.splitlines() if not line.startswith("go: downloading ")]
        raise LabError(f"go {arguments[0]} failed in {folder}:\n" + "\n".join(messages[-20:]))
    return done.stdout
