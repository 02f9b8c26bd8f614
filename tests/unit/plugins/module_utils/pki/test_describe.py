# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.pki import pem
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import UnreadableCertificate, describe_pem

from tests.unit.plugins.module_utils.pki import forge


def test_describes_a_bundle_in_its_order() -> None:
    root = forge.root()
    ca = forge.intermediate(root)
    first, second = describe_pem(forge.to_pem(ca.certificate, root.certificate).decode(), forge.NOW)
    assert (first["is_ca"], first["self_signed"], first["uri_constraints"]) == (True, False, ["east.mesh"])
    assert (second["is_ca"], second["self_signed"], second["uri_constraints"]) == (True, True, [])
    assert first["issuer"] == second["subject"]
    assert (first["days_left"], second["days_left"]) == (90, 3650)


def test_agrees_with_openssl() -> None:
    content = forge.to_pem(forge.root().certificate)
    command = ["openssl", "x509", "-noout", "-serial", "-fingerprint", "-sha256", "-enddate", "-dateopt", "iso_8601"]
    printed = subprocess.run(command, input=content, capture_output=True, check=True).stdout.decode().splitlines()
    values = {line.partition("=")[0]: line.partition("=")[2] for line in printed}
    shown = describe_pem(content)[0]
    assert int(shown["serial"], 16) == int(values["serial"], 16)
    assert shown["fingerprint_sha256"] == values["sha256 Fingerprint"].replace(":", "").lower()
    assert shown["not_after"] == values["notAfter"].replace(" ", "T")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "it is empty"),
        ("nonsense\n", "text outside"),
        (pem.write("PUBLIC KEY", b"0"), "other kinds"),
        (pem.write("CERTIFICATE", b"0"), "not a certificate"),
        ("\ud800", "outside"),
    ],
)
def test_says_what_it_cannot_read(content: str | bytes, reason: str) -> None:
    with pytest.raises(UnreadableCertificate, match=reason):
        describe_pem(content)
