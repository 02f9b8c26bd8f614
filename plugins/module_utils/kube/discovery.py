# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which kinds an API server serves.

Two requests with aggregated discovery (Kubernetes 1.26 and later, https://kubernetes.io/docs/concepts/overview/kubernetes-api/#aggregated-discovery);
with older or reduced servers one more for each group version that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import NotFoundError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import Resource

ACCEPT = ",".join(
    [
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        "application/json",
    ]
)

Fetch = Callable[[str, str], Mapping[str, Any]]  # (path, accept) -> JSON object


class Discovery:
    """A reader of discovery that asks once; ``forget`` makes it ask again."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self.forget()

    def forget(self) -> None:
        self._known: dict[tuple[str, str], list[Resource]] = {}  # (group, kind) -> versions, preferred first
        self._unread: dict[str, list[str]] = {}  # group -> versions that only a request of their own can tell
        self._asked: set[str] = set()

    def find(self, group: str, kind: str, version: str | None = None) -> Resource | None:
        """The resource of a kind, None when the server does not serve it. Without a version: the preferred one."""
        self._read("/apis" if group else "/api")
        for unread in self._unread.pop(group, []):
            self._read_version(group, unread)
        for resource in self._known.get((group, kind), []):
            if version in (None, resource.version):
                return resource
        return None

    def _read(self, path: str) -> None:
        if path in self._asked:
            return
        self._asked.add(path)
        answer = self._fetch(path, ACCEPT)
        if answer.get("kind") == "APIGroupDiscoveryList":
            self._add(_aggregated(answer))
        elif answer.get("kind") == "APIVersions":
            self._unread[""] = [str(version) for version in answer.get("versions") or []]
        else:
            self._unread.update(_groups(answer))

    def _read_version(self, group: str, version: str) -> None:
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        try:
            answer = self._fetch(path, "application/json")
        except NotFoundError:  # gone since the group was listed
            return
        self._add(_resource_list(group, version, answer))

    def _add(self, resources: Iterable[Resource]) -> None:
        for resource in resources:
            self._known.setdefault((resource.group, resource.kind), []).append(resource)


def _aggregated(answer: Mapping[str, Any]) -> Iterator[Resource]:
    for group in answer.get("items") or []:
        group_name = (group.get("metadata") or {}).get("name") or ""
        for version in group.get("versions") or []:
            for resource in version.get("resources") or []:
                kind = (resource.get("responseKind") or {}).get("kind")
                if kind:
                    scope = resource.get("scope") == "Namespaced"
                    yield Resource(group_name, version["version"], kind, resource["resource"], scope)


def _groups(answer: Mapping[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for group in answer.get("groups") or []:
        preferred = (group.get("preferredVersion") or {}).get("version")
        versions = [version["version"] for version in group.get("versions") or []]
        found[group["name"]] = sorted(versions, key=lambda version: version != preferred)
    return found


def _resource_list(group: str, version: str, answer: Mapping[str, Any]) -> Iterator[Resource]:
    for resource in answer.get("resources") or []:
        if "/" not in resource["name"]:  # a/b is a subresource
            yield Resource(group, version, resource["kind"], resource["name"], bool(resource.get("namespaced")))
