# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import builtins
import json
import ssl
from types import SimpleNamespace

import pytest
import websocket
from ansible_collections.multimesh.istio.plugins.module_utils.kube import errors
from ansible_collections.multimesh.istio.plugins.module_utils.kube.connection import Credentials
from ansible_collections.multimesh.istio.plugins.module_utils.kube.streams import PodStreams, StreamError
from websocket import ABNF

DATA, ERROR = b"\x00", b"\x01"
PORT = (15000).to_bytes(2, "little")
HELLO = [DATA + PORT, ERROR + PORT]


class Socket:
    """Gives these messages, then the end."""

    def __init__(self, *messages):
        self.messages = list(messages)
        self.sent = []
        self.timeouts = []
        self.closed = False

    def settimeout(self, seconds):
        self.timeouts.append(seconds)

    def send_binary(self, data):
        self.sent.append(data)

    def recv_data_frame(self, _control):
        message = self.messages.pop(0) if self.messages else websocket.WebSocketConnectionClosedException("end")
        if isinstance(message, Exception):
            raise message
        opcode = ABNF.OPCODE_CLOSE if message is None else ABNF.OPCODE_BINARY
        return opcode, SimpleNamespace(data=message)

    def shutdown(self):
        self.closed = True


def configuration(**given):
    names = ("ssl_ca_cert", "assert_hostname", "cert_file", "key_file", "tls_server_name", "proxy", "no_proxy")
    return SimpleNamespace(**{**dict.fromkeys(names), "verify_ssl": True, **given})


@pytest.fixture
def streams(monkeypatch):
    """Makes streams whose connections lead to a Socket, or raise; what was asked for is in ``asked``."""

    def make(answer, server="https://api.test", token=None, clock=lambda: 0.0, **given):
        def create(url, **options):
            make.asked.append((url, options))
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(websocket, "create_connection", create)
        return PodStreams(Credentials(None, server, lambda: token, configuration(**given)), "west", clock)

    make.asked = []
    return make


def test_a_stream(streams):
    socket = Socket(*HELLO, DATA + b"ab", b"", DATA, DATA + b"c")
    with streams(socket, token="Bearer t").open("shop", "cart-1", 15000, 5) as stream:
        stream.send(b"GET")
        assert stream.receive() == b"ab"
        assert (stream.receive(), stream.receive()) == (b"c", b"")
    assert socket.sent == [DATA + b"GET"]
    assert socket.closed
    assert set(socket.timeouts) == {5}
    url, options = streams.asked[0]
    assert url == "wss://api.test/api/v1/namespaces/shop/pods/cart-1/portforward?ports=15000"
    assert options["header"] == ["User-Agent: multimesh.istio", "Authorization: Bearer t"]
    assert options["subprotocols"] == ["v4.channel.k8s.io"]
    assert options["http_no_proxy"] == ["*"]


def test_the_end_may_be_said(streams):
    with streams(Socket(*HELLO, DATA + b"a", None)).open("shop", "cart-1", 15000, 5) as stream:
        assert (stream.receive(), stream.receive()) == (b"a", b"")


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([*HELLO, ERROR + b"dial tcp4 127.0.0.1:15000: connection refused"], "port 15000: dial tcp4"),
        ([*HELLO, websocket.WebSocketTimeoutException("x")], "no answer in time"),
        ([*HELLO, TimeoutError("x")], "no answer in time"),
        ([*HELLO, ConnectionResetError("x")], "the connection broke: ConnectionResetError"),
        ([*HELLO, websocket.WebSocketProtocolException("x")], "the connection broke"),
    ],
)
def test_what_goes_wrong_on_the_way(streams, messages, text):
    socket = Socket(*messages)
    opened = streams(socket).open("shop", "cart-1", 15000, 5)
    with pytest.raises(StreamError, match=text) as caught, opened as stream:
        stream.receive()
    assert str(caught.value).startswith("west: create portforward of Pod shop/cart-1, port 15000: ")
    assert socket.closed


