# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The proxy carries everything unchanged, counts right, and fails exactly what it is told to."""

from __future__ import annotations

import base64
import contextlib
import gc
import http.client
import http.server
import json
import os
import queue
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.api.proxy import Answer, ApiProxy, Fault, Hang, Kill, Request, Reset, Slow, on
from tests.lab.certificates import Authority

SECONDS = 20  # no test waits that long unless something is broken
Connect = Callable[..., http.client.HTTPConnection]


class Handler(http.server.BaseHTTPRequestHandler):
    """Paths say how the server answers."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.seen.append(f"{self.command} {self.path}")
        {
            "/chunks": self.chunks,
            "/events": self.events,
            "/silence": self.silence,
            "/rest": self.rest,
            "/upgrade": self.upgrade,
            "/leave": self.leave,
            "/break": self.break_off,
            "/nothing": self.nothing,
        }.get(urlsplit(self.path).path, self.echo)()

    do_POST = do_PATCH = do_DELETE = do_HEAD = do_GET

    def echo(self) -> None:
        body = self.body()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Port", str(self.client_address[1]))
        self.send_header("X-Test", self.headers.get("X-Test", ""))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def chunks(self) -> None:
        self.start_chunks()
        self.wfile.write(b"4;name=value\r\nab\r\n\r\n1\r\nc\r\n0\r\nX-Sum: 7\r\n\r\n")

    def events(self) -> None:
        self.start_chunks()
        while event := self.server.events.get():
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        self.wfile.write(b"0\r\n\r\n")

    def silence(self) -> None:
        self.start_chunks()
        with contextlib.suppress(ConnectionResetError):
            self.connection.recv(1)
        self.server.events.put(b"watch ended")
        self.close_connection = True

    def start_chunks(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def rest(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"x" * 100_000)
        self.close_connection = True

    def nothing(self) -> None:
        self.send_response(204)
        self.end_headers()

    def upgrade(self) -> None:
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "echo")
        self.end_headers()
        self.wfile.write(b"early")
        while part := self.connection.recv(65536):
            self.connection.sendall(part)
        self.server.events.put(b"tunnel ended")
        self.close_connection = True

    def leave(self) -> None:
        self.close_connection = True

    def break_off(self) -> None:
        self.start_chunks()
        self.wfile.write(b"5\r\nab")
        self.close_connection = True

    def log_message(self, *_arguments: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[str] = []
        self.events: queue.Queue[bytes] = queue.Queue()
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)

    def handle_error(self, *_arguments: object) -> None:
        pass  # clients that break off are what is tested


@contextlib.contextmanager
def serving(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.events.put(b"")  # for a handler that waits
        server.shutdown()
        thread.join()
        server.server_close()


def kubeconfig(folder: Path, server: str, cluster: dict[str, str], user: dict[str, str]) -> Path:
    path = folder / "original.kubeconfig"
    config = {
        "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(json.dumps(config))
    return path


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as server:
        yield server


@pytest.fixture
def proxy(server: Server, tmp_path: Path) -> Iterator[ApiProxy]:
    path = kubeconfig(tmp_path, f"http://127.0.0.1:{server.server_port}", {}, {})
    with ApiProxy({"east": path, "west": path}, tmp_path / "proxy") as proxy:
        yield proxy


def url(proxy: ApiProxy, mesh: str = "east") -> str:
    return json.loads(proxy.kubeconfig(mesh).read_text())["clusters"][0]["cluster"]["server"]


def address(proxy: ApiProxy, mesh: str = "east") -> tuple[str, int]:
    parts = urlsplit(url(proxy, mesh))
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port


@pytest.fixture
def connect() -> Iterator[Connect]:
    with contextlib.ExitStack() as stack:

        def connect(proxy: ApiProxy, mesh: str = "east") -> http.client.HTTPConnection:
            connection = http.client.HTTPConnection(*address(proxy, mesh), timeout=SECONDS)
            return stack.enter_context(contextlib.closing(connection))

        yield connect


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: Any = None, **headers: str
) -> http.client.HTTPResponse:
    """The answer, its body left to read."""
    connection.request(method, path, body, headers, encode_chunked=headers.get("Transfer-Encoding") == "chunked")
    return connection.getresponse()


@contextlib.contextmanager
def raw(proxy: ApiProxy, request: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(address(proxy), timeout=SECONDS) as plain:
        plain.sendall(request)
        yield plain


def read_until(plain: socket.socket, end: bytes) -> bytes:
    read = b""
    while not read.endswith(end):
        part = plain.recv(65536)
        assert part, read
        read += part
    return read


BIG = os.urandom(3_000_000)


@pytest.mark.parametrize("body", [b"", b"x", BIG], ids=len)
def test_bodies_pass_both_ways_over_one_connection(proxy: ApiProxy, body: bytes, connect: Connect) -> None:
    connection = connect(proxy)
    ports = set()
    for _repetition in range(3):
        answer = ask(connection, "POST", "/a?b=c", body, **{"X-Test": "kept"})
        assert (answer.status, answer.read(), answer.headers["X-Test"]) == (200, body, "kept")
        ports.add(answer.headers["X-Port"])
    assert len(ports) == 1


def test_chunked_bodies_pass_both_ways(proxy: ApiProxy, connect: Connect) -> None:
    connection = connect(proxy)
    parts = [BIG[:1], BIG[:100_000], b"end"]
    answer = ask(connection, "PATCH", "/a", iter(parts), **{"Transfer-Encoding": "chunked"})
    assert answer.read() == b"".join(parts)
    assert ask(connection, "GET", "/chunks").read() == b"ab\r\nc"
    assert ask(connection, "GET", "/after").read() == b""


def test_answers_without_body_and_without_length(proxy: ApiProxy, connect: Connect) -> None:
    connection = connect(proxy)
    for method, path in (("HEAD", "/a"), ("GET", "/nothing"), ("DELETE", "/a")):
        assert ask(connection, method, path).read() == b""
    answer = ask(connection, "GET", "/rest")
    assert len(answer.read()) == 100_000


def test_an_interim_answer_comes_before_the_body_is_sent(proxy: ApiProxy) -> None:
    head = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    with raw(proxy, head) as plain:
        assert b" 100 " in read_until(plain, b"\r\n\r\n")
        plain.sendall(b"ok")
        assert b" 200 " in read_until(plain, b"ok")


def test_events_of_a_watch_come_as_they_happen(proxy: ApiProxy, server: Server, connect: Connect) -> None:
    answer = ask(connect(proxy), "GET", "/events")
    for event in (b"first", b"second"):
        server.events.put(event)
        assert answer.read(len(event)) == event
    server.events.put(b"")
    assert answer.read() == b""


def test_a_watch_ends_at_the_server_when_its_client_leaves(proxy: ApiProxy, server: Server) -> None:
    with raw(proxy, b"GET /silence HTTP/1.1\r\n\r\n") as plain:
        read_until(plain, b"\r\n\r\n")
    assert server.events.get(timeout=SECONDS) == b"watch ended"


def test_an_upgraded_connection_is_a_tunnel(proxy: ApiProxy, server: Server) -> None:
    # The client may send before it has seen the answer.
    with raw(proxy, b"GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhasty") as plain:
        assert b" 101 " in read_until(plain, b"earlyhasty")
        sender = threading.Thread(target=plain.sendall, args=(BIG,))
        sender.start()
        assert read_until(plain, BIG[-100:]) == BIG
        sender.join()
    assert server.events.get(timeout=SECONDS) == b"tunnel ended"
    assert [request.status for request in proxy.requests] == [101]


@pytest.mark.parametrize(("path", "expected"), [("/leave", http.client.RemoteDisconnected), ("/break", OSError)])
def test_what_the_server_breaks_off_is_broken_off(
    proxy: ApiProxy, path: str, expected: type[Exception], connect: Connect
) -> None:
    with pytest.raises((expected, ConnectionResetError, http.client.IncompleteRead)):
        ask(connect(proxy), "GET", path).read()


def test_a_server_that_is_down_gives_a_broken_connection(proxy: ApiProxy, server: Server, connect: Connect) -> None:
    server.server_close()
    with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
        ask(connect(proxy), "GET", "/a")
    assert proxy.requests[0].status is None


def test_requests_are_numbered_over_all_clusters_and_per_cluster(proxy: ApiProxy, connect: Connect) -> None:
    for mesh, path in (("east", "/a"), ("west", "/b"), ("east", "/c?d=e")):
        ask(connect(proxy, mesh), "GET", path, **{"User-Agent": f"test-{mesh}"}).read()
    assert [
        (request.index, request.number, request.mesh, request.call, request.agent, request.status)
        for request in proxy.requests
    ] == [
        (0, 0, "east", "GET /a", "test-east", 200),
        (1, 0, "west", "GET /b", "test-west", 200),
        (2, 1, "east", "GET /c?d=e", "test-east", 200),
    ]
    proxy.begin()
    assert proxy.requests == []
    ask(connect(proxy, "west"), "GET", "/a").read()
    assert [(request.index, request.number) for request in proxy.requests] == [(0, 0)]


def test_many_connections_at_once(proxy: ApiProxy, connect: Connect) -> None:
    def one(number: int) -> bool:
        connection = connect(proxy, "east" if number % 2 else "west")
        bodies = [os.urandom(10_000 * size) for size in range(5)]
        return all(ask(connection, "POST", f"/{number}", body).read() == body for body in bodies)

    with ThreadPoolExecutor(20) as pool:
        assert all(pool.map(one, range(40)))
    assert [request.index for request in proxy.requests] == list(range(200))
    for mesh in ("east", "west"):
        assert [request.number for request in proxy.requests if request.mesh == mesh] == list(range(100))


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_error_instead_of_the_answer(
    proxy: ApiProxy, server: Server, status: int, late: bool, connect: Connect
) -> None:
    proxy.begin(on(Answer(status, retry_after=7, late=late), index=1))
    connection = connect(proxy)
    assert ask(connection, "POST", "/a", b"one").read() == b"one"
    answer = ask(connection, "POST", "/b", b"two")
    body = json.loads(answer.read())
    assert (answer.status, answer.headers["Retry-After"]) == (status, "7")
    assert (body["kind"], body["code"]) == ("Status", status)
    assert ask(connection, "POST", "/c", b"three").read() == b"three"
    assert server.seen == ["POST /a", *(["POST /b"] if late else []), "POST /c"]
    assert [request.status for request in proxy.requests] == [200, 200 if late else None, 200]


@pytest.mark.parametrize("late", [False, True])
def test_a_reset(proxy: ApiProxy, server: Server, late: bool, connect: Connect) -> None:
    proxy.begin(on(Reset(late=late)))
    with pytest.raises(ConnectionResetError):
        ask(connect(proxy), "POST", "/a", b"body")
    assert server.seen == (["POST /a"] if late else [])


@pytest.mark.parametrize("late", [False, True])
def test_a_request_that_hangs_until_the_proxy_ends_it(proxy: ApiProxy, server: Server, late: bool) -> None:
    proxy.begin(on(Hang(late=late)))
    with raw(proxy, b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n") as plain:
        plain.settimeout(0.2)
        with pytest.raises(TimeoutError):
            plain.recv(1)
        plain.settimeout(SECONDS)
        proxy.begin()
        with pytest.raises(ConnectionResetError):
            plain.recv(1)
    assert server.seen == (["GET /a"] if late else [])


def test_a_slow_request_comes_through(proxy: ApiProxy, connect: Connect) -> None:
    proxy.begin(on(Slow(0.1)))
    assert ask(connect(proxy), "POST", "/a", b"body").read() == b"body"


CLIENT = """
import pathlib, subprocess, sys, urllib.request
child = subprocess.Popen(["sleep", "60"], start_new_session=True)
pathlib.Path(sys.argv[2]).write_text(str(child.pid))
urllib.request.urlopen(sys.argv[1])
print("answered")
"""


@pytest.mark.parametrize("late", [False, True])
def test_a_killed_process_takes_all_it_started_with_it(
    proxy: ApiProxy, server: Server, tmp_path: Path, late: bool
) -> None:
    killed: Future[int] = Future()
    proxy.begin(on(Kill(killed, late=late), call="GET /last"))
    child = tmp_path / "child"
    process = subprocess.Popen(
        [sys.executable, "-c", CLIENT, f"{url(proxy)}/last", str(child)], stdout=subprocess.PIPE, text=True
    )
    killed.set_result(process.pid)
    output, _none = process.communicate(timeout=SECONDS)
    assert (output, process.returncode) == ("", -9)
    stat = Path("/proc") / child.read_text() / "stat"
    with contextlib.suppress(FileNotFoundError):
        while stat.read_text().rpartition(")")[2].split()[0] not in "ZX":
            pass
    assert server.seen == (["GET /last"] if late else [])


def request(index: int = 0, mesh: str = "east", call: str = "GET /api", agent: str = "Helm/3") -> Request:
    method, _space, target = call.partition(" ")
    return Request(index, index, mesh, method, target, agent)


@pytest.mark.parametrize(
    ("selection", "hit"),
    [
        ({}, [0, 1, 2, 3]),
        ({"index": 2}, [2]),
        ({"mesh": "west"}, [1, 3]),
        ({"call": "^PATCH .*/secrets/"}, [1, 2]),
        ({"call": "secrets/b"}, [2]),
        ({"agent": "^Helm"}, [0]),
        ({"skip": 1}, [1, 2, 3]),
        ({"times": 2}, [0, 1]),
        ({"mesh": "west", "skip": 1, "times": 1}, [3]),
        ({"mesh": "west", "index": 2}, []),
    ],
)
def test_selection(selection: dict[str, Any], hit: list[int]) -> None:
    requests = [
        request(0),
        request(1, "west", "PATCH /api/v1/secrets/a", "multimesh.istio"),
        request(2, "east", "PATCH /api/v1/secrets/b", "multimesh.istio"),
        request(3, "west", "GET /version", "kubectl"),
    ]
    fault = Reset()
    plan = on(fault, **selection)
    assert [asked.index for asked in requests if plan(asked) is fault] == hit


def test_tls_with_a_client_certificate(tmp_path: Path, connect: Connect) -> None:
    authority = Authority("test")
    identity = authority.issue("server", serves=["127.0.0.1"])
    for name, text in (("ca", authority.credential.certificate), ("server", identity.certificate + identity.key)):
        (tmp_path / name).write_text(text)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca"))
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_cert_chain(tmp_path / "server")
    admin = authority.issue("admin")

    def data(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    with serving(Server(tls)) as server:
        path = kubeconfig(
            tmp_path,
            f"https://127.0.0.1:{server.server_port}",
            {"certificate-authority-data": data(authority.credential.certificate)},
            {"client-certificate-data": data(admin.certificate), "client-key-data": data(admin.key)},
        )
        with ApiProxy({"east": path}, tmp_path / "proxy") as proxy:
            connection = connect(proxy)
            for body in (b"one", BIG):
                assert ask(connection, "POST", "/a", body).read() == body
            with raw(proxy, b"GET /upgrade HTTP/1.1\r\nHost: a\r\n\r\nhasty") as plain:
                read_until(plain, b"earlyhasty")
            assert server.events.get(timeout=SECONDS) == b"tunnel ended"
            assert len(ask(connection, "GET", "/rest").read()) == 100_000
            while proxy._connections:  # said goodbye to both sides
                time.sleep(0.01)


@pytest.mark.filterwarnings("error")  # a ResourceWarning is one of them
def test_nothing_is_left_behind(server: Server, tmp_path: Path) -> None:
    gc.collect()
    threads, heads = (
        set(threading.enumerate()),
        [b"", b"GET /a", b"GET /events HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"],
    )
    path = kubeconfig(tmp_path, f"http://127.0.0.1:{server.server_port}", {}, {})
    with contextlib.ExitStack() as clients:
        with ApiProxy({"east": path}, tmp_path / "proxy") as proxy:
            for plan in (on(Hang()), on(Slow(60)), on(Reset(), index=99)):
                proxy.begin(plan)
                for head in heads:
                    clients.enter_context(raw(proxy, head))
            with raw(proxy, b"GET /last HTTP/1.1\r\n\r\n") as plain:
                assert plain.recv(1)
        assert not [thread for thread in set(threading.enumerate()) - threads if thread.name.startswith("api-proxy")]
        with pytest.raises(ConnectionRefusedError), raw(proxy, b""):
            pass
    del proxy
    gc.collect()


def test_a_mistake_in_a_plan_is_not_swallowed(server: Server, tmp_path: Path, connect: Connect) -> None:
    def plan(_request: Request) -> Fault | None:
        raise ZeroDivisionError

    path = kubeconfig(tmp_path, f"http://127.0.0.1:{server.server_port}", {}, {})
    with pytest.raises(ZeroDivisionError), ApiProxy({"east": path}, tmp_path / "proxy") as proxy:  # noqa: PT012
        proxy.begin(plan)
        with pytest.raises(ConnectionResetError):
            ask(connect(proxy), "GET", "/a")


def test_a_proxy_that_cannot_start_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError), ApiProxy({}, tmp_path / "file"):
        pass
