# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.pki import bundle, crl, transition
from ansible_collections.multimesh.istio.plugins.module_utils.pki.transition import STAGES, State

from tests.unit.plugins.module_utils.pki import forge
from tests.unit.plugins.module_utils.pki.forge import DAY, NOW

OLD, NEW = forge.root(), forge.root()
BEFORE, AFTER = forge.intermediate(OLD), forge.intermediate(NEW)
FILES = bundle.build(BEFORE, OLD.certificate)
LIST = crl.sign(NEW, (), 1, NOW)


def way() -> list[transition.Files]:
    """What the Secret holds from stage to stage."""
    trusted = transition.trust(FILES, [NEW.certificate], ())
    signs = transition.renew(transition.sign(trusted, AFTER, NEW.certificate, renewal=True))
    return [{}, FILES, trusted, signs, transition.untrust(signs, NEW.certificate, ())]


def test_every_stage_is_read_out_of_the_certificates() -> None:
    assert tuple(State.of(files).stage(NEW.certificate) for files in way()) == STAGES


def test_on_the_way_back_the_stages_are_those_of_the_other_target() -> None:
    stages = [State.of(files).stage(OLD.certificate) for files in way()]
    assert stages == ["absent", "done", "sign", "trust", "other"]


def test_a_signer_whose_root_is_not_trusted_has_not_arrived() -> None:
    assert State.of({**FILES, bundle.ROOT_CERT: forge.to_pem(NEW.certificate)}).stage(OLD.certificate) == "other"


def test_what_cannot_be_read_is_absent() -> None:
    assert State.of({"ca-cert.pem": b"junk", "root-cert.pem": b"\xff"}) == State(None, ())


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n", b"\n# of 2019\n"])
def test_the_bytes_that_istiod_knows_are_kept_to_the_last_one(ending: bytes) -> None:
    """Before 1.30 it takes a new root-cert.pem only if the old one is literally in it."""
    known = forge.to_pem(OLD.certificate).replace(b"\n", b"\r\n").rstrip() + ending
    files = transition.trust({**FILES, bundle.ROOT_CERT: known}, [NEW.certificate], ())
    assert files[bundle.ROOT_CERT].startswith(known)
    assert State.of(files).roots == (OLD.certificate, NEW.certificate)
    signs = transition.renew(transition.sign(files, AFTER, NEW.certificate, renewal=True))
    assert signs[bundle.ROOT_CERT].startswith(files[bundle.ROOT_CERT])


def test_trusting_and_untrusting_twice_is_doing_it_once() -> None:
    _absent, _files, trusted, signs, done = way()
    assert transition.trust(trusted, [NEW.certificate], ()) == trusted
    assert transition.untrust(done, NEW.certificate, ()) == done
    for files in (trusted, signs):
        assert transition.trust(files, [OLD.certificate], ()) == files


def test_a_new_signer_is_written_without_touching_the_bundle() -> None:
    """Proxies that get their certificates anew at that moment may get one of the old signer."""
    files = transition.trust(FILES, [NEW.certificate], ())
    for renewal in (True, False):
        signs = transition.sign(files, AFTER, NEW.certificate, renewal=renewal)
        assert signs[bundle.ROOT_CERT] == files[bundle.ROOT_CERT]
        assert transition.is_renewal_pending(signs) == renewal


def test_every_renewal_changes_the_bytes_of_the_bundle_which_does_not_grow() -> None:
    """Proxies get their certificates anew at once when they see other bytes."""
    files, seen = FILES, [FILES[bundle.ROOT_CERT]]
    for _renewal in range(4):
        successor = forge.intermediate(OLD)
        files = transition.renew(transition.sign(files, successor, OLD.certificate, renewal=True))
        seen.append(files[bundle.ROOT_CERT])
        assert {**files, bundle.ROOT_CERT: b""} == {**bundle.build(successor, OLD.certificate), bundle.ROOT_CERT: b""}
        assert State.of(files).stage(OLD.certificate) == "done"
        assert not transition.is_renewal_pending(files)
    assert seen == [seen[0], seen[0] * 2] * 2 + [seen[0]]


def test_files_that_are_not_about_it_stay() -> None:
    files = {**FILES, "notes.txt": b"mine"}
    for step in (
        transition.trust(files, [NEW.certificate], [LIST]),
        transition.sign(files, AFTER, NEW.certificate, renewal=True),
        transition.renew(files),
        transition.untrust(files, NEW.certificate, [LIST]),
    ):
        assert step["notes.txt"] == b"mine"


def test_lists_are_replaced_as_a_whole_and_only_if_one_differs() -> None:
    other = crl.sign(OLD, (), 2, NOW)
    files = transition.trust(FILES, (), [LIST, other])
    assert crl.read(files[bundle.CA_CRL]) == [LIST, other]
    assert transition.trust(files, (), [other, LIST]) == files, "the order says nothing"
    assert crl.read(transition.trust(files, (), [LIST])[bundle.CA_CRL]) == [LIST]
    assert bundle.CA_CRL not in transition.untrust(files, OLD.certificate, ())


@pytest.mark.parametrize(("days", "share"), [(0, 0.0), (45, 0.5), (60, 2 / 3), (90, 1.0), (-9, -0.1), (180, 2.0)])
def test_share_of_life(days: int, share: float) -> None:
    certificate = forge.intermediate(OLD).certificate
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    assert transition.share_of_life(certificate, begins + (ends - begins) * days / 90) == pytest.approx(share)
    assert ends - begins == 90 * DAY + (NOW - begins)
