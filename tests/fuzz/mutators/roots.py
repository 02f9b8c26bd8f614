# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Federations with a second root that verifiers may take for the first one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from tests.fuzz import der
from tests.fuzz.draft import DAY, Draft
from tests.fuzz.plan import ISSUER_ID, OWN_ID, Plan, authority, key_id


def second(draft: Draft, key_name: str, text: str) -> Plan:
    """Another root beside the first one."""
    key = draft.keys.get("p256", key_name)
    plan = authority(key, text, draft.now - DAY, draft.now + 3600 * DAY, None)
    draft.more_roots.append(plan)
    return plan


def same_name(draft: Draft) -> None:
    """The name of the first one, another key."""
    second(draft, "root 2", "root 2").subject = draft.plans["root"].subject


def same_name_and_id(draft: Draft) -> None:
    """Name and key identifier of the first one, another key."""
    first, plan = draft.plans["root"], second(draft, "root 2", "root 2")
    plan.subject, plan.own_id = first.subject, first.own_id
    plan.find(OWN_ID).value = der.wrap(der.OCTET_STRING, first.own_id)


def same_key(draft: Draft) -> None:
    """The key of the first one under another name."""
    first, plan = draft.plans["root"], second(draft, "root 2", "Mesh federation root 3")
    plan.key, plan.own_id = first.key, key_id(first.key)
    plan.find(OWN_ID).value = der.wrap(der.OCTET_STRING, plan.own_id)


def renewed(draft: Draft) -> None:
    """Name and key of the first one, another validity."""
    same_key(draft)
    plan = draft.more_roots[-1]
    plan.subject = draft.plans["root"].subject
    plan.ends = authority(
        plan.key, "", draft.now, draft.now + timedelta(days=draft.rng.choice((1, 30, 60, 4000))), None
    ).ends


def without_ids(draft: Draft) -> None:
    """The name of the first one, and no key identifiers anywhere to tell them apart."""
    same_name(draft)
    for plan in (*draft.plans.values(), *draft.more_roots):
        if draft.rng.random() < 0.8:
            plan.drop(draft.rng.choice((OWN_ID, ISSUER_ID)))


def name_of_the_intermediate(draft: Draft) -> None:
    """The name that the intermediate has."""
    plan = second(draft, "root 2", "root 2")
    plan.subject = draft.plans["ca"].subject
    if draft.rng.random() < 0.5:
        plan.own_id = draft.plans["ca"].own_id
        plan.find(OWN_ID).value = der.wrap(der.OCTET_STRING, plan.own_id)
    if draft.rng.random() < 0.5:
        plan.key = draft.plans["ca"].key


MUTATORS: tuple[tuple[str, Callable[[Draft], None], int], ...] = (
    ("same-name", same_name, 3),
    ("same-name-and-id", same_name_and_id, 3),
    ("same-key", same_key, 3),
    ("renewed", renewed, 3),
    ("without-ids", without_ids, 3),
    ("name-of-the-intermediate", name_of_the_intermediate, 3),
)
