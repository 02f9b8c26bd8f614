# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A cluster in memory, with as much of server-side apply as properties need; what is true is tested on real ones.

Maps are granular, lists atomic, every kind is namespaced unless it is a Namespace.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import ConflictError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import Resource

Path = tuple[str, ...]
KINDS = {
    ("", "ConfigMap"): Resource("", "v1", "ConfigMap", "configmaps", True),
    ("", "Namespace"): Resource("", "v1", "Namespace", "namespaces", False),
    ("", "Service"): Resource("", "v1", "Service", "services", True),
    ("demo.test", "Gadget"): Resource("demo.test", "v1", "Gadget", "gadgets", True),
}


class MemoryCluster:
    """``writes`` counts what was written; ``cut_after`` ends the process, so to say, at a write."""

    mesh = "west"

    def __init__(self, namespaces: tuple[str, ...] = ("istio-system", "shop", "other")) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.kinds = dict(KINDS)
        self.writes = 0
        self.cut_after: int | None = None
        self._numbers = itertools.count(1)
        for name in namespaces:
            self.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def put(self, body: Mapping[str, Any]) -> None:
        """Somebody else's object."""
        resource = self.kinds[_group(body["apiVersion"]), body["kind"]]
        self._store(resource, {**copy.deepcopy(dict(body))})

    def find(self, group: str, kind: str, version: str | None = None) -> Resource | None:
        resource = self.kinds.get((group, kind))
        return resource if resource and version in (None, resource.version) else None

    def forget_kinds(self) -> None:
        pass

    def get(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        metadata_only: bool = False,  # noqa: ARG002
    ) -> dict[str, Any] | None:
        return copy.deepcopy(self.objects.get((resource.kind, namespace or "", name)))

    def list_objects(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        metadata_only: bool = False,
        page: int | None = None,  # noqa: ARG002
    ) -> list[dict[str, Any]]:
        found = []
        for (kind, where, _name), body in self.objects.items():
            labels = body["metadata"].get("labels") or {}
            wanted = label_selector is None or label_selector in [f"{key}={value}" for key, value in labels.items()]
            if kind == resource.kind and namespace in (None, where) and wanted:
                kept = {key: body[key] for key in ("apiVersion", "kind", "metadata")} if metadata_only else body
                found.append(copy.deepcopy(kept))
        return found

    def apply(
        self, resource: Resource, body: Mapping[str, Any], *, manager: str, force: bool = False, dry_run: bool = False
    ) -> dict[str, Any]:
        key = (resource.kind, body["metadata"].get("namespace", ""), body["metadata"]["name"])
        live = self.objects.get(key)
        after = _applied(live, body, manager, force)
        if not dry_run:
            self._write()
            if live is None or _without_version(live) != _without_version(after):
                self._store(resource, after)
        return copy.deepcopy(self.objects[key] if not dry_run else after)

    def delete(self, resource: Resource, namespace: str | None, name: str, uid: str) -> None:
        self._write()
        key = (resource.kind, namespace or "", name)
        if key in self.objects and self.objects[key]["metadata"]["uid"] == uid:
            del self.objects[key]

    def _write(self) -> None:
        if self.cut_after is not None and self.writes >= self.cut_after:
            raise CutShort
        self.writes += 1

    def _store(self, resource: Resource, body: dict[str, Any]) -> None:
        metadata = body["metadata"]
        metadata.setdefault("uid", f"uid-{next(self._numbers)}")
        metadata["resourceVersion"] = str(next(self._numbers))
        self.objects[resource.kind, metadata.get("namespace", ""), metadata["name"]] = body


class CutShort(BaseException):
    """The end of a process in the middle of its work."""


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0]


def _without_version(body: Mapping[str, Any]) -> str:
    # As JSON, because Python takes 1 for True and an API server does not.
    metadata = {key: value for key, value in body["metadata"].items() if key != "resourceVersion"}
    return json.dumps({**body, "metadata": metadata}, sort_keys=True)


def _applied(live: dict[str, Any] | None, body: Mapping[str, Any], manager: str, force: bool) -> dict[str, Any]:
    after = copy.deepcopy(live) if live else {"metadata": {}}
    owners = {
        entry["manager"]: set(_tree_paths(entry["fieldsV1"])) for entry in after["metadata"].pop("managedFields", [])
    }
    wanted = dict(_leaves(_owned_part(body)))
    for other, paths in owners.items():
        taken = {path for path in paths & set(wanted) if other != manager and _read(after, path) != wanted[path]}
        if taken and not force:
            raise ConflictError(f"conflict with {other}", 409)
        owners[other] = paths - taken
    for path in owners.get(manager, set()) - set(wanted):
        if not any(path in paths for other, paths in owners.items() if other != manager):
            _remove(after, path)
    for path, value in wanted.items():
        _set(after, path, value)
    owners[manager] = set(wanted)
    after.update(apiVersion=body["apiVersion"], kind=body["kind"])
    for name in ("name", "namespace"):
        if name in body["metadata"]:
            after["metadata"][name] = body["metadata"][name]
    after["metadata"]["managedFields"] = [
        {"manager": name, "operation": "Apply", "apiVersion": body["apiVersion"], "fieldsV1": _tree(paths)}
        for name, paths in sorted(owners.items())
    ]
    return after


def _owned_part(body: Mapping[str, Any]) -> dict[str, Any]:
    part = {key: value for key, value in body.items() if key not in ("apiVersion", "kind", "metadata")}
    metadata = {key: value for key, value in body["metadata"].items() if key not in ("name", "namespace")}
    return {**part, "metadata": metadata} if metadata else part


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    else:
        yield path, copy.deepcopy(value)


def _tree(paths: set[Path]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path in paths:
        below = tree
        for part in path:
            below = below.setdefault(f"f:{part}", {})
    return tree


def _tree_paths(tree: Mapping[str, Any], path: Path = ()) -> Iterator[Path]:
    for key, below in tree.items():
        if below:
            yield from _tree_paths(below, (*path, key[2:]))
        else:
            yield (*path, key[2:])


def _read(body: Any, path: Path) -> Any:
    for part in path:
        body = body.get(part) if isinstance(body, Mapping) else None
    return body


def _set(body: dict[str, Any], path: Path, value: Any) -> None:
    for part in path[:-1]:
        if not isinstance(body.get(part), dict):
            body[part] = {}
        body = body[part]
    if value != {} or not isinstance(body.get(path[-1]), dict):
        body[path[-1]] = copy.deepcopy(value)


def _remove(body: dict[str, Any], path: Path) -> None:
    for part in path[:-1]:
        if not isinstance(body.get(part), dict):
            return
        body = body[part]
    if not (isinstance(body.get(path[-1]), dict) and body[path[-1]]):
        body.pop(path[-1], None)
