# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.kube import errors
from ansible_collections.multimesh.istio.plugins.module_utils.kube.connection import Credentials
from ansible_collections.multimesh.istio.plugins.module_utils.kube.transport import Transport
from urllib3.exceptions import MaxRetryError, ProtocolError, SSLError

CALL = errors.Call("west", "get", "Secret shop/a")


class Reply:
    def __init__(self, status=200, body=None, data=None, **headers):
        self.status = status
        self.data = json.dumps(body or {}).encode() if data is None else data
        self.headers = {key.replace("_", "-"): value for key, value in headers.items()}


class Pool:
    """Gives these answers in turn, the last one for ever, and remembers what was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def request(self, method, url, **options):
        self.asked.append((method, url, options))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Clock:
    def __init__(self):
        self.now = 0.0
        self.pauses = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds


def transport(*answers, timeout=30, token=None):
    pool, clock = Pool(*answers), Clock()
    return Transport(Credentials(pool, "https://api.test", lambda: token), timeout, clock, clock.sleep), pool, clock


def test_a_request():
    sender, pool, _clock = transport(Reply(body={"a": 1}), token="Bearer t")
    answer = sender.send(CALL, "PATCH", "/x", query={"a": "b c"}, body={"k": "v"}, content_type="application/y")
    assert answer.body == {"a": 1}
    method, url, options = pool.asked[0]
    assert (method, url, options["body"], options["retries"]) == (
        "PATCH",
        "https://api.test/x?a=b+c",
        b'{"k":"v"}',
        False,
    )
    assert options["headers"]["Content-Type"] == "application/y"
    assert options["headers"]["Authorization"] == "Bearer t"


@pytest.mark.parametrize(
    "failure", [Reply(429), Reply(500), Reply(502), Reply(503), Reply(504), ProtocolError("reset")]
)
def test_what_may_pass_is_repeated_with_growing_pauses(failure):
    sender, pool, clock = transport(failure, failure, Reply(body={"a": 1}))
    assert sender.send(CALL, "GET", "/x").body == {"a": 1}
    assert len(pool.asked) == 3
    assert clock.pauses[0] < clock.pauses[1] < 1


@pytest.mark.parametrize(
    "failure",
    [
        Reply(400),
        Reply(401),
        Reply(403),
        Reply(404),
        Reply(409),
        Reply(422),
        Reply(500, {"message": "failed to create typed patch object (a): .spec.x: field not declared in schema"}),
        MaxRetryError(None, "/", SSLError("self-signed certificate")),
    ],
)
def test_what_will_not_pass_is_not_repeated(failure):
    sender, pool, _clock = transport(failure)
    with pytest.raises(errors.KubeError):
        sender.send(CALL, "GET", "/x")
    assert len(pool.asked) == 1


def test_repeating_ends_with_the_time_of_the_request():
    sender, _pool, clock = transport(Reply(503, Retry_After="4"), timeout=10)
    with pytest.raises(errors.ServerError):
        sender.send(CALL, "GET", "/x")
    assert clock.now <= 10
    assert clock.pauses == [4, 4]


def test_a_server_that_asks_for_more_patience_than_there_is():
    sender, pool, clock = transport(Reply(429, {"message": "too many"}, Retry_After="60"), timeout=10)
    with pytest.raises(errors.TooManyRequestsError, match=r"HTTP 429: too many. It asked for 60 s of patience"):
        sender.send(CALL, "GET", "/x")
    assert (len(pool.asked), clock.now) == (1, 0)


def test_a_server_that_does_not_answer():
    sender, pool, clock = transport(ProtocolError("connection reset"))
    with pytest.raises(errors.UnreachableError, match=r"west: get Secret shop/a: no answer .*https://api.test.*reset"):
        sender.send(CALL, "GET", "/x")
    assert len(pool.asked) == 6
    assert clock.now < 10


def test_an_answer_that_is_no_json_object():
    for data in (b"<html>", b"[]"):
        sender, _pool, _clock = transport(Reply(data=data))
        with pytest.raises(errors.ServerError, match="this is no Kubernetes API server"):
            sender.send(CALL, "GET", "/x")


def test_an_error_page_of_something_in_between():
    sender, _pool, _clock = transport(Reply(403, data=b"<html>"))
    with pytest.raises(errors.ForbiddenError, match="HTTP 403: no message"):
        sender.send(CALL, "GET", "/x")


def test_warnings_of_the_server():
    sender, _pool, _clock = transport(Reply(Warning='299 - "a is deprecated", 299 - "b, too"'))
    assert sender.send(CALL, "GET", "/x").warnings == ("a is deprecated", "b, too")
