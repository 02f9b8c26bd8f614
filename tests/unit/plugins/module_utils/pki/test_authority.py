# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import timedelta

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.pki import bundle
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import (
    Authority,
    issue_intermediate,
    issue_leaf,
    new_request,
    requested_key,
    sign_intermediate,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki.keys import KEY_TYPES
from ansible_collections.multimesh.istio.plugins.module_utils.pki.verify import (
    leaf_rejection,
    root_findings,
    verify_bundle,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.pki import forge
from tests.unit.plugins.module_utils.pki.forge import DAY, NOW

ROOT = forge.root()
EAST = forge.intermediate(ROOT)
CHAIN = [EAST.certificate, ROOT.certificate]


@pytest.mark.parametrize("root_type", KEY_TYPES)
@pytest.mark.parametrize("key_type", ["ecdsa-p256", "ecdsa-p384"])
def test_every_kind_of_key_gives_a_good_bundle(root_type: str, key_type: str) -> None:
    root = forge.root(key_type=root_type)
    east = forge.intermediate(root, key_type=key_type)
    assert root_findings(root.certificate, "root", NOW) == ()
    assert verify_bundle(bundle.build(east, root.certificate), forge.expectation(root), NOW) == ()
    leaf = issue_leaf(east, "spiffe://east.mesh/ns/shop/sa/cart", NOW)
    assert forge.openssl_accepts(leaf, [east.certificate, root.certificate])


def test_profile_of_the_root() -> None:
    certificate = ROOT.certificate
    extensions = {extension.oid._name: extension.critical for extension in certificate.extensions}
    assert extensions == {
        "subjectKeyIdentifier": False,
        "authorityKeyIdentifier": False,
        "basicConstraints": True,
        "keyUsage": True,
    }
    assert certificate.not_valid_before_utc == NOW - timedelta(minutes=5)
    assert certificate.not_valid_after_utc == NOW + 3650 * DAY
    assert 0 < certificate.serial_number < 1 << 159
    assert certificate.subject != forge.root().certificate.subject


def test_profile_of_an_intermediate() -> None:
    certificate = EAST.certificate
    extensions = {extension.oid._name: extension.critical for extension in certificate.extensions}
    assert extensions == {
        "subjectKeyIdentifier": False,
        "authorityKeyIdentifier": False,
        "basicConstraints": True,
        "keyUsage": True,
        "subjectAltName": False,
        "nameConstraints": True,
    }
    assert certificate.not_valid_after_utc == NOW + 90 * DAY
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == ["istiod.istio-system.svc", "spiffe://east.mesh"]


def test_an_intermediate_never_outlives_its_root() -> None:
    root = forge.root(lifetime=30 * DAY)
    assert forge.intermediate(root).certificate.not_valid_after_utc == root.certificate.not_valid_after_utc


@pytest.mark.parametrize("now", [NOW - DAY, NOW + 3651 * DAY])
def test_a_root_that_is_not_valid_signs_nothing(now: object) -> None:
    with pytest.raises(MultimeshError, match=r"The shared root is valid from .* clock"):
        issue_intermediate(ROOT, "east", "east.mesh", ["svc"], DAY, "ecdsa-p256", now)  # type: ignore[arg-type]


@pytest.mark.parametrize("key_type", ["ecdsa-p256", "ecdsa-p384"])
def test_a_signed_request_gives_the_same_as_a_key_made_here(key_type: str) -> None:
    key, request = new_request(key_type)
    certificate = sign_intermediate(ROOT, requested_key(request), "east", "east.mesh", ["svc"], DAY, NOW)
    east = Authority(certificate, key)
    assert verify_bundle(bundle.build(east, ROOT.certificate), forge.expectation(ROOT), NOW) == ()
    again, second = new_request(key_type, key)
    assert again is key
    assert requested_key(second) == key.public_key()


def forged(key: ec.EllipticCurvePrivateKey) -> x509.CertificateSigningRequest:
    """A request for a key whose private part the sender does not have."""
    der = new_request("ecdsa-p256")[1].public_bytes(serialization.Encoding.DER)
    other = new_request("ecdsa-p256", key)[1].public_key()
    inner, outer = (
        point.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        for point in (x509.load_der_x509_csr(der).public_key(), other)  # type: ignore[union-attr]
    )
    return x509.load_der_x509_csr(der.replace(inner, outer))


def named(key: object) -> x509.CertificateSigningRequest:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("request_of", "message"),
    [
        (lambda: forged(ec.generate_private_key(ec.SECP256R1())), "is not signed by its own key.*Make it anew"),
        (lambda: named(ec.generate_private_key(ec.SECP256K1())), "asks for a key on curve secp256k1"),
        (lambda: named(ed25519.Ed25519PrivateKey.generate()), "asks for a key of kind Ed25519"),
    ],
)
def test_requests_that_are_not_signed(request_of: object, message: str) -> None:
    with pytest.raises(MultimeshError, match=message):
        requested_key(request_of())  # type: ignore[operator]


@pytest.mark.parametrize("mesh", ["e" * 200, "ost-\u00fc", "a,b=c+d"])
def test_any_mesh_name_fits_a_subject(mesh: str) -> None:
    ca = issue_intermediate(ROOT, mesh, "east.mesh", ["svc"], DAY, "ecdsa-p256", NOW)
    assert verify_bundle(bundle.build(ca, ROOT.certificate), forge.expectation(ROOT), NOW) == ()


@pytest.mark.parametrize(
    ("spiffe_id", "dns_names", "accepted"),
    [
        ("spiffe://east.mesh/ns/shop/sa/cart", [], True),
        ("spiffe://east.mesh/ns/istio-system/sa/istiod", ["istiod.istio-system.svc"], True),
        ("spiffe://west.mesh/ns/shop/sa/cart", [], False),
        ("spiffe://east.mesh.evil/ns/shop/sa/cart", [], False),
        ("spiffe://north.east.mesh/ns/shop/sa/cart", [], False),
        ("spiffe://mesh/ns/shop/sa/cart", [], False),
        ("spiffe://east.mesh/ns/shop/sa/cart", ["www.example.com"], False),
        ("spiffe://east.mesh/ns/shop/sa/cart", ["notsvc"], False),
    ],
)
def test_a_mesh_speaks_for_itself_only_and_openssl_agrees(spiffe_id: str, dns_names: list[str], accepted: bool) -> None:
    leaf = issue_leaf(EAST, spiffe_id, NOW, dns_names)
    assert (leaf_rejection(leaf, CHAIN, NOW) is None) is accepted
    assert forge.openssl_accepts(leaf, CHAIN) is accepted


LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
DOMAIN = st.lists(LABEL, min_size=1, max_size=3).map(".".join).filter(lambda name: not name[-1].isdigit())


@settings(max_examples=25, deadline=None)
@given(own=DOMAIN, other=DOMAIN)
def test_no_domain_is_accepted_but_the_own_one(own: str, other: str) -> None:
    ca = forge.intermediate(ROOT, trust_domain=own)
    chain = [ca.certificate, ROOT.certificate]
    for domain in (own, other, f"sub.{own}", own.partition(".")[2] or "top"):
        leaf = issue_leaf(ca, f"spiffe://{domain}/ns/a/sa/b", NOW)
        assert (leaf_rejection(leaf, chain, NOW) is None) is (domain == own)
        assert forge.openssl_accepts(leaf, chain) is (domain == own)
