# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.lab import images
from tests.lab.images import File, Image


def read(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive if member.isreg()}  # type: ignore[union-attr]


def tree(path: Path, order: list[str], when: int) -> Path:
    """A tar as mmdebstrap writes it; order and times must not matter."""
    with tarfile.open(path, "w") as archive:
        for name in order:
            member = tarfile.TarInfo(f"./{name}")
            member.mtime, member.uname = when, "somebody"
            data = f"content of {name}\n".encode()
            if name.endswith("/"):
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            elif name == "usr/hard":
                member.type, member.linkname = tarfile.LNKTYPE, "./usr/tool"
            elif name == "bin":
                member.type, member.linkname = tarfile.SYMTYPE, "usr/bin"
            else:
                member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


NAMES = ["bin", "dev/", "dev/null", "usr/", "usr/tool", "usr/hard", "usr/share/doc/tool/", "usr/share/doc/tool/README",
         "usr/share/ca-certificates/b.crt", "usr/share/ca-certificates/a.crt", "var/lib/dpkg/status"]  # fmt: skip


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    shared = images.write_layer(tmp_path / "shared.tar", {"/bin/shared": File(b"shared" * 100)})
    own = images.write_layer(tmp_path / "own.tar", {"/bin/own": File(b"own"), "/etc/conf": File(b"c", 0o644)})
    listed = [
        Image("docker.io/x/two:1", (shared, own), ("/bin/own",), ("serve",), "1337:1337", {"KEY": "value"}),
        Image("docker.io/x/one:1", (shared,), ("/bin/shared",)),
    ]
    images.write_archive(tmp_path / "images.tar", listed, "arm64")
    return tmp_path / "images.tar"


def test_every_blob_is_named_by_its_digest_and_in_the_archive_once(archive: Path) -> None:
    with tarfile.open(archive) as opened:
        names = opened.getnames()
    assert len(names) == len(set(names))
    blobs = {name: data for name, data in read(archive).items() if name.startswith("blobs/")}
    assert len(blobs) == 2 + 2 + 2  # layers, configurations, manifests
    for name, data in blobs.items():
        assert name == f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"


def test_index_leads_to_manifest_configuration_and_layers(archive: Path) -> None:
    files = read(archive)

    def blob(descriptor: dict[str, Any]) -> bytes:
        data = files["blobs/" + descriptor["digest"].replace(":", "/")]
        assert len(data) == descriptor["size"]
        return data

    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(files["index.json"])["manifests"]
    assert [entry["annotations"]["io.containerd.image.name"] for entry in index] == [
        "docker.io/x/one:1",
        "docker.io/x/two:1",
    ]
    manifest = json.loads(blob(index[1]))
    config = json.loads(blob(manifest["config"]))
    assert config["architecture"] == "arm64"
    assert config["config"]["Entrypoint"] == ["/bin/own"]
    assert config["config"]["Cmd"] == ["serve"]
    assert config["config"]["User"] == "1337:1337"
    assert "KEY=value" in config["config"]["Env"]
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    assert b"own" in blob(manifest["layers"][1])


def test_layer_keeps_modes_and_is_reproducible(tmp_path: Path) -> None:
    (tmp_path / "host").write_bytes(b"program")
    files = {"/z": File(tmp_path / "host"), "/a": File(b"text", 0o644)}
    first = images.write_layer(tmp_path / "1.tar", files)
    second = images.write_layer(tmp_path / "2.tar", dict(reversed(files.items())))
    assert first.digest == second.digest
    with tarfile.open(first.path) as opened:
        assert [(member.name, member.mode, member.mtime, member.uid) for member in opened] == [
            ("a", 0o644, 0, 0),
            ("z", 0o755, 0, 0),
        ]


def test_base_layer_drops_what_is_unused_and_bundles_certificates(tmp_path: Path) -> None:
    layer = images.write_base_layer(tmp_path / "l.tar", tree(tmp_path / "t.tar", NAMES, 1), {"/etc/passwd": File(b"p")})
    assert set(read(layer.path)) == {
        "usr/tool",
        "usr/share/ca-certificates/a.crt",
        "usr/share/ca-certificates/b.crt",
        "etc/passwd",
        "etc/ssl/certs/ca-certificates.crt",
    }
    assert read(layer.path)["etc/ssl/certs/ca-certificates.crt"] == (
        b"content of usr/share/ca-certificates/a.crt\ncontent of usr/share/ca-certificates/b.crt\n"
    )
    with tarfile.open(layer.path) as opened:
        members = {member.name: member for member in opened}
    assert members["usr/hard"].linkname == "usr/tool"
    assert members["bin"].linkname == "usr/bin"
    assert list(members).index("usr/tool") < list(members).index("usr/hard")


def test_base_layer_is_reproducible(tmp_path: Path) -> None:
    first = images.write_base_layer(tmp_path / "1.tar", tree(tmp_path / "a.tar", NAMES, 1), {})
    second = images.write_base_layer(tmp_path / "2.tar", tree(tmp_path / "b.tar", NAMES, 2), {})
    assert first.digest == second.digest


def test_sources_are_the_distribution_s_own() -> None:
    targets = (
        "Debian|http://mirror.example/debian/|bookworm|main\n"
        "Vendor|https://vendor.example/apt/|nodistro|main\n"
        "Debian|http://mirror.example/debian/|bookworm|main\n"
        "Debian|http://mirror.example/security/|bookworm-security|main\n"
    )
    assert images.distribution_sources(targets) == (
        "deb http://mirror.example/debian/ bookworm main\ndeb http://mirror.example/security/ bookworm-security main\n"
    )
