# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Container images as OCI archives, byte for byte the same for the same content (OCI image layout 1.0)."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.errors import LabError

# What a container never reads; left out, the base layer is half as big.
_UNUSED = (
    "boot/",
    "dev/",
    "usr/share/bash-completion/",
    "usr/share/doc/",
    "usr/share/info/",
    "usr/share/lintian/",
    "usr/share/locale/",
    "usr/share/man/",
    "usr/share/perl5/",
    "var/cache/",
    "var/lib/apt/",
    "var/lib/dpkg/",
    "var/log/",
)
_BUNDLE = "etc/ssl/certs/ca-certificates.crt"
_CERTIFICATES = "usr/share/ca-certificates/"


@dataclass(frozen=True)
class Layer:
    """An uncompressed layer: clusters unpack it once from a local disk, where packing costs more than it saves."""

    path: Path
    digest: str


@dataclass(frozen=True)
class Image:
    """One image: its fully qualified name, its layers from the lowest up, and how it runs."""

    name: str
    layers: tuple[Layer, ...]
    entrypoint: tuple[str, ...]
    command: tuple[str, ...] = ()
    user: str = ""
    environment: Mapping[str, str] | None = None


@dataclass(frozen=True)
class File:
    """A file to put in a layer: bytes, or a file of the host."""

    content: bytes | Path
    mode: int = 0o755


def write_layer(path: Path, files: Mapping[str, File]) -> Layer:
    """Writes a layer of `files`, by absolute path in the image."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, file in sorted(files.items()):
            if isinstance(file.content, bytes):
                _add(archive, name.lstrip("/"), file.mode, len(file.content), io.BytesIO(file.content))
            else:
                with file.content.open("rb") as handle:
                    _add(archive, name.lstrip("/"), file.mode, os.fstat(handle.fileno()).st_size, handle)
    return _layer(path)


def write_base_layer(path: Path, tree: Path, files: Mapping[str, File]) -> Layer:
    """Writes a layer of `tree`, a tar of unpacked Debian packages, and `files`.

    Maintainer scripts have not run in such a tree, so the bundle of CA certificates is put together here.
    """
    certificates = []
    with tarfile.open(tree) as source, tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        members = {member.name.removeprefix("./"): member for member in source}
        kept = {name: member for name, member in members.items() if not _unused(name)}
        # A hard link has to come after what it points to.
        for name, member in sorted(kept.items(), key=lambda item: (item[1].islnk(), item[0])):
            member.name, member.linkname = name, member.linkname.removeprefix("./" if member.islnk() else "")
            member.mtime, member.uname, member.gname, member.pax_headers = 0, "", "", {}
            content = source.extractfile(member) if member.isreg() else None
            if content and name.startswith(_CERTIFICATES):
                data = content.read()
                certificates.append(data.strip() + b"\n")
                content = io.BytesIO(data)
            archive.addfile(member, content)
        for name, file in sorted({**files, _BUNDLE: File(b"".join(certificates), 0o644)}.items()):
            if not isinstance(file.content, bytes):
                raise TypeError(f"{name}: a base layer takes bytes")
            _add(archive, name.lstrip("/"), file.mode, len(file.content), io.BytesIO(file.content))
    return _layer(path)


def debian_tree(path: Path, packages: Iterable[str]) -> None:
    """Unpacks Debian packages with what they depend on into a tar, from the host's own Debian (or Ubuntu) sources."""
    columns = "$(ORIGIN)|$(REPO_URI)|$(CODENAME)|$(COMPONENT)"
    command = ["apt-get", "indextargets", "--format", columns, "Created-By: Packages"]
    sources = distribution_sources(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    command = ["mmdebstrap", "--mode=root", "--variant=extract", "--quiet", f"--include={','.join(packages)}",
               release.get("VERSION_CODENAME", "stable"), str(path), "-"]  # fmt: skip
    environment = os.environ | {"SOURCE_DATE_EPOCH": "0"}
    done = subprocess.run(command, input=sources, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"mmdebstrap could not unpack the base of the images:\n{done.stderr}with the sources\n{sources}")


def distribution_sources(targets: str) -> str:
    """apt's source lines of the distribution itself, out of the host's index targets; other vendors' are left out."""
    rows = (line.split("|") for line in targets.splitlines() if line)
    return "".join(
        sorted({f"deb {uri} {suite} {part}\n" for origin, uri, suite, part in rows if origin in ("Debian", "Ubuntu")})
    )


def write_archive(path: Path, images: Iterable[Image], architecture: str) -> None:
    """Writes one OCI archive with all `images`; layers they share are in it once.

    `architecture` is Go's name for it (amd64, arm64). The index carries the full names, in the annotation that
    containerd reads on import.
    """
    blobs: dict[str, bytes | Path] = {}
    index = []
    for image in sorted(images, key=lambda image: image.name):
        layers = []
        for layer in image.layers:
            blobs[layer.digest] = layer.path
            layers.append(_descriptor("layer.v1.tar", layer.digest, layer.path.stat().st_size))
        config = _blob(blobs, "config.v1+json", _config(image, architecture))
        body = {"schemaVersion": 2, "mediaType": f"{_TYPE}.manifest.v1+json", "config": config, "layers": layers}
        manifest = _blob(blobs, "manifest.v1+json", body)
        names = {"io.containerd.image.name": image.name, "org.opencontainers.image.ref.name": image.name}
        index.append(manifest | {"annotations": names, "platform": {"architecture": architecture, "os": "linux"}})
    files = {
        "oci-layout": File(_json({"imageLayoutVersion": "1.0.0"}), 0o644),
        "index.json": File(_json({"schemaVersion": 2, "manifests": index}), 0o644),
        **{f"blobs/{digest.replace(':', '/')}": File(content, 0o644) for digest, content in blobs.items()},
    }
    write_layer(path, files)


_TYPE = "application/vnd.oci.image"


def _config(image: Image, architecture: str) -> dict[str, Any]:
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = {"PATH": path, **(image.environment or {})}
    return {
        "architecture": architecture,
        "os": "linux",
        "config": {
            "User": image.user,
            "Env": [f"{name}={value}" for name, value in environment.items()],
            "Entrypoint": list(image.entrypoint),
            "Cmd": list(image.command),
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in image.layers]},
    }


def _unused(name: str) -> bool:
    return name in ("", ".", _BUNDLE) or f"{name}/".startswith(_UNUSED) or "/gconv/" in name


def _add(archive: tarfile.TarFile, name: str, mode: int, size: int, content: Any) -> None:
    member = tarfile.TarInfo(name)
    member.mode, member.size = mode, size
    archive.addfile(member, content)


def _layer(path: Path) -> Layer:
    with path.open("rb") as handle:
        return Layer(path, "sha256:" + hashlib.file_digest(handle, "sha256").hexdigest())


def _json(data: object) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def _blob(blobs: dict[str, bytes | Path], kind: str, data: object) -> dict[str, Any]:
    content = _json(data)
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    blobs[digest] = content
    return _descriptor(kind, digest, len(content))


def _descriptor(kind: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": f"{_TYPE}.{kind}", "digest": digest, "size": size}
