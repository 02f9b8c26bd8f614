# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What refuses; where the flows of test_issue and test_steps do not get to it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.pki import bundle, crl, guards, transition
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import (
    IntermediateProfile,
    Revocation,
    Root,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import fingerprint
from ansible_collections.multimesh.istio.plugins.module_utils.pki.request import RefusedError, Request

from tests.unit.plugins.module_utils.pki import forge
from tests.unit.plugins.module_utils.pki.forge import DAY, NOW

OLD, NEW, FOREIGN = forge.root(), forge.root(), forge.root()
ROOTS = (Root(OLD.certificate), Root(NEW.certificate))
REQUEST = Request(IntermediateProfile("east", "east.mesh"))
EAST = forge.intermediate(OLD)
FILES = bundle.build(EAST, OLD.certificate)


def test_the_target_is_the_one_asked_for_else_the_newest() -> None:
    assert guards.target(REQUEST, ROOTS, "there") is ROOTS[1]
    for root in ROOTS:
        assert guards.target(replace(REQUEST, target=fingerprint(root.certificate)), ROOTS, "there") is root


def test_a_target_that_is_not_there() -> None:
    wanted = replace(REQUEST, target=fingerprint(FOREIGN.certificate))
    with pytest.raises(RefusedError, match=r"(?s)^east: target_root: .* is no root of there.*Name one") as caught:
        guards.target(wanted, ROOTS, "there")
    assert all(fingerprint(root.certificate) in str(caught.value) for root in ROOTS)
    with pytest.raises(RefusedError, match=r"^east: there holds no root"):
        guards.target(wanted, (), "there")


@pytest.mark.parametrize("files", [{}, FILES])
def test_what_has_to_be_there_before_a_step(files: transition.Files) -> None:
    with pytest.raises(RefusedError, match=r"(?s)is missing or empty.*site" if not files else "holds no root"):
        guards.existing(REQUEST, files, () if files else ROOTS, "there", NOW)
    guards.existing(REQUEST, FILES, ROOTS, "there", NOW)


def test_a_foreign_ca_is_only_led_away_from_what_is_wrong_with_it() -> None:
    foreign = bundle.build(forge.intermediate(FOREIGN), FOREIGN.certificate)
    files = transition.trust(foreign, [OLD.certificate], ())
    with pytest.raises(RefusedError, match="not a root of this federation"):
        guards.existing(REQUEST, files, ROOTS, "there", NOW)
    adopting = replace(REQUEST, adopt=True)
    guards.existing(adopting, files, ROOTS, "there", NOW)
    with pytest.raises(RefusedError) as caught:
        guards.existing(adopting, files, ROOTS, "there", NOW + 91 * DAY)
    assert {finding.name for finding in caught.value.findings} == {"expired"}
    with pytest.raises(RefusedError) as caught:
        guards.existing(adopting, {**files, "istio-generated": b""}, ROOTS, "there", NOW)
    assert {finding.name for finding in caught.value.findings} == {"istio-generated"}


def revoked(serial: int) -> Root:
    return Root(OLD.certificate, crl.sign(OLD, [Revocation(serial, NOW)], 1, NOW))


def test_who_is_revoked() -> None:
    own = EAST.certificate.serial_number
    assert guards.is_revoked(EAST.certificate, [revoked(own)])
    assert not guards.is_revoked(EAST.certificate, [revoked(own + 1)])
    assert not guards.is_revoked(EAST.certificate, ROOTS)
    twin = forge.Forgery(serial=own).sign(NEW).certificate
    assert not guards.is_revoked(twin, [revoked(own)]), "serial numbers are each issuer's own"


def test_a_revoked_mesh_is_only_touched_to_get_a_new_ca() -> None:
    roots = [revoked(EAST.certificate.serial_number)]
    with pytest.raises(RefusedError, match=r"(?s)is revoked \(serial .*shared_root_ca_replace_revoked=true"):
        guards.existing(REQUEST, FILES, roots, "there", NOW)
    guards.existing(replace(REQUEST, replace_revoked=True), FILES, roots, "there", NOW)


def test_who_may_sign() -> None:
    candidate = forge.intermediate(NEW)
    with pytest.raises(RefusedError, match=r"(?s)does not trust yet.*rotate_root_ca"):
        guards.may_sign(REQUEST, FILES, candidate.certificate, ROOTS[1])
    files = transition.trust(FILES, [NEW.certificate], ())
    guards.may_sign(REQUEST, files, candidate.certificate, ROOTS[1])
    of_root = crl.sign(NEW, (), 1, NOW)
    with pytest.raises(RefusedError, match=r"the CRL of its candidate is not in ca-crl\.pem yet"):
        guards.may_sign(REQUEST, transition.trust(files, (), [of_root]), candidate.certificate, ROOTS[1])
    complete = transition.trust(files, (), [of_root, crl.sign(candidate, (), 1, NOW)])
    guards.may_sign(REQUEST, complete, candidate.certificate, ROOTS[1])


@pytest.mark.parametrize("stage", transition.STAGES)
def test_who_may_stop_trusting_other_roots(stage: transition.Stage) -> None:
    if stage in ("sign", "done"):
        guards.may_untrust(REQUEST, stage, FILES)
        return
    with pytest.raises(RefusedError, match=rf"stage {stage}"):
        guards.may_untrust(REQUEST, stage, FILES)


def test_nobody_stops_trusting_what_its_own_proxies_may_be_under() -> None:
    with pytest.raises(RefusedError, match=r"(?s)east: its proxies may still have .*Nothing was written"):
        guards.may_untrust(REQUEST, "sign", FILES | {transition.RENEWAL_PENDING: b"00"})


def test_what_would_not_work_is_not_written() -> None:
    with pytest.raises(RefusedError, match=r"(?s)would not work.*chain.*Nothing was written") as caught:
        guards.planned(REQUEST, {**FILES, bundle.CERT_CHAIN: forge.to_pem(OLD.certificate)}, ROOTS, NOW)
    assert {finding.name for finding in caught.value.findings} == {"chain-order"}
    guards.planned(REQUEST, FILES, ROOTS, NOW)
