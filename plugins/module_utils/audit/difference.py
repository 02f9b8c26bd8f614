# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an audit says of a cluster."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True, slots=True)
class Difference:
    """One way in which a cluster is not as the inventory says.

    kind: one of those that the module's documentation names.
    where: a port of a Service, ``namespace/name:port``, or an object, ``Kind namespace/name``.
    text: a sentence without a full stop.
    """

    kind: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: {self.text}"


@dataclass(frozen=True, slots=True)
class Grant:
    """Calls that a caller may make, all alike.

    via: ``passthrough``, where workloads judge, or ``gateway``.
    caller: a principal as policies write it. except_callers: those of them that are treated otherwise.
    methods, paths: None is every one but ``except_methods`` and ``except_paths``.
    limited_by: policies that may refuse more.
    """

    namespace: str
    service: str
    port: int
    protocol: str
    via: str
    caller: str
    except_callers: tuple[str, ...]
    methods: tuple[str, ...] | None
    except_methods: tuple[str, ...]
    paths: tuple[str, ...] | None
    except_paths: tuple[str, ...]
    limited_by: tuple[str, ...]
