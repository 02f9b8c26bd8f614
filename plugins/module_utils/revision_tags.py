# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Revision tags: names that stand for a revision of Istio, so that no namespace need be labelled anew when it changes.

A tag is a MutatingWebhookConfiguration that leads to the istiod of its revision, which fills in its CA. Istio's charts
make them too, but then a tag belongs to the release of one revision and cannot move to another.
https://istio.io/latest/docs/setup/upgrade/canary/#stable-revision-labels, and the chart's revision-tags-mwc.yaml.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.model import names

NAMESPACE = "istio-system"
_INJECT, _REVISION, _ENABLED = "sidecar.istio.io/inject", "istio.io/rev", "istio-injection"

Object = dict[str, Any]


def manifests(tags: Mapping[str, str], path: str = "/inject") -> list[Object]:
    """One webhook configuration per tag, sorted.

    tags: revision by tag, "" for the default revision. path: of injection, at istiod.
    Raises MultimeshError.
    """
    for tag, revision in tags.items():
        for what, value in (("tag", tag), ("revision", revision or "default")):
            expected = names.label(value) if isinstance(value, str) else "a string"
            if expected:
                raise MultimeshError(f"revision tags: {what} {value!r}: expected {expected}. Write for example 'prod'.")
        if tag == (revision or "default"):
            raise MultimeshError(f"revision tags: {tag!r} stands for itself. Leave it out, or name another revision.")
    return [_manifest(tag, revision, path) for tag, revision in sorted(tags.items())]


def _manifest(tag: str, revision: str, path: str) -> Object:
    service = {
        "name": f"istiod-{revision}" if revision else "istiod",
        "namespace": NAMESPACE,
        "path": path,
        "port": 443,
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {
            "name": f"istio-revision-tag-{tag}",
            "labels": {
                "app": "sidecar-injector",
                "app.kubernetes.io/managed-by": "multimesh.istio",
                "istio.io/rev": revision or "default",
                "istio.io/tag": tag,
            },
        },
        "webhooks": [
            {
                "name": f"{name}.sidecar-injector.istio.io",
                "clientConfig": {"service": dict(service)},
                "sideEffects": "None",
                "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
                "failurePolicy": "Fail",
                "reinvocationPolicy": "Never",
                "admissionReviewVersions": ["v1"],
                "namespaceSelector": {"matchExpressions": namespaces},
                "objectSelector": {"matchExpressions": pods},
            }
            for name, namespaces, pods in _cases(tag)
        ],
    }


def _cases(tag: str) -> Iterator[tuple[str, list[Object], list[Object]]]:
    """Name, and which namespaces and which pods; a pod falls under one of them at most."""
    own = {"key": _REVISION, "operator": "In", "values": [tag]}
    unlabelled = [{"key": key, "operator": "DoesNotExist"} for key in (_REVISION, _ENABLED)]
    not_refused = {"key": _INJECT, "operator": "NotIn", "values": ["false"]}
    yield "rev.namespace", [own, unlabelled[1]], [not_refused]
    yield "rev.object", unlabelled, [not_refused, own]
    if tag == "default":
        yield "namespace", [{"key": _ENABLED, "operator": "In", "values": ["enabled"]}], [not_refused]
        wanted = {"key": _INJECT, "operator": "In", "values": ["true"]}
        yield "object", unlabelled, [wanted, unlabelled[0]]
