# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.pki import crl, keys, pem
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import BACKDATE, Authority, issue_leaf
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import Revocation
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.pki import forge
from tests.unit.plugins.module_utils.pki.forge import DAY, NOW, Forgery

List = x509.CertificateRevocationList

ROOT, FOREIGN = forge.root(), forge.root()
EAST, WEST = forge.intermediate(ROOT), forge.intermediate(ROOT, "west.mesh")
ISSUERS = [ca.certificate for ca in (ROOT, EAST, WEST)]


def made(ca: Authority, *serials: int, number: int = 1, now: datetime = NOW) -> List:
    return crl.sign(ca, [Revocation(serial, NOW) for serial in serials], number, now)


OF_ROOT, OF_EAST, OF_WEST = made(ROOT, 7), made(EAST), made(WEST)
GOOD = crl.pem([OF_ROOT, OF_EAST, OF_WEST])


def names(content: bytes, issuers: Sequence[x509.Certificate] = ISSUERS, **options: Any) -> set[str]:
    return {finding.name for finding in crl.findings(content, issuers, NOW, **options)}


def test_a_list_of_the_first_version_is_refused_for_the_whole_file() -> None:
    """The library reads it, Go does not. What makes it one is that the version is left out."""
    der = OF_WEST.public_bytes(serialization.Encoding.DER)
    assert der[:2] == b"\x30\x81"
    assert der[3:5] == b"\x30\x81"
    first = bytes([0x30, 0x81, der[2] - 3, 0x30, 0x81, der[5] - 3]) + der[9:]
    assert x509.load_der_x509_crl(first).issuer == OF_WEST.issuer
    file = crl.pem([OF_ROOT, OF_EAST]) + pem.write(crl.LABEL, first)
    assert "unreadable-crl" in names(file)


def extension(of: List, kind: Any) -> Any:
    return of.extensions.get_extension_for_class(kind)


# Signing


def test_a_list_follows_the_profile() -> None:
    own = EAST.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert OF_EAST.issuer == EAST.certificate.subject
    assert OF_EAST.last_update_utc == EAST.certificate.not_valid_before_utc == NOW - BACKDATE
    assert OF_EAST.next_update_utc == EAST.certificate.not_valid_after_utc
    assert extension(OF_EAST, x509.AuthorityKeyIdentifier).value.key_identifier == own
    assert extension(OF_EAST, x509.CRLNumber).value.crl_number == crl.number(OF_EAST) == 1
    assert not any(entry.critical for entry in OF_EAST.extensions)
    assert len(OF_EAST.extensions) == 2
    assert OF_EAST.tbs_certlist_bytes[:20].count(b"\x02\x01\x01") == 1  # INTEGER 1: version 2


@pytest.mark.parametrize("key_type", keys.KEY_TYPES[:3])
def test_every_kind_of_key_signs(key_type: str) -> None:
    ca = forge.root(key_type=key_type)
    assert crl.issued_by(made(ca), ca.certificate)


def test_a_list_never_begins_before_its_issuer_and_never_ends_after_it() -> None:
    late = made(EAST, now=NOW + DAY)
    assert late.last_update_utc == NOW + DAY - BACKDATE
    assert late.next_update_utc == OF_EAST.next_update_utc


def test_entries_are_sorted_have_no_reason_and_the_earliest_date() -> None:
    revocations = [Revocation(9, NOW), Revocation(3, NOW), Revocation(9, NOW - DAY), Revocation(9, NOW + DAY)]
    for order in itertools.permutations(revocations):
        entries = list(crl.sign(ROOT, order, 2, NOW))
        assert [entry.serial_number for entry in entries] == [3, 9]
        assert [entry.revocation_date_utc for entry in entries] == [NOW, NOW - DAY]
        assert not any(list(entry.extensions) for entry in entries)


def test_a_ca_that_has_ended_signs_nothing() -> None:
    with pytest.raises(MultimeshError, match="this CA ended"):
        made(EAST, now=EAST.certificate.not_valid_after_utc)


# Reading


def test_what_was_written_is_read() -> None:
    assert crl.read(GOOD) == [OF_ROOT, OF_EAST, OF_WEST]
    assert crl.pem([]) == b""
    assert crl.read(b"") == []


