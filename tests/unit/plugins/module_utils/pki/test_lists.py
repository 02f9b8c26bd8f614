# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.pki import bundle, crl, lists, transition
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import Authority
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import Revocation, Root

from tests.unit.plugins.module_utils.pki import forge
from tests.unit.plugins.module_utils.pki.forge import DAY, NOW

OURS, NEXT, FOREIGN = forge.root(), forge.root(), forge.root()
EAST, WEST = forge.intermediate(OURS), forge.intermediate(OURS, "west.mesh")
FILES = bundle.build(EAST, OURS.certificate)


def signed(authority: Authority, number: int = 1, *revoked: Authority) -> Any:
    return crl.sign(authority, [Revocation(one.certificate.serial_number, NOW) for one in revoked], number, NOW)


ROOT = Root(OURS.certificate, signed(OURS))
WEST_LIST = signed(WEST)


def needed(
    files: transition.Files | None = None, roots: tuple[Root, ...] = (ROOT,), now: Any = NOW, **changes: Any
) -> Any:
    issued, given = changes.get("issued", [WEST.certificate]), changes.get("given", [WEST_LIST])
    return lists.needed(FILES if files is None else files, changes.get("own", [EAST]), roots, issued, given, now)


def holding(*held: Any, files: transition.Files | None = None) -> transition.Files:
    return {**(FILES if files is None else files), bundle.CA_CRL: crl.pem(held)}


def issuers(found: Any, *known: Authority) -> list[int]:
    """Which of these authorities have a list among those found."""
    return [index for index, one in enumerate(known) if any(crl.issued_by(li, one.certificate) for li in found)]


def test_every_ca_has_one() -> None:
    found = needed()
    assert len(found) == 3
    assert issuers(found, OURS, EAST, WEST) == [0, 1, 2]


def test_the_same_again_changes_nothing() -> None:
    found = needed()
    assert needed(holding(*found)) == found
    assert needed(holding(*found), now=NOW + 30 * DAY) == found


def test_a_list_of_its_own_is_signed_only_if_nobody_has_one() -> None:
    assert lists.fresh([WEST], [WEST_LIST], NOW) == []
    (own,) = lists.fresh([EAST, WEST], [WEST_LIST], NOW)
    assert crl.issued_by(own, EAST.certificate)
    assert (crl.number(own), crl.revoked(own)) == (1, frozenset())
    assert own.next_update_utc == EAST.certificate.not_valid_after_utc


def test_a_root_without_a_list_leaves_what_is_held() -> None:
    """Proxies that have some lists refuse every chain with a CA that has none."""
    assert needed(roots=(Root(OURS.certificate),)) == ()
    held = needed()
    assert needed(holding(*held), roots=(ROOT, Root(NEXT.certificate))) == held


def test_a_ca_under_a_foreign_root_has_none() -> None:
    foreign = forge.intermediate(FOREIGN)
    assert needed(bundle.build(foreign, FOREIGN.certificate), own=[foreign]) == ()
    assert needed({}) == ()


def test_lists_held_under_a_root_that_was_lost_are_kept_and_added_to() -> None:
    held, successor = needed(), forge.intermediate(NEXT)
    added = needed(holding(*held), (Root(NEXT.certificate, signed(NEXT)),), own=[EAST, successor], given=[])
    assert issuers(added, OURS, EAST, WEST, NEXT, successor) == [0, 1, 2, 3, 4]


def test_the_newest_list_of_the_root_counts_wherever_it_comes_from() -> None:
    newer = signed(OURS, 2, WEST)
    found = needed(holding(*needed()), roots=(Root(OURS.certificate, newer),))
    assert newer in found
    assert ROOT.crl not in found


def test_a_list_of_the_root_that_another_mesh_hands_out_is_not_taken() -> None:
    """The custody alone says what the root has revoked."""
    stray = signed(OURS, 9, EAST)
    assert stray not in needed(given=[WEST_LIST, stray])


def test_a_mesh_that_is_not_part_of_the_run_keeps_its_list() -> None:
    held = needed()
    assert needed(holding(*held), issued=[], given=[]) == held


def test_lists_of_a_ca_that_has_ended_go() -> None:
    short = forge.intermediate(OURS, "west.mesh", lifetime=10 * DAY)
    held = needed(issued=[short.certificate], given=[signed(short)])
    assert issuers(held, short) == [0]
    assert issuers(needed(holding(*held), issued=[], given=[], now=NOW + 11 * DAY), OURS, EAST, short) == [0, 1]


def test_lists_under_a_root_that_is_left_go() -> None:
    successor = forge.intermediate(NEXT)
    both = (ROOT, Root(NEXT.certificate, signed(NEXT)))
    files = transition.trust(FILES, [NEXT.certificate], ())
    held = needed(files, both, own=[EAST, successor], issued=[WEST.certificate, OURS.certificate])
    assert issuers(held, OURS, EAST, WEST, NEXT, successor) == [0, 1, 2, 3, 4]
    files = transition.sign(files, successor, NEXT.certificate, renewal=False)
    files = holding(*held, files=transition.untrust(files, NEXT.certificate, ()))
    known = [OURS.certificate, WEST.certificate, EAST.certificate]
    left = needed(files, both[1:], own=[successor], issued=known, given=[])
    assert issuers(left, OURS, EAST, WEST, NEXT, successor) == [3, 4]


def test_lists_under_a_root_of_another_custody_stay_as_long_as_it_is_trusted() -> None:
    """Others may still sign under it."""
    successor = forge.intermediate(NEXT)
    files = transition.sign(transition.trust(FILES, [NEXT.certificate], ()), successor, NEXT.certificate, renewal=False)
    files = holding(*needed(), files=files)
    found = needed(files, (Root(NEXT.certificate, signed(NEXT)),), own=[successor], given=[])
    assert issuers(found, OURS, EAST, WEST, NEXT, successor) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("held", [True, False])
def test_a_revoked_mesh_keeps_the_older_list_of_the_root_until_it_has_a_new_ca(held: bool) -> None:
    """Or its own workloads would refuse each other at once, before they have certificates of the new CA."""
    newer = signed(OURS, 2, EAST)
    files = holding(ROOT.crl) if held else FILES
    found = needed(files, (Root(OURS.certificate, newer),))
    assert (ROOT.crl in found, newer in found) == (held, not held)
