# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading of a Corefile, as far as it takes to stand beside what is in it.

https://coredns.io/manual/configuration/; words and blocks are those of github.com/coredns/caddy, caddyfile/lexer.go and
parse.go. Files that a Corefile imports are not looked into.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError


class CorefileError(MultimeshError):
    """A Corefile that cannot be read, or that has no room for what is to be added."""


@dataclass(frozen=True, slots=True)
class ServerBlock:
    """A server block, or a snippet, whose only key is its name in brackets.

    directives: the words of the first line of each.
    """

    keys: tuple[str, ...]
    directives: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the servers of a Corefile listen: what follows a zone, such as ``:53``, and the lines ``bind``."""

    port: str
    bind: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    first_line: int
    last_line: int


def server_blocks(text: str) -> list[ServerBlock]:
    """Server blocks and snippets in their order. Raises CorefileError."""
    return list(_Parser(list(_words(text))).blocks())


def zones(blocks: Iterable[ServerBlock]) -> set[str]:
    """Zones that the server blocks are for, in lower case and without the final dot."""
    return {_zone(key)[1] for block in blocks for key in block.keys}


def listening(blocks: Iterable[ServerBlock]) -> Listening:
    """Where a cluster's names are asked for: as the server of the root zone does, else the first one."""
    plain = [
        (zone, port, block)
        for block in blocks
        for key in block.keys
        for scheme, zone, port in [_zone(key)]
        if not scheme
    ]
    for zone, port, block in [*(entry for entry in plain if entry[0] == ""), *plain]:
        if not zone.startswith("("):
            return Listening(port, tuple(line for line in block.directives if line[0] == "bind"))
    raise CorefileError("it has no server block. Name the Corefile of the cluster's DNS.")


def has_directive(blocks: Iterable[ServerBlock], name: str) -> bool:
    """Whether any block, or snippet, has it."""
    return any(line[0] == name for block in blocks for line in block.directives)


def _zone(key: str) -> tuple[str, str, str]:
    """Scheme other than plain DNS, zone and port (with its colon) of a key of a server block."""
    scheme, marks, rest = key.rpartition("://")
    zone, colon, port = rest.rpartition(":")
    if not colon or not (port.isdigit() or port.startswith("{")):
        zone, port = rest, ""
    scheme = scheme if marks and scheme != "dns" else ""
    return scheme, zone.lower().rstrip("."), f":{port}" if port else ""


def _words(text: str) -> Iterator[_Word]:
    word, first, line = "", 1, 1
    comment = quoted = escaped = False
    for char in text.removeprefix("\ufeff"):
        if quoted:
            if not escaped and char == "\\":
                escaped = True
                continue
            if not escaped and char == '"':
                yield _Word(word, first, line)
                word, quoted = "", False
                continue
            line += char == "\n"
            word += "\\" + char if escaped and char != '"' else char
            escaped = False
        elif char.isspace():
            if word and char != "\r":
                yield _Word(word, first, line)
                word = ""
            if char == "\n":
                line += 1
                comment = False
        elif comment or char == "#":
            comment = True
        elif not word and char == '"':
            first, quoted = line, True
        else:
            first = first if word else line
            word += char
    if word:
        yield _Word(word, first, line)


class _Parser:
    def __init__(self, words: list[_Word]) -> None:
        self._words = words
        self._at = 0

    def blocks(self) -> Iterator[ServerBlock]:
        while self._at < len(self._words):
            keys = self._keys()
            if keys:
                yield ServerBlock(tuple(keys), tuple(self._directives()))

    def _text(self) -> str | None:
        return self._words[self._at].text if self._at < len(self._words) else None

    def _begins_line(self) -> bool:
        return self._at == 0 or self._words[self._at].first_line > self._words[self._at - 1].last_line

    def _keys(self) -> list[str]:
        keys: list[str] = []
        more = False
        while (text := self._text()) not in (None, "{"):
            if text == "import" and self._begins_line():
                self._at += 2  # what comes out of it cannot be seen here
                continue
            keys.append(str(text).removesuffix(","))
            more = str(text).endswith(",")
            self._at += 1
            if self._text() is not None and not more and self._begins_line():
                break
        if more:
            raise CorefileError("a comma after the last key of a server block. Correct the Corefile.")
        if text == "{" and not keys:
            raise CorefileError("a server block without keys. Correct the Corefile.")
        return keys

    def _directives(self) -> Iterator[tuple[str, ...]]:
        braces = self._text() == "{"
        self._at += braces
        while (text := self._text()) is not None:
            if text == "}":
                if not braces:
                    break
                self._at += 1
                return
            yield self._directive()
        if braces or text == "}":
            raise CorefileError("braces that do not match. Correct the Corefile.")

    def _directive(self) -> tuple[str, ...]:
        line = [str(self._text())]
        self._at += 1
        depth = 0
        while (text := self._text()) is not None:
            if depth == 0 and (self._begins_line() or text == "}"):
                break
            depth += (text == "{") - (text == "}")
            if depth == 0 and text != "}":
                line.append(text)
            self._at += 1
        if depth:
            raise CorefileError("braces that do not match. Correct the Corefile.")
        return tuple(line)
