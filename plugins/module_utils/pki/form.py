# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The form of CA certificates and revocation lists: what the library that reads them here forgives, and others do not.

The others are Go, BoringSSL and OpenSSL. What says the right things may still say them in a way that one of them cannot
read, or say more than the others understand. Each check here was found by putting spoiled bundles before all of them
(tests/fuzz).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from ansible_collections.multimesh.istio.plugins.module_utils.pki import keys
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import KEPT, shown
from ansible_collections.multimesh.istio.plugins.module_utils.pki.finding import Finding

with contextlib.suppress(ImportError):  # the modules report a missing library
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

_UTF8, _PRINTABLE, _IA5 = 0x0C, 0x13, 0x16
_VERSION, _EXTENSIONS = 0xA0, 0xA3
_VERSION_2 = b"\x02\x01\x01"
"""How the content of a revocation list of that version begins (RFC 5280, 5.1.2.1)."""

_INTERPRETED = re.compile(r"2\.5\.29\..*|1\.3\.6\.1\.5\.5\.7\.1\..*|2\.16\.840\.1\.113730\.1\.1")
"""Extensions that verifiers look into, whether critical or not: those of X.509, of PKIX, and Netscape's kinds."""

_EXPECTED = (
    *(f"2.5.29.{number}" for number in (14, 15, 17, 19, 30, 31, 32, 35, 37)),
    "1.3.6.1.5.5.7.1.1",
)
"""Those of them that may be in a CA: of no consequence, or judged by its verification."""

_IDENTIFIER_BITS = 31
_TOO_LONG = f"of more than {_IDENTIFIER_BITS} bits"
_BROKEN_SIGNATURE = "its signature leaves bits of the last octet out, as no signature does"

_LABEL = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"
_HOST = rf"{_LABEL}(?:\.{_LABEL})*"
_DNS = re.compile(_HOST)
_URI = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]*://{_HOST}(?::[0-9]{{1,5}})?(?:/[A-Za-z0-9._~!$&'()*+,;=:@/-]*)?")


@dataclass(frozen=True)
class _Element:
    """An ASN.1 element: its tag, its content, and both with the length between them."""

    tag: int
    content: bytes
    whole: bytes


@lru_cache(maxsize=KEPT)
def form_findings(certificate: x509.Certificate, where: str) -> tuple[Finding, ...]:
    """Everything in the form of a CA certificate that some verifier cannot read or takes for something else."""
    try:
        return tuple(_findings(certificate, where))
    except (IndexError, ValueError):  # tags of several octets, which nothing in a certificate has
        return (Finding("form", where, "it is not written in the one way of DER"),)


def list_defects(crl: x509.CertificateRevocationList) -> Iterator[str]:
    """Everything for which Go cannot read a revocation list, and so istiod none of the file that it is in.

    Raises IndexError and ValueError for what is not DER.
    """
    version, _algorithm, issuer = _elements(_elements(crl.tbs_certlist_bytes)[0].content)[:3]
    if version.whole != _VERSION_2:
        yield "it is of version 1"
        return
    yield from (f"its issuer {defect}" for defect in _name_defects(crl.issuer, issuer.content))
    if _has_broken_signature(crl):
        yield _BROKEN_SIGNATURE
    for extension in crl.extensions:
        if extension.critical and isinstance(extension.value, x509.AuthorityKeyIdentifier):
            yield "its authority key identifier is critical"
    for extension in (*crl.extensions, *(one for entry in crl for one in entry.extensions)):
        if _is_too_long(extension.oid):
            yield f"the identifier of an extension has a number {_TOO_LONG}"


def _findings(certificate: x509.Certificate, where: str) -> Iterator[Finding]:
    fields = _elements(_elements(certificate.tbs_certificate_bytes)[0].content)
    if fields[0].tag == _VERSION:
        fields = fields[1:]
    subject, public_key = fields[4], fields[5]
    for defect in _name_defects(certificate.subject, subject.content):
        yield Finding("form", where, f"its subject {defect}")
    if _has_broken_signature(certificate):
        yield Finding("form", where, _BROKEN_SIGNATURE)
    key = certificate.public_key()
    # Only kinds of keys that are used here have a form to compare with; others are findings of their own.
    if isinstance(key, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey)) and keys.public_der(key) != public_key.whole:
        yield Finding("unfit-key", where, "its public key is encoded in a form that Go cannot read")
    for extra in fields[6:]:
        if extra.tag == _EXTENSIONS:
            yield from _extensions(certificate, extra.content, where)
        else:
            yield Finding("form", where, "it has a unique identifier, which RFC 5280 forbids")


