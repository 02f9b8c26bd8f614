# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Go: as istiod, and as a peer. One process answers all questions."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.fuzz import keyring
from tests.fuzz.keyring import Key
from tests.fuzz.verifiers import LEAVES, Bundle, complaint
from tests.lab import gobuild

MODULE = gobuild.Module(
    name="fuzz", folder=Path(__file__).parents[1] / "go", programs=("multimesh.istio/fuzz",), expected_seconds=15
)


def program() -> Path:
    """The program, built if it is not there yet."""
    return gobuild.ensure(MODULE) / "bin" / "fuzz"


@dataclass(frozen=True)
class Connection:
    """One handshake: the socket of a server, the certificates to present, the roots for the server's. All PEM."""

    socket: Path
    chain: bytes
    roots: bytes
    now: int


@dataclass(frozen=True)
class Outcome:
    """What became of it: refusal is None if the server took the certificates."""

    refusal: str | None


class Go:
    """The program. leaf_key: of all leaves, ECDSA."""

    def __init__(self, path: Path, leaf_key: Key) -> None:
        self._process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._send({"leafKey": _text(keyring.private_der(leaf_key))})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.communicate()

    def judge(self, bundle: Bundle) -> tuple[Bundle, list[str]]:
        """The bundle with its leaves, and what is wrong with it."""
        asked = {
            "files": {name: _text(content) for name, content in bundle.files.items()},
            "federation": _text(bundle.federation),
            "now": bundle.now,
            "leaves": [{"uri": leaf.uri, "dns": leaf.dns} for leaf in LEAVES],
        }
        said = self._ask({"judge": asked})
        if said["load"]:
            return bundle, [f"istiod does not load it: {said['load']}"]
        complaints = [
            problem
            for leaf, answer in zip(LEAVES, said["leaves"], strict=True)
            for problem in complaint("Go", leaf, answer["refusal"] or None)
        ]
        leaves = tuple(base64.b64decode(answer["certificate"] or "") for answer in said["leaves"])
        return replace(bundle, leaves=leaves), complaints

    def connect(self, connections: Sequence[Connection]) -> list[Outcome]:
        """Make connections, some at a time."""
        asked = [
            {**asdict(one), "socket": str(one.socket), "chain": _text(one.chain), "roots": _text(one.roots)}
            for one in connections
        ]
        answers = self._ask({"connect": asked})
        return [
            Outcome(None if answer["accepted"] else answer["reason"] or f"no answer, {answer['fault']}")
            for answer in answers
        ]

    def _ask(self, question: Any) -> Any:
        self._send(question)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the Go program has ended")
        return json.loads(line)

    def _send(self, message: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
