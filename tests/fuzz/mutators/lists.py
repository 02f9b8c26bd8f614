# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Revocation lists that say something else than they should, properly signed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from tests.fuzz import der
from tests.fuzz.draft import Draft
from tests.fuzz.mutators.fields import NULL, ODD_VALUES, OTHER_EXTENSIONS, junk, odd_time
from tests.fuzz.plan import ISSUER_ID, Extension, common_name, moment
from tests.fuzz.revocation import DELTA, NUMBER, POINT, REASON, ListPlan, Revoked

Change = Callable[[Draft, ListPlan], None]


def listed(change: Change) -> Callable[[Draft], None]:
    """The change made in one of the lists; if there were to be none, they are there, and most often only that."""

    def apply(draft: Draft) -> None:
        if draft.lists is None:
            draft.lists = []
        # The root's and this mesh's own are what matters most.
        draft.lists.append((draft.rng.choice((0, 0, 1, 1, 2, 3)), lambda plan: change(draft, plan)))

    return apply


def entries(draft: Draft, plan: ListPlan) -> None:
    """Certificates revoked: this mesh's CA, others; entries of odd form."""
    rng = draft.rng
    serials = [draft.plans["ca"].serial, draft.plans["root"].serial, der.integer(99), der.integer(0), der.integer(-3),
               der.integer(2**159), der.integer(2**200), b"\x02\x00", b"\x02\x02\x00\x05", NULL]  # fmt: skip
    dates = [moment(draft.now - timedelta(days=1)), moment(draft.now + timedelta(days=1)), odd_time(rng, draft.now)]
    extensions = [
        Extension(REASON, bytes([0x0A, 1, rng.choice((0, 1, 4, 6, 8, 10, 77))])),
        Extension("2.5.29.24", der.wrap(der.GENERALIZED_TIME, b"20260101000000Z")),
        Extension("2.5.29.29", der.sequence(der.wrap(0xA4, draft.plans["ca"].subject)), critical=True),
        Extension("1.2.3.4", NULL, critical=rng.random() < 0.5),
        Extension(REASON, rng.choice(ODD_VALUES)),
    ]
    for _turn in range(rng.choice((1, 1, 2, 300))):
        chosen = [rng.choice(extensions)] if rng.random() < 0.3 else []
        plan.entries.append(Revoked(rng.choice(serials[2:3] * 8 + serials), rng.choice(dates[:1] * 4 + dates), chosen))


def times(draft: Draft, plan: ListPlan) -> None:
    """Begin and end: moved, missing, written in another way."""
    rng = draft.rng
    near = draft.now + rng.choice((-1, 1)) * timedelta(seconds=rng.choice((0, 1, 3600, 86400, 86400 * 400)))
    ends = rng.choice((moment(near), b"", odd_time(rng, draft.now + timedelta(days=80)), NULL))
    if rng.random() < 0.5:
        plan.ends = ends
    else:
        plan.begins = rng.choice((moment(near), odd_time(rng, draft.now - timedelta(days=1))))


def extensions(draft: Draft, plan: ListPlan) -> None:
    """Extensions of the list: another number, partial lists, the issuer's identifier, any others."""
    rng = draft.rng
    numbers = (der.integer(0), der.integer(-1), der.integer(2**159), der.integer(2**170), b"\x02\x02\x00\x01")
    points = (der.sequence(b"\x81\x01\xff"), der.sequence(b"\x82\x01\xff"), der.sequence(b"\x84\x01\xff"), b"\x30\x00")
    reference = der.sequence(
        der.wrap(0x80, rng.choice((plan.signer.own_id, b"x" * 20, b""))),
        der.wrap(0xA1, der.wrap(0xA4, rng.choice((plan.signer.subject, common_name("somebody"))))),
        rng.choice((b"\x82\x01\x01", der.wrap(0x82, plan.signer.serial[2:]))),
    )
    other = rng.choice(list(OTHER_EXTENSIONS))
    kind, value = rng.choice(
        (
            (NUMBER, rng.choice(numbers)),
            (DELTA, rng.choice(numbers)),
            (POINT, rng.choice(points)),
            (ISSUER_ID, reference),
            (other, rng.choice(OTHER_EXTENSIONS[other])),
            (rng.choice((NUMBER, DELTA, POINT, ISSUER_ID)), rng.choice((*ODD_VALUES, junk(rng)))),
        )
    )
    extension = plan.find(kind)
    extension.value, extension.critical = value, rng.random() < 0.3
    if rng.random() < 0.1:
        plan.extensions.remove(extension)
    if rng.random() < 0.1:
        plan.extensions.append(extension)


def head(draft: Draft, plan: ListPlan) -> None:
    """Version, issuer, algorithm."""
    rng = draft.rng
    match rng.randrange(3):
        case 0:
            plan.version = rng.choice((b"", der.integer(0), der.integer(2), NULL))
            if rng.random() < 0.5:
                plan.extensions = []
        case 1:
            names = (draft.plans["root"].subject, draft.plans["ca"].subject, common_name("x"), b"\x30\x00")
            plan.issuer = rng.choice(names)
        case _:
            plan.digest = rng.choice(("sha1", "sha224", "sha384", "sha512"))


def signer(draft: Draft, plan: ListPlan) -> None:
    """The list of one CA signed by another."""
    plan.issuer = plan.signer.subject
    plan.signer = draft.rng.choice((draft.plans["root"], draft.plans["ca"], draft.foreign()))


def nothing(_draft: Draft, _plan: ListPlan) -> None:
    """A good list."""


MUTATORS: tuple[tuple[str, Callable[[Draft], None], int], ...] = (
    ("entries", listed(entries), 10),
    ("times", listed(times), 8),
    ("extensions", listed(extensions), 12),
    ("head", listed(head), 6),
    ("signer", listed(signer), 3),
    ("none", listed(nothing), 3),
)
