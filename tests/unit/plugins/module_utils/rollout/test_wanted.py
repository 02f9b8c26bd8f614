# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.rollout.held import Held, HeldCrl, Leaf, Trust
from ansible_collections.multimesh.istio.plugins.module_utils.rollout.wanted import (
    BACKDATED,
    Wanted,
    lacking,
    lacking_replica,
)
from hypothesis import given
from hypothesis import strategies as st

OLD, NEW, OTHER = ("a" * 64, "b" * 64, "c" * 64)
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def leaf(issuer="11", made=NOW):
    return Leaf(issuer, "7", made - BACKDATED, made + timedelta(days=1))


def held(*roots, issuer="11", crls=()):
    return Held((Trust(frozenset(roots), frozenset(crls)),), (leaf(issuer),))


def wanted(*roots, **options):
    return Wanted(frozenset(roots), **options)


def of_domain(name):
    return Held(leaves=(replace(leaf(), trust_domains=frozenset({name})),))


@pytest.mark.parametrize(
    ("want", "have", "clauses"),
    [
        (wanted(OLD, NEW), held(OLD, NEW), []),
        (wanted(OLD, NEW), held(OLD, NEW, OTHER), []),
        (wanted(OLD, NEW), held(OLD), ["does not trust root bbbbbbbbbbbb"]),
        (wanted(NEW, only_roots=True), held(NEW), []),
        (wanted(NEW, only_roots=True), held(OLD, NEW), ["still trusts root aaaaaaaaaaaa"]),
        (wanted(NEW, only_roots=True), held(OLD), ["does not trust root bbbb", "still trusts root aaaa"]),
        (wanted(issuer="22"), held(OLD, issuer="22"), []),
        (wanted(issuer="22"), held(OLD, issuer="11"), ["signed by CA 11, not by 22"]),
        (wanted(issuer="22"), held(OLD, issuer=None), ["signed by CA unknown, not by 22"]),
        (wanted(crls={"33": 0}), held(OLD, crls=[HeldCrl("33", 0)]), []),
        (wanted(crls={"33": 4}), held(OLD, crls=[HeldCrl("33", 5)]), []),
        (wanted(crls={"33": 4}), held(OLD, crls=[HeldCrl("33", 3)]), ["list of CA 33 is number 3, expected 4"]),
        (wanted(crls={"33": 0, "44": 0}), held(OLD, crls=[HeldCrl("33", 0)]), ["no revocation list of CA 44"]),
        (Wanted(trust_domain="east.mesh"), of_domain("east.mesh"), []),
        (Wanted(trust_domain="east.mesh"), of_domain("cluster.local"), ["cluster.local, expected east.mesh"]),
        (wanted(NEW, issuer="22"), Held(), []),
        (wanted(NEW), Held(pending=True), ["waits for a certificate"]),
        (wanted(NEW), Held((Trust(frozenset({NEW})), Trust(frozenset({OLD})))), ["does not trust root bbbb"]),
    ],
)
def test_what_a_proxy_lacks(want, have, clauses):
    found = lacking(want, have)
    assert len(found) == len(clauses)
    assert all(clause in text for clause, text in zip(clauses, found, strict=True))


@pytest.mark.parametrize(
    ("want", "serving", "written", "clauses"),
    [
        (wanted(NEW), leaf(made=NOW), NOW, []),
        (wanted(NEW), leaf(made=NOW), NOW - timedelta(seconds=1), []),
        (wanted(NEW), leaf(made=NOW), None, []),
        (wanted(NEW), leaf(made=NOW), NOW + timedelta(seconds=1), ["before cacerts was written 2026-11-21T12:00:01Z"]),
        (wanted(crls={"33": 1}), leaf(made=NOW), NOW + timedelta(seconds=1), ["before cacerts was written"]),
        (wanted(issuer="11"), leaf(made=NOW), NOW + timedelta(seconds=1), []),
        (wanted(issuer="22"), leaf(made=NOW), NOW, ["signed by CA 11, not by 22"]),
    ],
)
def test_what_a_replica_lacks(want, serving, written, clauses):
    found = lacking_replica(want, serving, written)
    assert len(found) == len(clauses)
    assert all(clause in text for clause, text in zip(clauses, found, strict=True))


roots = st.frozensets(st.sampled_from([OLD, NEW, OTHER]))


@given(roots, roots, st.booleans())
def test_lacking_is_a_comparison_of_sets(want, have, only):
    complete = have == want if only else have >= want
    assert (lacking(Wanted(want, only), Held((Trust(have),))) == ()) is complete


def test_options():
    spaced = ":".join(OLD[index : index + 2] for index in range(0, 64, 2)).upper()
    found = Wanted.from_options(
        "west", {"roots": [spaced], "only_roots": True, "issuer": "AB:CD", "crls": [{"issuer": "EF", "number": None}]}
    )
    assert found == Wanted(frozenset({OLD}), True, "abcd", {"ef": 0})
    assert found.of_reload
    assert not Wanted.from_options("west", {"issuer": "ab"}).of_reload


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"roots": ["abc"]}, "west: roots[0]: 'abc' cannot be used, expected a SHA-256 fingerprint"),
        ({"roots": [OLD], "issuer": "xyz"}, "west: issuer: 'xyz' cannot be used, expected a key identifier"),
        ({"crls": [{"issuer": "1"}]}, "west: crls[0].issuer: '1'"),
        ({"only_roots": True, "issuer": "ab"}, "west: only_roots: no root at all"),
        ({}, "west: there is nothing to wait for"),
    ],
)
def test_options_that_cannot_be(options, text):
    with pytest.raises(MultimeshError, match="west") as caught:
        Wanted.from_options("west", options)
    assert str(caught.value).startswith(text)
