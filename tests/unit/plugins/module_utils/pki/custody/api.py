# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""An API server in memory, as far as a store depends on it: server-side apply, resourceVersion, immutable objects."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import Call, refused
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import Resource, describe


@dataclass
class Api:
    """objects: by "Kind namespace/name". owners: which manager owns which keys of ``data``.

    before, after: called with verb and object ahead of every request, and before it is answered.
    """

    mesh: str = "management"
    namespaces: frozenset[str] = frozenset({"trust"})
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    owners: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    before: Callable[[str, str], None] = lambda _verb, _subject: None
    after: Callable[[str, str], None] = lambda _verb, _subject: None
    version: int = 0

    def get(
        self, resource: Resource, namespace: str | None, name: str, *, metadata_only: bool = False
    ) -> dict[str, Any] | None:
        assert not metadata_only
        subject = describe(resource.kind, namespace, name)
        self.before("get", subject)
        return copy.deepcopy(self.objects.get(subject))

    def apply(
        self, resource: Resource, body: Mapping[str, Any], *, manager: str, force: bool = False
    ) -> dict[str, Any]:
        metadata = body["metadata"]
        subject = describe(resource.kind, metadata["namespace"], metadata["name"])
        self.before("apply", subject)
        call = Call(self.mesh, "apply", subject)
        if metadata["namespace"] not in self.namespaces:
            raise refused(call, 404, {"message": f'namespaces "{metadata["namespace"]}" not found'})
        held = self.objects.get(subject, {})
        if "resourceVersion" in metadata and metadata["resourceVersion"] != held["metadata"]["resourceVersion"]:
            raise refused(call, 409, {"message": "the object has been modified"})
        owners = self.owners.setdefault(subject, {})
        given, data = dict(body.get("data") or {}), dict(held.get("data") or {})
        foreign = {name for other, names in owners.items() if other != manager for name in names}
        conflicts = {name for name, value in given.items() if name in foreign and data[name] != value}
        if conflicts and not force:
            raise refused(call, 409, {"message": f"conflict with another manager: {conflicts}"})
        for name in owners.get(manager, set()) - foreign - given.keys():
            del data[name]
        data |= given
        if held.get("immutable") and data != (held.get("data") or {}):
            raise refused(call, 422, {"message": "field is immutable when `immutable` is set"})
        for names in owners.values():
            names -= conflicts
        owners[manager] = set(given)
        new = {**held, **copy.deepcopy(dict(body)), "data": data}
        new["metadata"] = {**held.get("metadata", {}), "annotations": metadata.get("annotations")}
        if new != held:
            self.version += 1
            new["metadata"]["resourceVersion"] = str(self.version)
            self.objects[subject] = new
        self.after("apply", subject)
        return copy.deepcopy(self.objects[subject])
