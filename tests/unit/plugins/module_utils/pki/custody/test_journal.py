# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import CustodyError
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.journal import RUN, Journal
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.store import LEDGER
from ansible_collections.multimesh.istio.plugins.module_utils.pki.ledger import Entry

from tests.unit.plugins.module_utils.pki.custody.memory import MemoryStore

NOW = datetime(2027, 1, 31, 8, tzinfo=UTC)
DURATION = timedelta(minutes=5)
ISSUED = Entry(NOW, "ca-issued", mesh="east", fingerprint="f1", serial="1", issuer="f0")
ACTIVE = Entry(NOW, "ca-active", mesh="east", fingerprint="f1", serial="1")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def journal(store: MemoryStore, *ended: str) -> Journal:
    return Journal(store, ended.__contains__)


def test_remembers_what_happened(store: MemoryStore) -> None:
    journal(store).record([ISSUED, ACTIVE])
    journal(store).record([ACTIVE])
    assert journal(store).ledger() == (ISSUED, ACTIVE, ACTIVE)


def test_what_happens_once_is_recorded_once(store: MemoryStore) -> None:
    journal(store).record([ISSUED])
    writes = store.writes
    journal(store).record([ISSUED])
    assert store.writes == writes
    assert journal(store).ledger() == (ISSUED,)


def test_a_ledger_that_was_changed_is_refused(store: MemoryStore) -> None:
    journal(store).record([ISSUED, ACTIVE])
    store.blobs[LEDGER] = store.blobs[LEDGER].replace(b"east", b"west", 1)
    for use in (journal(store).ledger, lambda: journal(store).record([ACTIVE])):
        with pytest.raises(CustodyError, match=r"^memory: ledger\.jsonl: line 2 of the ledger .* backup"):
            use()


def test_one_run_at_a_time(store: MemoryStore) -> None:
    journal(store).acquire("ann", NOW, DURATION)
    with pytest.raises(
        CustodyError,
        match=r"^memory: another run is changing CAs: ann, since 2027-01-31T08:00:00Z, until 2027-01-31T08:05:00Z"
        r".*shared_root_ca_break_lease=true",
    ):
        journal(store).acquire("bob", NOW + timedelta(minutes=4), DURATION)
    journal(store).release("bob")
    assert RUN in store.blobs
    journal(store).release("ann")
    assert RUN not in store.blobs
    journal(store).acquire("bob", NOW, DURATION)


def test_is_renewed_by_the_same_run(store: MemoryStore) -> None:
    for minute in (0, 4, 8, 12):
        journal(store).acquire("ann", NOW + timedelta(minutes=minute), DURATION)
    record = json.loads(store.blobs[RUN])
    assert record == {"holder": "ann", "since": "2027-01-31T08:00:00Z", "until": "2027-01-31T08:17:00Z"}


def test_writes_nothing_while_most_of_its_time_is_left(store: MemoryStore) -> None:
    journal(store).acquire("ann", NOW, DURATION)
    writes = store.writes
    journal(store).acquire("ann", NOW + timedelta(seconds=30), DURATION)
    assert store.writes == writes


@pytest.mark.parametrize("how", ["expired", "ended", "broken"])
def test_is_taken_over_from_a_run_that_is_over(store: MemoryStore, how: str) -> None:
    first = journal(store)
    first.acquire("ann", NOW, DURATION)
    second = journal(store, *(["ann"] if how == "ended" else []))
    later = NOW + (DURATION if how == "expired" else timedelta(0))
    second.acquire("bob", later, DURATION, break_lease=how == "broken")
    with pytest.raises(CustodyError, match="ann is not the run that changes CAs any more"):
        first.record([ISSUED])
    first.release("ann")
    assert first.ledger() == ()
    second.record([ISSUED])


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"holder":"a","since":1,"until":2}', b"[" * 100_000, b"\xff"])
def test_a_damaged_record_is_refused_unless_it_is_broken(store: MemoryStore, content: bytes) -> None:
    store.blobs[RUN] = content
    with pytest.raises(CustodyError, match=r"run\.json, .* is damaged.*shared_root_ca_break_lease=true"):
        journal(store).acquire("ann", NOW, DURATION)
    journal(store).release("ann")
    journal(store).acquire("ann", NOW, DURATION, break_lease=True)
    journal(store).record([ISSUED])
