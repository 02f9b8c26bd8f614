# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A place that keeps a handful of named blobs, and the first kind of it: a directory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shlex
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import CustodyError

T = TypeVar("T")

Blobs: TypeAlias = Mapping[str, bytes]
"""Content by name. Names are those that both files and keys of a Secret can have."""

Changes: TypeAlias = Mapping[str, bytes | None]
"""What is to be written, in this order; None removes."""

LEDGER = "ledger.jsonl"
"""The one blob that only grows and holds nothing secret; a store may keep it in another way than the others."""

_LOCK = ".lock"
_NEW = ".new"
_LARGEST = 64 * 1024 * 1024  # bytes; nothing that is kept here comes near, the ledger of decades aside


class Store(Protocol):
    """Named blobs, kept durably. Raises CustodyError everywhere.

    place: how messages name it.
    """

    @property
    def place(self) -> str: ...

    def read(self) -> dict[str, bytes]:
        """All blobs as they are; {} if nothing was ever kept here. Writes nothing."""

    def update(self, change: Callable[[Blobs], tuple[Changes, T]]) -> T:
        """Change blobs with nobody else in between; gives the result of ``change``.

        change: gets all blobs as they are, gives what to write and a result. It is called again if somebody else was
        faster, so it must do nothing but compute. What it raises is passed on, and nothing is written.
        Every blob is replaced as a whole. Of a process that dies, the first so many changes are there.
        """


@dataclass(frozen=True)
class FileStore:
    """A directory with one file per blob, made when something is kept.

    It has to belong to the user who runs Ansible and be closed to everybody else (0700), as it is made: others could
    exchange a root in a directory that they may write, and guess the passphrase of a key in one that they may read.
    It may be a mount point. Files whose names begin with a dot are no blobs, and neither are directories.
    """

    directory: Path

    @property
    def place(self) -> str:
        return str(self.directory)

    def read(self) -> dict[str, bytes]:
        with self._readable_errors():
            try:
                folder = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                return {}
            with _closing(folder), self._lock(folder, fcntl.LOCK_SH):
                return self._blobs(folder)

    def update(self, change: Callable[[Blobs], tuple[Changes, T]]) -> T:
        with self._readable_errors():
            self._make()
            folder = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            with _closing(folder), self._lock(folder, fcntl.LOCK_EX):
                _sweep(folder)
                changes, result = change(self._blobs(folder))
                for name, content in changes.items():
                    if content is None:
                        _remove(folder, name)
                    else:
                        _replace(folder, name, content)
                return result

    def _make(self) -> None:
        if not self.directory.exists():
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            parent = os.open(self.directory.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            with _closing(parent):
                os.fsync(parent)

    @contextlib.contextmanager
    def _lock(self, folder: int, kind: int) -> Iterator[None]:
        """Ends with the process at the latest. Where the file is missing, nobody ever wrote."""
        self._refuse_exposed(os.fstat(folder))
        writes = kind == fcntl.LOCK_EX
        flags = os.O_RDWR | os.O_CREAT if writes else os.O_RDONLY
        try:
            lock = os.open(_LOCK, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
        except FileNotFoundError:
            yield
            return
        with _closing(lock):
            fcntl.flock(lock, kind)
            yield

    def _blobs(self, folder: int) -> dict[str, bytes]:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
        blobs = {name: self._content(folder, name) for name in names}
        return {name: content for name, content in blobs.items() if content is not None}

    def _content(self, folder: int, name: str) -> bytes | None:
        try:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise self._unfit(name, "it is a symbolic link", "Put the file itself there") from None
            raise
        with _closing(file):
            found = os.fstat(file)
            if stat.S_ISDIR(found.st_mode):
                return None
            if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
                raise self._unfit(name, "it is no file of a root", "Keep it elsewhere")
            with os.fdopen(os.dup(file), "rb") as content:
                return content.read()

    def _refuse_exposed(self, found: os.stat_result) -> None:
        shown = shlex.quote(str(self.directory))
        if found.st_uid != os.geteuid():
            raise CustodyError(
                f"{self.directory}: the directory of the root belongs to the user with number {found.st_uid}, expected "
                f"{os.geteuid()}, who runs Ansible. Run it as that user, or give the directory to this one: "
                f"chown -R {os.geteuid()} {shown}"
            )
        mode = stat.S_IMODE(found.st_mode)
        if mode & 0o077:
            raise CustodyError(
                f"{self.directory}: the directory of the root is open to others (mode {mode:04o}), expected 0700. If "
                f"nobody has made use of that, close it: chmod 700 {shown}"
            )

    def _unfit(self, name: str, what: str, way_out: str) -> CustodyError:
        return CustodyError(f"{self.directory / name}: {what}. {way_out}. Nothing was written.")

    @contextlib.contextmanager
    def _readable_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            file = f" ({error.filename})" if error.filename else ""
            raise CustodyError(
                f"{self.directory}: the root cannot be read or kept there: {error.strerror}{file}. It has to be a "
                "directory of the user who runs Ansible, below another one that this user can write."
            ) from None


def _sweep(folder: int) -> None:
    """What a process left that was killed before it renamed a file."""
    for name in os.listdir(folder):
        if name.startswith(".") and name.endswith(_NEW):
            os.unlink(name, dir_fd=folder)


def _replace(folder: int, name: str, content: bytes) -> None:
    """The rename puts a file where a link may have been, and never writes through one."""
    new = f".{name}{_NEW}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(new, flags, 0o600, dir_fd=folder)
    with os.fdopen(file, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(file)
    os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def _remove(folder: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
    os.fsync(folder)


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)
