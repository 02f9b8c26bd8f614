# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Byte streams to ports of pods, by the subresource ``portforward`` over WebSocket.

A stream ends in the network namespace of the pod, at its localhost: that is where Envoy's administration listens, and
no command is run in anybody's container. The protocol is that of kubelet (k8s.io/cri-streaming,
pkg/streaming/portforward/websocket.go): binary messages whose first byte is the channel, 0 for data and 1 for errors,
and the port as two bytes in the first message of each channel.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from ansible_collections.multimesh.istio.plugins.module_utils.kube import errors
from ansible_collections.multimesh.istio.plugins.module_utils.kube.connection import Credentials
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import PODS

_PROTOCOL = "v4.channel.k8s.io"
_DATA, _ERROR = 0, 1


class StreamError(errors.KubeError):
    """The way to the port is there, but the pod's end of it failed."""


class Stream:
    """An open connection to a port of a pod, for one thread."""

    def __init__(self, websocket: Any, call: errors.Call, deadline: float, clock: Callable[[], float]) -> None:
        self._websocket = websocket
        self._call = call
        self._deadline = deadline
        self._clock = clock
        self._begun: set[int] = set()

    def send(self, data: bytes) -> None:
        """Raises KubeError."""
        with self._translated():
            self._websocket.send_binary(bytes([_DATA]) + data)

    def receive(self) -> bytes:
        """What came next, b"" at the end. Raises KubeError."""
        while True:
            channel, data = self._message()
            if channel is None:
                return b""
            if channel not in self._begun:
                self._begun.add(channel)  # this one says which port it is
            elif channel == _ERROR and data:
                raise StreamError(f"{self._call}: {data.decode(errors='replace').strip()}")
            elif channel == _DATA and data:
                return data

    def _message(self) -> tuple[int | None, bytes]:
        from websocket import ABNF, WebSocketConnectionClosedException

        with self._translated():
            try:
                opcode, frame = self._websocket.recv_data_frame(False)
            except WebSocketConnectionClosedException:
                return None, b""
        if opcode == ABNF.OPCODE_CLOSE:
            return None, b""
        return (frame.data[0], bytes(frame.data[1:])) if frame.data else (_DATA, b"")

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        from websocket import WebSocketException, WebSocketTimeoutException

        left = self._deadline - self._clock()
        if left <= 0:
            raise StreamError(f"{self._call}: no answer in time")
        self._websocket.settimeout(left)
        try:
            yield
        except (WebSocketTimeoutException, TimeoutError):
            raise StreamError(f"{self._call}: no answer in time") from None
        except (WebSocketException, OSError) as cause:
            raise StreamError(f"{self._call}: the connection broke: {type(cause).__name__}: {cause}") from None


class PodStreams:
    """Opens streams to the pods of one cluster. Thread-safe."""

    def __init__(self, credentials: Credentials, mesh: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises MissingLibraryError and CredentialsError; nothing is sent yet."""
        try:
            import websocket
        except ImportError as error:
            raise errors.MissingLibraryError(
                f"{mesh}: the Python library websocket-client is missing for this interpreter ({error}). It comes with "
                "the library kubernetes: install that there, or set ansible_python_interpreter."
            ) from None
        self._create: Callable[..., Any] = websocket.create_connection
        self._credentials = credentials
        self._mesh = mesh
        self._clock = clock
        self._options = {**_tls_options(credentials, mesh), **_proxy_options(credentials.configuration)}

    @contextlib.contextmanager
    def open(self, namespace: str, pod: str, port: int, timeout: float) -> Iterator[Stream]:
        """A stream that is closed at the end of the block.

        timeout: seconds that all of it may take, the opening included.
        Raises KubeError: NotFoundError when the pod is gone, ForbiddenError without ``get`` and ``create`` on
        ``pods/portforward`` (until Kubernetes 1.34 ``get`` was enough), StreamError when the pod does not answer.
        """
        call = errors.Call(self._mesh, "create", f"portforward of Pod {namespace}/{pod}, port {port}")
        deadline = self._clock() + timeout
        try:
            websocket = self._connect(call, f"{PODS.path(namespace, pod)}/portforward?ports={port}", timeout)
        except errors.ForbiddenError as error:
            raise _named(call, error, namespace) from None
        try:
            yield Stream(websocket, call, deadline, self._clock)
        finally:
            websocket.shutdown()  # closing politely would wait for an answer

    def _connect(self, call: errors.Call, path: str, timeout: float) -> Any:
        from websocket import WebSocketBadStatusException, WebSocketException

        header = ["User-Agent: multimesh.istio"]
        token = self._credentials.authorization()
        if token:
            header.append(f"Authorization: {token}")
        server = self._credentials.server
        try:
            return self._create(
                server.replace("http", "ws", 1) + path,
                timeout=timeout,
                header=header,
                subprotocols=[_PROTOCOL],
                suppress_origin=True,
                **self._options,
            )
        except WebSocketBadStatusException as refusal:
            raise errors.refused(call, refusal.status_code, _status(getattr(refusal, "resp_body", None))) from None
        except (WebSocketException, OSError) as cause:
            raise errors.unreachable(call, server, f"{type(cause).__name__}: {cause}") from None


def _named(call: errors.Call, error: errors.ForbiddenError, namespace: str) -> errors.KubeError:
    """The check for ``create``, since Kubernetes 1.35 and after that for ``get``, does not say what is forbidden."""
    if "pods/portforward" in str(error):
        return error
    what = f'cannot create resource "pods/portforward" in API group "" in the namespace "{namespace}"'
    return errors.refused(call, 403, {"message": what})


def _status(body: bytes | None) -> dict[str, Any]:
    try:
        content = json.loads(body or b"")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _tls_options(credentials: Credentials, mesh: str) -> dict[str, Any]:
    """One TLS context for all streams, with what the pool of the same credentials checks and shows."""
    if not credentials.server.startswith("https:"):
        return {}
    configuration = credentials.configuration
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if not configuration.verify_ssl:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        elif configuration.ssl_ca_cert:
            context.load_verify_locations(configuration.ssl_ca_cert)
        else:
            context.load_default_certs()
        if configuration.assert_hostname is False:
            context.check_hostname = False
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, configuration.key_file)
    except (OSError, ValueError) as error:
        raise errors.CredentialsError(
            f"{mesh}: the certificates of the connection cannot be used: {error}. Correct ca_cert, client_cert and "
            "client_key, or the kubeconfig."
        ) from None
    options: dict[str, Any] = {"context": context}
    if configuration.tls_server_name:
        options["server_hostname"] = configuration.tls_server_name
    return {"sslopt": options}


def _proxy_options(configuration: Any) -> dict[str, Any]:
    """The proxy of the pool; without this the library would take one from the environment by itself."""
    if not getattr(configuration, "proxy", None):
        return {"http_no_proxy": ["*"]}
    proxy = urlsplit(configuration.proxy)
    options: dict[str, Any] = {"http_proxy_host": proxy.hostname, "http_proxy_port": proxy.port or 80}
    if proxy.username:
        options["http_proxy_auth"] = (unquote(proxy.username), unquote(proxy.password or ""))
    if configuration.no_proxy:
        options["http_no_proxy"] = [host.strip() for host in configuration.no_proxy.split(",")]
    return options
