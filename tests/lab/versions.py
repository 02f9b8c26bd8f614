# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Versions of everything the lab runs. The Go modules are pinned beside this file, in `go/*/go.mod`."""

from __future__ import annotations

KUBERNETES = "1.36.3"
ISTIO = "1.31.1"
ISTIO_REVISION = "eed52ebb66ad"
ISTIO_HUB = "docker.io/istio"
ENVOY = "1.40.0"
COREDNS = "1.15.0"
FORTIO = "1.68.0"
HELM = "3.22.0"
PAUSE = "1"
APP = "1"
CURL = "8.11.1"
"""Tag of the image that the role `verify` calls from by default; in the lab the host's Debian brings its curl."""

GO_MINIMUM = (1, 26)
"""Oldest Go that builds the modules (the `go` line of every go.mod)."""

IMAGE_APP = f"docker.io/multimesh/app:{APP}"
IMAGE_COREDNS = f"docker.io/coredns/coredns:{COREDNS}"
IMAGE_CURL = f"docker.io/curlimages/curl:{CURL}"
IMAGE_FORTIO = f"docker.io/multimesh/fortio:{FORTIO}"
IMAGE_PAUSE = f"registry.k8s.io/pause:{PAUSE}"
IMAGE_PILOT = f"{ISTIO_HUB}/pilot:{ISTIO}"
IMAGE_PROXY = f"{ISTIO_HUB}/proxyv2:{ISTIO}"
IMAGES = (IMAGE_APP, IMAGE_COREDNS, IMAGE_CURL, IMAGE_FORTIO, IMAGE_PAUSE, IMAGE_PILOT, IMAGE_PROXY)
