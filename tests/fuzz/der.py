# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""ASN.1 as a tree that can be changed and written down again, also in ways that DER forbids.

The libraries that make certificates refuse to make wrong ones; this makes whatever it is told to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
UTF8, PRINTABLE, T61, IA5, UTC_TIME, GENERALIZED_TIME, UNIVERSAL, BMP = 0x0C, 0x13, 0x14, 0x16, 0x17, 0x18, 0x1C, 0x1E
SEQUENCE, SET = 0x30, 0x31
_CONSTRUCTED = 0x20


class MalformedDer(ValueError):
    """Bytes that are not one or several whole elements."""


@dataclass
class Node:
    """One element.

    tag: identifier octet. content: of a primitive element, otherwise what stands before its children (the octet of
    unused bits of a BIT STRING). children: None for a primitive element.
    padding: superfluous octets in its length, -1 for the indefinite form; 0 is DER.
    """

    tag: int
    content: bytes = b""
    children: list[Node] | None = None
    padding: int = 0

    def encode(self) -> bytes:
        """The bytes of this element and all below it."""
        content = self.content
        if self.children is not None:
            content += b"".join(child.encode() for child in self.children)
        if self.padding < 0:
            return bytes([self.tag, 0x80]) + content + b"\0\0"
        return bytes([self.tag]) + length(len(content), self.padding) + content

    def walk(self) -> Iterator[tuple[Node, Place]]:
        """Every element below this one with its place, outer ones first."""
        for index, child in enumerate(self.children or ()):
            yield child, Place(self, index)
            yield from child.walk()

    def copy(self) -> Node:
        """A tree of its own."""
        children = None if self.children is None else [child.copy() for child in self.children]
        return Node(self.tag, self.content, children, self.padding)


@dataclass(frozen=True)
class Place:
    """Where an element stands: the position among its parent's children."""

    parent: Node
    index: int

    @property
    def siblings(self) -> list[Node]:
        """The children of the parent, to be changed."""
        assert self.parent.children is not None
        return self.parent.children


@dataclass
class _Reader:
    data: bytes
    position: int = 0
    depth: int = field(default=0)

    def elements(self, end: int) -> list[Node]:
        found = []
        while self.position < end:
            found.append(self.element(end))
        return found

    def element(self, end: int) -> Node:
        if end - self.position < 2 or self.depth > 30:
            raise MalformedDer
        tag, size = self.data[self.position], self.data[self.position + 1]
        self.position += 2
        if tag & 0x1F == 0x1F:
            raise MalformedDer
        if size & 0x80:
            octets = size & 0x7F
            if not 1 <= octets <= 3 or self.position + octets > end:
                raise MalformedDer
            size = int.from_bytes(self.data[self.position : self.position + octets], "big")
            self.position += octets
        start, stop = self.position, self.position + size
        if stop > end:
            raise MalformedDer
        if tag & _CONSTRUCTED:
            self.depth += 1
            node = Node(tag, b"", self.elements(stop))
            self.depth -= 1
            return node
        self.position = stop
        return self._primitive(tag, start, stop)

    def _primitive(self, tag: int, start: int, stop: int) -> Node:
        """A primitive element; strings of octets and bits that hold DER are opened, as extensions and keys are."""
        skipped = {OCTET_STRING: 0, BIT_STRING: 1}.get(tag)
        if skipped is not None and stop - start > skipped and self.data[start + skipped] in (SEQUENCE, BIT_STRING):
            inner = _Reader(self.data, start + skipped, self.depth + 1)
            try:
                return Node(tag, self.data[start : start + skipped], inner.elements(stop))
            except MalformedDer:
                pass
        return Node(tag, self.data[start:stop])


def parse(data: bytes) -> Node:
    """The one element that the bytes are.

    Raises MalformedDer, also for tags of several octets and the indefinite form.
    """
    reader = _Reader(data)
    node = reader.element(len(data))
    if reader.position != len(data):
        raise MalformedDer
    return node


def length(size: int, padding: int = 0) -> bytes:
    """Length octets; padding: superfluous octets, forbidden in DER."""
    if size < 0x80 and not padding:
        return bytes([size])
    octets = size.to_bytes(max(1, (size.bit_length() + 7) // 8) + padding, "big")
    return bytes([0x80 | len(octets)]) + octets


def wrap(tag: int, *contents: bytes) -> bytes:
    """One element around what the contents are one after the other."""
    content = b"".join(contents)
    return bytes([tag]) + length(len(content)) + content


def sequence(*contents: bytes) -> bytes:
    """A SEQUENCE of elements."""
    return wrap(SEQUENCE, *contents)


def integer(value: int) -> bytes:
    """An INTEGER."""
    return wrap(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER."""
    first, second, *rest = (int(part) for part in dotted.split("."))
    content = b""
    for number in (first * 40 + second, *rest):
        octets = [number & 0x7F]
        while number := number >> 7:
            octets.append(0x80 | (number & 0x7F))
        content += bytes(reversed(octets))
    return wrap(OID, content)


def bits(content: bytes, unused: int = 0) -> bytes:
    """A BIT STRING."""
    return wrap(BIT_STRING, bytes([unused]), content)