def test_time_is_for_all_of_it(streams):
    now = [0.0]
    with streams(Socket(*HELLO), clock=lambda: now[0]).open("shop", "a", 15000, 5) as stream:
        now[0] = 5.0
        with pytest.raises(StreamError, match="no answer in time"):
            stream.send(b"x")


@pytest.mark.parametrize(
    ("status", "kind"), [(401, errors.UnauthorizedError), (403, errors.ForbiddenError), (404, errors.NotFoundError)]
)
def test_a_refusal(streams, status, kind):
    body = json.dumps({"message": 'cannot create resource "pods/portforward"'}).encode()
    refusal = websocket.WebSocketBadStatusException("x", status, resp_body=body)
    with pytest.raises(kind, match=f"HTTP {status}: cannot create") as caught, streams(refusal).open("s", "a", 1, 5):
        pass
    assert caught.value.status == status


def test_a_right_that_the_api_server_does_not_name(streams):
    body = b'{"message": "pods \\"cart-1\\" is forbidden: "}'
    refusal = websocket.WebSocketBadStatusException("x", 403, resp_body=body)
    text = r'cannot create resource "pods/portforward" in API group "" in the namespace "shop"\. Give this user'
    with pytest.raises(errors.ForbiddenError, match=text), streams(refusal).open("shop", "cart-1", 1, 5):
        pass


@pytest.mark.parametrize("body", [None, b"", b"not json", b"[]"])
def test_a_refusal_without_words(streams, body):
    refusal = websocket.WebSocketBadStatusException("x", 500, resp_body=body)
    with pytest.raises(errors.ServerError, match="no message"), streams(refusal).open("s", "a", 1, 5):
        pass


@pytest.mark.parametrize("cause", [ConnectionRefusedError("x"), ssl.SSLError("x"), websocket.WebSocketException("x")])
def test_no_api_server(streams, cause):
    with pytest.raises(errors.UnreachableError, match=r"https://api\.test"), streams(cause).open("s", "a", 1, 5):
        pass


def test_tls(streams):
    def context(**given):
        with streams(Socket(), **given).open("s", "a", 1, 5):
            return streams.asked[-1][1]["sslopt"]

    strict = context()["context"]
    assert (strict.check_hostname, strict.verify_mode) == (True, ssl.CERT_REQUIRED)
    assert context(verify_ssl=False)["context"].verify_mode == ssl.CERT_NONE
    named = context(tls_server_name="kubernetes", assert_hostname=False)
    assert named["server_hostname"] == "kubernetes"
    assert not named["context"].check_hostname
    with pytest.raises(errors.CredentialsError, match="west: the certificates of the connection"):
        context(ssl_ca_cert="/nonexistent/ca.crt")


def test_no_tls(streams):
    with streams(Socket(), server="http://127.0.0.1:8001/k8s").open("s", "a", 1, 5):
        pass
    url, options = streams.asked[0]
    assert url.startswith("ws://127.0.0.1:8001/k8s/api/v1/")
    assert "sslopt" not in options


def test_a_proxy(streams):
    with streams(Socket(), proxy="http://u%40x:p@proxy.test:3128", no_proxy="a.test, .b").open("s", "a", 1, 5):
        pass
    options = streams.asked[0][1]
    assert (options["http_proxy_host"], options["http_proxy_port"]) == ("proxy.test", 3128)
    assert options["http_proxy_auth"] == ("u@x", "p")
    assert options["http_no_proxy"] == ["a.test", ".b"]


def test_the_library_is_missing(monkeypatch):
    load = builtins.__import__

    def without(name, *rest):
        if name == "websocket":
            raise ImportError("No module named 'websocket'")
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(errors.MissingLibraryError, match=r"^west: the Python library websocket-client is missing"):
        PodStreams(Credentials(None, "https://api.test", lambda: None, configuration()), "west")
