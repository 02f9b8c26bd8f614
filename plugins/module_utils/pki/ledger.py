# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ledger: which CAs were made, trusted, used, revoked and retired, when, and by which run. Nothing in it is secret.

It is a file of JSON lines that only ever grows. Each line holds the SHA-256 of the line before it (``previous``, 64
zeros in the first), so nobody can change or take out a line without changing all that follow. What a chain cannot show
is that its end is missing, or that all of it was written anew: for that, keep the value of ``head`` elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from itertools import starmap
from typing import TYPE_CHECKING, Any, Literal, get_args

from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.pki.bundle import certificate_pem
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import fingerprint, iso, signed_by
from ansible_collections.multimesh.istio.plugins.module_utils.text_table import aligned

if TYPE_CHECKING:
    from cryptography import x509

Action = Literal[
    "root-made",
    "root-taken-over",
    "root-trusted",
    "root-untrusted",
    "root-retired",
    "ca-issued",
    "ca-active",
    "ca-revoked",
]
"""What happened: to a root in its custody (made, taken-over, retired), to a root in a mesh (trusted, untrusted), or to
the CA of a mesh (issued, active as its signer from now on, revoked)."""

ACTIONS: tuple[Action, ...] = get_args(Action)

_NOTHING_BEFORE = "0" * 64
_DIGITS = 16  # of a fingerprint, in a table
_TIMES = ("time", "not_before", "not_after")


class LedgerError(MultimeshError):
    """The ledger is not what was written to it."""


@dataclass(frozen=True)
class Entry:
    """One thing that happened.

    time: when, whole seconds.
    mesh, trust_domain: of the mesh it happened in; "" where it is about the root as such.
    subject (RFC 4514), fingerprint (SHA-256, lower-case hexadecimal), serial (hexadecimal), not_before, not_after: of
    the certificate; "" and None where only its serial is known.
    issuer: fingerprint of the root that signed it, "" if that is not known.
    run: which run did it.
    certificate: PEM, "" if it is not known.
    note: for people.
    """

    time: datetime
    action: Action
    mesh: str = ""
    subject: str = ""
    fingerprint: str = ""
    serial: str = ""
    not_before: datetime | None = None
    not_after: datetime | None = None
    issuer: str = ""
    trust_domain: str = ""
    run: str = ""
    certificate: str = ""
    note: str = ""

    @classmethod
    def of(
        cls,
        certificate: x509.Certificate,
        action: Action,
        *,
        time: datetime,
        run: str,
        mesh: str = "",
        trust_domain: str = "",
        issuer: str = "",
        note: str = "",
    ) -> Entry:
        """What happened to this certificate. issuer: a root is its own one."""
        own = fingerprint(certificate)
        return cls(
            time=time.astimezone(UTC).replace(microsecond=0),
            action=action,
            mesh=mesh,
            subject=certificate.subject.rfc4514_string(),
            fingerprint=own,
            serial=f"{certificate.serial_number:x}",
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            issuer=issuer or (own if signed_by(certificate, certificate) else ""),
            trust_domain=trust_domain,
            run=run,
            certificate=certificate_pem(certificate).decode("ascii"),
            note=note,
        )


def read(text: bytes) -> tuple[Entry, ...]:
    """All entries, oldest first.

    A last line that breaks off, left by a process that died while it wrote, is no entry yet.
    Raises LedgerError for everything else that append does not write.
    """
    return tuple(starmap(_entry, _lines(text)))


def append(text: bytes, entries: Iterable[Entry]) -> bytes:
    """The ledger with these entries at its end. Raises LedgerError: nothing is built on a ledger that was changed."""
    lines = [line for _number, line, _content in _checked(text)]
    for entry in entries:
        content = {"previous": _hash(lines[-1:]), **_plain(entry)}
        lines.append(json.dumps(content, separators=(",", ":")).encode("ascii"))
    return b"".join(line + b"\n" for line in lines)


def head(text: bytes) -> str:
    """SHA-256 of the last line (64 zeros without any): whoever notes it can tell later that nothing was taken away."""
    return _hash([line for _number, line, _content in _checked(text)][-1:])


def as_json(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Entries for programs: all fields of Entry, times in ISO 8601 (UTC), None where there is none."""
    return [_plain(entry) for entry in entries]


def table(entries: Iterable[Entry]) -> str:
    """Entries for people, one line each under a heading; "" without any."""
    rows = [
        (
            iso(entry.time),
            entry.action,
            entry.mesh or "-",
            entry.subject or f"serial {entry.serial}",
            entry.fingerprint[:_DIGITS] or "-",
            iso(entry.not_after) if entry.not_after else "-",
            entry.run or "-",
            entry.note,
        )
        for entry in entries
    ]
    return aligned(("TIME", "ACTION", "MESH", "SUBJECT", "SHA-256", "VALID UNTIL", "RUN", "NOTE"), rows)


def _checked(text: bytes) -> Iterator[tuple[int, bytes, dict[str, Any]]]:
    """Number, raw bytes and content of every whole line, once its chain is found unbroken."""
    before: list[bytes] = []
    *lines, last = text.split(b"\n")
    if _parsed(last) is not None:  # whole, an editor has taken its end away: a line that breaks off is no JSON
        lines.append(last)
    for number, line in enumerate(lines, 1):
        content = _parsed(line)
        if content is None:
            raise _changed(number, "it is no line of a ledger")
        if content.get("previous") != _hash(before):
            raise _changed(
                number, "it does not follow from the line before it" if before else "it is not the first one"
            )
        yield number, line, content
        before = [line]


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _lines(text: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    return ((number, content) for number, _line, content in _checked(text))


def _entry(number: int, content: dict[str, Any]) -> Entry:
    """Fields that a later version may have added are left out, and stay in the file."""
    found: dict[str, Any] = {}
    for name in (field.name for field in fields(Entry)):
        value = content.get(name, "")
        absent = value is None and name in _TIMES[1:]
        if not isinstance(value, str) and not absent:
            raise _changed(number, f"its {name} is no text")
        found[name] = value
    if found["action"] not in ACTIONS:
        raise _changed(number, f"its action is unknown to this version, which knows {', '.join(ACTIONS)}")
    for name in _TIMES:
        if found[name] is not None:
            try:
                found[name] = datetime.fromisoformat(found[name]).astimezone(UTC)
            except (ValueError, OverflowError):
                raise _changed(number, f"its {name} is no time") from None
    return Entry(**found)


def _plain(entry: Entry) -> dict[str, Any]:
    values = {field.name: getattr(entry, field.name) for field in fields(Entry)}
    return {name: iso(value) if isinstance(value, datetime) else value for name, value in values.items()}


def _hash(last: list[bytes]) -> str:
    return hashlib.sha256(last[0]).hexdigest() if last else _NOTHING_BEFORE


def _changed(number: int, what: str) -> LedgerError:
    return LedgerError(
        f"line {number} of the ledger was not written by this collection: {what}. Find out who changed it, and restore "
        "the ledger from its backup. If there is none, keep the file elsewhere for whoever looks into this, and remove "
        "it: a new ledger begins with the roots that are there."
    )
