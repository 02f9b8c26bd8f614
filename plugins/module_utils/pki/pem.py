# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Strict reading of PEM files (RFC 7468, section 3).

Go, BoringSSL and OpenSSL disagree on what they forgive (byte order marks, text between blocks, long lines). Whatever
one of them might refuse is a defect here, so a file without defects means the same to all of them.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

MAX_BYTES = 64 * 1024
"""Largest PEM file looked into, in bytes. Parsers have been stopped by far less (CVE-2024-12401)."""

MAX_BLOCKS = 16
"""Most blocks looked into in one file."""

_BOUNDARY = re.compile(rb"-----(BEGIN|END) ([A-Z0-9][A-Z0-9 ]*)-----")
_LINE_LIMIT = 76
_BLOCK_LIMIT = 16 * 1024


@dataclass(frozen=True)
class Block:
    """One PEM block: its label, for example ``CERTIFICATE``, and the decoded content."""

    label: str
    der: bytes


@dataclass(frozen=True)
class Pem:
    """What a PEM file holds, and everything about its form that a parser may refuse. Defects never quote content."""

    blocks: tuple[Block, ...]
    defects: tuple[str, ...]


def read(content: bytes) -> Pem:
    """Split a PEM file into blocks. Never raises: what cannot be read is a defect."""
    if len(content) > MAX_BYTES:
        return Pem((), (f"it has {len(content)} bytes, more than the {MAX_BYTES} that are read",))
    if not content.strip():
        return Pem((), ("it is empty",))
    defects: list[str] = []
    if content.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        defects.append("it begins with a byte order mark")
    elif max(content, default=0) > 0x7E:
        defects.append("it has bytes outside ASCII")
    if b"\r" in content:
        defects.append("its lines end in CRLF")
    if not content.endswith(b"\n"):
        defects.append("its last line has no end, so that a file appended to it would not be read")

    blocks: list[Block] = []
    label: bytes | None = None
    body: list[bytes] = []
    for line in content.replace(b"\r\n", b"\n").split(b"\n"):
        boundary = _BOUNDARY.fullmatch(line)
        if boundary is None:
            if label is not None:
                body.append(line)
            elif line:
                defects.append("it has text outside its PEM blocks")
        elif boundary[1] == b"BEGIN":
            if label is not None:
                defects.append("a block begins inside another one")
            label, body = boundary[2], []
        elif label is None:
            defects.append("a block ends that has not begun")
        else:
            if boundary[2] != label:
                defects.append("a block ends under another label than it begins with")
            blocks.extend(_block(label, body, defects))
            label = None
    if label is not None:
        defects.append("its last block has no end, the file is truncated")
    if len(blocks) > MAX_BLOCKS:
        defects.append(f"it has {len(blocks)} blocks, more than the {MAX_BLOCKS} that are read")
        blocks = blocks[:MAX_BLOCKS]
    return Pem(tuple(blocks), tuple(dict.fromkeys(defects)))


def write(label: str, der: bytes) -> bytes:
    """One PEM block with lines of 64 characters, ending in a line feed."""
    text = base64.b64encode(der)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    name = label.encode("ascii")
    return b"\n".join([b"-----BEGIN " + name + b"-----", *lines, b"-----END " + name + b"-----", b""])


def _block(label: bytes, body: list[bytes], defects: list[str]) -> list[Block]:
    if any(b":" in line for line in body):
        defects.append("a block has headers (RFC 1421), as encrypted keys of old have")
        return []
    if not all(body):
        defects.append("a block has empty lines")  # which end the headers of RFC 1421
    if any(len(line) > _LINE_LIMIT for line in body):
        defects.append(f"a block has lines of more than {_LINE_LIMIT} characters")
    try:
        der = base64.b64decode(b"".join(body), validate=True)
    except (binascii.Error, ValueError):
        defects.append("a block is not base64")
        return []
    if base64.b64encode(der) != b"".join(body):
        defects.append("a block is not base64 in its one canonical form")
    if not der or len(der) > _BLOCK_LIMIT:
        defects.append(f"a block has {len(der)} bytes, 1 to {_BLOCK_LIMIT} are read")
        return []
    return [Block(label.decode("ascii"), der)]
