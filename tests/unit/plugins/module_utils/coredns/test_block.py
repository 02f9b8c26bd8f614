# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.coredns.block import (
    BEGIN,
    END,
    read_hosts,
    whole,
    with_hosts,
)
from ansible_collections.multimesh.istio.plugins.module_utils.coredns.corefile import CorefileError, server_blocks
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from hypothesis import given, settings
from hypothesis import strategies as st

HOSTS = {"reviews.shop.global": ["241.0.0.1"], "books.shop.global": ["241.0.0.2", "2001:db8::1"]}
BLOCK = """\
# BEGIN multimesh.istio
books.shop.global:53,
reviews.shop.global:53 {
    errors
    hosts {
        241.0.0.2 books.shop.global
        2001:db8::1 books.shop.global
        241.0.0.1 reviews.shop.global
        ttl 30
    }
    template ANY ANY {
        match ^_
        rcode NXDOMAIN
        fallthrough
    }
}
# END multimesh.istio
"""
COREFILE = ".:53 {\n    forward . /etc/resolv.conf\n    reload\n}\n"

texts = st.sampled_from(
    [
        COREFILE,
        ".:53 {\n}",
        "\n\n# mine\n.:53 {\n errors\n}\n\n\n",
        "cluster.local:53 {\n}\r\n.:53 {\n}\r\n",
        ".:53\nerrors",
        "(a) {\n log\n}\n.:53 {\n import a\n}\nimport custom/*.server\n",
    ]
)
hosts = st.dictionaries(
    st.from_regex(r"[a-z]{1,5}\.[a-z]{1,3}", fullmatch=True),
    st.lists(st.sampled_from(["241.0.0.1", "241.0.0.2"]), min_size=1, max_size=2),
    max_size=4,
)


def test_the_block() -> None:
    assert with_hosts(COREFILE, HOSTS, 30) == BLOCK + COREFILE


@settings(deadline=None)
@given(texts, hosts)
def test_taken_out_again_the_file_is_what_it_was(text: str, some: dict[str, list[str]]) -> None:
    assert with_hosts(with_hosts(text, some, 30), {}, 30) == text


@settings(deadline=None)
@given(texts, hosts, hosts)
def test_what_was_there_before_makes_no_difference(
    text: str, some: dict[str, list[str]], other: dict[str, list[str]]
) -> None:
    once = with_hosts(text, other, 30)
    assert with_hosts(with_hosts(text, some, 30), other, 30) == once
    assert with_hosts(once, other, 30) == once


@settings(deadline=None)
@given(texts, hosts.filter(bool))
def test_zones_are_the_hosts(text: str, some: dict[str, list[str]]) -> None:
    added = [block for block in server_blocks(with_hosts(text, some, 30)) if block not in server_blocks(text)]
    assert [block.keys for block in added] == [tuple(f"{host}:53" for host in sorted(some))]


def test_the_block_stays_where_somebody_put_it() -> None:
    moved = COREFILE + BLOCK + "# after\n"
    assert with_hosts(moved, HOSTS, 30) == moved
    changed = with_hosts(moved, {"a.global": ["241.0.0.3"]}, 30)
    assert changed.startswith(COREFILE + BEGIN)
    assert changed.endswith(f"}}\n{END}\n# after\n")
    assert with_hosts(moved, {}, 30) == COREFILE + "# after\n"


def test_it_listens_where_the_others_do() -> None:
    text = with_hosts(".:5353 {\n    bind 169.254.20.10\n}\n", {"a.global": ["241.0.0.3"]}, 5)
    assert "a.global:5353 {\n    bind 169.254.20.10\n    errors\n" in text
    assert "        ttl 5\n" in text


@pytest.mark.parametrize(
    "key",
    [
        "reviews.shop.global",
        "Reviews.shop.global.:53",
        "a.example, reviews.shop.global:5353",
        "dns://reviews.shop.global",
    ],
)
def test_a_zone_that_somebody_has(key: str) -> None:
    with pytest.raises(CorefileError) as caught:
        with_hosts(f"{COREFILE}{key} {{\n    whoami\n}}\n", HOSTS, 30)
    assert str(caught.value) == (
        "it has a server block for reviews.shop.global already, and CoreDNS takes no second one. Remove that, or"
        " import the service by another host."
    )


@pytest.mark.parametrize("text", ["shop.global:53 {\n}\n.:53 {\n}\n", "x.reviews.shop.global {\n}\n.:53 {\n}\n"])
def test_zones_above_and_below_are_no_matter(text: str) -> None:
    assert with_hosts(text, HOSTS, 30) == BLOCK + text


@pytest.mark.parametrize(
    ("text", "begins", "ends"),
    [
        (f"{BEGIN}\n{COREFILE}", 1, 0),
        (f"{COREFILE}{END}\n", 0, 1),
        (f"{END}\n{COREFILE}{BEGIN}\n", 1, 1),
        (BLOCK + COREFILE + BLOCK, 2, 2),
    ],
)
def test_marks_that_do_not_match(text: str, begins: int, ends: int) -> None:
    with pytest.raises(CorefileError) as caught:
        with_hosts(text, HOSTS, 30)
    assert str(caught.value) == (
        f"expected one line '{BEGIN}' and one '{END}' after it, found {begins} and {ends}. Remove all of them with"
        " what they enclose, and run again."
    )


def test_a_file_of_its_own() -> None:
    assert whole(None, HOSTS, 30) == BLOCK
    assert whole(BLOCK, HOSTS, 30) == BLOCK
    assert whole(f"\n{BLOCK}\n", {"a.global": ["241.0.0.3"]}, 30) != BLOCK
    assert whole(BLOCK, {}, 30) is None
    assert whole(None, {}, 30) is None


@pytest.mark.parametrize("some", [HOSTS, {}])
def test_a_file_of_somebody_else(some: dict[str, list[str]]) -> None:
    with pytest.raises(CorefileError, match="it has more than the block of this collection"):
        whole(f"log.server {{\n}}\n{BLOCK}", some, 30)


def test_hosts_with_wildcards_are_left_out() -> None:
    assert read_hosts({"b.global": ["241.0.0.1"], "*.a.global": ["241.0.0.2"], "a.global": ["2001:db8::1"]}) == (
        {"a.global": ["2001:db8::1"], "b.global": ["241.0.0.1"]},
        ["*.a.global"],
    )


def test_what_is_no_host() -> None:
    with pytest.raises(MultimeshError) as caught:
        read_hosts({"a b": ["241.0.0.1"], "a.global": [], "b.global": "241.0.0.1", "c.global": ["241.0.0.1 {"]})
    assert str(caught.value) == (
        "hosts: a b: expected a DNS name (lower case labels joined by '.', at most 253 characters); a.global:"
        " expected a list of IP addresses, found []; b.global: expected a list of IP addresses, found 241.0.0.1;"
        " c.global: expected a list of IP addresses, found ['241.0.0.1 {']. Correct them."
    )
