# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an API server can do: server-side apply PATCHes, ready made, over kept connections, and nothing else.

The processor is the API server's own: on a machine with few cores whatever a client does is taken from it.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from tests.bench.objects import Object
from tests.lab.kubeapi import path_of


class Server:
    """An API server and the credentials of a lab's kubeconfig for it."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._url = urlsplit(cluster["server"])
        ca = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._tls = ssl.create_default_context(cadata=ca)
        with tempfile.NamedTemporaryFile() as file:  # the library reads certificates from files only
            for name in ("client-certificate-data", "client-key-data"):
                file.write(base64.b64decode(user[name]))
            file.flush()
            self._tls.load_cert_chain(file.name)

    def connect(self) -> http.client.HTTPSConnection:
        assert self._url.hostname
        connection = http.client.HTTPSConnection(self._url.hostname, self._url.port, context=self._tls, timeout=60)
        connection.connect()
        return connection


def apply(kubeconfig: Path, objects: Sequence[Object], connections: int) -> float:
    """Seconds from the first PATCH to the last answer. Raises RuntimeError if one is refused."""
    server = Server(kubeconfig)
    work = iter([_request(item) for item in objects])
    opened = [server.connect() for _number in range(connections)]
    refused: list[str] = []
    lock = threading.Lock()

    def send(connection: http.client.HTTPSConnection) -> None:
        headers = {"Content-Type": "application/apply-patch+yaml", "Accept": "application/json"}
        while True:
            with lock:
                request = next(work, None)
            if request is None:
                return
            path, body = request
            connection.request("PATCH", path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status >= 400:
                refused.append(text.decode())

    threads = [threading.Thread(target=send, args=[connection]) for connection in opened]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - begin
    for connection in opened:
        connection.close()
    if refused:
        raise RuntimeError(f"{len(refused)} PATCHes were refused: {refused[0]}")
    return seconds


def _request(item: Object) -> tuple[str, bytes]:
    return f"{path_of(item)}?fieldManager=bare&fieldValidation=Strict", json.dumps(item).encode()
