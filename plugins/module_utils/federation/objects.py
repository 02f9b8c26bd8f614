# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all objects of a federation have in common."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.model import object_names
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Export

Object = dict[str, Any]

ROOT_NAMESPACE = object_names.ROOT_NAMESPACE
NETWORKING = "networking.istio.io/v1"
SECURITY = "security.istio.io/v1"

# East-west gateway, as Istio's own chart and samples call it.
GATEWAY_PORT = object_names.GATEWAY_PORT
GATEWAY_SELECTOR = {"istio": "eastwestgateway"}
GATEWAY_ACCOUNT = "istio-eastwestgateway"


def build(
    api_version: str,
    kind: str,
    namespace: str,
    name: str,
    body: Object,
    exports: Iterable[Export] = (),
    external: Iterable[str] = (),
) -> Object:
    """An object that carries the collection's label, and the exports or external services that it is there for."""
    exports = list(exports)
    metadata: Object = {
        "name": name,
        "namespace": namespace,
        "labels": {"app.kubernetes.io/managed-by": "multimesh.istio"},
    }
    origins = {"export": {export.origin for export in exports}, "external-service": set(external)}
    annotations = {f"multimesh.istio/{key}": ",".join(sorted(found)) for key, found in origins.items() if found}
    attributes = {export.origin: export.attributes for export in exports if export.attributes}
    if attributes:
        written = json.dumps(attributes, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        annotations["multimesh.istio/attributes"] = written
    if annotations:
        metadata["annotations"] = annotations
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}


def identity(item: Object) -> tuple[str, str, str]:
    """What makes two objects of one cluster the same one, and the order of a federation's objects."""
    return item["kind"], item["metadata"]["namespace"], item["metadata"]["name"]
