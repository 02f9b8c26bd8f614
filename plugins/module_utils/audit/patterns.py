# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Patterns of Istio's AuthorizationPolicies: exact, ``prefix*``, ``*suffix`` and ``*``.

https://istio.io/latest/docs/reference/config/security/authorization-policy/
"""

from __future__ import annotations

from collections.abc import Iterable

ANY = "*"


def contains(outer: str, inner: str) -> bool:
    """Whether everything that the inner pattern, or value, stands for is matched by the outer one."""
    if outer == ANY:
        return True
    if outer.endswith(ANY):
        return not inner.startswith(ANY) and inner.startswith(outer[:-1])
    if outer.startswith(ANY):
        return not inner.endswith(ANY) and inner.endswith(outer[1:])
    return outer == inner


def overlap(one: str, other: str) -> bool:
    """Whether anything is matched by both."""
    if contains(one, other) or contains(other, one):
        return True
    # A prefix and a suffix always have something in common.
    return (one.endswith(ANY), one.startswith(ANY)) == (
        other.startswith(ANY),
        other.endswith(ANY),
    ) and ANY in one + other


def simplest(patterns: Iterable[str]) -> tuple[str, ...]:
    """The same without patterns that others contain, sorted."""
    found = sorted(set(patterns))
    return tuple(one for one in found if not any(contains(other, one) for other in found if other != one))
