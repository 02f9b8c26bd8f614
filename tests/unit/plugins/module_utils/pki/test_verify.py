# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.pki import bundle, keys, pem
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import Authority, issue_leaf
from ansible_collections.multimesh.istio.plugins.module_utils.pki.verify import (
    root_findings,
    verify_bundle,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.pki import forge
from tests.unit.plugins.module_utils.pki.forge import DAY, DNS, NOW, URI, Forgery

ROOT, FOREIGN = forge.root(), forge.root()
EAST, OTHER = forge.intermediate(ROOT), forge.intermediate(ROOT)
GOOD = bundle.build(EAST, ROOT.certificate)
EXPECTED = forge.expectation(ROOT)
CA, KEY, CHAIN, TRUST = bundle.FILES

Data = dict[str, bytes]


def names(data: Data, expected: object = EXPECTED) -> set[str]:
    return {finding.name for finding in verify_bundle(data, expected, NOW)}  # type: ignore[arg-type]


def private(key: object, kind: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption())  # type: ignore[attr-defined,no-any-return]


def test_a_good_bundle_has_no_findings() -> None:
    assert verify_bundle(GOOD, EXPECTED, NOW) == ()


FILES: dict[str, tuple[Callable[[Data], Data], str]] = {
    "no ca-cert.pem": (lambda data: {k: v for k, v in data.items() if k != CA}, "missing-file"),
    "no ca-key.pem": (lambda data: {k: v for k, v in data.items() if k != KEY}, "missing-file"),
    "no cert-chain.pem": (lambda data: {k: v for k, v in data.items() if k != CHAIN}, "missing-file"),
    "no root-cert.pem": (lambda data: {k: v for k, v in data.items() if k != TRUST}, "missing-file"),
    "made by istiod": (lambda data: {**data, "istio-generated": b""}, "istio-generated"),
    "tls layout": (lambda data: {**data, "tls.crt": data[CA]}, "tls-layout"),
    "an empty file of lists": (lambda data: {**data, "ca-crl.pem": b""}, "missing-crl"),
    "empty ca-cert.pem": (lambda data: {**data, CA: b""}, "malformed-pem"),
    "CRLF": (lambda data: {**data, CHAIN: data[CHAIN].replace(b"\n", b"\r\n")}, "malformed-pem"),
    "byte order mark": (lambda data: {**data, TRUST: b"\xef\xbb\xbf" + data[TRUST]}, "malformed-pem"),
    "truncated": (lambda data: {**data, CHAIN: data[CHAIN][:-100]}, "malformed-pem"),
    "1 MiB": (lambda data: {**data, TRUST: data[TRUST] * 1300}, "malformed-pem"),
    "many roots": (lambda data: {**data, TRUST: data[TRUST] * 20}, "malformed-pem"),
    "junk certificate": (lambda data: {**data, CA: pem.write("CERTIFICATE", b"junk")}, "unreadable-certificate"),
    "key as certificate": (lambda data: {**data, TRUST: data[KEY]}, "not-a-certificate"),
    "two CAs": (lambda data: {**data, CA: data[CA] + data[TRUST]}, "several-certificates"),
    "duplicate root": (lambda data: {**data, TRUST: data[TRUST] * 3}, "duplicate-root"),
    "another key": (lambda data: {**data, KEY: private(OTHER.key)}, "key-mismatch"),
    "no key at all": (lambda data: {**data, KEY: data[CA]}, "unreadable-key"),
    "two keys": (lambda data: {**data, KEY: data[KEY] * 2}, "unreadable-key"),
    "junk key": (lambda data: {**data, KEY: pem.write("PRIVATE KEY", b"junk")}, "unreadable-key"),
    "encrypted key": (lambda data: {**data, KEY: keys.private_pem(EAST.key, b"secret")}, "encrypted-key"),
    "SEC1 key": (
        lambda data: {**data, KEY: private(EAST.key, serialization.PrivateFormat.TraditionalOpenSSL)},
        "unreadable-key",
    ),
    "Ed25519 key": (lambda data: {**data, KEY: private(ed25519.Ed25519PrivateKey.generate())}, "unfit-key"),
    "root first in the chain": (
        lambda data: {**data, CHAIN: forge.to_pem(ROOT.certificate, EAST.certificate)},
        "chain-order",
    ),
    "no root in the chain": (lambda data: {**data, CHAIN: data[CA]}, "chain-length"),
    "stray certificate in the chain": (
        lambda data: {**data, CHAIN: forge.to_pem(EAST.certificate, OTHER.certificate, ROOT.certificate)},
        "chain-broken",
    ),
    "chain under another root": (
        lambda data: {**data, CHAIN: forge.to_pem(EAST.certificate, FOREIGN.certificate)},
        "chain-broken",
    ),
    "another root beside": (
        lambda data: {**data, TRUST: data[TRUST] + forge.to_pem(FOREIGN.certificate)},
        "foreign-root",
    ),
    "another root alone": (lambda data: {**data, TRUST: forge.to_pem(FOREIGN.certificate)}, "shared-root-missing"),
    "intermediate as root": (lambda data: {**data, TRUST: data[CA]}, "not-self-signed"),
}


@pytest.mark.parametrize("case", FILES)
def test_names_what_is_wrong_with_a_file(case: str) -> None:
    spoil, name = FILES[case]
    findings = verify_bundle(spoil(dict(GOOD)), EXPECTED, NOW)
    assert name in {finding.name for finding in findings}, findings


def reference(name: x509.Name = ROOT.certificate.issuer, serial: int | None = None) -> x509.AuthorityKeyIdentifier:
    """An authority key identifier that also says issuer and serial number of the issuer's certificate."""
    own = ROOT.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    number = ROOT.certificate.serial_number if serial is None else serial
    return x509.AuthorityKeyIdentifier(own, [x509.DirectoryName(name)], number)


def common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def other_extension(oid: str) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), b"\x30\x00")


