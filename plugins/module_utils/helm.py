# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Helm has installed, out of the Secrets that it keeps its records in.

Running ``helm`` to learn the same takes seven processes and two seconds for each release.
Source: helm/helm, pkg/storage/driver/secrets.go and util.go.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ansible_collections.multimesh.istio.plugins.module_utils.kube.cluster import Getter, Lister
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import SECRETS

with contextlib.suppress(ImportError):  # the Kubernetes client brings it, and the modules report that one
    import yaml

_DEPLOYED = "owner=helm,status=deployed"

Body = Mapping[str, Any]


class Cluster(Getter, Lister, Protocol):
    """What is needed of a cluster."""


def releases(cluster: Cluster, namespace: str, wanted: Sequence[Body]) -> dict[str, dict[str, Any]]:
    """Of each release by its name: chart, version, revision, and whether it is as wanted (``current``).

    wanted: ``name`` of the release, and what ``helm upgrade`` gets of ``chart_ref`` (name, URL or folder of the chart),
    ``chart_version`` (None for a folder) and ``release_values``.
    A release that is missing, or that Helm has not finished, has no chart, version and revision. Raises KubeError.
    """
    if not wanted:
        return {}
    secrets = cluster.list_objects(SECRETS, namespace, label_selector=_DEPLOYED, metadata_only=True)
    deployed = {secret["metadata"]["labels"]["name"]: secret["metadata"]["name"] for secret in secrets}
    return {str(one["name"]): _compared(_record(cluster, namespace, deployed.get(one["name"])), one) for one in wanted}


def _record(cluster: Cluster, namespace: str, secret: str | None) -> Body:
    found = cluster.get(SECRETS, namespace, secret) if secret else None
    if found is None:
        return {}
    # Kubernetes encodes what Helm has encoded already.
    record: Body = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(found["data"]["release"]))))
    return record


def _compared(record: Body, wanted: Body) -> dict[str, Any]:
    chart = (record.get("chart") or {}).get("metadata") or {}
    found = chart.get("name"), chart.get("version")
    return {
        "chart": found[0],
        "version": found[1],
        "revision": record.get("version"),
        "current": found == _chart(wanted) and (record.get("config") or {}) == wanted["release_values"],
    }


def _chart(wanted: Body) -> tuple[str, str | None]:
    """Name and version of the chart; a version that is a range is nobody's."""
    folder = Path(wanted["chart_ref"]).expanduser()
    try:
        content = yaml.safe_load((folder / "Chart.yaml").read_text(encoding="utf-8"))
        return str(content["name"]), str(content["version"])
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return folder.name, wanted["chart_version"]
