# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Look for pieces of secrets where none may be: output, files, arguments and environments of processes.

A private key is searched in every form it may travel in: PEM, PEM in JSON or YAML, DER, hexadecimal, and base64 of
those, twice as well, at any alignment. Every window of 24 bytes counts, unless it is public: the public key inside the
private one, and what all keys of a kind have in common, such as headers, and fewer than eight bytes of this one.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

WINDOW = 24
_STEP = WINDOW // 2  # a window holds one whole block of this size at the least, wherever it begins

_OWN = 8  # bytes of a window that other keys do not have; fewer could be alike by chance


class Canary:
    """Finds secrets in bytes.

    keys: private keys in PEM, by the name to report them under.
    phrases: other secrets, each searched as a whole and in base64.
    """

    def __init__(self, keys: dict[str, bytes], phrases: dict[str, str] | None = None) -> None:
        self._windows: dict[bytes, str] = {}
        self._blocks: dict[bytes, None] = {}
        for name, pem in keys.items():
            for form, *others in zip(_forms(pem), _forms(_like(pem)), _forms(_like(pem)), strict=True):
                self._add(name, form, others)
        for pem in keys.values():
            for form in _public_forms(pem):
                self._forget(form)
        for window in self._windows:
            for start in range(WINDOW - _STEP + 1):
                self._blocks.setdefault(window[start : start + _STEP])
        self._phrases = {
            form: name
            for name, phrase in (phrases or {}).items()
            for form in (phrase.encode(), *_base64(phrase.encode()))
        }

    def find(self, content: bytes) -> set[str]:
        """Names of the secrets of which a piece is in the content."""
        found = {name for form, name in self._phrases.items() if form in content}
        for start in range(0, len(content) - _STEP + 1, _STEP):
            if content[start : start + _STEP] in self._blocks:
                area = content[max(0, start - WINDOW) : start + 2 * WINDOW]
                windows = (area[offset : offset + WINDOW] for offset in range(len(area) - WINDOW + 1))
                found.update(self._windows[window] for window in windows if window in self._windows)
        return found

    def find_in_files(self, *folders: Path) -> dict[str, set[str]]:
        """Findings by path in all regular files below these folders."""
        found: dict[str, set[str]] = {}
        for path in _files_below(folders):
            with contextlib.suppress(OSError):  # gone, or not for us
                if hits := self.find(path.read_bytes()):
                    found[str(path)] = hits
        return found

    def _add(self, name: str, form: bytes, others: list[bytes]) -> None:
        own = [
            any(other[place : place + 1] != form[place : place + 1] for other in others) for place in range(len(form))
        ]
        for start in range(len(form) - WINDOW + 1):
            if sum(own[start : start + WINDOW]) >= _OWN:
                self._windows.setdefault(form[start : start + WINDOW], name)

    def _forget(self, form: bytes) -> None:
        for start in range(len(form) - WINDOW + 1):
            self._windows.pop(form[start : start + WINDOW], None)


class Watch:
    """While it is entered, keep what processes and files hold, also those that exist for a moment only.

    What is kept is searched afterwards, because a run that makes a key does so while it is watched.
    rounds: how often it has looked; it keeps looking until the end, or the test fails.
    """

    def __init__(self, *folders: Path, pause: float = 0.02) -> None:
        self.rounds = 0
        self._contents: dict[bytes, str] = {}
        self._folders, self._pause = folders, pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        alive = self._thread.is_alive()
        self._stop.set()
        self._thread.join()
        if not alive:
            raise RuntimeError("the watch has ended before its time")

    def find(self, canary: Canary) -> dict[str, set[str]]:
        """Findings in everything that was seen, by the place where it was seen first."""
        return {place: hits for content, place in self._contents.items() if (hits := canary.find(content))}

    @property
    def seen(self) -> int:
        """How many different contents were seen."""
        return len(self._contents)

    def _run(self) -> None:
        while True:
            for path in (*_process_files(), *_files_below(self._folders)):
                with contextlib.suppress(OSError):  # gone, or not for us
                    self._contents.setdefault(path.read_bytes(), str(path))
            self.rounds += 1
            if self._stop.wait(self._pause):
                return


def _process_files() -> Iterator[Path]:
    for process in Path("/proc").glob("[0-9]*"):
        yield from (process / part for part in ("cmdline", "environ"))


def _files_below(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        for parent, _folders, files in os.walk(folder):
            for path in (Path(parent, name) for name in files):
                if path.is_file() and not path.is_symlink():
                    yield path


def _base64(content: bytes) -> Iterator[bytes]:
    """Base64 of the content at each of the three alignments, without the characters that depend on its neighbours."""
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + content)
        yield encoded[4 if offset else 0 : len(encoded) - 4]


def _texts(pem: bytes) -> Iterator[bytes]:
    yield pem
    yield json.dumps(pem.decode())[1:-1].encode()
    yield json.dumps(json.dumps(pem.decode())[1:-1])[1:-1].encode()
    yield pem.replace(b"\n", b"")
    yield pem.replace(b"\n", b" ")


def _everywhere(der: bytes, texts: Iterable[bytes]) -> Iterator[bytes]:
    yield der
    yield der.hex().encode()
    yield repr(der)[2:-1].encode()
    for text in (*texts, *_base64(der)):
        yield text
        for once in _base64(text):
            yield once
            yield from _base64(once)


def _forms(pem: bytes) -> Iterator[bytes]:
    key = serialization.load_pem_private_key(pem, None)
    kinds = (serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL)
    for kind in kinds:
        der = key.private_bytes(serialization.Encoding.DER, kind, serialization.NoEncryption())
        text = key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption())
        yield from _everywhere(der, _texts(text))
    yield from _everywhere(der, _texts(pem))


def _public_forms(pem: bytes) -> Iterator[bytes]:
    public = serialization.load_pem_private_key(pem, None).public_key()
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    text = public.public_bytes(serialization.Encoding.PEM, kind)
    yield from _everywhere(public.public_bytes(serialization.Encoding.DER, kind), _texts(text))


def _like(pem: bytes) -> bytes:
    """Another key of the same kind and size."""
    key = serialization.load_pem_private_key(pem, None)
    other: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if isinstance(key, ec.EllipticCurvePrivateKey):
        other = ec.generate_private_key(key.curve)
    elif isinstance(key, rsa.RSAPrivateKey):
        other = rsa.generate_private_key(65537, key.key_size)
    else:
        raise TypeError(f"no canary for {type(key).__name__}")
    return other.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
