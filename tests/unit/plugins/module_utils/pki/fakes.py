# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A cluster in memory that behaves as an API server does where the steps of a CA and leases depend on it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import Call, NotFoundError, refused
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import Resource, describe


@dataclass
class FakeCluster:
    """objects: by "Kind namespace/name". written: what was sent, in order. before: called ahead of every request."""

    mesh: str = "east"
    objects: dict[str, dict[str, Any]] = field(default_factory=lambda: {"Namespace istio-system": {}})
    written: list[dict[str, Any]] = field(default_factory=list)
    before: Callable[[str, str], None] = lambda _verb, _subject: None
    warnings: dict[str, None] = field(default_factory=dict)
    version: int = 0
    owned: dict[tuple[str, str], set[str]] = field(default_factory=dict)

    def get(
        self, resource: Resource, namespace: str | None, name: str, *, metadata_only: bool = False
    ) -> dict[str, Any] | None:
        subject = describe(resource.kind, namespace, name)
        self.before("get", subject)
        found = copy.deepcopy(self.objects.get(subject))
        if found and metadata_only:
            found.pop("data", None)
        return found

    def apply(
        self, resource: Resource, body: Mapping[str, Any], *, manager: str, force: bool = False, dry_run: bool = False
    ) -> dict[str, Any]:
        namespace, name = body["metadata"].get("namespace"), body["metadata"]["name"]
        subject = describe(resource.kind, namespace, name)
        self.before("apply", subject)
        if namespace and f"Namespace {namespace}" not in self.objects:
            raise NotFoundError(f'{self.mesh}: namespaces "{namespace}" not found', 404)
        held = self.objects.get(subject, {})
        wanted = body["metadata"].get("resourceVersion")
        if wanted is not None and wanted != held.get("metadata", {}).get("resourceVersion"):
            raise refused(Call(self.mesh, "apply", subject), 409, {"message": "the object has been modified"})
        if dry_run:
            return self._stamped(body)
        self.written.append(copy.deepcopy(dict(body)))
        owned = self.owned.get((subject, manager), set())
        data = {name: value for name, value in (held.get("data") or {}).items() if name not in owned}
        foreign = sorted(name for name, value in (body.get("data") or {}).items() if data.get(name, value) != value)
        if foreign and not force:
            causes = [{"reason": "FieldManagerConflict", "field": name} for name in foreign]
            raise refused(Call(self.mesh, "apply", subject), 409, {"details": {"causes": causes}})
        self.owned[subject, manager] = set(body.get("data") or {})
        return self.put(subject, {**held, **body, "data": {**data, **(body.get("data") or {})}})

    def delete(self, resource: Resource, namespace: str | None, name: str, uid: str) -> None:
        subject = describe(resource.kind, namespace, name)
        self.before("delete", subject)
        assert self.objects[subject]["metadata"]["uid"] == uid
        del self.objects[subject]
        self.owned = {key: names for key, names in self.owned.items() if key[0] != subject}

    def put(self, subject: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.objects[subject] = self._stamped(body)
        return copy.deepcopy(self.objects[subject])

    def _stamped(self, body: Mapping[str, Any]) -> dict[str, Any]:
        new = copy.deepcopy(dict(body))
        stamp = {"resourceVersion": str(self.version), "creationTimestamp": datetime.now(UTC).isoformat(), "uid": "one"}
        new["metadata"] = {**new.get("metadata", {}), **stamp}
        return new
