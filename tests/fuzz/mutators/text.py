# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What happens to text files: editors, copy and paste, disks, and people on purpose."""

from __future__ import annotations

import base64
import random
import re
from collections.abc import Callable

from tests.fuzz.draft import Draft

Edit = Callable[[random.Random, bytes], bytes]


def edited(edit: Edit) -> Callable[[Draft], None]:
    """An edit of one file, sometimes of all."""

    def apply(draft: Draft) -> None:
        names = sorted(draft.files)
        for name in names if draft.rng.random() < 0.1 else [draft.rng.choice(names)] if names else []:
            draft.files[name] = edit(draft.rng, draft.files[name])

    return apply


def cut(rng: random.Random, content: bytes) -> bytes:
    """Beginning or end missing."""
    at = rng.choice((rng.randrange(len(content) + 1), max(0, len(content) - rng.randrange(40))))
    return rng.choice((content[:at], content[:at], content[at:]))


def line_ends(rng: random.Random, content: bytes) -> bytes:
    """CRLF, CR, or none."""
    end = rng.choice((b"\r\n", b"\r\n", b"\r", b"\n\n", b"\n\r", b"", b"\x0b", b"\\n"))
    return content.replace(b"\n", end, rng.choice((-1, -1, 1, 3)))


def mark(rng: random.Random, content: bytes) -> bytes:
    """A byte order mark, or another encoding."""
    marked = (b"\xef\xbb\xbf" + content, b"\xff\xfe" + content, content.decode("latin-1").encode("utf-16"))
    return rng.choice((*marked, b"\0" + content, content.decode("latin-1").encode("utf-16-be")))


def flip(rng: random.Random, content: bytes) -> bytes:
    """One bit or one byte."""
    if not content:
        return b"\0"
    changed = bytearray(content)
    at = rng.randrange(len(changed))
    changed[at] = rng.choice((changed[at] ^ 1 << rng.randrange(8), rng.randrange(256), rng.choice(b" \t\r\n=-:+/A")))
    return bytes(changed)


def insert(rng: random.Random, content: bytes) -> bytes:
    """Bytes in between."""
    at = rng.randrange(len(content) + 1)
    return content[:at] + rng.choice((b" ", b"\t", b"\n", b"\r", b"\0", b"=", b"A", b"-", b"\xc3\xbc")) + content[at:]


def remove(rng: random.Random, content: bytes) -> bytes:
    """Bytes gone."""
    at = rng.randrange(len(content) + 1)
    return content[:at] + content[at + rng.choice((1, 1, 2, 4, 64, 65)) :]


def blanks(rng: random.Random, content: bytes) -> bytes:
    """Blanks and empty lines before, between and after."""
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    lines[at] = rng.choice(
        (lines[at] + b" ", b" " + lines[at], lines[at] + b"\t", lines[at] + b"\n", b"\n" + lines[at])
    )
    return rng.choice((b"\n".join(lines), b"\n" + content, content + b"\n\n", b" " + content, content.rstrip(b"\n")))


def width(rng: random.Random, content: bytes) -> bytes:
    """Lines of another length."""
    size = rng.choice((1, 4, 63, 65, 72, 76, 77, 100, 10000))

    def wrapped(match: re.Match[bytes]) -> bytes:
        body = match[2].replace(b"\n", b"")
        return match[1] + b"".join(body[at : at + size] + b"\n" for at in range(0, len(body), size)) + match[3]

    return re.sub(rb"(-----BEGIN [^-]*-----\n)([^-]*)(-----END)", wrapped, content)


def words(rng: random.Random, content: bytes) -> bytes:
    """Text beside the blocks, as some tools write it, and headers in them."""
    said = rng.choice((b"subject=CN = x\nissuer=CN = y\n", b"# root\n", b"Bag Attributes\n    friendlyName: x\n",
                       b"-----\n", b"-----BEGIN CERTIFICATE-----\n",
                       b"-----END CERTIFICATE-----\n", b"\x1b[31m\n"))  # fmt: skip
    headers = rng.choice((b"Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n", b"Comment: x\n\n", b"x:y\n", b"\n"))
    begun = content.replace(b"-----\n", b"-----\n" + headers, 1)
    return rng.choice(
        (said + content, content + said, content.replace(b"-----\n-----", b"-----\n" + said + b"-----"), begun)
    )


def boundary(rng: random.Random, content: bytes) -> bytes:
    """Lines BEGIN and END written in another way."""
    old, new = rng.choice(
        (
            (b"-----BEGIN", b"----BEGIN"), (b"-----END", b"-----end"), (b"BEGIN ", b"BEGIN  "), (b"-----\n", b"----\n"),
            (b"-----\n", b"----- \n"), (b"-----BEGIN", b"------BEGIN"), (b"END CERTIFICATE", b"END PRIVATE KEY"),
            (b"BEGIN CERTIFICATE", b"BEGIN CERT"), (b"-----END", b" -----END"), (b"\n-----END", b"-----END"),
            (b"END ", b"BEGIN "), (b"-----BEGIN", b"\xe2\x80\x94BEGIN"),
            (b"BEGIN CERTIFICATE-----\n", b"BEGIN CERTIFICATE-----"),
        )
    )  # fmt: skip
    return content.replace(old, new, rng.choice((1, -1)))


def base(rng: random.Random, content: bytes) -> bytes:
    """Base64 that decodes to the same: other last bits, padding added or taken, the alphabet of URLs."""
    last = re.search(rb"([A-Za-z0-9+/])(=*)\n-----END", content)
    if last is None:
        return content + b"="
    if last[2] and rng.random() < 0.6:
        alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        other = alphabet[alphabet.index(last[1]) ^ 1 << rng.randrange(2 * len(last[2]))]
        return content[: last.start()] + bytes([other]) + content[last.start() + 1 :]
    spoiled = last[1] + rng.choice((b"", b"=", b"==", b"====")) + b"\n-----END"
    return rng.choice(
        (content[: last.start()] + spoiled + content[last.end() :], content.replace(b"+", b"-").replace(b"/", b"_"))
    )


def huge(rng: random.Random, content: bytes) -> bytes:
    """A mebibyte of something."""
    piece = rng.choice(
        (b"\0", b"A", b"\n", b"-", b"-----BEGIN CERTIFICATE-----\n", content or b"x", rng.randbytes(997))
    )
    filling = (piece * (2**20 // len(piece) + 1))[: 2**20]
    return rng.choice((filling, content + filling, filling + content, content + filling[: 60 * 1024]))


def encoded(_rng: random.Random, content: bytes) -> bytes:
    """Base64 once more, as in a Secret."""
    return base64.b64encode(content)


def strange(rng: random.Random, _content: bytes) -> bytes:
    """Something else altogether."""
    return rng.choice((b"", b"\n", b"null", b"{}", rng.randbytes(rng.randrange(3000)), b"\xff" * 100))


MUTATORS: tuple[tuple[str, Callable[[Draft], None], int], ...] = (
    ("cut", edited(cut), 12),
    ("line-ends", edited(line_ends), 10),
    ("mark", edited(mark), 6),
    ("flip", edited(flip), 15),
    ("insert", edited(insert), 10),
    ("remove", edited(remove), 8),
    ("blanks", edited(blanks), 10),
    ("width", edited(width), 10),
    ("words", edited(words), 8),
    ("boundary", edited(boundary), 8),
    ("base64", edited(base), 8),
    ("huge", edited(huge), 3),
    ("encoded", edited(encoded), 2),
    ("strange", edited(strange), 4),
)
