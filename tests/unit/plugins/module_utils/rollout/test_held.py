# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.rollout.held import Held, HeldCrl, leaf, read_dump
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.rollout import dumps

KEY = b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0\n-----END PRIVATE KEY-----\n"


def test_what_a_proxy_holds():
    lists = dumps.crls((dumps.root("old"), 3), (dumps.ca("old"), 8))
    held = read_dump(dumps.proxy("old", "old", "new", lists=lists))
    assert [trust.roots for trust in held.trusts] == [{dumps.root_id("old"), dumps.root_id("new")}]
    assert held.trusts[0].crls == {
        HeldCrl(dumps.key_id(dumps.root("old")), 3),
        HeldCrl(dumps.key_id(dumps.ca("old")), 8),
    }
    assert [own.issuer for own in held.leaves] == [dumps.key_id(dumps.ca("old"))]
    assert not held.pending
    assert not held.empty


def test_a_leaf():
    der = dumps.leaf_der(dumps.ca("old"))
    read = leaf(der)
    assert read.issuer == dumps.key_id(dumps.ca("old"))
    assert read.not_before < dumps.NOW < read.not_after
    assert read.trust_domains == {"east.mesh"}
    assert read.serial != leaf(dumps.leaf_der(dumps.ca("old"))).serial


def test_a_duplicate_is_one_root_and_a_bundle_may_be_long():
    names = [f"r{index}" for index in range(20)]
    held = read_dump(dumps.dump(dumps.validation(dumps.bundle(*names, *names))))
    assert held.trusts[0].roots == {dumps.root_id(name) for name in names}


@pytest.mark.parametrize("answer", [b"", b"{}", b'{"configs": []}', b'{"configs": null}'])
def test_who_holds_nothing(answer):
    assert read_dump(answer) == Held()
    assert read_dump(answer).empty


def test_certificates_that_are_not_the_mesh_s_are_left_aside():
    other = dumps.own(dumps.leaf_pem(dumps.ca("old")), name="kubernetes://shop-tls")
    assert read_dump(dumps.dump(other)).empty


def test_who_waits_for_a_bundle():
    warming = dumps.dump({"name": "ROOTCA"})
    assert read_dump(b"{}", warming).pending
    assert not read_dump(b"{}", dumps.dump({"name": "kubernetes://shop-tls"})).pending


def test_several_bundles_are_kept_apart():
    held = read_dump(dumps.dump(dumps.validation(dumps.bundle("old")), dumps.validation(dumps.bundle("old", "new"))))
    assert [len(trust.roots) for trust in held.trusts] == [1, 2]


def test_a_file_that_envoy_has_not_read_is_nothing():
    entry = dumps.validation(dumps.bundle("old"))
    entry["secret"]["validation_context"]["crl"] = {"filename": "/var/run/secrets/istio/crl/ca-crl.pem"}
    assert read_dump(dumps.dump(entry)).trusts[0].crls == frozenset()


def test_a_key_is_never_kept():
    entry = dumps.own(KEY + dumps.leaf_pem(dumps.ca("old")) + KEY)
    entry["secret"]["tls_certificate"]["private_key"] = dumps.inline(KEY)
    trust = dumps.validation(KEY + dumps.bundle("old"))
    assert "secret" not in repr(read_dump(dumps.dump(entry, trust))).replace("SECRET", "")


@pytest.mark.parametrize(
    "answer",
    [
        b"nothing",
        b"[]",
        b'{"configs": 7}',
        b'{"configs": ["x"]}',
        b'{"configs": [{"name": "ROOTCA", "secret": "x"}]}',
        b'{"configs": [{"name": "ROOTCA", "secret": {"validation_context": {"trusted_ca": "x"}}}]}',
        dumps.dump({"name": "ROOTCA", "secret": {"validation_context": {"trusted_ca": {"inline_bytes": "%"}}}}),
        dumps.dump(dumps.validation(b"-----BEGIN CERTIFICATE-----\nAAAA\n")),
        dumps.dump(dumps.validation(b"-----BEGIN CERTIFICATE-----\n%\n-----END CERTIFICATE-----\n")),
        b"[" * 100_000,
    ],
)
def test_what_no_envoy_says(answer):
    with pytest.raises(MultimeshError):
        read_dump(answer)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["configs", "name", "secret", "x"]), inner),
    max_leaves=20,
)


@given(json_values, st.sampled_from(["ROOTCA", "default"]))
def test_nothing_but_a_named_error_comes_of_any_answer(value, name):
    for answer in (value, {"configs": value}, {"configs": [{"name": name, "secret": value}]}):
        with contextlib.suppress(MultimeshError):
            read_dump(json.dumps(answer).encode())
