# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ask one proxy or one replica of istiod what it holds. Nothing is run in a pod and nothing is changed."""

from __future__ import annotations

import http.client
import io
import ssl
from contextlib import AbstractContextManager
from typing import Any, Protocol

from ansible_collections.multimesh.istio.plugins.module_utils.kube.streams import Stream, StreamError
from ansible_collections.multimesh.istio.plugins.module_utils.rollout import held
from ansible_collections.multimesh.istio.plugins.module_utils.rollout.held import Held, Leaf
from ansible_collections.multimesh.istio.plugins.module_utils.rollout.targets import Target

_MAX_BYTES = 8 * 1024 * 1024
_ISTIOD = "istiod.istio-system.svc"


class Streams(Protocol):
    """What is used of ``kube.streams.PodStreams``."""

    def open(self, namespace: str, pod: str, port: int, timeout: float) -> AbstractContextManager[Stream]: ...


class Reader:
    """timeout: seconds that one pod may take. Thread-safe."""

    def __init__(self, streams: Streams, timeout: float) -> None:
        self._streams = streams
        self._timeout = timeout

    def proxy(self, target: Target) -> Held:
        """What Envoy holds now. Raises KubeError, UnreadableDump and UnreadableCertificate."""
        active = self._secrets(target, "dynamic_active_secrets")
        found = held.read_dump(active)
        if found.trusts and found.leaves:
            return found
        return held.read_dump(active, self._secrets(target, "dynamic_warming_secrets"))

    def replica(self, target: Target) -> Leaf:
        """The certificate that istiod shows now. Raises KubeError and UnreadableCertificate."""
        with self._streams.open(target.namespace, target.name, target.port, self._timeout) as stream:
            return held.leaf(_serving_certificate(stream, target))

    def _secrets(self, target: Target, kind: str) -> bytes:
        request = f"GET /config_dump?resource={kind} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        with self._streams.open(target.namespace, target.name, target.port, self._timeout) as stream:
            stream.send(request.encode())
            return _body(stream, target)


class _Incoming(io.RawIOBase):
    """A stream as http.client reads it, up to _MAX_BYTES."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._rest = b""
        self._left = _MAX_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._rest = self._rest or self._stream.receive()
        count = min(len(buffer), len(self._rest), self._left)
        buffer[:count] = self._rest[:count]
        self._rest, self._left = self._rest[count:], self._left - count
        return count

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)


def _body(stream: Stream, target: Target) -> bytes:
    """Content of an HTTP answer. Its own marks tell where it ends: Envoy closes the connection a second later."""
    response = http.client.HTTPResponse(_Incoming(stream))  # type: ignore[arg-type]
    try:
        response.begin()
        body = response.read()
    except http.client.HTTPException as error:
        raise StreamError(f"Envoy's administration of {target} broke off ({type(error).__name__})") from None
    if response.status != 200:
        raise StreamError(f"Envoy's administration of {target} answered HTTP {response.status}")
    return body


def _serving_certificate(stream: Stream, target: Target) -> bytes:
    """DER of the server's certificate. It is only looked at, so nothing is verified."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=_ISTIOD)
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            stream.send(outgoing.read())
            received = stream.receive()
            if not received:
                raise StreamError(f"{target} ended the TLS handshake") from None
            incoming.write(received)
        except ssl.SSLError as error:
            raise StreamError(f"{target} refused the TLS handshake: {error}") from None
        else:
            return tls.getpeercert(binary_form=True) or b""
