# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests between meshes for as long as something is being done to them, every single one counted."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from tests.e2e.scenario import NAMESPACE
from tests.e2e.support import Federation

HTTP, NEW_CONNECTIONS = 80, 8081
"""Ports of greeter. Istio takes the second for TCP, so each connection of a client is one between the proxies."""


class Load:
    """Load over routes of callers and callees, in rounds of some seconds, until the block is left.

    One request of six takes a new connection with a handshake of its own, the others go over kept ones.
    failures: the end of each round in which something failed, with what fortio said. problems: rounds without a result.
    codes: HTTP status (or -1 for no answer) -> how often, by route.
    """

    def __init__(
        self, federation: Federation, routes: Iterable[tuple[str, str]], qps: float = 20, seconds: int = 20
    ) -> None:
        self._federation = federation
        self._qps = qps
        self._seconds = seconds
        self._stop = threading.Event()
        self.codes: dict[tuple[str, str], Counter[str]] = {route: Counter() for route in routes}
        self.problems: list[str] = []
        self.failures: list[str] = []
        self._threads = [
            threading.Thread(target=self._drive, args=(route, kept), daemon=True)
            for route in self.codes
            for kept in (True, False)
        ]

    @property
    def total(self) -> int:
        """Requests so far."""
        return sum(sum(counter.values()) for counter in self.codes.values())

    @property
    def failed(self) -> dict[tuple[str, str], dict[str, int]]:
        """What was not answered with 200, by route."""
        found = {
            route: {code: count for code, count in counter.items() if code != "200"}
            for route, counter in self.codes.items()
        }
        return {route: codes for route, codes in found.items() if codes}

    def wait_for(self, requests: int) -> None:
        """Go on until there were that many requests, or some failed."""
        while self.total < requests and not self.failed and not self.problems:
            self._stop.wait(1)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(self._seconds + 60)

    def _url(self, caller: str, callee: str, kept: bool) -> str:
        host = f"greeter.{NAMESPACE}.svc.{callee}.global" if caller != callee else f"greeter.{NAMESPACE}"
        return f"http://{host}:{HTTP if kept else NEW_CONNECTIONS}/"

    def _drive(self, route: tuple[str, str], kept: bool) -> None:
        caller, callee = route
        url = self._url(caller, callee, kept)
        qps = self._qps * (5 / 6 if kept else 1 / 6)
        while not self._stop.is_set():
            burst = Burst(self._federation, caller, url, qps, self._seconds, "2", f"-keepalive={str(kept).lower()}")
            try:
                burst.wait()
            except AssertionError as error:
                self.problems.append(f"{caller} -> {callee}: {error}")
                self._stop.wait(1)
                continue
            self.codes[route].update(burst.codes)
            if burst.codes.keys() - {"200"}:
                moment = time.strftime("%H:%M:%S")
                self.failures.append(
                    f"{moment} {caller} -> {callee} {'kept' if kept else 'new'}: {burst.codes}: {burst.said[-800:]}"
                )


class Burst:
    """One run of fortio from the load pod of a mesh, begun when this is made.

    After ``wait``: codes: HTTP status (or -1), for TCP ``OK`` or the error -> how often. slowest: seconds. said: what
    it wrote to stderr.
    """

    def __init__(
        self, federation: Federation, mesh: str, url: str, qps: float, seconds: float, connections: str, *options: str
    ) -> None:
        command = [
            "fortio", "load", "-quiet", "-json", "-", "-qps", f"{qps:.3f}", "-c", connections,
            "-n", str(int(qps * seconds)), "-timeout", "5s", *options, url,
        ]  # fmt: skip
        execute = ["exec", "-n", NAMESPACE, "deploy/load", "-c", "load", "--", *command]
        self._process = subprocess.Popen(
            federation.lab.kubectl_command(mesh, *execute), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.codes: dict[str, int] = {}
        self.slowest = 0.0
        self.said = ""

    def wait(self) -> Self:
        """Wait for its end and read the result. Raises AssertionError if there is none."""
        written, self.said = self._process.communicate()
        try:
            result = json.loads(written[written.index("{") :])
        except ValueError:
            raise AssertionError(f"no result: {self.said[-300:]}") from None
        self.codes = {str(code): int(count) for code, count in result["RetCodes"].items()}
        self.slowest = float(result["DurationHistogram"]["Max"])
        return self
