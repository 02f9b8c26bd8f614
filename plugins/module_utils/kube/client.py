# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The few verbs of the Kubernetes API that this collection uses."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.kube import errors
from ansible_collections.multimesh.istio.plugins.module_utils.kube.connection import Connection, open_connection
from ansible_collections.multimesh.istio.plugins.module_utils.kube.discovery import Discovery
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import (
    PODS,
    SERVICE_ACCOUNTS,
    Resource,
    describe,
)
from ansible_collections.multimesh.istio.plugins.module_utils.kube.transport import Transport

_METADATA = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"


class Client:
    """One cluster. Thread-safe, ``find`` and ``forget_kinds`` aside: they belong to one thread.

    requests: how many of each sort were sent: ``get``, ``list``, ``dry_run``, ``write``.
    warnings: what the API server warned of, in the order it came, each once.
    """

    def __init__(self, transport: Transport, mesh: str) -> None:
        self._transport = transport
        self._lock = threading.Lock()
        self._discovery = Discovery(self._fetch)
        self.mesh = mesh
        self.requests: Counter[str] = Counter()
        self.warnings: dict[str, None] = {}

    @classmethod
    def connect(cls, connection: Connection, concurrency: int = 8) -> Client:
        """concurrency: requests under way at once, at most.

        Raises CredentialsError and MissingLibraryError; nothing is sent yet."""
        credentials = open_connection(connection, max(concurrency, 4))
        return cls(Transport(credentials, connection.request_timeout, concurrency=concurrency), connection.mesh)

    def find(self, group: str, kind: str, version: str | None = None) -> Resource | None:
        """How the server serves a kind, None when it does not."""
        return self._discovery.find(group, kind, version)

    def forget_kinds(self) -> None:
        """Ask for the kinds anew at the next ``find``."""
        self._discovery.forget()

    def get_path(self, path: str) -> dict[str, Any]:
        """What is at a path outside the resources, for example ``/version``."""
        return dict(self._fetch(path, "application/json"))

    def get(
        self, resource: Resource, namespace: str | None, name: str, *, metadata_only: bool = False
    ) -> dict[str, Any] | None:
        """One object, None when it does not exist."""
        call = errors.Call(self.mesh, "get", describe(resource.kind, namespace, name))
        accept = _METADATA.format("") if metadata_only else "application/json"
        try:
            return self._send("get", call, "GET", resource.path(namespace, name), accept=accept)
        except errors.NotFoundError:
            return None

    def list_objects(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        metadata_only: bool = False,
        page: int | None = None,
    ) -> list[dict[str, Any]]:
        """All objects of a kind, in one namespace or in all of them; [] when the kind has gone.

        page: ask for so many at once, which spares the API server's memory where they may be many.
        """
        call = errors.Call(self.mesh, "list", describe(resource.kind, namespace, None))
        accept = _METADATA.format("List") if metadata_only else "application/json"
        query = {"labelSelector": label_selector} if label_selector else {}
        path = resource.path(namespace)
        try:
            try:
                items = self._pages(call, path, query, accept, page)
            except errors.ExpiredError:  # reading on took so long that the state of the first page is no longer kept
                items = self._pages(call, path, query, accept, None)
        except errors.NotFoundError:
            return []
        # items of a list come without these two
        return [{**item, "apiVersion": resource.api_version, "kind": resource.kind} for item in items]

    def apply(
        self, resource: Resource, body: Mapping[str, Any], *, manager: str, force: bool = False, dry_run: bool = False
    ) -> dict[str, Any]:
        """Server-side apply with strict field validation; gives the object as it is then.

        https://kubernetes.io/docs/reference/using-api/server-side-apply/
        """
        metadata = body["metadata"]
        namespace = metadata.get("namespace")
        call = errors.Call(self.mesh, "apply", describe(resource.kind, namespace, metadata["name"]))
        query = {"fieldManager": manager, "fieldValidation": "Strict"}
        if force:
            query["force"] = "true"
        if dry_run:
            query["dryRun"] = "All"
        return self._send(
            "dry_run" if dry_run else "write",
            call,
            "PATCH",
            resource.path(namespace, metadata["name"]),
            query=query,
            body=body,
            content_type="application/apply-patch+yaml",
        )

    def merge_patch(
        self, resource: Resource, namespace: str | None, name: str, body: Mapping[str, Any], *, manager: str
    ) -> dict[str, Any]:
        """JSON merge patch (RFC 7386); with ``metadata.resourceVersion`` in it only for what was read.

        Without that it is not safe to repeat, which is done when a connection breaks.
        """
        call = errors.Call(self.mesh, "patch", describe(resource.kind, namespace, name))
        return self._send(
            "write",
            call,
            "PATCH",
            resource.path(namespace, name),
            query={"fieldManager": manager, "fieldValidation": "Strict"},
            body=body,
            content_type="application/merge-patch+json",
        )

    def delete(self, resource: Resource, namespace: str | None, name: str, uid: str) -> None:
        """Delete exactly the object with this uid, its dependents in the background; fine when it has gone."""
        call = errors.Call(self.mesh, "delete", describe(resource.kind, namespace, name))
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        try:
            self._send("write", call, "DELETE", resource.path(namespace, name), body=body)
        except errors.NotFoundError:
            return

    def create_token(self, namespace: str, account: str, lifetime_seconds: int) -> str:
        """A token of a service account that ends by itself; the API server may grant less time than asked for.

        https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/
        """
        call = errors.Call(self.mesh, "create", f"token of ServiceAccount {namespace}/{account}")
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": lifetime_seconds},
        }
        answer = self._send("write", call, "POST", f"{SERVICE_ACCOUNTS.path(namespace, account)}/token", body=body)
        return str(answer["status"]["token"])

    def pod_log(self, namespace: str, name: str, container: str) -> str:
        """What a container of a pod printed; empty while there is no log to read."""
        call = errors.Call(self.mesh, "get", f"log of Pod {namespace}/{name}")
        path = f"{PODS.path(namespace, name)}/log"
        try:
            answer = self._transport.send(call, "GET", path, query={"container": container}, accept="*/*")
        except (errors.NotFoundError, errors.InvalidError):
            return ""  # the container has not started
        return answer.raw.decode(errors="replace")

    def _pages(
        self, call: errors.Call, path: str, query: Mapping[str, str], accept: str, page: int | None
    ) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        more = {"limit": str(page)} if page else {}
        while True:
            answer = self._send("list", call, "GET", path, query={**query, **more} or None, accept=accept)
            items += answer["items"] or []
            token = (answer.get("metadata") or {}).get("continue")
            if not token:
                return items
            more = {**more, "continue": token}

    def _fetch(self, path: str, accept: str) -> Mapping[str, Any]:
        return self._send("get", errors.Call(self.mesh, "get", path), "GET", path, accept=accept)

    def _send(self, sort: str, call: errors.Call, method: str, path: str, **request: Any) -> dict[str, Any]:
        with self._lock:
            self.requests[sort] += 1
        answer = self._transport.send(call, method, path, **request)
        if answer.warnings:
            with self._lock:
                self.warnings.update(dict.fromkeys(answer.warnings))
        return answer.body
