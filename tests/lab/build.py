# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Everything the lab runs, built once into the cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Artifacts:
    """What the lab's clusters are made of. All paths are absolute and complete."""

    bin: Mapping[str, Path]
    """Programs by name: kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kube-proxy, kubectl, istioctl,
    pilot-agent, pilot-discovery, helm, coredns, fortio, envoy, app, pause; of the host: etcd, etcdctl, containerd, ctr,
    containerd-shim-runc-v2, runc, ip, nsenter, iptables, conntrack."""
    images: tuple[str, ...]
    """Fully qualified names of the images in `image_archive` and `image_store` (see ``versions.IMAGE_*``)."""
    image_archive: Path
    """One OCI archive with all images, for ``ctr -n k8s.io images import``; it carries the full names itself."""
    image_store: Path
    """A containerd root folder that holds all images imported and unpacked already. Copy it with
    ``imagestore.clone(image_store, root)`` (hard links, well under a second) before a cluster's containerd starts."""
    charts: Path
    """Istio's Helm charts as released: ``charts/{base,istiod,gateway,default}``, image hub and tag set to the lab's."""
    cni_plugins: Path
    """Folder of the CNI plugins (bridge, host-local, portmap, loopback ...)."""
    versions: Mapping[str, str]
    """Version by name: kubernetes, istio, envoy, coredns, fortio, helm."""


def ensure_built() -> Artifacts:
    """Builds what is missing and returns all of it; takes well under a second when nothing is.

    Raises `LabError` when the host lacks something this cannot bring, or a build fails.
    """
    raise NotImplementedError
