# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bars as SVG: few enough that no library is worth its place in the requirements."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_BAR, _GAP, _LEFT, _WIDTH, _RIGHT = 18, 8, 290, 380, 110
_COLOURS = {True: "#2a78b5", False: "#9aa7b1"}

Bar = tuple[str, float, bool]
"""Label, value, and whether it is this collection's."""


def bars(title: str, unit: str, groups: Sequence[tuple[str, Sequence[Bar]]]) -> str:
    """Horizontal bars in groups, each group to a scale of its own, as what it compares is of its own."""
    parts: list[str] = []
    y = 34
    for heading, found in groups:
        parts.append(f'<text x="10" y="{y + 14}" font-weight="bold">{escape(heading)}</text>')
        y += 24
        most = max(value for _label, value, _ours in found)
        for label, value, ours in found:
            width = max(1.5, value / most * _WIDTH)
            middle = y + _BAR - 5
            parts += [
                f'<text x="{_LEFT - 8}" y="{middle}" text-anchor="end">{escape(label)}</text>',
                f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{_COLOURS[ours]}"/>',
                f'<text x="{_LEFT + width + 6:.1f}" y="{middle}">{_written(value)} {escape(unit)}</text>',
            ]
            y += _BAR + _GAP
        y += 10
    width = _LEFT + _WIDTH + _RIGHT
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" viewBox="0 0 {width} {y}"'
        ' font-family="sans-serif" font-size="13">'
    )
    title = f'<text x="10" y="20" font-size="15">{escape(title)}</text>'
    background = f'<rect width="{width}" height="{y}" fill="#ffffff"/>'
    return "\n".join([head, background, title, *parts, "</svg>"]) + "\n"


def _written(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"
