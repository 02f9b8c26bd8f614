# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What parts of this collection need of a cluster. ``client.Client`` is all of it, where the methods are explained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import Resource


class Getter(Protocol):
    """Reads single objects. mesh: name for messages."""

    mesh: str

    def get(
        self, resource: Resource, namespace: str | None, name: str, *, metadata_only: bool = False
    ) -> dict[str, Any] | None: ...


class Lister(Protocol):
    """Lists objects."""

    def list_objects(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        metadata_only: bool = False,
        page: int | None = None,
    ) -> list[dict[str, Any]]: ...


class Deleter(Protocol):
    """Deletes single objects."""

    def delete(self, resource: Resource, namespace: str | None, name: str, uid: str) -> None: ...


class Applier(Protocol):
    """Writes by server-side apply."""

    def apply(
        self, resource: Resource, body: Mapping[str, Any], *, manager: str, force: bool = False, dry_run: bool = False
    ) -> dict[str, Any]: ...
