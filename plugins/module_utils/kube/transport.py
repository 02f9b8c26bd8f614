# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests to one API server over kept connections, with retries for what may be sent twice."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from ansible_collections.multimesh.istio.plugins.module_utils.kube import errors
from ansible_collections.multimesh.istio.plugins.module_utils.kube.connection import Credentials
from ansible_collections.multimesh.istio.plugins.module_utils.kube.pace import Pace

_RETRIED = (429, 500, 502, 503, 504)
_REFUSED = (429, 503)  # too much is under way
_ATTEMPTS = 6
_FIRST_PAUSE = 0.2  # seconds; doubled each time
_CONNECT_TIMEOUT = 10.0  # seconds


@dataclass(frozen=True)
class Answer:
    """A successful answer: the decoded JSON object, the texts of its Warning headers, and what came as it came."""

    body: dict[str, Any]
    warnings: tuple[str, ...] = ()
    raw: bytes = b""


class Transport:
    """Sends JSON, reads JSON. Thread-safe, as its urllib3 pool is."""

    def __init__(
        self,
        credentials: Credentials,
        request_timeout: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        concurrency: int = 8,
    ) -> None:
        self._credentials = credentials
        self._timeout = request_timeout
        self._pace = Pace(concurrency, clock)
        self._clock = clock
        self._sleep = sleep

    def send(
        self,
        call: errors.Call,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Answer:
        """One request; all are safe to repeat: GET, server-side apply, merge patch of a version, DELETE with a uid, and
        one token more.

        Retried on 429, 5xx and broken connections with growing pauses, or as Retry-After says, until the request's
        time is over. Raises KubeError.
        """
        from urllib3.exceptions import HTTPError
        from urllib3.util import Timeout

        url = self._credentials.server + path + (f"?{urlencode(query)}" if query else "")
        payload = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        deadline = self._clock() + self._timeout
        attempt = 0
        while True:
            attempt += 1
            left = max(deadline - self._clock(), 0.1)
            pause = _FIRST_PAUSE * 2 ** (attempt - 1) * random.uniform(0.8, 1.2)  # noqa: S311
            try:
                with self._pace.turn() as turn:
                    turn.refused = True  # unless it is answered
                    response = self._credentials.pool.request(
                        method,
                        url,
                        body=payload,
                        headers=self._headers(content_type if payload is not None else None, accept),
                        timeout=Timeout(connect=min(_CONNECT_TIMEOUT, left), read=left),
                        retries=False,
                    )
                    turn.refused = response.status in _REFUSED
            except HTTPError as cause:
                failure: errors.KubeError = errors.unreachable(call, self._credentials.server, _reason(cause))
                if _certificate_problem(cause):
                    raise failure from None
            else:
                status = int(response.status)
                content = _decode(response.data)
                if status < 400:
                    if content is None and "json" in accept:
                        raise errors.ServerError(
                            f"{call}: HTTP {status} without a JSON object: this is no Kubernetes API server.", status
                        )
                    return Answer(content or {}, _warnings(response.headers), response.data)
                retry_after = response.headers.get("Retry-After")
                failure = errors.refused(call, status, content or {}, retry_after)
                if status not in _RETRIED or isinstance(failure, errors.InvalidError):
                    raise failure
                if retry_after and retry_after.isdigit():
                    pause = max(pause, float(retry_after))
            if attempt >= _ATTEMPTS or self._clock() + pause >= deadline:
                raise failure from None
            self._sleep(pause)

    def _headers(self, content_type: str | None, accept: str) -> dict[str, str]:
        headers = {"Accept": accept, "User-Agent": "multimesh.istio"}
        if content_type:
            headers["Content-Type"] = content_type
        token = self._credentials.authorization()
        if token:
            headers["Authorization"] = token
        return headers


def _decode(data: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(data)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _warnings(headers: Mapping[str, str]) -> tuple[str, ...]:
    # RFC 7234, 5.5: 299 - "text"; urllib3 joins several of them with ", "
    value = headers.get("Warning") or ""
    return tuple(part.rstrip(', "') for part in value.split('299 - "')[1:])


def _reason(cause: Exception) -> str:
    inner = getattr(cause, "reason", None) or cause
    return f"{type(cause).__name__}: {inner}"


def _certificate_problem(cause: Exception) -> bool:
    from urllib3.exceptions import SSLError

    return isinstance(cause, SSLError) or isinstance(getattr(cause, "reason", None), SSLError)
