# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import ssl
from datetime import timedelta

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.kube.streams import StreamError
from ansible_collections.multimesh.istio.plugins.module_utils.pki import keys
from ansible_collections.multimesh.istio.plugins.module_utils.pki.bundle import certificate_pem
from ansible_collections.multimesh.istio.plugins.module_utils.rollout import targets
from ansible_collections.multimesh.istio.plugins.module_utils.rollout.reader import Reader
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.unit.plugins.module_utils.rollout import dumps
from tests.unit.plugins.module_utils.rollout.pods import istiod, pod


class Scripted:
    """Streams that answer by what was asked for; remembers the requests."""

    def __init__(self, answers):
        self.answers = answers
        self.asked = []

    @contextlib.contextmanager
    def open(self, namespace, name, port, timeout):
        self.asked.append((namespace, name, port, timeout))
        yield self

    def send(self, data):
        self.request = data.decode()
        path = self.request.split()[1]
        self.left = next(answer for part, answer in self.answers.items() if part in path)

    def receive(self):
        step = max(1000, len(self.left) // 4)
        received, self.left = self.left[:step], self.left[step:]
        return received


def reply(body, status="200 OK", chunked=False):
    if chunked:
        halves = body[: len(body) // 2], body[len(body) // 2 :]
        parts = b"".join(b"%x\r\n%s\r\n" % (len(half), half) for half in halves)
        return f"HTTP/1.1 {status}\r\ntransfer-encoding: chunked\r\n\r\n".encode() + parts + b"0\r\n\r\n"
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize("chunked", [True, False])
def test_a_proxy(chunked):
    streams = Scripted({"active": reply(dumps.proxy("old", "old"), chunked=chunked)})
    held = Reader(streams, 5).proxy(targets.proxy(pod("a", env={"PROXY_CONFIG": '{"proxyAdminPort": 15099}'})))
    assert held.trusts[0].roots == {dumps.root_id("old")}
    assert streams.asked == [("shop", "a", 15099, 5)]
    assert "Connection: close\r\n" in streams.request


def test_a_proxy_that_is_still_waiting():
    streams = Scripted({"active": reply(b"{}"), "warming": reply(dumps.dump({"name": "ROOTCA"}))})
    assert Reader(streams, 5).proxy(targets.proxy(pod("a"))).pending


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "broke off"),
        (reply(b"{}", "404 Not Found"), "answered HTTP 404"),
        (reply(dumps.proxy("old", "old"))[:-50], "broke off"),
        (b"SSH-2.0-x\r\n", "broke off"),
        (reply(b" " * 9_000_000), "broke off"),
    ],
)
def test_what_is_no_answer(answer, text):
    with pytest.raises(StreamError, match=text):
        Reader(Scripted({"active": answer}), 5).proxy(targets.proxy(pod("a")))


class TlsServer:
    """The other end of a stream: a TLS server without a socket."""

    def __init__(self, context, chunk=300):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.chunk = chunk

    @contextlib.contextmanager
    def open(self, _namespace, _name, port, _timeout):
        assert port == 15012
        yield self

    def send(self, data):
        self.incoming.write(data)
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLError):
            self.tls.do_handshake()

    def receive(self):
        return self.outgoing.read(self.chunk)


SERIAL = 0x5EAF


@pytest.fixture
def server_context(tmp_path):
    key = keys.generate("ecdsa-p256")
    builder = x509.CertificateBuilder(x509.Name([]), x509.Name([]), key.public_key(), SERIAL)
    builder = builder.not_valid_before(dumps.NOW).not_valid_after(dumps.NOW + timedelta(days=1))
    file = tmp_path / "server.pem"
    file.touch(mode=0o600)
    file.write_bytes(certificate_pem(builder.sign(key, hashes.SHA256())) + keys.private_pem(key, None))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_replica(server_context, version):
    server_context.maximum_version = version
    found = Reader(TlsServer(server_context), 5).replica(targets.replica(istiod("istiod-1")))
    assert found.serial == f"{SERIAL:x}"


@pytest.mark.parametrize(("received", "text"), [(b"", "ended the TLS handshake"), (b"x" * 99, "refused the TLS")])
def test_a_replica_without_tls(received, text):
    server = TlsServer(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    server.receive = lambda: received
    with pytest.raises(StreamError, match=text):
        Reader(server, 5).replica(targets.replica(istiod("istiod-1")))
