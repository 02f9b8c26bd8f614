# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import tarfile
from pathlib import Path

from tests.lab import image_list, versions


def test_images_of_the_lab(tmp_path: Path) -> None:
    programs = {name: tmp_path / f"program-{name}" for name in image_list.PROGRAMS}
    for path in programs.values():
        path.write_text(path.name)
    base = tmp_path / "tree.tar"
    tarfile.open(base, "w").close()
    (tmp_path / "layers").mkdir()
    listed = image_list.image_list(programs, programs["app"], base, tmp_path / "layers")
    assert {image.name for image in listed} == set(versions.IMAGES)
    assert {image.name for image in listed if not image.user} == {versions.IMAGE_COREDNS}  # it listens on port 53
    with_base = [image for image in listed if len(image.layers) == 2 or not image.entrypoint]
    assert len({image.layers[0] for image in with_base}) == 1
    for image in listed:
        with tarfile.open(image.layers[-1].path) as layer:
            assert not image.entrypoint or image.entrypoint[0].lstrip("/") in layer.getnames()
