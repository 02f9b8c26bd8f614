# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the root and its private key are kept. It is made once; losing it must never lead to a second one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.pki import keys, pem
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import Authority
from ansible_collections.multimesh.istio.plugins.module_utils.pki.bundle import certificate_pem
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import UnreadableCertificate, parse

with contextlib.suppress(ImportError):  # the modules report a missing library
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

CERTIFICATE_FILE = "root-ca.crt"
KEY_FILE = "root-ca.key"
SHORTEST_PASSPHRASE = 12
"""Characters. PKCS#8 encryption slows guessing down little, so the passphrase has to be strong by itself."""
_LONGEST_PASSPHRASE = 1023  # bytes, a limit of OpenSSL


class CustodyError(MultimeshError):
    """The root cannot be read or kept, and what to do about it."""


class RootCustody(Protocol):
    """A place for the root.

    place: how messages name it.
    """

    @property
    def place(self) -> str: ...

    def load(self) -> Authority | None:
        """The root, None if none was ever made here. Raises CustodyError if there is one that cannot be used."""

    def create(self, root: Authority) -> Authority:
        """Keep this root unless there is one already; gives the one that is kept, the same one to all callers.

        Raises CustodyError.
        """


@dataclass(frozen=True)
class FileCustody:
    """A directory (mode 0700) with the certificate and the key, the key encrypted by a passphrase (PKCS#8).

    The directory is filled under another name and renamed once it is complete and on disk: whoever finds it finds both
    files, whenever a process dies. So it must not be a mount point.
    """

    directory: Path
    passphrase: str = field(repr=False)

    @property
    def place(self) -> str:
        return str(self.directory)

    @property
    def _secret(self) -> bytes:
        return self.passphrase.encode("utf-8", "surrogateescape")

    def load(self) -> Authority | None:
        with self._readable_errors():
            try:
                present = sorted(os.listdir(self.directory))
            except FileNotFoundError:
                present = []
            if not present:
                self._refuse_passphrase()
                return None
            self._refuse_halves(present)
            certificate = (self.directory / CERTIFICATE_FILE).read_bytes()
            key = (self.directory / KEY_FILE).read_bytes()
        return self._parse(certificate, key)

    def create(self, root: Authority) -> Authority:
        with self._readable_errors():
            self.directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._lock():
                existing = self.load()
                if existing is not None:
                    return existing
                self._write(root)
        return root

    def _write(self, root: Authority) -> None:
        staging = self._beside("new")
        shutil.rmtree(staging, ignore_errors=True)  # of a run that was killed
        staging.mkdir(mode=0o700)
        _write_file(staging / CERTIFICATE_FILE, certificate_pem(root.certificate), 0o644)
        _write_file(staging / KEY_FILE, keys.private_pem(root.key, self._secret), 0o600)
        _sync_directory(staging)
        staging.rename(self.directory)
        _sync_directory(self.directory.parent)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        descriptor = os.open(self._beside("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _beside(self, suffix: str) -> Path:
        return self.directory.with_name(f".{self.directory.name}.{suffix}")

    @contextlib.contextmanager
    def _readable_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CustodyError(
                f"{self.directory}: the root cannot be read or kept there: {error.strerror} ({error.filename}). It has "
                "to be a directory of the user who runs Ansible, below another one that this user can write, and no "
                "mount point itself."
            ) from None

    def _refuse_halves(self, present: list[str]) -> None:
        missing = [name for name in (CERTIFICATE_FILE, KEY_FILE) if name not in present]
        if len(missing) == 1:
            raise CustodyError(
                f"{self.directory}: {missing[0]} is missing, the other half of the root is there. Restore it from the "
                "backup. No new root is made: every mesh would have to change to it."
            )
        if missing:
            raise CustodyError(
                f"{self.directory}: there are files in it, but no root. Restore the root from the backup, or, if none "
                "was ever made, name a directory that does not exist yet."
            )

    def _refuse_passphrase(self) -> None:
        if len(self.passphrase) < SHORTEST_PASSPHRASE or len(self._secret) > _LONGEST_PASSPHRASE:
            raise CustodyError(
                f"{self.directory}: the passphrase for the new root has {len(self.passphrase)} characters, expected "
                f"{SHORTEST_PASSPHRASE} to {_LONGEST_PASSPHRASE}. Set another shared_root_ca_passphrase."
            )

    def _parse(self, certificate_file: bytes, key_file: bytes) -> Authority:
        restore = "Restore it from the backup"
        blocks = pem.read(certificate_file).blocks
        if [block.label for block in blocks] != ["CERTIFICATE"]:
            raise self._unusable(CERTIFICATE_FILE, "it is not one PEM certificate", restore)
        try:
            certificate = parse(blocks[0].der)
        except UnreadableCertificate as error:
            raise self._unusable(CERTIFICATE_FILE, str(error), restore) from None
        labels = [block.label for block in pem.read(key_file).blocks]
        if labels != ["ENCRYPTED PRIVATE KEY"]:
            raise self._unusable(
                KEY_FILE,
                "it is not one encrypted PKCS#8 key",
                f"{restore}, or encrypt it: openssl pkcs8 -topk8 -v2 aes-256-cbc",
            )
        try:
            key = serialization.load_pem_private_key(key_file, self._secret)
        except Exception:  # noqa: BLE001 - a wrong passphrase and damaged data show in many ways
            raise self._unusable(
                KEY_FILE,
                "it cannot be decrypted: the passphrase is not the one it was made with, or the file is damaged",
                "Set shared_root_ca_passphrase to that one, or restore the file from the backup",
            ) from None
        if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
            raise self._unusable(KEY_FILE, "it is no ECDSA or RSA key", restore)
        if key.public_key() != certificate.public_key():
            raise self._unusable(KEY_FILE, f"it is not the key of {CERTIFICATE_FILE}", "Restore both from one backup")
        return Authority(certificate, key)

    def _unusable(self, file: str, what: str, way_out: str) -> CustodyError:
        return CustodyError(f"{self.directory / file}: {what}. {way_out}. No new root is made.")


def _write_file(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
