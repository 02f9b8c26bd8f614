# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changes to the ASN.1 of certificates and revocation lists, before they are signed and afterwards, and of the key."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.fuzz import der, keyring
from tests.fuzz.draft import Draft
from tests.fuzz.mutators.fields import junk, target
from tests.fuzz.plan import HASHES

TAGS = (*range(0x01, 0x0D), *range(0x10, 0x1F), 0x30, 0x31, 0x80, 0x81, 0x82, 0x86, 0x87, 0xA0, 0xA1, 0xA2, 0xA3, 0xA4)
CONTENTS = (b"", b"\0", b"\1", b"\xff", b"\x80", b"\0\0", b"\0\xff", b"\x7f" * 9, b"\xff" * 9, b"x" * 300)

Change = Callable[[random.Random, der.Node], der.Node]


def delete(rng: random.Random, tree: der.Node) -> der.Node:
    """An element less."""
    _node, place = rng.choice(list(tree.walk()))
    del place.siblings[place.index]
    return tree


def double(rng: random.Random, tree: der.Node) -> der.Node:
    """An element twice."""
    node, place = rng.choice(list(tree.walk()))
    place.siblings.insert(rng.randrange(len(place.siblings) + 1), node.copy())
    return tree


def swap(rng: random.Random, tree: der.Node) -> der.Node:
    """Two neighbours exchanged."""
    _node, place = rng.choice(list(tree.walk()))
    other = rng.randrange(len(place.siblings))
    siblings = place.siblings
    siblings[place.index], siblings[other] = siblings[other], siblings[place.index]
    return tree


def splice(rng: random.Random, tree: der.Node) -> der.Node:
    """An element in the place of another one."""
    nodes = list(tree.walk())
    (node, _at), (_child, place) = rng.choice(nodes), rng.choice(nodes)
    place.siblings[place.index] = node.copy()
    return tree


def retag(rng: random.Random, tree: der.Node) -> der.Node:
    """Another tag."""
    node, _place = rng.choice(list(tree.walk()))
    node.tag = rng.choice((rng.choice(TAGS), node.tag ^ 0x20, node.tag ^ 0x80))
    return tree


def lengthen(rng: random.Random, tree: der.Node) -> der.Node:
    """Superfluous octets in a length, or the indefinite form: BER."""
    node, _place = rng.choice([*tree.walk(), (tree, None)])
    node.padding = rng.choice((1, 1, 2, 5, -1, -1))
    return tree


def primitive(rng: random.Random, tree: der.Node) -> der.Node:
    """A primitive element."""
    return rng.choice([node for node, _place in tree.walk() if node.children is None])


def flip(rng: random.Random, tree: der.Node) -> der.Node:
    """One bit of a content."""
    node = primitive(rng, tree)
    if node.content:
        content = bytearray(node.content)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        node.content = bytes(content)
    return tree


def replace(rng: random.Random, tree: der.Node) -> der.Node:
    """Another content."""
    node = primitive(rng, tree)
    node.content = rng.choice((*CONTENTS, junk(rng), node.content[:-1], node.content + b"\0", b"\0" + node.content))
    return tree


def constructed(rng: random.Random, tree: der.Node) -> der.Node:
    """A string in pieces: BER."""
    node = primitive(rng, tree)
    at = rng.randrange(len(node.content) + 1)
    node.children = [der.Node(node.tag, node.content[:at]), der.Node(node.tag, node.content[at:])]
    node.tag, node.content = node.tag | 0x20, b""
    return tree


def insert(rng: random.Random, tree: der.Node) -> der.Node:
    """An element more."""
    _node, place = rng.choice(list(tree.walk()))
    place.siblings.insert(place.index, der.Node(rng.choice(TAGS), rng.choice(CONTENTS)))
    return tree


def nest(rng: random.Random, tree: der.Node) -> der.Node:
    """An element inside a new one, or inside a thousand."""
    node, place = rng.choice(list(tree.walk()))
    inner = node.encode()
    for _turn in range(rng.choice((0, 0, 0, 30, 1000))):
        inner = der.sequence(inner)
    place.siblings[place.index] = der.Node(rng.choice((der.SEQUENCE,) * 9 + (der.OCTET_STRING,)), inner)
    return tree


