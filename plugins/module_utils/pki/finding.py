# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How something wrong with a certificate, a revocation list or a bundle is told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing wrong.

    name: what kind of thing, stable, for programs and tests.
    where: the file, for example ``ca-cert.pem``.
    what: what was found and what was expected, a clause without a full stop.
    """

    name: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what} ({self.name})"
