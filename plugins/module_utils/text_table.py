# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import starmap


def aligned(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns under a heading, one line for each row; "" without any."""
    rows = list(rows)
    if not rows:
        return ""
    shown = [tuple(heading), *(tuple(map(_printable, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = ("  ".join(starmap(str.ljust, zip(row, widths, strict=True))).rstrip() for row in shown)
    return "".join(f"{line}\n" for line in lines)


def _printable(text: str) -> str:
    """Names come from inventories, certificates and clusters, and a terminal obeys control characters."""
    return "".join(character if character.isprintable() else "?" for character in text)
