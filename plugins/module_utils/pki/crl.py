# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificate revocation lists (RFC 5280, section 5), and ``ca-crl.pem``, the file of Secret ``cacerts`` with them.

Envoy refuses every peer one of whose CAs, root included, has no list in the file or an expired one; an empty file
switches all of that off. So the file is complete or not there, and a list lasts as long as its issuer: it is kept fresh
by replacing it, not by letting it end. An expired list of a CA outside the peer's chain does no harm, a forged one in
the name of a CA inside does.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.pki import keys
from ansible_collections.multimesh.istio.plugins.module_utils.pki import pem as pem_file
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import BACKDATE, Authority
from ansible_collections.multimesh.istio.plugins.module_utils.pki.bundle import CA_CRL
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import Revocation
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import KEPT, iso, refers_to, shown, signed_by
from ansible_collections.multimesh.istio.plugins.module_utils.pki.finding import Finding
from ansible_collections.multimesh.istio.plugins.module_utils.pki.form import list_defects

with contextlib.suppress(ImportError):  # the modules report a missing library
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

LABEL = "X509 CRL"
"""Label of a list in a PEM file."""

MAX_BYTES = 512 * 1024
"""Largest file of lists looked into, in bytes. istiod copies it to a ConfigMap, which holds 1 MiB at most."""

_BEGIN = re.compile(rb"^-----BEGIN ", re.MULTILINE)
_HASHES = ("sha256", "sha384", "sha512")


class UnreadableCrl(MultimeshError):
    """A revocation list that cannot be parsed."""


# One list


def sign(
    authority: Authority, revocations: Iterable[Revocation], number: int, now: datetime
) -> x509.CertificateRevocationList:
    """Sign the list of what this CA has revoked. It ends with the CA.

    revocations: all that is revoked; the earliest date counts where a certificate is named twice.
    number: higher than that of every list of this CA before, 0 or more.
    Raises MultimeshError when the CA has ended.
    """
    begins, ends = authority.certificate.not_valid_before_utc, authority.certificate.not_valid_after_utc
    if now >= ends:
        raise MultimeshError(
            f"{authority.certificate.subject.rfc4514_string()}: this CA ended {iso(ends)} and now it is {iso(now)}, so "
            "it can sign no revocation list. Check this machine's clock; a CA that has ended needs no list."
        )
    own = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(max(begins, now - BACKDATE))
        .next_update(ends)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    dates = {one.serial: one.date for one in sorted(revocations, key=lambda one: one.date, reverse=True)}
    for serial, date in sorted(dates.items()):
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(date)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(authority.key, keys.signature_hash(authority.key))


def issued_by(crl: x509.CertificateRevocationList, certificate: x509.Certificate) -> bool:
    """Whether the certificate's name and key are those that signed the list; nothing about validity or rights."""
    return _issued_by(_der(crl), certificate)


@lru_cache(maxsize=KEPT)
def _issued_by(der: bytes, certificate: x509.Certificate) -> bool:
    crl = x509.load_der_x509_crl(der)
    if _issuer(crl) != certificate.subject:
        return False
    reference = _reference(crl)
    if reference is not None and not refers_to(reference, certificate):
        return False
    try:
        return crl.is_signature_valid(certificate.public_key())  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - a key or an algorithm that the library does not know is one answer here
        return False


def revoked(crl: x509.CertificateRevocationList) -> frozenset[int]:
    """Serial numbers on the list."""
    return frozenset(entry.serial_number for entry in crl)


def number(crl: x509.CertificateRevocationList) -> int:
    """Which of its issuer's lists it is; 0 for a list without number."""
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return 0


def issuer_key_id(crl: x509.CertificateRevocationList) -> str:
    """Authority key identifier, lower-case hexadecimal; empty for a list without."""
    return (_key_id(crl) or b"").hex()


def distinct(crls: Iterable[x509.CertificateRevocationList]) -> tuple[x509.CertificateRevocationList, ...]:
    """Each list once, in the order they came."""
    return tuple({_der(crl): crl for crl in crls}.values())


def describe(crl: x509.CertificateRevocationList, now: datetime) -> dict[str, Any]:
    """Describe one list in words and numbers that may be shown to anybody.

    Keys: issuer (RFC 4514), number, this_update and next_update (ISO 8601, UTC), age_days (whole days since
    this_update), days_left (whole days until next_update, negative once expired), revoked (serial numbers,
    hexadecimal, sorted). next_update and days_left are None for a list that never ends.
    """
    ends = crl.next_update_utc
    return {
        "issuer": _issuer(crl).rfc4514_string(),
        "number": number(crl),
        "this_update": iso(crl.last_update_utc),
        "next_update": None if ends is None else iso(ends),
        "age_days": (now - crl.last_update_utc) // timedelta(days=1),
        "days_left": None if ends is None else (ends - now) // timedelta(days=1),
        "revoked": [f"{serial:x}" for serial in sorted(revoked(crl))],
    }


# The file