CHANGES: tuple[tuple[str, Change, int], ...] = (
    ("delete", delete, 8),
    ("double", double, 8),
    ("swap", swap, 6),
    ("splice", splice, 8),
    ("retag", retag, 10),
    ("length", lengthen, 10),
    ("flip", flip, 15),
    ("replace", replace, 15),
    ("constructed", constructed, 5),
    ("insert", insert, 6),
    ("nest", nest, 3),
)


def before_signing(change: Change) -> Callable[[Draft], None]:
    """The change made in what is signed: the signature is good."""

    def apply(draft: Draft) -> None:
        seed = draft.rng.getrandbits(64)

        def reshape(tree: der.Node) -> der.Node:
            return change(random.Random(seed), tree)

        if draft.lists is not None and draft.rng.random() < 0.4:
            draft.lists.append((draft.rng.randrange(12), lambda plan: plan.reshape.append(reshape)))
        else:
            target(draft).reshape.append(reshape)

    return apply


def _some(draft: Draft, *names: str) -> str:
    """One of these, or a revocation list if there are any."""
    lists = sorted(name for name in draft.encoded if name.startswith("list "))
    return draft.rng.choice(lists if lists and draft.rng.random() < 0.4 else names)


def after_signing(change: Change) -> Callable[[Draft], None]:
    """The change made in a finished certificate or in the key."""

    def apply(draft: Draft) -> None:
        name = _some(draft, "ca", "ca", "root", "key", "key")
        try:
            draft.encoded[name] = change(draft.rng, der.parse(draft.encoded[name])).encode()
        except (der.MalformedDer, IndexError):  # a change before has left nothing to choose from
            cut(draft)

    return apply


def cut(draft: Draft) -> None:
    """The end missing."""
    name = _some(draft, "ca", "root", "key")
    content = draft.encoded[name]
    draft.encoded[name] = content[: draft.rng.randrange(len(content) + 1)]


def append(draft: Draft) -> None:
    """Bytes after the end."""
    name = _some(draft, "ca", "root", "key")
    draft.encoded[name] += draft.rng.choice((b"\0", b"\5\0", b"\n", draft.encoded["root"], junk(draft.rng)))


def flip_byte(draft: Draft) -> None:
    """One bit anywhere."""
    name = _some(draft, "ca", "ca", "root", "key")
    content = bytearray(draft.encoded[name])
    if content:
        content[draft.rng.randrange(len(content))] ^= 1 << draft.rng.randrange(8)
    draft.encoded[name] = bytes(content)


def signature(draft: Draft) -> None:
    """Another signature: its twin modulo the order of the curve, padded, by another key, over other bytes, empty."""
    rng = draft.rng
    name = _some(draft, "ca", "ca", "root")
    try:
        tree = der.parse(draft.encoded[name])
    except der.MalformedDer:
        cut(draft)
        return
    if tree.children is None or len(tree.children) != 3:
        cut(draft)
        return
    content = tree.children[0].encode()
    numbers = tree.children[2].children
    match rng.randrange(5):
        case 0:
            other = keyring.sign(draft.keys.get("p256", "other"), content, HASHES["sha256"])
            tree.children[2] = der.parse(der.bits(other))
        case 1:
            tree.children[2] = der.parse(der.bits(rng.choice((b"", b"\x30\x00", b"\x30\x06\x02\x01\x00\x02\x01\x00"))))
        case 2:
            tree.children[2] = der.parse(der.bits(tree.children[2].encode()[5:], rng.randrange(8)))
        case _ if numbers and numbers[0].children and len(numbers[0].children) == 2:
            order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
            chosen = rng.choice(numbers[0].children)
            value = int.from_bytes(chosen.content, "big")
            changed = rng.choice((der.integer(order - value), der.integer(value + order), der.integer(-value)))
            chosen.content = rng.choice((der.parse(changed).content, b"\0" + chosen.content))
        case _:
            flip(rng, tree.children[2] if tree.children[2].children else tree)
    draft.encoded[name] = tree.encode()


SIGNED = tuple((name, before_signing(change), weight) for name, change, weight in CHANGES)
UNSIGNED: tuple[tuple[str, Callable[[Draft], None], int], ...] = (
    *((name, after_signing(change), max(1, weight // 3)) for name, change, weight in CHANGES),
    ("cut", cut, 5),
    ("append", append, 5),
    ("flip-bit", flip_byte, 12),
    ("signature", signature, 8),
)
