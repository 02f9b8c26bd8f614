# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What others keep in a cluster that the federation could collide with, as ``mesh_info`` read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

EVERYWHERE = "*"


@dataclass(frozen=True, slots=True)
class ForeignObject:
    """An object that is no member of the federation's set.

    owner: label ``app.kubernetes.io/managed-by``, or ''.
    part_of: id of the ApplySet that it is a member of, or ''.
    hosts: fully qualified, or wildcards ``*...``; none if only its name matters.
    visible: namespaces that see it, or ``*`` for all.
    http: whether a VirtualService routes requests.
    ports: on which a VirtualService routes connections: empty is every port, None is none.
    tls: mode of a Gateway's server on the port of the east-west gateway, '' for plaintext.
    """

    kind: str
    namespace: str
    name: str
    owner: str = ""
    part_of: str = ""
    hosts: tuple[str, ...] = ()
    visible: frozenset[str] = frozenset()
    http: bool = False
    ports: tuple[int, ...] | None = None
    tls: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Foreign:
    """What was looked at, and what of it is not the federation's.

    take_over: objects of exactly the federation's names are to be taken over.
    services: names of the cluster's own Services, by namespace, of the namespaces that were looked at.
    """

    take_over: bool = False
    services: Mapping[str, frozenset[str]] = field(default_factory=dict)
    objects: tuple[ForeignObject, ...] = ()
