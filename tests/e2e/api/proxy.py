# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A reverse proxy before API servers. It numbers what a run asks of them, ends the run or fails a request on demand.

    with ApiProxy({"east": lab.kubeconfig("east")}, folder) as proxy:
        killed = Future()
        proxy.begin(on(Kill(killed), index=7))
        process = start_something_with(proxy.kubeconfig("east"))
        killed.set_result(process.pid)

Clients reach it over plain HTTP/1.1 on the loopback interface and need no credentials: it has those of the kubeconfig
that it stands for, so whoever asks through it is that user. One connection of a client is one connection to the API
server; what is sent over it passes unchanged and at once, so watches and upgraded connections (exec, port-forward) work
as without the proxy. Standard library and PyYAML only.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import http.client
import io
import json
import os
import re
import signal
import socket
import ssl
import struct
import tempfile
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit

import yaml

_T = TypeVar("_T")
_WAIT_SECONDS = 10.0  # for a connection to the API server, for the proxy's own thread, for the process to kill
_GOODBYE_SECONDS = 3.0
_LONGEST_HEAD = 1 << 20  # bytes; the limit of Go's server
_BLOCK = 1 << 16
_REASONS = {
    403: "Forbidden",
    409: "Conflict",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


@dataclass
class Request:
    """What a client asked.

    index: position among the requests to all clusters since `ApiProxy.begin`, from 0.
    number: position among those to this cluster, from 0.
    target: path and query.
    status: what the API server answered; None while it has not, and where it was not asked.
    fault: what the plan had happen to it.
    """

    index: int
    number: int
    mesh: str
    method: str
    target: str
    agent: str
    status: int | None = None
    fault: Fault | None = None

    @property
    def call(self) -> str:
        """``METHOD path?query``."""
        return f"{self.method} {self.target}"

    def __str__(self) -> str:
        return f"{self.index} {self.mesh}[{self.number}] {self.call} -> {self.status} {self.fault or ''}".rstrip()


@dataclass(frozen=True)
class Fault:
    """What happens to a request.

    late: the API server gets it and answers, the client never sees that answer. Otherwise the server does not get it.
    """

    late: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class Kill(Fault):
    """SIGKILL for a process and everything it started, see `kill_tree`.

    pid: resolved as soon as the process is there; it may send its first request before its starter knows its id.
    """

    pid: Future[int] = field(repr=False)


@dataclass(frozen=True)
class Answer(Fault):
    """An error of the API server's form.

    retry_after: seconds, for the header of that name.
    """

    status: int
    retry_after: int | None = None


@dataclass(frozen=True)
class Reset(Fault):
    """The connection breaks."""


@dataclass(frozen=True)
class Hang(Fault):
    """No answer comes; the connection stays open until the client or the proxy ends it."""


@dataclass(frozen=True)
class Slow(Fault):
    """The request waits for so many seconds and then passes, even if its client has given up, as on a slow network."""

    seconds: float


Plan = Callable[[Request], Fault | None]
"""Decides about each request as it arrives, None lets it pass; runs in the proxy's thread, one call at a time."""


def on(
    fault: Fault,
    *,
    index: int | None = None,
    mesh: str | None = None,
    call: str = "",
    agent: str = "",
    skip: int = 0,
    times: int | None = None,
) -> Plan:
    """A plan: this fault for the requests that match all that is given.

    index: `Request.index`.
    call, agent: regular expressions, searched in `Request.call` and in the user agent.
    skip: so many matching requests pass first.
    times: so many get the fault, then the rest passes; None for no limit.
    """
    seen = 0

    def plan(request: Request) -> Fault | None:
        nonlocal seen
        if (
            index not in (None, request.index)
            or mesh not in (None, request.mesh)
            or not re.search(call, request.call)
            or not re.search(agent, request.agent)
        ):
            return None
        seen += 1
        return fault if skip < seen and (times is None or seen <= skip + times) else None

    return plan


def let_pass(_request: Request) -> None:
    """The plan without faults."""


def kill_tree(pid: int) -> None:
    """SIGKILL to a process and all its descendants, also those in process groups and sessions of their own.

    Ansible's workers are such: the signal to the process group of ansible-playbook alone lets them finish their task.
    """
    stopped: set[int] = set()
    while found := _descendants(pid) - stopped:
        for process in found:  # what is stopped has no more children
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGSTOP)
        stopped |= found
    for process in stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _descendants(pid: int) -> set[int]:
    """The process and those below it."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            after_name = stat.read_text().rpartition(")")[2].split()
            children.setdefault(int(after_name[1]), []).append(int(stat.parent.name))
    found, waiting = set(), [pid]
    while waiting:
        process = waiting.pop()
        found.add(process)
        waiting += children.get(process, [])
    return found


class ApiProxy:
    """Stands before the API servers of some clusters while it is entered.

    kubeconfigs: by mesh, those of the API servers, with a client certificate inside.
    folder: where the kubeconfigs that lead through the proxy are written.
    Leaving it ends all connections and raises what went wrong in a plan.
    """

    def __init__(self, kubeconfigs: Mapping[str, Path], folder: Path) -> None:
        self.requests: list[Request] = []
        self._numbers: Counter[str] = Counter()
        self._servers = {mesh: _Server.of(path) for mesh, path in kubeconfigs.items()}
        self._folder = folder
        self._plan: Plan = let_pass
        self._problems: list[Exception] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=self._run, name="api-proxy")

    def __enter__(self) -> ApiProxy:
        self._thread.start()
        self._ready.result(_WAIT_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        loop, end = self._ready.result()
        loop.call_soon_threadsafe(end.set)
        self._thread.join(_WAIT_SECONDS)
        if self._thread.is_alive():
            raise RuntimeError("the proxy does not stop")
        if kind is None and self._problems:
            raise self._problems[0]

    def kubeconfig(self, mesh: str) -> Path:
        """The kubeconfig that leads to this cluster through the proxy; its one context is named as the mesh."""
        return self._folder / f"{mesh}.kubeconfig"

    def begin(self, plan: Plan = let_pass) -> None:
        """Forget all requests and end all connections of an earlier run; numbers start at 0, under this plan."""
        loop, _end = self._ready.result()
        asyncio.run_coroutine_threadsafe(self._begin(plan), loop).result(_WAIT_SECONDS)

    async def _begin(self, plan: Plan) -> None:
        await self._drop_connections()
        self._plan = plan
        self._numbers.clear()
        self.requests = []

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception as error:  # noqa: BLE001 - it belongs to the thread that waits
            if self._ready.done():
                self._problems.append(error)
            else:
                self._ready.set_exception(error)

    async def _main(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            for mesh in self._servers:
                accept = functools.partial(self._accept, mesh)
                listener = await asyncio.start_server(accept, "127.0.0.1", 0, limit=_LONGEST_HEAD)
                stack.callback(listener.close)
                port = listener.sockets[0].getsockname()[1]
                self.kubeconfig(mesh).write_text(json.dumps(_kubeconfig(mesh, port), indent=2) + "\n")
            loop, end = asyncio.get_running_loop(), asyncio.Event()
            loop.set_exception_handler(self._note)
            self._ready.set_result((loop, end))
            await end.wait()
        await self._drop_connections()

    def _note(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Keep what went wrong outside of any task."""
        error = context.get("exception")
        self._problems.append(error if isinstance(error, Exception) else RuntimeError(context["message"]))

    async def _drop_connections(self) -> None:
        while self._connections:
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, mesh: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client, server = _Peer(reader, writer), _Lazy(self._servers[mesh])

        def over(task: asyncio.Task[None]) -> None:
            self._connections.discard(task)
            client.abort()
            server.abort()

        connection = asyncio.create_task(self._serve(mesh, client, server))
        self._connections.add(connection)
        connection.add_done_callback(over)

    async def _serve(self, mesh: str, client: _Peer, server: _Lazy) -> None:
        """One connection of a client."""
        try:
            while await _another(client, server.peer) and await self._answer(mesh, client, server):
                pass
            await client.close()
            await server.close()
        except (OSError, EOFError, asyncio.LimitOverrunError):
            pass  # one side broke off; so does the other now
        except Exception as error:  # noqa: BLE001 - raised where the proxy is left
            self._problems.append(error)

    async def _answer(self, mesh: str, client: _Peer, server: _Lazy) -> bool:
        """One request. True if the connection can carry another."""
        head = await client.head()
        method, target = head.words[0], head.words[1]
        agent = head.headers.get("User-Agent", "")
        request = Request(len(self.requests), self._numbers[mesh], mesh, method, target, agent)
        self.requests.append(request)
        self._numbers[mesh] += 1
        fault = request.fault = self._plan(request)
        if isinstance(fault, Slow):
            await asyncio.sleep(fault.seconds)
        if fault is None or isinstance(fault, Slow):
            return await _exchange(request, head, client, await server.connected())
        if fault.late:
            await _exchange(request, head, client, await server.connected(), deliver=False)
            server.abort()
        else:
            async for _part in client.body(head.request_length):
                pass
        return await _misbehave(fault, request, client)


