# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.pki import pem
from hypothesis import given
from hypothesis import strategies as st

ONE = pem.write("CERTIFICATE", b"\x30" * 100)


@given(st.lists(st.binary(min_size=1, max_size=500), min_size=1, max_size=pem.MAX_BLOCKS))
def test_reads_what_it_writes(contents: list[bytes]) -> None:
    read = pem.read(b"".join(pem.write("CERTIFICATE", content) for content in contents))
    assert read == pem.Pem(tuple(pem.Block("CERTIFICATE", content) for content in contents), ())


@pytest.mark.parametrize(
    ("content", "defect"),
    [
        (b"", "empty"),
        (b" \n\n", "empty"),
        (b"\xef\xbb\xbf" + ONE, "byte order mark"),
        (ONE.decode().encode("utf-16"), "byte order mark"),
        (ONE.replace(b"\n", b"\r\n"), "CRLF"),
        (b"subject=CN = x\n" + ONE, "text outside"),
        (ONE + b"\xc3\xbc\n", "outside ASCII"),
        (ONE[:-1], "last line has no end"),
        (ONE[:80], "truncated"),
        (ONE + ONE[:80], "truncated"),
        (ONE[28:], "has not begun"),
        (b"-----BEGIN CERTIFICATE-----\n" + ONE, "inside another"),
        (ONE.replace(b"END CERTIFICATE", b"END PRIVATE KEY"), "another label"),
        (ONE.replace(b"MDAw", b"MD*w", 1), "not base64"),
        (ONE.replace(b"\n", b" \n"), "text outside"),
        (ONE.replace(b"\n", b"\n\n", 1), "empty lines"),
        (
            b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
            "headers",
        ),
        (b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "0 bytes"),
        (b"-----BEGIN X-----\n" + b"A" * 80 + b"\n-----END X-----\n", "more than 76 characters"),
        (pem.write("CERTIFICATE", b"0" * 20000), "20000 bytes"),
        (ONE * 17, "17 blocks"),
        (b"0" * (1 << 20), "1048576 bytes"),
    ],
)
def test_names_defects(content: bytes, defect: str) -> None:
    assert any(defect in found for found in pem.read(content).defects), pem.read(content)


@given(st.one_of(st.binary(max_size=300), st.text(max_size=100).map(lambda text: b"-----BEGIN " + text.encode())))
def test_never_raises(content: bytes) -> None:
    assert pem.read(content).defects
