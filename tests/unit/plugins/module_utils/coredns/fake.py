# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A cluster with the one ConfigMap that CoreDNS reads."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import ConflictError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import Resource


class FakeCluster:
    """One ConfigMap. ``before_writes`` are done by others, one before each write."""

    mesh = "west"

    def __init__(self, data: Mapping[str, str] | None = None, **labels: str) -> None:
        metadata = {
            "uid": "u",
            "resourceVersion": "1",
            "labels": {key.replace("_", "/"): value for key, value in labels.items()},
        }
        self.live: dict[str, Any] | None = None if data is None else {"metadata": metadata, "data": dict(data)}
        self.writes = 0
        self.before_writes: list[Callable[[], None]] = []

    def get(self, _resource: Resource, _namespace: str | None, _name: str, *, metadata_only: bool = False) -> Any:
        assert not metadata_only
        return copy.deepcopy(self.live)

    def apply(self, _resource: Resource, body: Mapping[str, Any], *, manager: str, **_options: bool) -> dict[str, Any]:
        assert (manager, self.live) == ("multimesh.istio", None)
        self._write()
        self.live = copy.deepcopy({**body, "metadata": {**body["metadata"], "uid": "u", "resourceVersion": "1"}})
        return {}

    def merge_patch(
        self, _resource: Resource, _namespace: str | None, _name: str, body: Mapping[str, Any], *, manager: str
    ) -> dict[str, Any]:
        assert manager == "multimesh.istio"
        self._write()
        assert self.live is not None
        if body["metadata"]["resourceVersion"] != self.live["metadata"]["resourceVersion"]:
            raise ConflictError("west: patch ConfigMap: HTTP 409", 409)
        self.change(**body["data"])
        return {}

    def delete(self, _resource: Resource, _namespace: str | None, _name: str, uid: str) -> None:
        assert uid == "u"
        self._write()
        self.live = None

    def change(self, **data: str | None) -> None:
        assert self.live is not None
        merged = {**self.live["data"], **data}
        self.live["data"] = {key: value for key, value in merged.items() if value is not None}
        self.live["metadata"]["resourceVersion"] += "1"

    @property
    def data(self) -> Any:
        return None if self.live is None else self.live["data"]

    def _write(self) -> None:
        if self.before_writes:
            self.before_writes.pop(0)()
        self.writes += 1