async def _another(client: _Peer, server: _Peer | None) -> bool:
    """Wait for a request. False if there will be none, for one side is gone."""
    ahead = client.ahead()
    await _any({ahead} | ({server.ahead()} if server else set()))
    return not (server and server.ahead().done()) and bool(ahead.result())


async def _exchange(request: Request, head: _Head, client: _Peer, server: _Peer, *, deliver: bool = True) -> bool:
    """Pass on a request and, with `deliver`, its answer. True if both connections can carry another.

    Raises OSError or EOFError if one side breaks off. A client that closes its half only counts as gone, as with Go's
    server.
    """
    uploaded = False
    await server.send(head.raw)

    async def upload() -> _Head:
        nonlocal uploaded
        async for part in client.body(head.request_length):
            await server.send(part)
        uploaded = True
        await client.ended()
        raise ConnectionAbortedError

    async def download() -> _Head:
        while True:
            answer = await server.head()
            final = answer.status >= 200 or answer.status == 101
            if final:
                request.status = answer.status
            if deliver:
                await client.send(answer.raw)
            if final:
                break
        if deliver:
            async for part in server.body(answer.answer_length(request.method)):
                await client.send(part)
        return answer

    answer = await _first(download(), upload())
    if answer.status == 101 and deliver:
        await _first(_pump(server, client), _pump(client, server))
    return uploaded and answer.status != 101 and head.kept_alive and answer.kept_alive