RSA_WEAK = rsa.generate_private_key(65537, 1024)
RSA_ODD = rsa.generate_private_key(3, 2048)
CERTIFICATES: dict[str, tuple[Forgery, str]] = {
    "expired": (Forgery(ends=NOW), "expired"),
    "not yet valid": (Forgery(begins=NOW + timedelta(seconds=1)), "not-yet-valid"),
    "outlives the root": (Forgery(ends=NOW + 4000 * DAY), "outlives-root"),
    "no CA": (Forgery().with_extension("basic", x509.BasicConstraints(False, None)), "not-a-ca"),
    "no basic constraints": (Forgery().with_extension("basic", None), "not-a-ca"),
    "basic constraints not critical": (
        Forgery().with_extension("basic", x509.BasicConstraints(True, 0), critical=False),
        "not-critical",
    ),
    "any path length": (Forgery().with_extension("basic", x509.BasicConstraints(True, None)), "path-length"),
    "path length 1": (Forgery().with_extension("basic", x509.BasicConstraints(True, 1)), "path-length"),
    "no key usage": (Forgery().with_extension("usage", None), "key-usage"),
    "no keyCertSign": (Forgery().with_extension("usage", forge.key_usage(key_cert_sign=False)), "key-usage"),
    "no cRLSign": (Forgery().with_extension("usage", forge.key_usage(crl_sign=False)), "key-usage"),
    "key usage not critical": (Forgery().with_extension("usage", forge.key_usage(), critical=False), "not-critical"),
    "extended key usage": (
        Forgery().with_extension("eku", x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False),
        "extended-key-usage",
    ),
    "no name constraint": (Forgery().with_extension("constraints", None), "name-constraint"),
    "name constraint not critical": (
        Forgery().with_extension(
            "constraints", x509.NameConstraints([URI("east.mesh"), DNS("svc")], None), critical=False
        ),
        "not-critical",
    ),
    "another mesh's constraint": (
        Forgery().with_extension("constraints", x509.NameConstraints([URI("west.mesh"), DNS("svc")], None)),
        "name-constraint",
    ),
    "constraint with subdomains": (
        Forgery().with_extension("constraints", x509.NameConstraints([URI(".east.mesh"), DNS("svc")], None)),
        "name-constraint",
    ),
    "constraint for two meshes": (
        Forgery().with_extension(
            "constraints", x509.NameConstraints([URI("east.mesh"), URI("west.mesh"), DNS("svc")], None)
        ),
        "name-constraint",
    ),
    "constraint as a URI": (
        Forgery().with_extension("constraints", x509.NameConstraints([URI("spiffe://east.mesh"), DNS("svc")], None)),
        "name-constraint",
    ),
    "constraint without DNS": (
        Forgery().with_extension("constraints", x509.NameConstraints([URI("east.mesh")], None)),
        "name-constraint",
    ),
    "constraint that excludes": (
        Forgery().with_extension("constraints", x509.NameConstraints([DNS("svc")], [URI("east.mesh")])),
        "name-constraint",
    ),
    "another mesh's name": (
        Forgery().with_extension("names", x509.SubjectAlternativeName([URI("spiffe://west.mesh")]), critical=False),
        "trust-domain",
    ),
    "name with a path": (
        Forgery().with_extension("names", x509.SubjectAlternativeName([URI("spiffe://east.mesh/a")]), critical=False),
        "trust-domain",
    ),
    "no subject key identifier": (Forgery().with_extension("own", None), "key-identifier"),
    "no authority key identifier": (Forgery().with_extension("above", None), "key-identifier"),
    "wrong authority key identifier": (
        Forgery().with_extension("above", x509.AuthorityKeyIdentifier(b"0" * 20, None, None), critical=False),
        "key-identifier",
    ),
    "empty subject key identifier": (
        Forgery().with_extension("own", x509.SubjectKeyIdentifier(b""), critical=False),
        "key-identifier",
    ),
    "another issuer in the authority key identifier": (
        Forgery().with_extension("above", reference(name=x509.Name([])), critical=False),
        "key-identifier",
    ),
    "another serial number in the authority key identifier": (
        Forgery().with_extension("above", reference(serial=1), critical=False),
        "key-identifier",
    ),
    "the key of the root": (Forgery(key=ROOT.key), "shared-key"),
    "the name of the root": (Forgery(subject=ROOT.certificate.subject), "subject"),
    "a name of several lines": (Forgery(subject=common_name("a\nb\x1b[31m")), "form"),
    "proxy certificate": (
        Forgery().with_extension("x", other_extension("1.3.6.1.5.5.7.1.14"), critical=False),
        "extension",
    ),
    "unknown critical extension": (
        Forgery().with_extension("x", x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")),
        "critical-extension",
    ),
    "empty subject": (Forgery(subject=x509.Name([])), "subject"),
    "RSA with 1024 bits": (Forgery(key=RSA_WEAK), "unfit-key"),
    "RSA with exponent 3": (Forgery(key=RSA_ODD), "unfit-key"),
    "unusual curve": (Forgery(key=ec.generate_private_key(ec.SECP256K1())), "unfit-key"),
    "Ed25519": (Forgery(key=ed25519.Ed25519PrivateKey.generate()), "unfit-key"),
    "SHA-224": (Forgery(hash=hashes.SHA224()), "signature-algorithm"),
    "SHA3": (Forgery(hash=hashes.SHA3_256()), "signature-algorithm"),
}


def bundle_of(ca: Authority, signer: Authority = ROOT) -> Data:
    chain = forge.to_pem(ca.certificate, signer.certificate)
    return {
        CA: forge.to_pem(ca.certificate),
        KEY: private(ca.key),
        CHAIN: chain,
        TRUST: forge.to_pem(signer.certificate),
    }


def test_a_forgery_without_a_flaw_is_good() -> None:
    assert verify_bundle(bundle_of(Forgery().sign(ROOT)), EXPECTED, NOW) == ()
    assert (
        verify_bundle(bundle_of(Forgery(begins=NOW, ends=NOW + timedelta(seconds=1)).sign(ROOT)), EXPECTED, NOW) == ()
    )


@pytest.mark.parametrize("case", CERTIFICATES)
def test_names_what_is_wrong_with_an_intermediate(case: str) -> None:
    forgery, name = CERTIFICATES[case]
    findings = verify_bundle(bundle_of(forgery.sign(ROOT)), EXPECTED, NOW)
    assert name in {finding.name for finding in findings}, findings
    assert all(str(finding).isprintable() for finding in findings)


def test_findings_are_short_whatever_a_certificate_says() -> None:
    names = [URI(f"spiffe://{'x' * 60}.{number}.mesh") for number in range(60)]
    constraints = x509.NameConstraints([DNS(f"{'x' * 60}\n{number}.svc") for number in range(60)], None)
    forgery = Forgery(subject=common_name("x" * 60 + "\n")).with_extension("names", x509.SubjectAlternativeName(names))
    findings = verify_bundle(bundle_of(forgery.with_extension("constraints", constraints).sign(ROOT)), EXPECTED, NOW)
    assert {"trust-domain", "name-constraint", "form"} <= {finding.name for finding in findings}
    assert all(str(finding).isprintable() and len(str(finding)) < 400 for finding in findings)


def test_a_bundle_under_another_root_is_foreign_whatever_its_name() -> None:
    assert {"foreign-root", "shared-root-missing"} <= names(bundle_of(Forgery().sign(FOREIGN), FOREIGN))
    # same name, another key
    double = Authority(replace_key(ROOT), FOREIGN.key)
    assert {"foreign-root", "shared-root-missing"} <= names(bundle_of(Forgery().sign(double), double))


def replace_key(original: Authority) -> x509.Certificate:
    """A root with the name of another one and the foreign root's key."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(original.certificate.subject)
        .issuer_name(original.certificate.subject)
        .public_key(FOREIGN.key.public_key())
        .serial_number(original.certificate.serial_number)
        .not_valid_before(original.certificate.not_valid_before_utc)
        .not_valid_after(original.certificate.not_valid_after_utc)
    )
    for extension in original.certificate.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(FOREIGN.key, hashes.SHA256())


def second_root(key: object, name: x509.Name, key_id: bytes) -> x509.Certificate:
    """Another root of the federation, with a name and a key identifier of choice."""
    own = x509.SubjectKeyIdentifier(key_id)
    forgery = Forgery(key=key, subject=name, ends=NOW + 3000 * DAY).with_extension("constraints", None)
    forgery = forgery.with_extension("basic", x509.BasicConstraints(True, None)).with_extension(
        "own", own, critical=False
    )
    above = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
    forgery = forgery.with_extension("names", None).with_extension("above", above, critical=False)
    return forgery.sign(Authority(forgery.sign(ROOT).certificate, key)).certificate  # type: ignore[arg-type]


def test_roots_that_cannot_be_told_apart_are_refused() -> None:
    name = ROOT.certificate.subject
    own = ROOT.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    for twin, found in (
        (second_root(FOREIGN.key, name, own), {"ambiguous-roots"}),
        (second_root(FOREIGN.key, name, b"another"), set()),
        (second_root(FOREIGN.key, common_name("another"), own), set()),
        (second_root(ROOT.key, name, own), set()),
    ):
        data = {**GOOD, TRUST: GOOD[TRUST] + forge.to_pem(twin)}
        assert names(data, replace(EXPECTED, roots=[ROOT.certificate, twin])) == found
        assert names(GOOD, replace(EXPECTED, roots=[twin, ROOT.certificate])) == found


def test_a_root_with_the_key_of_the_mesh_ca_is_no_root_for_it() -> None:
    twin = second_root(EAST.key, common_name("another"), b"another")
    data = {**GOOD, TRUST: GOOD[TRUST] + forge.to_pem(twin)}
    assert names(data, replace(EXPECTED, roots=[ROOT.certificate, twin])) == {"shared-key"}


def test_all_findings_come_together() -> None:
    forgery = replace(Forgery(), ends=NOW - timedelta(minutes=1)).with_extension("constraints", None)
    data = bundle_of(forgery.sign(FOREIGN), FOREIGN) | {KEY: private(OTHER.key), "istio-generated": b""}
    assert names(data) == {
        "expired", "name-constraint", "foreign-root", "shared-root-missing", "key-mismatch", "istio-generated"
    }  # fmt: skip


def test_the_trust_domain_of_another_mesh_is_named() -> None:
    assert names(GOOD, forge.expectation(ROOT, trust_domain="west.mesh")) == {"trust-domain", "name-constraint"}


def test_several_roots_of_one_federation_are_fine() -> None:
    data = {**GOOD, TRUST: GOOD[TRUST] + forge.to_pem(FOREIGN.certificate)}
    assert names(data, forge.expectation(ROOT, FOREIGN)) == set()


@pytest.mark.parametrize(
    ("certificate", "name"),
    [
        (EAST.certificate, "not-self-signed"),
        (EAST.certificate, "name-constraint"),
        (EAST.certificate, "path-length"),
        (forge.root(lifetime=DAY, now=NOW - 2 * DAY).certificate, "expired"),
    ],
)
def test_names_what_is_wrong_with_a_root(certificate: x509.Certificate, name: str) -> None:
    assert name in {finding.name for finding in root_findings(certificate, "root-ca.crt", NOW)}


def mutate(content: bytes, seed: tuple[int, int, int]) -> bytes:
    """One of the accidents that happen to files, and to bytes on purpose."""
    kind, place, value = seed
    at = place % max(len(content), 1)
    blocks = pem.read(content).blocks
    der = blocks[0].der if blocks else b"0"
    spot = place % len(der)
    label = blocks[0].label if blocks else "CERTIFICATE"
    return [
        lambda: content[:at],
        lambda: content[at:],
        lambda: content[:at] + bytes([value]) + content[at + 1 :],
        lambda: content[:at] + bytes([value]) * (place % 9) + content[at:],
        lambda: content + content[at:],
        lambda: content.replace(b"\n", b"\r\n", value),
        lambda: base64.b64encode(content),
        lambda: pem.write(label, der[:spot] + bytes([value]) + der[spot + 1 :]) + content[len(pem.write(label, der)) :],
        lambda: pem.write(label, der[:spot]) + content[len(pem.write(label, der)) :],
        lambda: pem.write(label, der + bytes([value])) + content[len(pem.write(label, der)) :],
    ][kind]()


SEED = st.tuples(st.integers(0, 9), st.integers(0, 5000), st.integers(0, 255))


@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(changes=st.dictionaries(st.sampled_from(bundle.FILES), SEED, min_size=1, max_size=2))
def test_no_mutated_bundle_raises_or_is_taken_when_openssl_would_refuse_it(
    changes: dict[str, tuple[int, int, int]],
) -> None:
    data = {name: mutate(content, changes[name]) if name in changes else content for name, content in GOOD.items()}
    findings = verify_bundle(data, EXPECTED, NOW)
    if findings:
        key = GOOD[KEY].splitlines()[1].decode()
        assert not any(key[start : start + 24] in str(findings) for start in range(len(key) - 23))
        return
    # a root twice is the same trust: a rotation writes it so to change the bytes
    found, good = (
        {name: tuple(dict.fromkeys(pem.read(content).blocks)) for name, content in files.items()}
        for files in (data, GOOD)
    )
    assert found == good
    assert data == GOOD or forge.openssl_accepts_files(data)


HARMLESS = [
    Forgery(key=ec.generate_private_key(ec.SECP521R1())),
    Forgery(key=rsa.generate_private_key(65537, 2048)),
    Forgery(serial=(1 << 159) - 1),
    Forgery(serial=1),
    Forgery(hash=hashes.SHA512()),
    Forgery(begins=NOW, ends=NOW + timedelta(seconds=2)),
    Forgery(ends=ROOT.certificate.not_valid_after_utc),
    Forgery().with_extension("names", None),
    Forgery().with_extension("above", reference(), critical=False),
    Forgery().with_extension("usage", forge.key_usage(digital_signature=True)),
    Forgery().with_extension(
        "x", x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), critical=False
    ),
    Forgery(subject=x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "\u6771")])),
]


@pytest.mark.parametrize("forgery", HARMLESS)
def test_what_is_unusual_but_taken_is_taken_by_openssl(forgery: Forgery) -> None:
    forged = forgery.sign(ROOT)
    assert verify_bundle(bundle_of(forged), EXPECTED, NOW) == ()
    leaf = issue_leaf(forged, "spiffe://east.mesh/ns/a/sa/b", NOW)
    assert forge.openssl_accepts(leaf, [forged.certificate, ROOT.certificate])
