# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where one lab keeps what: every name and path that must not collide with another lab's."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.errors import LabError

STATE_ROOT = Path("/var/lib/multimesh")
"""State of all labs of this machine; on a real file system, since containers' overlays lie on it."""
LOCK_ROOT = Path("/run/lock")
PREFIX = "multimesh-"
"""Begins the name of every cgroup of every lab."""
INTERFACE_PREFIX = "mm-"
"""Begins the name of every interface of every lab; short, for such names have 15 characters at most."""

SWITCH = "switch"

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")


@dataclass(frozen=True)
class Mesh:
    """What is decided about one cluster when it is first named, and kept until it is removed."""

    address: str
    pod_cidr: str
    locality: str = ""
    api_only: bool = False


@dataclass
class Record:
    """What a lab has taken of the machine, written before it takes it."""

    name: str
    checkout: str
    subnet: str
    meshes: dict[str, Mesh] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Record:
        meshes = {name: Mesh(**mesh) for name, mesh in data["meshes"].items()}
        return cls(data["name"], data["checkout"], data["subnet"], meshes)


@dataclass(frozen=True)
class Place:
    """The names and paths of the lab `name` of the checkout at `checkout`."""

    checkout: Path
    name: str

    @classmethod
    def of(cls, name: str, checkout: Path | None = None) -> Place:
        """Raises `LabError` if `name` is no DNS label of at most 40 characters."""
        check_name("lab", name)
        return cls((checkout or Path(__file__).parents[2]).resolve(), name)

    @property
    def id(self) -> str:
        return hashlib.sha256(f"{self.checkout}\0{self.name}".encode()).hexdigest()[:8]

    @property
    def published(self) -> Path:
        """What users read: kubeconfigs and ``state.json``; the only folder inside the checkout."""
        return self.checkout / ".lab" / self.name

    @property
    def state(self) -> Path:
        return STATE_ROOT / self.id

    @property
    def cgroup(self) -> str:
        return PREFIX + self.id

    @property
    def switch(self) -> Path:
        """Where the network namespace with the lab's bridge is mounted."""
        return self.state / SWITCH

    @property
    def interface(self) -> str:
        """The host's end of the cable to the lab's bridge."""
        return INTERFACE_PREFIX + self.id

    def mesh(self, mesh: str) -> Path:
        return self.state / mesh

    def kubeconfig(self, mesh: str) -> Path:
        return self.published / f"{mesh}.kubeconfig"

    def load(self) -> Record | None:
        return load_record(self.state)

    def save(self, record: Record) -> None:
        self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        write(self.state / "lab.json", json.dumps(asdict(record), indent=2) + "\n")

    @property
    def lock_file(self) -> Path:
        return LOCK_ROOT / f"multimesh-{self.id}.lock"

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """One change of a lab at a time."""
        return locked(self.lock_file)


def check_name(what: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise LabError(f"{what} name {name!r}: expected a DNS label (a-z, 0-9, '-') of at most 40 characters")


def load_record(state: Path) -> Record | None:
    """The record in the state folder of a lab; None if there is none. Raises `LabError` if it is another user's."""
    try:
        return Record.from_dict(json.loads((state / "lab.json").read_text()))
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise LabError(f"{error.filename} belongs to another user: run this as that user, usually root") from error


def all_records() -> dict[str, Record | None]:
    """Records of all labs of this machine by lab id; None for a state folder without a record."""
    if not STATE_ROOT.is_dir():
        return {}
    return {state.name: load_record(state) for state in STATE_ROOT.iterdir() if state.is_dir()}


def machine_lock() -> contextlib.AbstractContextManager[None]:
    """Held while choosing something that all labs of the machine choose from."""
    return locked(LOCK_ROOT / "multimesh.lock")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock file; waits while another process has it. The kernel frees it when the holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        # Its last holder may have removed the file while this process was waiting for it.
        if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
            break
        os.close(handle)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def write(path: Path, text: str, mode: int = 0o600) -> None:
    """Writes a file whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
    partial.rename(path)