@lru_cache(maxsize=KEPT)
def parse(der: bytes) -> x509.CertificateRevocationList:
    """Parse one list and every part of it that is used here.

    Raises UnreadableCrl. The library parses lazily and raises whatever its parser finds, hence the broad catch.
    """
    try:
        with warnings.catch_warnings():  # of what a later version of the library will refuse
            warnings.simplefilter("ignore")
            crl = x509.load_der_x509_crl(der)
            for part in ("issuer", "extensions", "last_update_utc", "next_update_utc", "signature_algorithm_oid"):
                getattr(crl, part)
            for entry in crl:
                for part in ("serial_number", "revocation_date_utc", "extensions"):
                    getattr(entry, part)
            defect = next(list_defects(crl), None)
    except Exception as error:  # noqa: BLE001
        raise UnreadableCrl(f"not a revocation list that can be parsed ({type(error).__name__})") from None
    if defect:
        raise UnreadableCrl(f"a revocation list for which istiod reads none of the file: {defect}")
    return crl


def read(content: bytes) -> list[x509.CertificateRevocationList]:
    """The lists of a PEM file that can be read, without a word about the rest."""
    return [crl for _index, crl in _lists(content, [])]


def pem(crls: Iterable[x509.CertificateRevocationList]) -> bytes:
    """The lists as a PEM file, b"" without any."""
    return b"".join(pem_file.write(LABEL, _der(crl)) for crl in crls)


def merge(
    known: Iterable[x509.CertificateRevocationList],
    issuers: Iterable[x509.Certificate],
    now: datetime,
    *,
    held: Iterable[x509.CertificateRevocationList] = (),
) -> tuple[x509.CertificateRevocationList, ...]:
    """The newest list of every CA that has not ended, sorted so that the order of the arguments does not matter.

    known: lists from anywhere; those that none of the issuers signed are left out.
    issuers: CAs of the federation.
    held: lists that this cluster has had already. They are known too, and those of CAs that are not among the issuers,
    nor have the name of one, are kept until they end: their meshes may just not be part of this run.
    """
    had = list(held)
    everything = {_der(crl): crl for crl in [*known, *had]}.values()
    named: set[x509.Name] = set()
    newest: list[x509.CertificateRevocationList] = []
    for certificate in issuers:
        named.add(certificate.subject)
        own = [crl for crl in everything if issued_by(crl, certificate)]
        if own and now < certificate.not_valid_after_utc:
            newest.append(max(own, key=_rank))
    absent: dict[tuple[x509.Name, bytes | None], x509.CertificateRevocationList] = {}
    for crl in sorted(had, key=_rank):
        if _issuer(crl) not in named and not _ended(crl, now):
            absent[_issuer(crl), _key_id(crl)] = crl
    distinct = {_der(crl): crl for crl in [*newest, *absent.values()]}
    return tuple(sorted(distinct.values(), key=lambda crl: (_issuer(crl).rfc4514_string(), _der(crl))))


def findings(
    content: bytes, issuers: Iterable[x509.Certificate], now: datetime, *, signer: x509.Certificate | None = None
) -> tuple[Finding, ...]:
    """Everything wrong with the content of ``ca-crl.pem``; nothing if istiod and all peers will work with it.

    issuers: roots and CAs whose certificates peers have to believe: all of them that have not ended need a list.
    signer: the CA of the mesh that the file is for; its own revocation is a finding, that of others is the purpose.
    A list of an unknown issuer (``unknown-issuer``) does no harm, but nobody can say whether it is genuine. Of such a
    list nothing else is said, and nothing at all of one whose issuer has ended.
    """
    wrong: list[Finding] = []
    authorities = list({_der(certificate): certificate for certificate in issuers}.values())
    listed: set[bytes] = set()
    for index, crl in _lists(content, wrong):
        where = f"list {index}"
        own = [certificate for certificate in authorities if issued_by(crl, certificate)]
        if own:
            if any(now < certificate.not_valid_after_utc for certificate in own):
                wrong += _of_list(crl, where, now)
            if not listed.isdisjoint(map(_der, own)):
                wrong.append(_finding("duplicate-crl", f"{where} is the second one of its CA, expected one"))
            listed.update(map(_der, own))
        elif any(_issuer(crl) == certificate.subject for certificate in authorities):
            wrong.append(
                _finding("signature", f"{where} is not signed by the CA that it names, so its peers are refused")
            )
        else:
            wrong.append(_finding("unknown-issuer", f"{where} is of a CA that is none of this federation"))
        if signer is not None and signer.serial_number in revoked(crl) and _issuer(crl) == signer.issuer:
            wrong.append(_finding("signer-revoked", f"{where} revokes the CA of this very mesh"))
        if any(signed_by(root, root) and root.serial_number in revoked(crl) for root in own):
            wrong.append(_finding("root-revoked", f"{where} revokes the very root that it is of"))
    for certificate in authorities:
        name = f'"{shown(certificate.subject.rfc4514_string())}"'
        if _der(certificate) not in listed and now < certificate.not_valid_after_utc:
            wrong.append(_finding("missing-crl", f"it has no list of {name}, so peers under that CA are refused"))
        if not _may_sign(certificate):
            wrong.append(_finding("key-usage", f"the key usage of {name} lacks cRLSign, so its list is refused"))
    return tuple(dict.fromkeys(wrong))


