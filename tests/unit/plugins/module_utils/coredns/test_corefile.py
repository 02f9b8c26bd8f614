# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.coredns.corefile import (
    CorefileError,
    Listening,
    ServerBlock,
    has_directive,
    listening,
    server_blocks,
    zones,
)

KUBEADM = """\
.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
"""


def keys(text: str) -> list[tuple[str, ...]]:
    return [block.keys for block in server_blocks(text)]


def test_a_usual_one() -> None:
    [block] = server_blocks(KUBEADM)
    assert block.keys == (".:53",)
    assert [line[0] for line in block.directives] == [
        *("errors", "health", "ready", "kubernetes", "prometheus", "forward", "cache", "loop", "reload", "loadbalance")
    ]
    assert block.directives[3] == ("kubernetes", "cluster.local", "in-addr.arpa", "ip6.arpa")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("# nothing\n", []),
        ("a:53 b {\n}\nc {\n}\n", [("a:53", "b"), ("c",)]),
        ("a, b,\nc {\n}\n", [("a", "b", "c")]),
        ("a {\n errors\n}\n# b {\n# }\nc{x} {\n}\n", [("a",), ("c{x}",)]),
        ('"a" {\n}\n', [("a",)]),
        (".\nerrors\nforward . 192.0.2.1 {\n x\n}\n", [(".",)]),
        ("(shared) {\n reload\n}\na {\n import shared\n}\n", [("(shared)",), ("a",)]),
        ("import custom/*.server\na {\n}\nimport more\n", [("a",)]),
        ("\ufeffa {\r\n errors\r\n}\r\n", [("a",)]),
        ("a {\n hosts {\n  1.1.1.1 b\n  ttl 5\n }\n}\nb {\n}\n", [("a",), ("b",)]),
        ("a", [("a",)]),
    ],
)
def test_keys(text: str, expected: list[tuple[str, ...]]) -> None:
    assert keys(text) == expected


def test_words_in_quotes() -> None:
    text = 'a {\n rewrite "x y" "say \\"no\\" \\d"\n log "two\nlines" more\n errors\n}\n'
    assert server_blocks(text) == [
        ServerBlock(("a",), (("rewrite", "x y", 'say "no" \\d'), ("log", "two\nlines", "more"), ("errors",)))
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a {\n errors\n", "braces that do not match"),
        ("a {\n hosts {\n }\n", "braces that do not match"),
        ("a\nerrors\n}\n", "braces that do not match"),
        ("{\n errors\n}\n", "a server block without keys"),
        ("a, {\n}\n", "a comma after the last key"),
        ("a,", "a comma after the last key"),
    ],
)
def test_what_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(CorefileError, match=message):
        server_blocks(text)


def test_zones_are_compared_as_names() -> None:
    text = "dns://A.Example.:53 tls://b.example 10.0.0.0/24 c.example:{$PORT} . {\n}\n"
    assert zones(server_blocks(text)) == {"a.example", "b.example", "10.0.0.0/24", "c.example", ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (KUBEADM, Listening(":53")),
        (". {\n}\n", Listening("")),
        ("cluster.local:5353 {\n}\n.:5354 {\n}\n", Listening(":5354")),
        ("tls://.:853 .:53 {\n}\n", Listening(":53")),
        ("cluster.local:5353 in-addr.arpa:5353 {\n}\n", Listening(":5353")),
        (".:{$PORT} {\n}\n", Listening(":{$PORT}")),
        (".:53 {\n bind 169.254.20.10 10.96.0.10\n}\n", Listening(":53", (("bind", "169.254.20.10", "10.96.0.10"),))),
        ("(shared) {\n bind lo\n}\ndns://.:53 {\n}\n", Listening(":53")),
    ],
)
def test_where_names_are_asked_for(text: str, expected: Listening) -> None:
    assert listening(server_blocks(text)) == expected


@pytest.mark.parametrize("text", ["", "(shared) {\n errors\n}\n", "tls://.:853 {\n}\n"])
def test_nobody_listens(text: str) -> None:
    with pytest.raises(CorefileError, match="it has no server block"):
        listening(server_blocks(text))


def test_directives() -> None:
    assert has_directive(server_blocks(KUBEADM), "reload")
    assert not has_directive(server_blocks("a {\n hosts {\n  reload 5s\n }\n}\n"), "reload")
    assert has_directive(server_blocks("(shared) {\n reload\n}\na {\n import shared\n}\n"), "reload")
