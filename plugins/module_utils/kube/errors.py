# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can go wrong between here and an API server, worded so that the reader knows what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError


@dataclass(frozen=True)
class Call:
    """One request, as messages name it.

    mesh: the mesh or cluster that was asked.
    verb: the RBAC verb, for example ``list``.
    subject: what it was about, for example ``ServiceEntry istio-system/reviews``.
    """

    mesh: str
    verb: str
    subject: str

    def __str__(self) -> str:
        return f"{self.mesh}: {self.verb} {self.subject}"


class KubeError(MultimeshError):
    """Base of everything an API server, or the way to it, refused.

    status: HTTP status, None when there was no answer.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class CredentialsError(KubeError):
    """The options, the environment or the kubeconfig do not give a usable connection."""


class MissingLibraryError(KubeError):
    """A Python library is not there."""


class UnreachableError(KubeError):
    """No answer came from the API server."""


class UnauthorizedError(KubeError):
    """HTTP 401."""


class ForbiddenError(KubeError):
    """HTTP 403."""


class NotFoundError(KubeError):
    """HTTP 404."""


class ConflictError(KubeError):
    """HTTP 409.

    owners: which fields other field managers own, a clause for each; () where somebody else wrote at the same moment.
    """

    def __init__(self, message: str, status: int | None = None, owners: Sequence[str] = ()) -> None:
        super().__init__(message, status)
        self.owners = tuple(owners)


class ExpiredError(KubeError):
    """HTTP 410: a list was read on from a state that is no longer kept."""


class InvalidError(KubeError):
    """HTTP 400 or 422: the API server does not accept the object."""


class TooManyRequestsError(KubeError):
    """HTTP 429 until the time for the request was over."""


class ServerError(KubeError):
    """HTTP 5xx until the time for the request was over, or an answer that is no Kubernetes answer."""


# Server-side apply answers 500 to what is plainly the sender's mistake (kube-apiserver 1.36,
# apimachinery/pkg/util/managedfields/internal/structuredmerge.go).
_MALFORMED = ("failed to create typed patch object", "failed to convert new object")


def unreachable(call: Call, server: str, cause: str) -> UnreachableError:
    """No connection to the API server, or it broke on every attempt."""
    return UnreachableError(
        f"{call}: no answer from the API server {server}: {cause}. "
        "Check that the cluster is up, that this machine reaches the address, and that the kubeconfig names it."
    )


def refused(call: Call, status: int, body: Mapping[str, Any], retry_after: str | None = None) -> KubeError:
    """The error for an answer with ``status`` >= 400.

    body: the ``Status`` object of the answer (Kubernetes API conventions, "Response Status Kind"); may be empty.
    """
    said = str(body.get("message") or body.get("reason") or "no message").strip().rstrip(".")
    head = f"{call}: HTTP {status}: {said}."
    details = body.get("details") or {}
    causes = [cause for cause in details.get("causes") or [] if isinstance(cause, Mapping)]
    if status == 401:
        return UnauthorizedError(f"{head} The credentials are missing, wrong or expired: renew them.", status)
    if status == 403:
        return ForbiddenError(f"{head} Give this user that right with a Role or ClusterRole and its binding.", status)
    if status == 404:
        return NotFoundError(f"{head} Create it first, or correct its name.", status)
    if status == 409:
        owners = [_conflict(cause) for cause in causes if cause.get("reason") == "FieldManagerConflict"]
        if owners:
            return ConflictError(
                f"{call}: HTTP 409: {'; '.join(owners)}. Let that manager give the fields up, leave them out of the "
                "object, or take them over with force_conflicts.",
                status,
                owners,
            )
        return ConflictError(f"{head} Somebody else wrote at the same moment: run again.", status)
    if status == 410:
        return ExpiredError(f"{head} Run again.", status)
    if status in (400, 422) or said.startswith(_MALFORMED):
        return InvalidError(f"{head} Correct the object; unknown fields are errors.", status)
    if status == 429:
        hint = f" It asked for {retry_after} s of patience." if retry_after else ""
        return TooManyRequestsError(f"{head}{hint} Lower the concurrency or raise request_timeout.", status)
    return ServerError(f"{head} Look at the API server and at admission webhooks, then run again.", status)


def _conflict(cause: Mapping[str, Any]) -> str:
    said = str(cause.get("message") or "conflict")
    return f"{cause.get('field') or 'a field'}: {said}"
