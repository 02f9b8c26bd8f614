# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import check, der, draft, mutators
from tests.fuzz.keyring import Keyring

NOW = datetime.now(UTC).replace(microsecond=0)
KEYS = Keyring(1)
INDEXES = range(40)


def test_what_a_case_begins_with_is_good() -> None:
    for number in range(10):
        made = draft.good(random.Random(number), KEYS, NOW)
        made.sign()
        made.arrange()
        made.write()
        case = draft.Case(1, number, NOW, (), made.files, tuple(made.federation))
        assert check.verify(case).findings == ()


def test_a_case_can_be_made_again() -> None:
    for index in INDEXES:
        one, other = (mutators.case(5, index, NOW, KEYS) for _turn in range(2))
        # Salted: signatures of RSA-PSS, and encrypted keys.
        if not {"field-algorithm", "file-key-form", "file-signed-anew"} & set(one.mutators):
            assert one == other, one.mutators
        assert one != mutators.case(6, index, NOW, KEYS)


def test_cases_are_spoiled_in_many_ways() -> None:
    names = {name for index in INDEXES for name in mutators.case(7, index, NOW, KEYS).mutators}
    assert len(names) > 20


@pytest.mark.parametrize("apply", list(mutators.MUTATORS), ids=lambda mutator: mutator.name)
def test_every_mutator_can_be_applied_to_a_good_draft(apply: mutators.Mutator) -> None:
    for number in range(5):
        made = draft.good(random.Random(number), KEYS, NOW)
        steps = {draft.Stage.ENCODING: made.sign, draft.Stage.BLOCKS: made.arrange, draft.Stage.TEXT: made.write}
        for stage in draft.Stage:
            steps.get(stage, lambda: None)()
            if stage == apply.stage:
                apply.apply(made)
        assert made.files.keys() <= {*made.blocks}


NODES = st.recursive(
    st.builds(der.Node, st.sampled_from([2, 4, 5, 12]), st.binary(max_size=300)),
    lambda below: st.builds(der.Node, st.sampled_from([0x30, 0x31, 0xA0]), st.just(b""), st.lists(below, max_size=4)),
    max_leaves=20,
)


@given(NODES)
def test_what_is_written_can_be_read(node: der.Node) -> None:
    assert der.parse(node.encode()).encode() == node.encode()


@given(st.binary(max_size=200))
def test_only_der_is_read(content: bytes) -> None:
    try:
        tree = der.parse(content)
    except der.MalformedDer:
        return
    assert len(tree.encode()) <= len(content)
