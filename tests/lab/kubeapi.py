# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A minimal client of the Kubernetes API, for the few objects the lab itself needs. Standard library only."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.lab.components import API_PORT

FIELD_MANAGER = "multimesh-lab"
_CLUSTER_SCOPED = {"Namespace", "Node", "ClusterRole", "ClusterRoleBinding", "IngressClass", "CustomResourceDefinition"}


class ApiError(Exception):
    """The API server refused; `status` is the HTTP code."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"HTTP {status}: {message}")
        self.status = status


class KubeApi:
    """Talks to the API server at `address` as `user`, whose certificate and key lie in folder `pki`."""

    def __init__(self, address: str, pki: Path, user: str, timeout: float = 10.0) -> None:
        self._address = address
        self._timeout = timeout
        self._tls = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._tls.load_cert_chain(pki / f"{user}.crt", pki / f"{user}.key")

    def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """One request; the parsed answer.

        Raises:
            ApiError: The answer is not 2xx.
            OSError, http.client.HTTPException: There is no answer.
        """
        with self._answer(method, path, body, content_type, self._timeout) as answer:
            text = answer.read().decode()
        return json.loads(text) if text.startswith("{") else text

    def apply(self, manifest: dict[str, Any]) -> Any:
        """Server-side apply, taking over fields that others own."""
        query = urlencode({"fieldManager": FIELD_MANAGER, "force": "true"})
        return self.request("PATCH", f"{path_of(manifest)}?{query}", manifest, "application/apply-patch+yaml")

    def merge(self, path: str, patch: dict[str, Any]) -> Any:
        """JSON merge patch (RFC 7386)."""
        return self.request("PATCH", path, patch, "application/merge-patch+json")

    def watch(self, path: str, resource_version: str, seconds: int = 300) -> Iterator[dict[str, Any]]:
        """Events of a collection from `resource_version` on, until the server ends the stream."""
        query = urlencode({"watch": 1, "resourceVersion": resource_version, "timeoutSeconds": seconds})
        with self._answer("GET", f"{path}?{query}", None, "application/json", seconds + self._timeout) as answer:
            for line in answer:
                yield json.loads(line)

    @contextlib.contextmanager
    def _answer(
        self, method: str, path: str, body: Any, content_type: str, timeout: float
    ) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPSConnection(self._address, API_PORT, timeout=timeout, context=self._tls)
        headers = {"User-Agent": FIELD_MANAGER, "Accept": "application/json", "Content-Type": content_type}
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            if answer.status >= 300:
                raise ApiError(answer.status, answer.read().decode(errors="replace").strip())
            yield answer


def path_of(manifest: dict[str, Any]) -> str:
    """The path of the object that `manifest` describes. Knows kinds with a regular plural only."""
    version = manifest["apiVersion"]
    kind = manifest["kind"]
    plural = re.sub("(?<![aeiou])y$", "ie", re.sub("s$", "se", kind.lower())) + "s"
    namespace = manifest["metadata"].get("namespace", "default")
    scope = "" if kind in _CLUSTER_SCOPED else f"/namespaces/{namespace}"
    return f"/{'apis' if '/' in version else 'api'}/{version}{scope}/{plural}/{manifest['metadata']['name']}"