def test_what_cannot_be_read_is_left_out() -> None:
    junk = pem.write(crl.LABEL, b"junk") + pem.write("CERTIFICATE", b"x") + b"text\n"
    assert crl.read(junk + crl.pem([OF_EAST]) + junk) == [OF_EAST]


def test_as_many_lists_are_read_as_a_large_federation_has() -> None:
    many = [made(ROOT, number=index) for index in range(200)]
    assert crl.read(crl.pem(many)) == many


def test_revoked_serials() -> None:
    assert crl.revoked(made(ROOT, 3, 1 << 158)) == {3, 1 << 158}
    assert crl.revoked(OF_EAST) == frozenset()


def test_description() -> None:
    assert crl.describe(made(ROOT, 255, 16, number=5), NOW + 2 * DAY) == {
        "issuer": ROOT.certificate.subject.rfc4514_string(),
        "number": 5,
        "this_update": crl.iso(NOW - BACKDATE),
        "next_update": crl.iso(NOW + 3650 * DAY),
        "age_days": 2,
        "days_left": 3648,
        "revoked": ["10", "ff"],
    }
    assert crl.describe(made(ROOT), NOW + 3651 * DAY)["days_left"] == -1


# Who has issued it


def lookalike(of: Authority, key: Authority) -> Authority:
    """A CA with the name and the serial number of another one, and the key of a third."""
    return Forgery(
        key=key.key, subject=of.certificate.subject, serial=of.certificate.serial_number
    ).with_extension("own", None).sign(ROOT)  # fmt: skip


def test_name_and_signature_make_the_issuer() -> None:
    assert crl.issued_by(OF_EAST, EAST.certificate)
    assert not crl.issued_by(OF_EAST, WEST.certificate)
    assert not crl.issued_by(OF_EAST, lookalike(EAST, WEST).certificate)
    assert crl.issued_by(OF_EAST, lookalike(EAST, EAST).certificate)  # the same CA, certified anew


def test_another_key_identifier_is_another_issuer() -> None:
    other = x509.AuthorityKeyIdentifier(b"x" * 20, None, None)
    assert not crl.issued_by(spoilt(EAST, without=x509.AuthorityKeyIdentifier, add=other), EAST.certificate)
    assert crl.issued_by(spoilt(EAST, without=x509.AuthorityKeyIdentifier), EAST.certificate)


# Merging


def der(*lists: List) -> set[bytes]:
    return {one.public_bytes(serialization.Encoding.DER) for one in lists}


def test_the_newest_list_of_each_issuer_is_kept() -> None:
    newer, same_number = made(EAST, 5, number=2), made(WEST, 6, number=1, now=NOW + DAY)
    merged = crl.merge([OF_EAST, newer, same_number, OF_WEST, OF_ROOT, OF_EAST], ISSUERS, NOW)
    assert der(*merged) == der(newer, same_number, OF_ROOT)


def test_the_number_counts_more_than_the_time() -> None:
    newest = made(ROOT, number=10)
    assert crl.merge([made(ROOT, number=9, now=NOW + DAY), newest, made(ROOT, number=2)], ISSUERS, NOW) == (newest,)


def test_lists_of_strangers_are_left_out() -> None:
    forged = made(Authority(EAST.certificate, FOREIGN.key), number=99)
    assert crl.merge([made(FOREIGN), forged, OF_EAST], ISSUERS, NOW) == (OF_EAST,)


def test_lists_of_cas_that_have_ended_are_dropped() -> None:
    assert der(*crl.merge([OF_ROOT, OF_EAST, OF_WEST], ISSUERS, NOW + 90 * DAY)) == der(OF_ROOT)
    assert der(*crl.merge([], ISSUERS, NOW + 90 * DAY, held=[OF_ROOT, OF_EAST])) == der(OF_ROOT)


def test_what_the_cluster_holds_of_meshes_outside_the_run_stays_until_it_ends() -> None:
    issuers = [ROOT.certificate, EAST.certificate]
    held = [OF_ROOT, OF_EAST, OF_WEST, made(WEST, 8, number=2)]
    assert der(*crl.merge([made(FOREIGN)], issuers, NOW, held=held)) == der(OF_ROOT, OF_EAST, held[-1])
    assert der(*crl.merge([], issuers, NOW + 90 * DAY, held=held)) == der(OF_ROOT)
    forged = made(Authority(EAST.certificate, FOREIGN.key), number=99)
    assert crl.merge([], issuers, NOW, held=[forged]) == ()


