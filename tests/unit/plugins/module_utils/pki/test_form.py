# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Forms that some verifier refuses: every case here was accepted before tests/fuzz found it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.pki import crl
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import parse
from ansible_collections.multimesh.istio.plugins.module_utils.pki.form import form_findings
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from tests.fuzz import der, keyring, plan, revocation
from tests.fuzz.plan import Extension, Plan
from tests.unit.plugins.module_utils.pki.forge import DAY, NOW

KEY = ec.generate_private_key(ec.SECP256R1())


def authority() -> Plan:
    return plan.authority(KEY, "east mesh CA", NOW - DAY, NOW + timedelta(days=90), "east.mesh")


def names(spoiled: Plan) -> set[str]:
    return {finding.name for finding in form_findings(parse(spoiled.sign(spoiled)), "ca-cert.pem")}


def test_a_ca_of_usual_form_has_no_findings() -> None:
    assert names(authority()) == set()
    usual = authority()
    usual.extensions += [
        Extension("2.5.29.32", der.sequence(der.sequence(der.oid("1.2.3.4")))),
        Extension("2.16.840.1.113730.1.13", der.wrap(der.IA5, b"a comment")),
        Extension("1.2.3.4", b"anything"),
    ]
    usual.subject = plan.name(("2.5.4.3", der.PRINTABLE, b"a"), ("0.9.2342.19200300.100.1.25", der.IA5, b"b"))
    assert names(usual) == set()


@pytest.mark.parametrize(
    ("tag", "content"),
    [
        (0x12, b"a"),  # NumericString
        (0x1A, b"a"),  # VisibleString
        (der.OCTET_STRING, b"a"),
        (der.UNIVERSAL, b"\0\0\0a"),
        (der.BMP, b"\0a"),
        (der.UTF8, b"a\nb"),
        (der.UTF8, b"\x1b[31mred"),
        (der.UTF8, b""),
    ],
)
def test_names_are_strings_that_all_can_read(tag: int, content: bytes) -> None:
    spoiled = authority()
    spoiled.subject = plan.name(("2.5.4.3", tag, content))
    assert names(spoiled) == {"form"}


@pytest.mark.parametrize(
    "name",
    [
        None,
        der.wrap(0x82, b"a..b"),
        der.wrap(0x82, b"a b"),
        der.wrap(0x82, b""),
        der.wrap(0x86, b"://"),
        der.wrap(0x86, b"https://%zz"),
        der.wrap(0x86, b"spiffe://a..b"),
        der.wrap(0x87, b"\x0a\0\0\1"),
        der.wrap(0x81, b"a@b"),
        der.wrap(0xA4, plan.common_name("x")),
    ],
)
def test_alternative_names_are_dns_names_and_uris(name: bytes | None) -> None:
    spoiled = authority()
    spoiled.find(plan.NAMES).value = der.sequence(b"" if name is None else name)
    assert names(spoiled) == {"form"}


@pytest.mark.parametrize(
    ("oid", "value"),
    [
        ("2.5.29.33", b"\x30\x00"),  # policy mappings: Go reads them in certificates that others pass over
        ("2.5.29.36", der.sequence(b"\x80\x01\x00")),  # policy constraints: Go wants a policy then
        ("1.3.6.1.5.5.7.1.14", b"\x30\x00"),  # proxy certificate: OpenSSL takes no CA for one
        ("2.16.840.1.113730.1.1", b"\x03\x02\x00\x80"),  # Netscape's kinds: OpenSSL takes this CA for a client
    ],
)
def test_no_extension_that_only_some_verifiers_look_into(oid: str, value: bytes) -> None:
    spoiled = authority()
    spoiled.extensions.append(Extension(oid, value))
    assert names(spoiled) == {"extension"}


@pytest.mark.parametrize("edge", [b"\x80\x01\x01", b"\x81\x01\x05"])
def test_a_name_constraint_has_no_minimum_and_no_maximum(edge: bytes) -> None:
    spoiled = authority()
    subtrees = [der.sequence(der.wrap(0x86, b"east.mesh"), edge), der.sequence(der.wrap(0x82, b"svc"))]
    spoiled.find(plan.CONSTRAINTS).value = der.sequence(der.wrap(0xA0, *subtrees))
    assert names(spoiled) == {"form"}


def test_the_subject_key_identifier_is_not_empty() -> None:
    spoiled = authority()
    spoiled.find(plan.OWN_ID).value = b"\x04\x00"
    assert names(spoiled) == {"key-identifier"}


