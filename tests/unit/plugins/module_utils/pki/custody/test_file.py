# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import Authority
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.file import CustodyError, FileCustody
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import fingerprint
from cryptography.hazmat.primitives import serialization

from tests.unit.plugins.module_utils.pki import forge

PASSPHRASE = "correct horse battery staple"
ROOT = forge.root()


@pytest.fixture
def custody(tmp_path: Path) -> FileCustody:
    return FileCustody(tmp_path / "kept" / "ca", PASSPHRASE)


def test_keeps_a_root_and_gives_it_back(custody: FileCustody) -> None:
    assert custody.load() is None
    assert not custody.directory.parent.exists()
    assert custody.create(ROOT) is ROOT
    loaded = custody.load()
    assert loaded is not None
    assert loaded.certificate == ROOT.certificate
    assert loaded.key.private_numbers() == ROOT.key.private_numbers()


def test_never_makes_a_second_root(custody: FileCustody) -> None:
    custody.create(ROOT)
    before = {path.name: path.read_bytes() for path in custody.directory.iterdir()}
    assert custody.create(forge.root()).certificate == ROOT.certificate
    assert {path.name: path.read_bytes() for path in custody.directory.iterdir()} == before


def test_is_readable_by_its_owner_only_and_encrypted(custody: FileCustody) -> None:
    custody.create(ROOT)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in custody.directory.iterdir()}
    assert modes == {"root-ca.crt": 0o644, "root-ca.key": 0o600}
    assert stat.S_IMODE(custody.directory.stat().st_mode) == 0o700
    with pytest.raises(TypeError, match="encrypted"):
        serialization.load_pem_private_key((custody.directory / "root-ca.key").read_bytes(), None)
    command = ["openssl", "pkey", "-in", str(custody.directory / "root-ca.key"), "-passin", "stdin", "-noout"]
    subprocess.run(command, input=PASSPHRASE.encode(), check=True)


def test_an_empty_directory_is_no_root(custody: FileCustody) -> None:
    custody.directory.mkdir(parents=True)
    assert custody.load() is None
    assert custody.create(ROOT) is ROOT
    assert custody.load() is not None


def test_does_not_show_the_passphrase(custody: FileCustody) -> None:
    assert PASSPHRASE not in repr(custody)
    assert "PrivateKey" not in repr(ROOT)


def encrypt_key(directory: Path, content: bytes) -> None:
    (directory / "root-ca.key").write_bytes(content)


def other_key() -> bytes:
    return forge.root().key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(PASSPHRASE.encode()),
    )


def plain_key() -> bytes:
    return ROOT.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no key": (lambda path: (path / "root-ca.key").unlink(), r"root-ca\.key is missing.*backup.*No new root"),
    "no certificate": (lambda path: (path / "root-ca.crt").unlink(), r"root-ca\.crt is missing.*backup.*No new root"),
    "neither": (lambda path: [*map(Path.unlink, path.iterdir()), (path / "notes").touch()], "files in it, but no root"),
    "empty certificate": (lambda path: (path / "root-ca.crt").write_bytes(b""), "not one PEM certificate.*backup"),
    "junk certificate": (
        lambda path: (path / "root-ca.crt").write_bytes(
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        ),
        "not a certificate that can be parsed.*backup",
    ),
    "another certificate": (
        lambda path: (path / "root-ca.crt").write_bytes(forge.to_pem(forge.root().certificate)),
        r"not the key of root-ca\.crt.*one backup",
    ),
    "another key": (lambda path: encrypt_key(path, other_key()), r"not the key of root-ca\.crt.*one backup"),
    "plain key": (lambda path: encrypt_key(path, plain_key()), "not one encrypted PKCS#8 key.*openssl pkcs8"),
    "truncated key": (
        lambda path: encrypt_key(path, (path / "root-ca.key").read_bytes()[:-60]),
        "not one encrypted PKCS#8 key.*backup",
    ),
    "damaged key": (
        lambda path: encrypt_key(path, (path / "root-ca.key").read_bytes().replace(b"M", b"N", 1)),
        "cannot be decrypted.*passphrase",
    ),
    "directories": (
        lambda path: [(path / "root-ca.key").unlink(), (path / "root-ca.key").mkdir()],
        "cannot be read or kept there",
    ),
}


