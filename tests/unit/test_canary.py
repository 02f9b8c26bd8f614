# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The canary sings when it should, and only then."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.canary import WINDOW, Canary, Watch


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


KEY = ec.generate_private_key(ec.SECP256R1())
PEM = pem(KEY)
SCALAR = KEY.private_numbers().private_value.to_bytes(32, "big")
CANARY = Canary({"key": PEM}, {"phrase": "correct horse"})


def base64_of(content: bytes) -> bytes:
    return base64.b64encode(content)


@pytest.mark.parametrize(
    "content",
    [
        PEM,
        SCALAR,
        SCALAR[:WINDOW],
        SCALAR.hex().encode(),
        base64_of(PEM),
        base64_of(b"xy" + PEM),
        base64_of(base64_of(PEM)),
        json.dumps({"data": {"ca-key.pem": base64_of(PEM).decode()}}).encode(),
        json.dumps({"msg": PEM.decode()}).encode(),
        json.dumps(json.dumps({"msg": PEM.decode()})).encode(),
        PEM[60 : 60 + WINDOW],
    ],
)
@pytest.mark.parametrize("padding", [0, 1, 5, 11, 1000])
def test_finds_the_key_in_every_form(content: bytes, padding: int) -> None:
    assert CANARY.find(b"." * padding + content + b"." * padding) == {"key"}


def test_stays_silent_about_other_keys() -> None:
    for _index in range(100):
        other = pem(ec.generate_private_key(ec.SECP256R1()))
        assert CANARY.find(other + base64_of(other) + base64_of(base64_of(other))) == set()


@pytest.mark.parametrize(
    "content",
    [
        KEY.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        SCALAR[: WINDOW - 1],
        b"-----BEGIN PRIVATE KEY-----",
    ],
)
def test_stays_silent_about_what_is_public(content: bytes) -> None:
    assert CANARY.find(content) == set()


def test_finds_phrases() -> None:
    assert CANARY.find(b"the correct horse") == {"phrase"}
    assert CANARY.find(base64_of(b"a correct horse again")) == {"phrase"}


def test_watches_files_and_processes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.stdin.read()", "correct horse"]
    with Watch(tmp_path) as watch, subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        seen = watch.rounds
        (tmp_path / "leak").write_bytes(SCALAR)
        while watch.rounds < seen + 3:
            pass
        process.communicate()
    found = watch.find(CANARY)
    assert found[str(tmp_path / "leak")] == {"key"}
    assert found[f"/proc/{process.pid}/cmdline"] == {"phrase"}