@pytest.mark.parametrize("form", [2, 6])
def test_the_public_key_is_in_the_form_that_go_reads_whatever_else_the_certificate_holds(form: int) -> None:
    spoiled = authority()
    numbers = KEY.public_key().public_numbers()
    x, y = (number.to_bytes(32, "big") for number in (numbers.x, numbers.y))
    point = bytes([form + y[-1] % 2]) + x + (y if form == 6 else b"")
    kind = der.parse(keyring.public_der(KEY)).children
    assert kind is not None
    spoiled.public = der.sequence(kind[0].encode(), der.bits(point))
    spoiled.extensions.append(Extension("1.2.3.5", keyring.public_der(KEY)))
    assert names(spoiled) == {"unfit-key"}


def test_there_are_no_unique_identifiers() -> None:
    spoiled = authority()

    def insert(tree: der.Node) -> der.Node:
        assert tree.children is not None
        tree.children.insert(-1, der.Node(0x82, b"\0\1"))
        return tree

    spoiled.reshape.append(insert)
    assert names(spoiled) == {"form"}


def test_nothing_is_raised_and_every_finding_can_be_printed() -> None:
    spoiled = authority()
    spoiled.subject = plan.name(("2.5.4.3", 0x1F, b"\x81" * 200))
    spoiled.find(plan.NAMES).value = der.sequence(der.wrap(0x82, b"\x1b\n" * 500))
    try:
        certificate: x509.Certificate | None = parse(spoiled.sign(spoiled))
    except Exception:  # noqa: BLE001 - refused before it comes here
        certificate = None
    texts = [str(finding) for finding in form_findings(certificate, "ca-cert.pem")] if certificate else []
    assert all(text.isprintable() and len(text) < 500 for text in texts)


def revocation_list() -> revocation.ListPlan:
    return revocation.revocation_list(authority(), NOW - DAY, NOW + timedelta(days=90))


def test_a_list_of_usual_form_is_read() -> None:
    usual = revocation_list()
    usual.issuer = plan.name(("2.5.4.3", der.PRINTABLE, b"a"))
    assert crl.number(crl.parse(usual.sign())) == 3


def with_unused_bit(every: Iterator[bytes]) -> bytes:
    """The first whose last bit is 0, with a signature that leaves that bit out."""
    tree = der.parse(next(signed for signed in every if not signed[-1] & 1))
    assert tree.children
    signature = tree.children[2]
    signature.content = b"\x01" + signature.content[1:]
    return tree.encode()


def test_all_bits_of_a_signature_count() -> None:
    signer, lists = authority(), revocation_list()
    cas = (replace(signer, serial=der.integer(number)).sign(signer) for number in range(1, 100))
    assert {finding.name for finding in form_findings(parse(with_unused_bit(cas)), "ca-cert.pem")} == {"form"}
    numbers = (Extension(revocation.NUMBER, der.integer(number)) for number in range(1, 100))
    with pytest.raises(crl.UnreadableCrl, match="bits of the last octet"):
        crl.parse(with_unused_bit(replace(lists, extensions=[number]).sign() for number in numbers))


@pytest.mark.parametrize(("number", "expected"), [(2**31 - 1, set()), (2**31, {"form"})])
def test_numbers_of_identifiers_are_as_long_as_go_reads(number: int, expected: set[str]) -> None:
    kind = f"1.2.{number}"
    for extension in (Extension(kind, b"anything"), Extension("2.5.29.37", der.sequence(der.oid(kind)))):
        spoiled = authority()
        spoiled.extensions.append(extension)
        assert names(spoiled) == expected
    spoiled = authority()
    spoiled.subject = plan.name((kind, der.UTF8, b"a"))
    assert names(spoiled) == expected
    lists = revocation_list()
    lists.extensions.append(Extension(kind, b"anything"))
    with contextlib.nullcontext() if not expected else pytest.raises(crl.UnreadableCrl, match="more than 31 bits"):
        crl.parse(lists.sign())


def test_a_list_of_version_1_is_refused() -> None:
    spoiled = revocation_list()
    spoiled.version, spoiled.extensions = b"", []
    with pytest.raises(crl.UnreadableCrl, match="version 1"):
        crl.parse(spoiled.sign())


def test_the_issuer_of_a_list_is_a_name_that_all_can_read() -> None:
    spoiled = revocation_list()
    spoiled.issuer = plan.name(("2.5.4.3", 0x17, b"261121000000Z"))
    with pytest.raises(crl.UnreadableCrl, match=r"its issuer has a string of another kind \(tag 23\)"):
        crl.parse(spoiled.sign())


def test_the_authority_key_identifier_of_a_list_is_not_critical() -> None:
    spoiled = revocation_list()
    spoiled.find(plan.ISSUER_ID).critical = True
    with pytest.raises(crl.UnreadableCrl, match="authority key identifier is critical"):
        crl.parse(spoiled.sign())