POOL = [
    made(ca, *serials, number=number, now=now)
    for ca in (ROOT, EAST, WEST, FOREIGN)
    for number in (1, 2)
    for serials in ((), (4,))
    for now in (NOW, NOW + DAY)
]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_merging_depends_on_no_order_and_twice_is_once(data: st.DataObject) -> None:
    some = data.draw(st.lists(st.sampled_from(POOL), max_size=12))
    issuers = data.draw(st.lists(st.sampled_from(ISSUERS), unique=True))
    held = data.draw(st.lists(st.sampled_from(POOL), max_size=4))
    merged = crl.merge(some, issuers, NOW, held=held)
    for again in (data.draw(st.permutations(some)), [*some, *merged]):
        assert crl.merge(again, data.draw(st.permutations(issuers)), NOW, held=held) == merged
    assert crl.merge(merged, issuers, NOW, held=merged) == merged
    first, second = some[: len(some) // 2], some[len(some) // 2 :]
    assert crl.merge([*crl.merge(first, issuers, NOW), *second], issuers, NOW, held=held) == merged
    for issuer in issuers:
        own = [one for one in [*some, *held] if crl.issued_by(one, issuer)]
        assert [crl.number(one) for one in merged if crl.issued_by(one, issuer)] == (
            [max(map(crl.number, own))] if own else []
        )


# Judging


def spoilt(
    ca: Authority,
    *,
    without: type | None = None,
    add: Any = None,
    critical: bool = False,
    begins: datetime = NOW - BACKDATE,
    ends: datetime = NOW + DAY,
    entry: Any = None,
    entry_critical: bool = False,
    hash_: hashes.HashAlgorithm | None = None,
) -> List:
    """A list that is wrong in one way."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(ca.certificate.subject)
    builder = builder.last_update(begins).next_update(ends)
    own = ca.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    usual: list[Any] = [x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), x509.CRLNumber(1)]
    for value in usual:
        if without is None or not isinstance(value, without):
            builder = builder.add_extension(value, critical=False)
    if add is not None:
        builder = builder.add_extension(add, critical=critical)
    if entry is not None:
        item = x509.RevokedCertificateBuilder().serial_number(5).revocation_date(NOW)
        builder = builder.add_revoked_certificate(item.add_extension(entry, critical=entry_critical).build())
    return builder.sign(ca.key, hash_ or hashes.SHA256())


ONLY_CAS = x509.IssuingDistributionPoint(None, None, False, True, None, False, False)
INDIRECT = x509.IssuingDistributionPoint(None, None, False, False, None, True, False)
OTHER_ISSUER = x509.CertificateIssuer([x509.DirectoryName(WEST.certificate.subject)])
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")

LISTS: dict[str, tuple[List, set[str]]] = {
    "as it should be": (spoilt(EAST), set()),
    "no key identifier": (spoilt(EAST, without=x509.AuthorityKeyIdentifier), set()),
    "a reason": (spoilt(EAST, entry=x509.CRLReason(x509.ReasonFlags.key_compromise)), set()),
    "not yet valid": (spoilt(EAST, begins=NOW + timedelta(seconds=1)), {"not-yet-valid"}),
    "expired": (spoilt(EAST, ends=NOW), {"expired"}),
    "expires now": (spoilt(EAST, ends=NOW + timedelta(seconds=1)), set()),
    "no number": (spoilt(EAST, without=x509.CRLNumber), {"no-number"}),
    "delta": (spoilt(EAST, add=x509.DeltaCRLIndicator(1), critical=True), {"delta-crl"}),
    "only CAs": (spoilt(EAST, add=ONLY_CAS, critical=True), {"partial-crl"}),
    "indirect": (spoilt(EAST, add=INDIRECT, critical=True), {"partial-crl"}),
    "entry of another issuer": (spoilt(EAST, entry=OTHER_ISSUER, entry_critical=True), {"critical-extension"}),
    "unknown extension": (spoilt(EAST, add=UNKNOWN), set()),
    "unknown critical extension": (spoilt(EAST, add=UNKNOWN, critical=True), {"critical-extension"}),
    "SHA-224": (spoilt(EAST, hash_=hashes.SHA224()), {"signature-algorithm"}),
    "another key": (made(Authority(EAST.certificate, WEST.key)), {"signature", "missing-crl"}),
}


@pytest.mark.parametrize("case", LISTS)
def test_names_what_is_wrong_with_a_list(case: str) -> None:
    wrong, expected = LISTS[case]
    assert names(crl.pem([OF_ROOT, wrong, OF_WEST])) == expected


FILES: dict[str, tuple[bytes, set[str]]] = {
    "good": (GOOD, set()),
    "another order": (crl.pem([OF_WEST, OF_ROOT, OF_EAST]), set()),
    "empty": (b"", {"malformed-pem", "missing-crl"}),
    "no PEM": (b"text\n", {"malformed-pem", "missing-crl"}),
    "too large": (GOOD * 500, {"malformed-pem", "missing-crl"}),
    "CRLF": (GOOD.replace(b"\n", b"\r\n"), {"malformed-pem"}),
    "byte order mark": (b"\xef\xbb\xbf" + GOOD, {"malformed-pem", "missing-crl"}),
    "text between": (GOOD.replace(b"-----END X509 CRL-----\n", b"-----END X509 CRL-----\ntext\n"), {"malformed-pem"}),
    "truncated": (GOOD[:-40], {"malformed-pem", "missing-crl"}),
    "no end of line": (GOOD[:-1], {"malformed-pem"}),
    "a certificate": (GOOD + forge.to_pem(EAST.certificate), {"not-a-crl"}),
    "a key": (GOOD + keys.private_pem(EAST.key, None), {"not-a-crl"}),
    "label CRL": (GOOD.replace(b"X509 CRL", b"CRL"), {"not-a-crl", "missing-crl"}),
    "junk": (GOOD + pem.write(crl.LABEL, b"junk"), {"unreadable-crl"}),
    "no root": (crl.pem([OF_EAST, OF_WEST]), {"missing-crl"}),
    "no peer": (crl.pem([OF_ROOT, OF_EAST]), {"missing-crl"}),
    "a stranger": (GOOD + crl.pem([made(FOREIGN)]), {"unknown-issuer"}),
    "a stranger's that is wrong": (GOOD + crl.pem([spoilt(FOREIGN, ends=NOW)]), {"unknown-issuer"}),
    "forged beside the genuine one": (GOOD + crl.pem([made(Authority(EAST.certificate, WEST.key))]), {"signature"}),
    "twice": (GOOD + crl.pem([made(EAST, number=2)]), {"duplicate-crl"}),
}


@pytest.mark.parametrize("case", FILES)
def test_names_what_is_wrong_with_the_file(case: str) -> None:
    content, expected = FILES[case]
    assert names(content) == expected


def test_the_issuer_needs_the_right_to_sign_lists() -> None:
    old = Forgery().with_extension("usage", forge.key_usage(crl_sign=False)).sign(ROOT)
    assert names(crl.pem([OF_ROOT, made(old)]), [ROOT.certificate, old.certificate]) == {"key-usage"}
    silent = Forgery().with_extension("usage", None).sign(ROOT)
    assert names(crl.pem([OF_ROOT, made(silent)]), [ROOT.certificate, silent.certificate]) == set()


def test_revoking_a_peer_is_the_purpose_and_revoking_oneself_is_a_mistake() -> None:
    content = crl.pem([made(ROOT, EAST.certificate.serial_number), OF_EAST, OF_WEST])
    assert names(content) == names(content, signer=WEST.certificate) == set()
    assert names(content, signer=EAST.certificate) == {"signer-revoked"}
    of_itself = crl.pem([made(ROOT, ROOT.certificate.serial_number), OF_EAST, OF_WEST])
    assert names(of_itself, signer=WEST.certificate) == {"root-revoked"}
    # A serial number counts with its issuer only.
    content = crl.pem([OF_ROOT, OF_EAST, made(WEST, EAST.certificate.serial_number)])
    assert names(content, signer=EAST.certificate) == set()


def test_a_ca_that_has_ended_needs_no_list_and_its_old_one_does_no_harm() -> None:
    when = NOW + 90 * DAY
    assert not crl.findings(crl.pem([OF_ROOT]), ISSUERS, when)
    assert not crl.findings(GOOD, ISSUERS, when)
    unknown = crl.findings(GOOD, [ROOT.certificate], when)
    assert {finding.name for finding in unknown} == {"unknown-issuer"}


def test_findings_quote_no_file() -> None:
    named = keys.private_pem(EAST.key, None).splitlines()[1][:24].decode()
    said = str(crl.findings(keys.private_pem(EAST.key, None) + crl.pem([made(FOREIGN)]), ISSUERS, NOW))
    assert named not in said
    assert FOREIGN.certificate.subject.rfc4514_string() not in said


# A second opinion


def openssl_accepts(leaf: x509.Certificate, ca: x509.Certificate, content: bytes, folder: Path, when: datetime) -> bool:
    """Whether ``openssl verify`` takes a leaf whose whole chain is checked against the lists."""
    for name, certificate in (("leaf", leaf), ("ca", ca), ("root", ROOT.certificate)):
        (folder / name).write_bytes(forge.to_pem(certificate))
    (folder / "crl").write_bytes(content)
    command = ["openssl", "verify", "-no-CApath", "-attime", str(int(when.timestamp())), "-crl_check_all"]
    command += ["-CAfile", "root", "-untrusted", "ca", "-CRLfile", "crl", "leaf"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0


EAST_LEAF = issue_leaf(EAST, "spiffe://east.mesh/ns/a/sa/b", NOW)
EAST_REVOKED = made(ROOT, EAST.certificate.serial_number, number=2)
VERDICTS: dict[str, tuple[Sequence[List], bool]] = {
    "complete": ((OF_ROOT, OF_EAST, OF_WEST), True),
    "only what the chain needs": ((OF_ROOT, OF_EAST), True),
    "an expired one of another CA": ((OF_ROOT, OF_EAST, spoilt(WEST, ends=NOW)), True),
    "a stranger's": ((OF_ROOT, OF_EAST, made(FOREIGN)), True),
    "no root": ((OF_EAST, OF_WEST), False),
    "none of the CA": ((OF_ROOT, OF_WEST), False),
    "none": ((), False),
    "the CA is revoked": ((EAST_REVOKED, OF_EAST), False),
    "the leaf is revoked": ((OF_ROOT, made(EAST, EAST_LEAF.serial_number)), False),
    "another is revoked": ((OF_ROOT, made(EAST, 4711)), True),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_openssl_means_the_same_by_the_lists(case: str, tmp_path: Path) -> None:
    lists, accepted = VERDICTS[case]
    assert openssl_accepts(EAST_LEAF, EAST.certificate, crl.pem(lists), tmp_path, NOW) is accepted


@pytest.mark.parametrize("case", [case for case, (_list, expected) in LISTS.items() if not expected])
def test_openssl_takes_a_list_without_findings(case: str, tmp_path: Path) -> None:
    assert openssl_accepts(EAST_LEAF, EAST.certificate, crl.pem([OF_ROOT, LISTS[case][0]]), tmp_path, NOW)


def test_a_list_lasts_as_long_as_its_issuer(tmp_path: Path) -> None:
    last = EAST.certificate.not_valid_after_utc - timedelta(seconds=1)
    leaf = issue_leaf(EAST, "spiffe://east.mesh/ns/a/sa/b", last)
    assert openssl_accepts(leaf, EAST.certificate, GOOD, tmp_path, last)
    assert not crl.findings(GOOD, ISSUERS, last)


def mutate(kind: int, place: int, value: int) -> bytes:
    at = place % len(GOOD)
    der = OF_EAST.public_bytes(serialization.Encoding.DER)
    spot = place % len(der)
    changed = [der[:spot] + bytes([value]) + der[spot + 1 :], der[:spot], der + bytes([value]), der[spot:]]
    return [
        GOOD[:at],
        GOOD[at:],
        GOOD[:at] + bytes([value]) + GOOD[at + 1 :],
        GOOD[:at] + bytes([value]) * (place % 9) + GOOD[at:],
        GOOD + GOOD[at:],
        *(crl.pem([OF_ROOT]) + pem.write(crl.LABEL, one or b"0") + crl.pem([OF_WEST]) for one in changed),
    ][kind]


@settings(max_examples=500, deadline=None)
@given(kind=st.integers(0, 8), place=st.integers(0, 5000), value=st.integers(0, 255))
def test_nothing_raises_and_only_what_is_the_same_is_taken(kind: int, place: int, value: int) -> None:
    content = mutate(kind, place, value)
    crl.read(content)
    if not crl.findings(content, ISSUERS, NOW):
        assert crl.read(content) == [OF_ROOT, OF_EAST, OF_WEST]
