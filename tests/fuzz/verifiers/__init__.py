# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The verifiers that a bundle has to do for: what they are asked, and how they answer.

A bundle is good when workload certificates issued with it are accepted, and those that its name constraints forbid are
not. Each verifier reads the files as they are, and answers with complaints: none is good.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.fuzz.draft import TRUST_DOMAIN


@dataclass(frozen=True)
class Leaf:
    """A certificate that a holder of the bundle issues. good: whether peers have to take it."""

    name: str
    uri: str
    dns: str
    good: bool


LEAVES = (
    Leaf("a workload's", f"spiffe://{TRUST_DOMAIN}/ns/a/sa/b", "", good=True),
    Leaf("istiod's", f"spiffe://{TRUST_DOMAIN}/ns/istio-system/sa/istiod", "istiod.istio-system.svc", good=True),
    Leaf("another mesh's", "spiffe://west.mesh/ns/a/sa/b", "", good=False),
    Leaf("a public name's", f"spiffe://{TRUST_DOMAIN}/ns/a/sa/b", "bank.example", good=False),
)


@dataclass(frozen=True)
class Bundle:
    """What is judged.

    now: seconds since 1970. federation: the roots that peers trust, PEM. leaves: one certificate for each of LEAVES,
    PEM, issued with the bundle by Go, as istiod does; empty bytes where it could not.
    """

    files: Mapping[str, bytes]
    federation: bytes
    now: int
    leaves: Sequence[bytes] = ()


def complaint(verifier: str, leaf: Leaf, refusal: str | None) -> list[str]:
    """What is wrong with a verifier's answer about one leaf; refusal: None if it took it."""
    if leaf.good and refusal is not None:
        return [f"{verifier} refuses {leaf.name} certificate: {refusal}"]
    if not leaf.good and refusal is None:
        return [f"{verifier} accepts {leaf.name} certificate"]
    return []