@pytest.mark.parametrize("case", SPOILED)
def test_names_what_is_wrong_and_makes_no_second_root(custody: FileCustody, case: str) -> None:
    custody.create(ROOT)
    spoil, message = SPOILED[case]
    spoil(custody.directory)
    for attempt in (custody.load, lambda: custody.create(forge.root())):
        with pytest.raises(CustodyError, match=f"(?s)^{re.escape(str(custody.directory))}.*{message}"):
            attempt()
    assert not (custody.directory.parent / ".ca.new").exists()


def test_a_wrong_passphrase_is_named_and_not_shown(custody: FileCustody) -> None:
    custody.create(ROOT)
    wrong = FileCustody(custody.directory, "another passphrase")
    for attempt in (wrong.load, lambda: wrong.create(forge.root())):
        with pytest.raises(CustodyError, match=r"cannot be decrypted.*No new root") as caught:
            attempt()
        assert "another passphrase" not in str(caught.value)


@pytest.mark.parametrize("passphrase", ["", "short", "x" * 1024])
def test_a_new_root_needs_a_fit_passphrase(tmp_path: Path, passphrase: str) -> None:
    custody = FileCustody(tmp_path / "ca", passphrase)
    for attempt in (custody.load, lambda: custody.create(ROOT)):
        with pytest.raises(CustodyError, match="expected 12 to 1023"):
            attempt()
    assert not custody.directory.exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    custody = FileCustody(tmp_path / "file" / "ca", PASSPHRASE)
    for attempt in (custody.load, lambda: custody.create(ROOT)):
        with pytest.raises(CustodyError, match="cannot be read or kept there: "):
            attempt()


def create_in_process(directory: Path, barrier: object, results: object) -> None:
    root = forge.root()
    barrier.wait()  # type: ignore[attr-defined]
    results.put(fingerprint(FileCustody(directory, PASSPHRASE).create(root).certificate))  # type: ignore[attr-defined]


def test_processes_that_begin_at_once_end_with_one_root(custody: FileCustody) -> None:
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(8), context.Queue()
    processes = [
        context.Process(target=create_in_process, args=(custody.directory, barrier, results)) for _index in range(8)
    ]
    for process in processes:
        process.start()
    found = {results.get(timeout=60) for _process in processes}
    for process in processes:
        process.join()
    loaded = custody.load()
    assert loaded is not None
    assert found == {fingerprint(loaded.certificate)}


CALLS = ("open", "write", "fsync", "mkdir", "rename", "close")


def create_and_die(custody: FileCustody, root: Authority, call: int) -> None:
    """Die, as by SIGKILL, before the given system call (of those that matter)."""
    count = 0

    def dying(original: Callable[..., object]) -> Callable[..., object]:
        def counted(*args: object, **kwargs: object) -> object:
            nonlocal count
            count += 1
            if count == call:
                os._exit(9)
            return original(*args, **kwargs)

        return counted

    for name in CALLS:
        setattr(os, name, dying(getattr(os, name)))
    custody.create(root)
    os._exit(0)


def test_a_process_that_dies_anywhere_leaves_a_whole_root_or_none(custody: FileCustody) -> None:
    context = multiprocessing.get_context("fork")
    survived, deaths = False, 0
    while not survived:
        deaths += 1
        shutil.rmtree(custody.directory.parent, ignore_errors=True)
        process = context.Process(target=create_and_die, args=(custody, ROOT, deaths))
        process.start()
        process.join()
        survived = process.exitcode == 0
        left = custody.load()
        assert left is None or left.certificate == ROOT.certificate
        kept = custody.create(forge.root())
        assert left is None or kept.certificate == ROOT.certificate
        assert custody.load() is not None
    assert deaths > 12
