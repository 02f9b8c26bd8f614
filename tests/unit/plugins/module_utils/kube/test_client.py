# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.kube.client import Client
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import (
    ExpiredError,
    ForbiddenError,
    NotFoundError,
)
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import Resource
from ansible_collections.multimesh.istio.plugins.module_utils.kube.transport import Answer

CONFIG_MAP = Resource("", "v1", "ConfigMap", "configmaps", True)


class FakeTransport:
    """Gives these answers one after the other, and the last one from then on."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.sent = []

    def send(self, call, method, path, **request):
        self.sent.append((str(call), method, path, request))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def client(answer):
    transport = FakeTransport(answer if isinstance(answer, Exception) else Answer(answer))
    return Client(transport, "west"), transport


def test_apply():
    one, transport = client({"kind": "ConfigMap"})
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "shop"}}
    assert one.apply(CONFIG_MAP, body, manager="m") == {"kind": "ConfigMap"}
    call, method, path, request = transport.sent[0]
    assert (call, method, path) == ("west: apply ConfigMap shop/a", "PATCH", "/api/v1/namespaces/shop/configmaps/a")
    assert request["query"] == {"fieldManager": "m", "fieldValidation": "Strict"}
    assert request["content_type"] == "application/apply-patch+yaml"
    one.apply(CONFIG_MAP, body, manager="m", force=True, dry_run=True)
    query = transport.sent[1][3]["query"]
    assert (query["force"], query["dryRun"]) == ("true", "All")
    assert (one.requests["write"], one.requests["dry_run"]) == (1, 1)


def test_merge_patch():
    one, transport = client({"kind": "ConfigMap"})
    body = {"metadata": {"resourceVersion": "7"}, "data": {"a": None}}
    assert one.merge_patch(CONFIG_MAP, "shop", "a", body, manager="m") == {"kind": "ConfigMap"}
    call, method, path, request = transport.sent[0]
    assert (call, method, path) == ("west: patch ConfigMap shop/a", "PATCH", "/api/v1/namespaces/shop/configmaps/a")
    assert request["query"] == {"fieldManager": "m", "fieldValidation": "Strict"}
    assert (request["content_type"], request["body"]) == ("application/merge-patch+json", body)
    assert one.requests["write"] == 1


def test_lists_give_whole_objects():
    one, transport = client({"items": [{"metadata": {"name": "a"}}]})
    assert one.list_objects(CONFIG_MAP, "shop", label_selector="a=b") == [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    ]
    one.list_objects(CONFIG_MAP, metadata_only=True)
    assert transport.sent[0][3]["query"] == {"labelSelector": "a=b"}
    assert "as=PartialObjectMetadataList;" in transport.sent[1][3]["accept"]
    assert one.requests["list"] == 2


def test_a_long_list_comes_in_pages():
    pages = [
        Answer({"items": [{"metadata": {"name": "a"}}], "metadata": {"continue": "further"}}),
        Answer({"items": [{"metadata": {"name": "b"}}], "metadata": {}}),
    ]
    transport = FakeTransport(*pages)
    found = Client(transport, "west").list_objects(CONFIG_MAP, label_selector="a=b", page=1)
    assert [item["metadata"]["name"] for item in found] == ["a", "b"]
    assert [sent[3]["query"] for sent in transport.sent] == [
        {"labelSelector": "a=b", "limit": "1"},
        {"labelSelector": "a=b", "limit": "1", "continue": "further"},
    ]


def test_a_list_that_took_too_long_is_read_at_once():
    transport = FakeTransport(
        Answer({"items": [{"metadata": {"name": "a"}}], "metadata": {"continue": "further"}}),
        ExpiredError("too old", 410),
        Answer({"items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]}),
    )
    found = Client(transport, "west").list_objects(CONFIG_MAP, page=1)
    assert [item["metadata"]["name"] for item in found] == ["a", "b"]
    assert transport.sent[2][3]["query"] is None


def test_what_is_gone():
    one, _transport = client(NotFoundError("gone", 404))
    assert one.get(CONFIG_MAP, "shop", "a") is None
    assert one.list_objects(CONFIG_MAP) == []
    one.delete(CONFIG_MAP, "shop", "a", "uid")


def test_what_is_refused():
    one, _transport = client(ForbiddenError("no", 403))
    for attempt in (
        lambda: one.get(CONFIG_MAP, "shop", "a"),
        lambda: one.list_objects(CONFIG_MAP),
        lambda: one.delete(CONFIG_MAP, "shop", "a", "uid"),
    ):
        with pytest.raises(ForbiddenError):
            attempt()


def test_delete_means_exactly_this_object():
    one, transport = client({})
    one.delete(CONFIG_MAP, "shop", "a", "uid-1")
    assert transport.sent[0][3]["body"]["preconditions"] == {"uid": "uid-1"}
    assert transport.sent[0][3]["body"]["propagationPolicy"] == "Background"


def test_warnings_are_kept_once():
    transport = FakeTransport(Answer({"items": []}, ("a", "b")))
    one = Client(transport, "west")
    one.list_objects(CONFIG_MAP)
    one.list_objects(CONFIG_MAP)
    assert list(one.warnings) == ["a", "b"]


def test_a_token_is_asked_for_with_its_lifetime():
    one, transport = client({"status": {"token": "a.b.c"}})
    assert one.create_token("istio-system", "reader", 3600) == "a.b.c"
    call, method, path, request = transport.sent[0]
    assert call == "west: create token of ServiceAccount istio-system/reader"
    assert (method, path) == ("POST", "/api/v1/namespaces/istio-system/serviceaccounts/reader/token")
    assert request["body"]["spec"] == {"expirationSeconds": 3600}
