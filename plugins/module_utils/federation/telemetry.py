# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Attributes of exports where their owner looks: in the access log and the metrics of the workloads that serve them.

Access logs and metrics name the caller's identity by themselves. What the inventory says of an export is added by the
exporter alone: a header that callers set would be whatever they like.

Metrics get tags by Istio's Telemetry API, without naming a provider, so that those which the owner has chosen remain:
https://istio.io/latest/docs/reference/config/telemetry/. It has no words for the access log, so the route of each port
carries the attributes as metadata, which the log's format prints:
https://istio.io/latest/docs/reference/config/networking/envoy-filter/.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.federation.objects import Object, build
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Cluster, Export

TELEMETRY = "telemetry.istio.io/v1"
ENVOY_FILTER = "networking.istio.io/v1alpha3"
METADATA = "multimesh.istio"
"""Namespace of the metadata, as the format of the access log names it."""


def objects(cluster: Cluster) -> list[Object]:
    """For each export with attributes that are to be shown; nothing unless the inventory asks for some."""
    # Both hold for pods. What exports of the same pods say differently would be wrong for one of them.
    sharing: dict[tuple[str, frozenset[tuple[str, str]]], list[Export]] = defaultdict(list)
    for export in cluster.exports:
        if export.offers:
            sharing[export.namespace, frozenset(export.selector.items())].append(export)
    found = []
    for exports in sharing.values():
        shown = {
            name: _text(value)
            for name in cluster.telemetry_attributes
            for value in [exports[0].attributes.get(name)]
            if isinstance(value, (str, int, float)) and all(other.attributes.get(name) == value for other in exports)
        }
        for export in exports if shown else ():
            found.append(_metrics(export, shown))
            if any(port.is_http for port in export.ports):
                found.append(_access_log(export, shown))
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _metrics(export: Export, shown: Mapping[str, str]) -> Object:
    # JSON writes a string as CEL does.
    tags = {f"export_{name}": {"value": json.dumps(value)} for name, value in sorted(shown.items())}
    override = {"match": {"metric": "ALL_METRICS", "mode": "SERVER"}, "tagOverrides": tags}
    spec = {"selector": _selector(export), "metrics": [{"overrides": [override]}]}
    return build(TELEMETRY, "Telemetry", export.namespace, f"multimesh-{export.service}", {"spec": spec}, [export])


def _access_log(export: Export, shown: Mapping[str, str]) -> Object:
    # The log's format puts it between quotation marks.
    text = ",".join(f"{name}={json.dumps(value)[1:-1]}" for name, value in sorted(shown.items()))
    metadata = {"filter_metadata": {METADATA: {"attributes": text}}}
    patches = [
        {
            "applyTo": "HTTP_ROUTE",
            "match": {"context": "SIDECAR_INBOUND", "routeConfiguration": {"portNumber": port}},
            "patch": {"operation": "MERGE", "value": {"metadata": metadata}},
        }
        for port in sorted({port.target_port for port in export.ports if port.is_http})
    ]
    labels = _selector(export)["matchLabels"]
    spec = {"workloadSelector": {"labels": labels}, "configPatches": patches}
    return build(ENVOY_FILTER, "EnvoyFilter", export.namespace, f"multimesh-{export.service}", {"spec": spec}, [export])


def _selector(export: Export) -> Object:
    return {"matchLabels": dict(sorted(export.selector.items()))}
