# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a custody remembers beside its roots: the ledger, and which run changes CAs at the moment."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from ansible_collections.multimesh.istio.plugins.module_utils import run_identity
from ansible_collections.multimesh.istio.plugins.module_utils.pki import ledger
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import CustodyError
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.store import (
    LEDGER,
    Blobs,
    Changes,
    Store,
    T,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import iso
from ansible_collections.multimesh.istio.plugins.module_utils.pki.ledger import Entry, LedgerError

RUN = "run.json"
"""Holds which run changes CAs, since when and until when."""

_ONCE = ("root-made", "root-taken-over", "root-retired", "ca-issued", "ca-revoked")
"""What happens to a certificate once only: a run that was killed and is repeated adds no second entry."""

_FRESH = 0.8
"""With this share of the duration left, a renewal is spared: every host of a run asks for one at every step."""


@dataclass(frozen=True)
class _Run:
    holder: str
    since: datetime
    until: datetime

    @classmethod
    def read(cls, content: bytes) -> _Run:
        found = json.loads(content)
        since, until = (datetime.fromisoformat(found[name]).astimezone(UTC) for name in ("since", "until"))
        return cls(str(found["holder"]), since, until)

    def write(self) -> bytes:
        shown = {"holder": self.holder, "since": iso(self.since), "until": iso(self.until)}
        return json.dumps(shown).encode("ascii") + b"\n"


class Journal:
    """Implements record, ledger, acquire and release of base.Custody in a store.

    has_ended: whether it is certain that a holder does not run any more, so that its time need not be waited for.
    holder: the run that acquired it in this process, "" before.
    """

    def __init__(self, store: Store, has_ended: Callable[[str], bool] = run_identity.has_ended) -> None:
        self._store = store
        self._has_ended = has_ended
        self.holder = ""

    def record(self, entries: Sequence[Entry]) -> None:
        """Add to the ledger. Of what happens once only, what is in it already is not added again."""
        self.update(lambda blobs: (self.recorded(blobs, entries), None))

    def ledger(self) -> tuple[Entry, ...]:
        """The whole ledger, oldest first."""
        return self.entries(self._store.read())

    def acquire(self, holder: str, now: datetime, duration: timedelta, *, break_lease: bool = False) -> None:
        """Be the one run that changes CAs, or renew being it.

        break_lease: also while another run is, because it is known to be over. A run of this machine that has ended
        needs no such word.
        """

        def change(blobs: Blobs) -> tuple[Changes, None]:
            try:
                held = self._run(blobs)
            except CustodyError:
                if not break_lease:
                    raise
                held = None
            if held is not None and held.holder == holder:
                fresh = held.until - now > duration * _FRESH
                return {} if fresh else {RUN: replace(held, until=now + duration).write()}, None
            if held is not None and now < held.until and not break_lease and not self._has_ended(held.holder):
                raise CustodyError(
                    f"{self._store.place}: another run is changing CAs: {held.holder}, since {iso(held.since)}, until "
                    f"{iso(held.until)} unless it goes on. Wait for it to end. If it is certain that it does not run "
                    "any more, run again with shared_root_ca_break_lease=true."
                )
            return {RUN: _Run(holder, now, now + duration).write()}, None

        self._store.update(change)
        self.holder = holder

    def release(self, holder: str) -> None:
        """Stop being the one run; nothing happens if another one is."""
        if self._is_held_by(self._store.read(), holder):
            self._store.update(lambda blobs: ({RUN: None} if self._is_held_by(blobs, holder) else {}, None))
        self.holder = ""

    def update(self, change: Callable[[Blobs], tuple[Changes, T]]) -> T:
        """Store.update, refused once another run has taken over: this one may have slept for longer than its time."""

        def fenced(blobs: Blobs) -> tuple[Changes, T]:
            if self.holder and not self._is_held_by(blobs, self.holder):
                raise CustodyError(
                    f"{self._store.place}: {self.holder} is not the run that changes CAs any more, its time was over. "
                    "Nothing was written. Run again."
                )
            return change(blobs)

        return self._store.update(fenced)

    def entries(self, blobs: Blobs) -> tuple[Entry, ...]:
        """The ledger among these blobs."""
        try:
            return ledger.read(blobs.get(LEDGER, b""))
        except LedgerError as error:
            raise self._named(error) from None

    def recorded(self, blobs: Blobs, entries: Iterable[Entry]) -> Changes:
        """The change that adds these to the ledger among these blobs; none if all are in it."""
        known = {_once(entry) for entry in self.entries(blobs)}
        added = [entry for entry in entries if entry.action not in _ONCE or _once(entry) not in known]
        try:
            return {LEDGER: ledger.append(blobs.get(LEDGER, b""), added)} if added else {}
        except LedgerError as error:
            raise self._named(error) from None

    def _run(self, blobs: Blobs) -> _Run | None:
        if RUN not in blobs:
            return None
        try:
            return _Run.read(blobs[RUN])
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            raise CustodyError(
                f"{self._store.place}: {RUN}, which says what run changes CAs, is damaged. If none does at the moment, "
                "remove it, or run with shared_root_ca_break_lease=true."
            ) from None

    def _is_held_by(self, blobs: Blobs, holder: str) -> bool:
        try:
            held = self._run(blobs)
        except CustodyError:
            return False
        return held is not None and held.holder == holder

    def _named(self, error: LedgerError) -> CustodyError:
        return CustodyError(f"{self._store.place}: {LEDGER}: {error}")


def _once(entry: Entry) -> tuple[str, str, str]:
    """Of a revoked certificate sometimes only the issuer and the serial are known."""
    return entry.action, entry.fingerprint or entry.issuer, entry.serial
