# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is in the lab's images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.lab import images, versions
from tests.lab.images import File, Image

BASE_PACKAGES = ("base-files", "ca-certificates", "coreutils", "curl", "dash", "grep", "iptables", "sed")
"""Debian packages of the layer below Envoy and curl; what they depend on comes with them."""

PROGRAMS = ("app", "coredns", "envoy", "fortio", "pause", "pilot-agent", "pilot-discovery")
"""Programs that the images are made of."""

APP_USER = "65532:65532"
CURL_USER = "100:101"
ISTIO_USER = "1337:1337"
PAUSE_USER = "65535:65535"

_USERS = {
    "/etc/passwd": File(
        b"root:x:0:0:root:/root:/bin/sh\n"
        b"curl_user:x:100:101:curl:/tmp:/bin/sh\n"
        b"istio-proxy:x:1337:1337:istio:/tmp:/bin/sh\n"
        b"nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
        0o644,
    ),
    "/etc/group": File(b"root:x:0:\ncurl_group:x:101:\nistio-proxy:x:1337:\nnogroup:x:65534:\n", 0o644),
}


def image_list(programs: Mapping[str, Path], bootstrap: Path, base: Path, folder: Path) -> list[Image]:
    """The images of the lab; their layers are written into `folder`.

    `programs` are those of `PROGRAMS` by name, `bootstrap` is Envoy's bootstrap template, `base` the tar of
    `BASE_PACKAGES`.
    """
    below = images.write_base_layer(folder / "base.tar", base, _USERS)

    def layer(name: str, files: Mapping[str, Path]) -> images.Layer:
        return images.write_layer(folder / f"{name}.tar", {path: File(source) for path, source in files.items()})

    def alone(name: str, program: str, user: str = "", command: tuple[str, ...] = ()) -> Image:
        inside = f"/usr/local/bin/{program}"
        return Image(name, (layer(program, {inside: programs[program]}),), (inside,), command, user)

    pilot = layer("pilot", {"/usr/local/bin/pilot-discovery": programs["pilot-discovery"]})
    proxy = layer(
        "proxy",
        {
            "/usr/local/bin/envoy": programs["envoy"],
            "/usr/local/bin/pilot-agent": programs["pilot-agent"],
            "/var/lib/istio/envoy/envoy_bootstrap_tmpl.json": bootstrap,
        },
    )
    return [
        alone(versions.IMAGE_APP, "app", APP_USER),
        alone(versions.IMAGE_COREDNS, "coredns"),
        alone(versions.IMAGE_FORTIO, "fortio", APP_USER, ("server",)),
        alone(versions.IMAGE_PAUSE, "pause", PAUSE_USER),
        Image(versions.IMAGE_CURL, (below,), (), ("/bin/sh",), CURL_USER),
        Image(versions.IMAGE_PILOT, (below, pilot), ("/usr/local/bin/pilot-discovery",), (), ISTIO_USER),
        Image(
            versions.IMAGE_PROXY, (below, proxy), ("/usr/local/bin/pilot-agent",), (), ISTIO_USER,
            {"ISTIO_META_ISTIO_VERSION": versions.ISTIO},
        ),
    ]  # fmt: skip
