# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.pki import ledger
from ansible_collections.multimesh.istio.plugins.module_utils.pki.ledger import ACTIONS, Entry, LedgerError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.pki import forge

ROOT = forge.root()
EAST = forge.intermediate(ROOT)
TIME = datetime(2027, 1, 31, 8, tzinfo=UTC)
MADE = Entry.of(ROOT.certificate, "root-made", time=TIME, run="site by ann")
ISSUED = Entry.of(
    EAST.certificate,
    "ca-issued",
    time=TIME + timedelta(seconds=1.5),
    run="site by ann",
    mesh="east",
    trust_domain="east.mesh",
    issuer=MADE.fingerprint,
)
REVOKED = Entry(TIME, "ca-revoked", serial="4711", issuer=MADE.fingerprint, note="stolen")
TEXT = ledger.append(b"", [MADE, ISSUED, REVOKED])

MOMENTS = st.datetimes(datetime(1950, 1, 1), datetime(2999, 1, 1), timezones=st.just(UTC)).map(
    lambda moment: moment.replace(microsecond=0)
)
ENTRIES = st.builds(
    Entry,
    time=MOMENTS,
    action=st.sampled_from(ACTIONS),
    mesh=st.text(),
    subject=st.text(),
    serial=st.text(),
    not_before=st.none() | MOMENTS,
    not_after=st.none() | MOMENTS,
    run=st.text(),
    note=st.text(),
)


def test_what_is_known_of_a_certificate() -> None:
    assert MADE.issuer == MADE.fingerprint
    assert ISSUED.time == TIME + timedelta(seconds=1)
    assert ISSUED.certificate.encode() == forge.to_pem(EAST.certificate)
    assert Entry.of(EAST.certificate, "ca-active", time=TIME, run="").issuer == ""


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(ENTRIES, max_size=3), max_size=4))
def test_gives_back_what_was_appended(batches: list[list[Entry]]) -> None:
    text = b""
    for batch in batches:
        longer = ledger.append(text, batch)
        assert longer.startswith(text)
        text = longer
    assert ledger.read(text) == tuple(entry for batch in batches for entry in batch)
    assert ledger.append(text, []) == text
    assert text.isascii()


def test_each_line_holds_the_hash_of_the_one_before() -> None:
    first, second, _third = TEXT.splitlines()
    assert json.loads(first)["previous"] == "0" * 64
    assert json.loads(second)["previous"] == hashlib.sha256(first).hexdigest()
    assert ledger.head(TEXT) == hashlib.sha256(TEXT.splitlines()[-1]).hexdigest()
    assert ledger.head(b"") == "0" * 64


def test_a_whole_last_line_counts_without_its_end() -> None:
    assert ledger.read(TEXT[:-1]) == ledger.read(TEXT)
    assert ledger.append(TEXT[:-1], []) == TEXT
    assert ledger.head(TEXT[:-1]) == ledger.head(TEXT)


@pytest.mark.parametrize("cut", range(2, 60, 7))
def test_a_torn_last_line_is_no_entry_and_goes_with_the_next_one(cut: int) -> None:
    torn = TEXT[:-cut]
    assert ledger.read(torn) == (MADE, ISSUED)
    assert ledger.append(torn, [REVOKED]) == TEXT
    assert ledger.head(torn) == ledger.head(ledger.append(torn, []))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_byte_can_be_changed_but_in_the_last_line(data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(TEXT) - len(TEXT.splitlines()[-1]) - 2))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != TEXT[position]))
    changed = TEXT[:position] + bytes([byte]) + TEXT[position + 1 :]
    for use in (ledger.read, ledger.head, lambda text: ledger.append(text, [MADE])):
        with pytest.raises(LedgerError, match=r"^line \d+ of the ledger .*restore the ledger from its backup"):
            use(changed)


def without(index: int) -> bytes:
    lines = TEXT.splitlines(keepends=True)
    return b"".join(lines[:index] + lines[index + 1 :])


def with_field(name: str, value: object) -> bytes:
    return json.dumps({**json.loads(TEXT.splitlines()[0]), name: value}).encode() + b"\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (without(0), "line 1 of the ledger .*: it is not the first one"),
        (without(1), "line 2 of the ledger .*: it does not follow from the line before it"),
        (TEXT + TEXT, "line 4 .* does not follow"),
        (TEXT + b"\n", "line 4 .* no line of a ledger"),
        (b"[" * 100_000 + b"\n", "line 1 .* no line of a ledger"),
        (b"\xff\n", "line 1 .* no line of a ledger"),
        (with_field("action", "root-eaten"), "line 1 .* action is unknown to this version, which knows root-made, "),
        (with_field("action", ["root-made"]), "line 1 .* its action is no text"),
        (with_field("time", "yesterday"), "line 1 .* its time is no time"),
        (with_field("time", None), "line 1 .* its time is no text"),
        (with_field("note", 7), "line 1 .* its note is no text"),
    ],
)
def test_names_the_line_that_was_changed(text: bytes, message: str) -> None:
    with pytest.raises(LedgerError, match=message):
        ledger.read(text)


def test_fields_of_a_later_version_are_kept() -> None:
    text = with_field("colour", "red")
    assert ledger.read(text) == (MADE,)
    longer = ledger.append(text, [ISSUED])
    assert longer.startswith(text)
    assert ledger.read(longer) == (MADE, ISSUED)


def test_a_table_for_people() -> None:
    assert ledger.table([]) == ""
    wild = Entry(TIME, "ca-active", mesh="e\x1b[2J\n", subject="CN=x", run="r")
    heading, *rows = ledger.table([MADE, ISSUED, REVOKED, wild]).splitlines()
    assert heading.split() == ["TIME", "ACTION", "MESH", "SUBJECT", "SHA-256", "VALID", "UNTIL", "RUN", "NOTE"]
    assert rows[0].startswith("2027-01-31T08:00:00Z  root-made   -")
    assert MADE.fingerprint[:16] in rows[0]
    assert "site by ann" in rows[0]
    assert "serial 4711" in rows[2]
    assert rows[2].endswith("stolen")
    assert rows[3].isprintable()
    positions = {row.index("site by ann") for row in rows[:2]} | {heading.index("RUN")}
    assert len(positions) == 1


def test_json_for_programs() -> None:
    plain = ledger.as_json([ISSUED, REVOKED])
    assert json.loads(json.dumps(plain)) == plain
    assert plain[0]["time"] == "2027-01-31T08:00:01Z"
    assert plain[0]["not_after"] == EAST.certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert plain[1]["not_before"] is None


def test_thousands_of_entries() -> None:
    text = ledger.append(b"", [ISSUED] * 5000)
    assert len(ledger.read(text)) == 5000
