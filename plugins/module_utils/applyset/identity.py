# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ties the objects of a set to their parent: the ApplySet specification, version 1.

https://kubernetes.io/docs/reference/labels-annotations-taints/#applyset-kubernetes-io-id and KEP-3659.
"""

from __future__ import annotations

import base64
import hashlib
from typing import NamedTuple

ID_LABEL = "applyset.kubernetes.io/id"
PART_OF_LABEL = "applyset.kubernetes.io/part-of"
TOOLING_ANNOTATION = "applyset.kubernetes.io/tooling"
KINDS_ANNOTATION = "applyset.kubernetes.io/contains-group-kinds"
NAMESPACES_ANNOTATION = "applyset.kubernetes.io/additional-namespaces"


class GroupKind(NamedTuple):
    """A kind without its version. ``str()`` is its form in annotations, for example ``Gateway.networking.istio.io``."""

    group: str
    kind: str

    def __str__(self) -> str:
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @classmethod
    def parse(cls, text: str) -> GroupKind:
        kind, _dot, group = text.partition(".")
        return cls(group, kind)


class ObjectKey(NamedTuple):
    """One object of a cluster, whatever its version. ``namespace`` is empty for cluster-scoped kinds."""

    group_kind: GroupKind
    namespace: str
    name: str

    def __str__(self) -> str:
        where = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.group_kind.kind} {where}"


def applyset_id(key: ObjectKey) -> str:
    """The id of the set whose parent object has this key."""
    text = f"{key.name}.{key.namespace}.{key.group_kind.kind}.{key.group_kind.group}"
    digest = hashlib.sha256(text.encode()).digest()
    return f"applyset-{base64.urlsafe_b64encode(digest).decode().rstrip('=')}-v1"
