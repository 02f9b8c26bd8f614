# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.kube import errors

CALL = errors.Call("west", "apply", "ServiceEntry istio-system/a.test")


@pytest.mark.parametrize(
    ("status", "said", "kind", "parts"),
    [
        (400, "bad", errors.InvalidError, ["Correct the object"]),
        (401, "Unauthorized", errors.UnauthorizedError, ["renew"]),
        (403, 'User "u" cannot patch resource "serviceentries"', errors.ForbiddenError, ["serviceentries", "Role"]),
        (404, "not found", errors.NotFoundError, ["Create it first"]),
        (409, "the object has been modified", errors.ConflictError, ["run again"]),
        (422, "spec.x: Invalid value", errors.InvalidError, ["spec.x", "Correct the object"]),
        (410, "the provided continue parameter is too old", errors.ExpiredError, ["Run again"]),
        (429, "slow down", errors.TooManyRequestsError, ["Lower the concurrency"]),
        (500, "webhook", errors.ServerError, ["admission webhooks"]),
        (500, "failed to create typed patch object (x): .spec.y: not declared", errors.InvalidError, [".spec.y"]),
        (503, "starting", errors.ServerError, ["starting"]),
        (418, "teapot", errors.ServerError, ["teapot"]),
    ],
)
def test_every_refusal_says_who_what_why_and_the_way_out(status, said, kind, parts):
    error = errors.refused(CALL, status, {"message": said})
    assert error.__class__ is kind
    assert error.status == status
    for part in ["west: apply ServiceEntry istio-system/a.test", f"HTTP {status}", said, *parts]:
        assert part in str(error)


def test_conflicts_name_managers_and_fields():
    causes = [
        {"reason": "FieldManagerConflict", "message": 'conflict with "kubectl-edit"', "field": ".spec.hosts"},
        {"reason": "FieldManagerConflict", "message": 'conflict with "helm"', "field": ".spec.ports"},
    ]
    text = str(errors.refused(CALL, 409, {"message": "2 conflicts", "details": {"causes": causes}}))
    assert '.spec.hosts: conflict with "kubectl-edit"; .spec.ports: conflict with "helm"' in text
    assert "force_conflicts" in text


def test_an_empty_answer():
    assert "HTTP 403: no message." in str(errors.refused(CALL, 403, {}))