async def _misbehave(fault: Fault, request: Request, client: _Peer) -> bool:
    """Do to the client what is planned. True if its connection can carry another request."""
    match fault:
        case Kill():
            try:
                kill_tree(await asyncio.wait_for(asyncio.wrap_future(fault.pid), _WAIT_SECONDS))
            except TimeoutError:
                raise RuntimeError(f"nobody said which process to kill at {request}") from None
        case Answer():
            await client.send(_failure(fault, request.method))
            return True
        case Hang():
            await client.ended()
        case Reset():
            pass
        case _:
            raise TypeError(f"no fault of the proxy: {fault!r}")
    raise ConnectionAbortedError


def _failure(fault: Answer, method: str) -> bytes:
    """A Status of the API server (kubernetes.io: Response Status kind)."""
    body = json.dumps(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": f"the test proxy answers {fault.status}",
            "reason": _REASONS.get(fault.status, "Unknown"),
            "code": fault.status,
        }
    ).encode()
    lines = [
        f"HTTP/1.1 {fault.status} {http.client.responses.get(fault.status, 'Unknown')}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *([f"Retry-After: {fault.retry_after}"] if fault.retry_after is not None else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + (b"" if method == "HEAD" else body)


async def _any(tasks: set[asyncio.Task[Any]]) -> None:
    """Wait until one is done. Cancelling this leaves the tasks alone."""
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


async def _first(*parts: Coroutine[Any, Any, _T]) -> _T:
    """What the first part gives or raises; the others are cancelled."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        await _any(set(tasks))
        return next(task for task in tasks if task.done()).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(source: _Peer, sink: _Peer) -> None:
    async for part in source.body(None):
        await sink.send(part)


@dataclass(frozen=True)
class _Head:
    """Start line and header fields of a request or an answer.

    raw: as they came, with the empty line.
    """

    raw: bytes
    words: list[str]
    headers: http.client.HTTPMessage

    @classmethod
    def parse(cls, raw: bytes) -> _Head:
        line, _newline, fields = raw.partition(b"\r\n")
        words = line.decode("latin-1").split(" ", 2)
        if len(words) < 2:
            raise ConnectionError(f"not HTTP: {line[:80]!r}")
        return cls(raw, words, http.client.parse_headers(io.BytesIO(fields)))

    @property
    def status(self) -> int:
        return int(self.words[1])

    @property
    def kept_alive(self) -> bool:
        return "HTTP/1.0" not in self.words and "close" not in self.headers.get("Connection", "").lower()

    @property
    def request_length(self) -> int | str:
        """Length of a request's body in bytes, or ``chunked``."""
        return self._length() or 0

    def answer_length(self, method: str) -> int | str | None:
        """The same of the answer to this method; None if it lasts until the connection ends."""
        bodiless = method == "HEAD" or self.status < 200 or self.status in (204, 304)
        return 0 if bodiless else self._length()

    def _length(self) -> int | str | None:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return "chunked"
        length = self.headers.get("Content-Length")
        return None if length is None else int(length)


class _Peer:
    """One end of a connection, read one byte ahead so that its end is noticed while nothing is expected from it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._socket = writer.get_extra_info("socket")
        self._ahead: asyncio.Task[bytes] | None = None

    def ahead(self) -> asyncio.Task[bytes]:
        """The next byte, left where it is; empty at the end."""
        if self._ahead is None:
            self._ahead = asyncio.create_task(self._reader.read(1))
        return self._ahead

    async def ended(self) -> None:
        """Wait for the end, unless more is sent first: then wait for ever."""
        ahead = self.ahead()
        await _any({ahead})
        if ahead.result():
            await asyncio.Event().wait()

    async def head(self) -> _Head:
        """Read a head. Raises EOFError at the end of the connection."""
        first = await self._take_ahead()
        if not first:
            raise EOFError
        return _Head.parse(first + await self._reader.readuntil(b"\r\n\r\n"))

    async def body(self, length: int | str | None) -> AsyncIterator[bytes]:
        """Read a body as it was sent, the sizes of chunks included; see `_Head.answer_length`."""
        if length is None:
            yield await self._take_ahead()
            while part := await self._reader.read(_BLOCK):
                yield part
        elif length == "chunked":
            size = -1
            while size:
                line = await self._reader.readuntil(b"\n")
                yield line
                size = int(line.partition(b";")[0], 16)
                async for part in self._exactly(size + 2 if size else 0):
                    yield part
            while line.strip():  # trailing header fields, and the empty line
                line = await self._reader.readuntil(b"\n")
                yield line
        else:
            async for part in self._exactly(int(length)):
                yield part

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        """End the connection when all that was sent is on its way."""
        self._writer.close()
        await self._writer.wait_closed()

    def abort(self) -> None:
        """Break the connection off, with a reset if it is still open: nobody takes that for the end of a body."""
        if self._ahead is not None:
            self._ahead.cancel()
            self._ahead.add_done_callback(lambda task: task.cancelled() or task.exception())
        if self._socket.fileno() >= 0:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def _take_ahead(self) -> bytes:
        ahead = self.ahead()
        await _any({ahead})
        self._ahead = None
        return ahead.result()

    async def _exactly(self, length: int) -> AsyncIterator[bytes]:
        while length:
            part = await self._reader.read(min(length, _BLOCK))
            if not part:
                raise EOFError
            length -= len(part)
            yield part


@dataclass(frozen=True)
class _Server:
    """Where an API server is and how it is spoken to; `tls` is None for plain HTTP."""

    host: str
    port: int
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, kubeconfig: Path) -> _Server:
        """What the current context of a kubeconfig says."""
        config = yaml.safe_load(kubeconfig.read_text())
        context = _named(config, "context", config["current-context"])
        cluster = _named(config, "cluster", context["cluster"])
        user = _named(config, "user", context["user"])
        url = urlsplit(cluster["server"])
        assert url.hostname
        if url.scheme == "http":
            return cls(url.hostname, url.port or 80, None)
        tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        tls.set_alpn_protocols(["http/1.1"])
        with tempfile.NamedTemporaryFile() as file:  # the library reads certificates from files only
            for name in ("client-certificate-data", "client-key-data"):
                file.write(base64.b64decode(user[name]))
            file.flush()
            tls.load_cert_chain(file.name)
        return cls(url.hostname, url.port or 443, tls)

    async def connect(self) -> _Peer:
        """Raises OSError."""
        goodbye = _GOODBYE_SECONDS if self.tls else None
        opening = asyncio.open_connection(
            self.host, self.port, ssl=self.tls, limit=_LONGEST_HEAD, ssl_shutdown_timeout=goodbye
        )
        return _Peer(*await asyncio.wait_for(opening, _WAIT_SECONDS))


class _Lazy:
    """The connection to an API server, opened when it is first needed."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self.peer: _Peer | None = None

    async def connected(self) -> _Peer:
        """Raises OSError."""
        self.peer = self.peer or await self._server.connect()
        return self.peer

    async def close(self) -> None:
        if self.peer:
            await self.peer.close()

    def abort(self) -> None:
        if self.peer:
            self.peer.abort()
            self.peer = None


def _named(config: Mapping[str, Any], section: str, name: str) -> dict[str, Any]:
    """The entry of this name in a section (``cluster`` for ``clusters``) of a kubeconfig."""
    return next(entry[section] for entry in config[f"{section}s"] if entry["name"] == name)


def _kubeconfig(mesh: str, port: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": mesh, "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": mesh, "user": {}}],
        "contexts": [{"name": mesh, "context": {"cluster": mesh, "user": mesh}}],
        "current-context": mesh,
    }