def _lists(content: bytes, wrong: list[Finding]) -> Iterator[tuple[int, x509.CertificateRevocationList]]:
    """Position and list, of those that can be read. What cannot be is added to what is wrong."""
    if len(content) > MAX_BYTES:
        wrong.append(_finding("malformed-pem", f"it has {len(content)} bytes, more than the {MAX_BYTES} that are read"))
        return
    for index, piece in enumerate(_pieces(content)):
        file = pem_file.read(piece)
        wrong += [_finding("malformed-pem", defect) for defect in file.defects]
        for block in file.blocks:
            if block.label != LABEL:
                what = "a private key" if "PRIVATE KEY" in block.label else "something"
                wrong.append(_finding("not-a-crl", f"block {index} is {what}, expected a revocation list"))
                continue
            try:
                yield index, parse(block.der)
            except UnreadableCrl as error:
                wrong.append(_finding("unreadable-crl", f"block {index} is {error}"))


def _pieces(content: bytes) -> Iterator[bytes]:
    """One piece per block: there are as many as CAs, more than the other files of Secret cacerts may have."""
    starts = [match.start() for match in _BEGIN.finditer(content)]
    for start, end in pairwise([0, *starts[1:], len(content)]):
        yield content[start:end]


def _of_list(crl: x509.CertificateRevocationList, where: str, now: datetime) -> Iterator[Finding]:
    begins, ends = crl.last_update_utc, crl.next_update_utc
    if now < begins:
        yield _finding("not-yet-valid", f"{where} is valid from {iso(begins)}, and now it is {iso(now)}")
    if ends is None:
        yield _finding("no-end", f"{where} does not say when it ends")
    elif now >= ends:
        yield _finding("expired", f"{where} ended {iso(ends)}, and now it is {iso(now)}, so peers are refused")
    if _hash(crl) not in _HASHES:
        yield _finding("signature-algorithm", f"{where} is not signed with SHA-256, -384 or -512")
    kinds = {type(extension.value) for extension in crl.extensions}
    if x509.CRLNumber not in kinds:
        yield _finding("no-number", f"{where} has no number, so nobody can tell which of two is newer")
    if x509.DeltaCRLIndicator in kinds:
        yield _finding("delta-crl", f"{where} names changes only, expected the whole list")
    if x509.IssuingDistributionPoint in kinds:
        yield _finding("partial-crl", f"{where} is about some certificates only, expected all of its CA")
    special = (x509.DeltaCRLIndicator, x509.IssuingDistributionPoint)
    extensions = [extension for extension in crl.extensions if not isinstance(extension.value, special)]
    extensions += [extension for entry in crl for extension in entry.extensions]
    for extension in extensions:
        if extension.critical:
            yield _finding(
                "critical-extension",
                f"extension {shown(extension.oid.dotted_string)} of {where} is critical and not understood",
            )


def _finding(name: str, what: str) -> Finding:
    return Finding(name, CA_CRL, what)


def _rank(crl: x509.CertificateRevocationList) -> tuple[int, datetime, bytes]:
    """The higher, the newer; the content decides where two lists claim the same."""
    return number(crl), crl.last_update_utc, _der(crl)


def _ended(crl: x509.CertificateRevocationList, now: datetime) -> bool:
    return crl.next_update_utc is not None and now >= crl.next_update_utc


def _der(item: x509.CertificateRevocationList | x509.Certificate) -> bytes:
    return item.public_bytes(serialization.Encoding.DER)


def _issuer(crl: x509.CertificateRevocationList) -> x509.Name:
    return _issuer_of(_der(crl))


@lru_cache(maxsize=KEPT)
def _issuer_of(der: bytes) -> x509.Name:
    """The issuer, without what the library says each time about names that a later version will refuse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return x509.load_der_x509_crl(der).issuer


def _reference(crl: x509.CertificateRevocationList) -> x509.AuthorityKeyIdentifier | None:
    try:
        return crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except x509.ExtensionNotFound:
        return None


def _key_id(crl: x509.CertificateRevocationList) -> bytes | None:
    reference = _reference(crl)
    return None if reference is None else reference.key_identifier


def _may_sign(certificate: x509.Certificate) -> bool:
    """Whether verifiers take its lists (RFC 5280, 4.2.1.3)."""
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except x509.ExtensionNotFound:
        return True


def _hash(crl: x509.CertificateRevocationList) -> str | None:
    try:
        algorithm = crl.signature_hash_algorithm
    except Exception:  # noqa: BLE001 - an algorithm that the library does not know
        return None
    return None if algorithm is None else algorithm.name