def _has_broken_signature(item: x509.Certificate | x509.CertificateRevocationList) -> bool:
    """The first octet of a BIT STRING says how many bits of the last one do not count."""
    signature = _elements(_elements(item.public_bytes(serialization.Encoding.DER))[0].content)[2]
    return signature.content[0] != 0


def _name_defects(name: x509.Name, content: bytes) -> Iterator[str]:
    """Go reads few kinds of strings in names, and looks at their characters."""
    parts = (part for group in _elements(content) for part in _elements(group.content))
    for attribute, part in zip(name, parts, strict=True):
        value = _elements(part.content)[1]
        if _is_too_long(attribute.oid):
            yield f"has a part whose kind has a number {_TOO_LONG}"
        elif value.tag not in (_UTF8, _PRINTABLE, _IA5):
            what = "expected UTF8String, PrintableString or IA5String"
            yield f"has a string of another kind (tag {value.tag}), {what}"
        elif not value.content or not value.content.decode("utf-8", "replace").isprintable():
            yield "has an empty string or one that cannot be printed"


def _extensions(certificate: x509.Certificate, content: bytes, where: str) -> Iterator[Finding]:
    """One way to write each, and none that only some verifiers look into."""
    encoded = [_elements(part.content)[-1].content for part in _elements(_elements(content)[0].content)]
    for extension, value in zip(certificate.extensions, encoded, strict=True):
        dotted = extension.oid.dotted_string
        if _is_too_long(extension.oid):
            yield Finding("form", where, f"the identifier of its extension {shown(dotted)} has a number {_TOO_LONG}")
        elif _INTERPRETED.fullmatch(dotted) and dotted not in _EXPECTED:
            yield Finding("extension", where, f"it has the extension {shown(dotted)}, which verifiers take differently")
        elif extension.value.public_bytes() != value:
            yield Finding("form", where, f"its extension {shown(dotted)} is not written in the one way of DER")
        elif isinstance(extension.value, x509.SubjectAlternativeName):
            yield from _alternative_names(extension.value, where)
        elif isinstance(extension.value, x509.CertificatePolicies):
            policies = [policy.policy_identifier for policy in extension.value]
            if len(set(policies)) < len(policies):
                yield Finding("form", where, "it names a policy twice")
        elif isinstance(extension.value, x509.ExtendedKeyUsage):
            if any(map(_is_too_long, extension.value)):
                yield Finding("form", where, f"the identifier of one of its key usages has a number {_TOO_LONG}")
        elif isinstance(extension.value, x509.SubjectKeyIdentifier) and not extension.value.digest:
            yield Finding("key-identifier", where, "its subject key identifier is empty")


def _alternative_names(names: x509.SubjectAlternativeName, where: str) -> Iterator[Finding]:
    """OpenSSL refuses a CA without any name in there, Go one with a name that is none."""
    if not list(names):
        yield Finding("form", where, "its list of alternative names is empty")
    for name in names:
        pattern = {x509.DNSName: _DNS, x509.UniformResourceIdentifier: _URI}.get(type(name))
        if pattern is None:
            what = "expected DNS names and URIs"
            yield Finding("form", where, f"it has an alternative name of the kind {type(name).__name__}, {what}")
        elif pattern.fullmatch(str(name.value)) is None:
            yield Finding("form", where, f"its alternative name {shown(str(name.value))} is no DNS name or URI")


def _is_too_long(identifier: x509.ObjectIdentifier) -> bool:
    """Whether it has a number that Go cannot hold."""
    return any(int(number) >= 1 << _IDENTIFIER_BITS for number in identifier.dotted_string.split("."))


def _elements(content: bytes) -> list[_Element]:
    """The elements that the content consists of; the library has parsed it, so it is DER without long tags."""
    found, position = [], 0
    while position < len(content):
        start, size, position = position, content[position + 1], position + 2
        if size & 0x80:
            octets = size & 0x7F
            size, position = int.from_bytes(content[position : position + octets], "big"), position + octets
        end = position + size
        found.append(_Element(content[start], content[position:end], content[start:end]))
        position = end
    return found
