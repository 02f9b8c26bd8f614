# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Everything that has to hold of a root and of the Secret ``cacerts``, and what of it does not.

istiod itself checks less than the peers of its workloads do: a bundle that it loads may be refused in every handshake.
So this is stricter than Go, BoringSSL and OpenSSL together. Nothing here raises on bad input, no finding quotes a file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import TypeVar
from urllib.parse import urlsplit

from ansible_collections.multimesh.istio.plugins.module_utils.pki import crl, keys, pem
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import ISTIOD_DNS, Authority, issue_leaf
from ansible_collections.multimesh.istio.plugins.module_utils.pki.bundle import (
    CA_CERT,
    CA_CRL,
    CA_KEY,
    CERT_CHAIN,
    FILES,
    ISTIO_GENERATED,
    ROOT_CERT,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import (
    UnreadableCertificate,
    fingerprint,
    iso,
    parse,
    permitted,
    refers_to,
    shown,
    signed_by,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki.finding import Finding
from ansible_collections.multimesh.istio.plugins.module_utils.pki.form import form_findings

with contextlib.suppress(ImportError):  # the modules report a missing library
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.x509.oid import ExtensionOID, SignatureAlgorithmOID

_E = TypeVar("_E", bound="x509.ExtensionType")


@dataclass(frozen=True)
class Expectation:
    """What the bundle of one mesh has to be.

    trust_domain: SPIFFE trust domain of the mesh.
    dns_domains: DNS names that the mesh may sign for, with everything below them.
    roots: the roots of the federation: one of them has issued the bundle, and it may trust no other.
    """

    trust_domain: str
    dns_domains: Sequence[str]
    roots: Sequence[x509.Certificate]


def verify_bundle(data: Mapping[str, bytes], expected: Expectation, now: datetime) -> tuple[Finding, ...]:
    """Everything wrong with the content of Secret ``cacerts``; nothing if istiod and all peers will work with it."""
    findings = list(_layout(data))
    files = {
        name: list(_certificates(name, data[name], findings))
        for name in (CA_CERT, CERT_CHAIN, ROOT_CERT)
        if name in data
    }
    key = _private_key(data[CA_KEY], findings) if CA_KEY in data else None
    roots = files.get(ROOT_CERT, [])
    findings += _roots(roots, expected.roots, now)
    for ca in files.get(CA_CERT, [])[:1]:
        if CA_CRL in data:
            own = [ca, *roots]
            # lists of the other meshes' CAs belong there too, and their certificates are not here to check them with
            findings += [one for one in crl.findings(data[CA_CRL], own, now, signer=ca) if one.name != "unknown-issuer"]
        findings += intermediate_findings(ca, CA_CERT, expected, now)
        findings += _chain(ca, files.get(CERT_CHAIN, []), roots)
        if len(files[CA_CERT]) > 1:
            findings.append(Finding("several-certificates", CA_CERT, "it holds several certificates, expected one"))
        if key is not None and keys.public_der(key.public_key()) != _public_der(ca):
            findings.append(Finding("key-mismatch", CA_KEY, f"it is not the key of {CA_CERT}"))
        elif key is not None and not findings:
            findings += _throwaway_leaf(Authority(ca, key), expected, now)
    return tuple(dict.fromkeys(findings))


def candidate_findings(candidate: Authority, expected: Expectation, now: datetime) -> tuple[Finding, ...]:
    """Everything that makes a CA unfit to become the one of this mesh; it has signed certificates for the trial."""
    findings = list(intermediate_findings(candidate.certificate, CA_CERT, expected, now))
    if keys.public_der(candidate.key.public_key()) != _public_der(candidate.certificate):
        findings.append(Finding("key-mismatch", CA_KEY, f"it is not the key of {CA_CERT}"))
    return tuple(findings or _throwaway_leaf(candidate, expected, now))


def certificates(content: bytes) -> list[x509.Certificate]:
    """The certificates of a PEM file that can be read, without a word about the rest."""
    return list(_certificates("", content, []))


def root_findings(root: x509.Certificate, where: str, now: datetime) -> tuple[Finding, ...]:
    """Everything that makes a certificate unfit to be the shared root."""
    findings = list(_authority(root, where, now))
    if not signed_by(root, root):
        findings.append(Finding("not-self-signed", where, "it is not signed by itself, so it is no root"))
    findings += _issuer_reference(root, root, where)
    constraints = _extension(root, x509.BasicConstraints)
    if constraints is not None and constraints.value.path_length == 0:
        findings.append(Finding("path-length", where, "its path length 0 leaves no room for the meshes' intermediates"))
    if _extension(root, x509.NameConstraints) is not None:
        findings.append(Finding("name-constraint", where, "it has name constraints, which belong to intermediates"))
    return tuple(findings)


def intermediate_findings(
    certificate: x509.Certificate, where: str, expected: Expectation, now: datetime
) -> tuple[Finding, ...]:
    """Everything that makes a certificate unfit to be the CA of this mesh under the expected roots."""
    findings = list(_authority(certificate, where, now))
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is not None and constraints.value.path_length != 0:
        findings.append(
            Finding("path-length", where, f"its path length is {constraints.value.path_length}, expected 0")
        )
    findings += _name_constraints(certificate, where, expected)
    names = _extension(certificate, x509.SubjectAlternativeName)
    uris = names.value.get_values_for_type(x509.UniformResourceIdentifier) if names is not None else []
    if uris not in ([], [f"spiffe://{expected.trust_domain}"]):
        findings.append(
            Finding(
                "trust-domain",
                where,
                f"it is named {shown(', '.join(uris))}, expected spiffe://{expected.trust_domain} alone",
            )
        )
    if certificate.subject in [root.subject for root in expected.roots]:
        findings.append(
            Finding("subject", where, "its subject is that of a root, and verifiers may take one for the other")
        )
    if _public_der(certificate) in [_public_der(root) for root in expected.roots]:
        what = "its key is that of a root, so it can sign whatever its name constraint forbids"
        findings.append(Finding("shared-key", where, what))
    issuers = [root for root in expected.roots if signed_by(certificate, root)]
    if not issuers:
        findings.append(
            Finding(
                "foreign-root",
                where,
                f"it is issued by {_shown(certificate.issuer)}, expected the shared root "
                + " or ".join(f"{_shown(root.subject)} (SHA-256 {fingerprint(root)})" for root in expected.roots),
            )
        )
    for root in issuers[:1]:
        findings += _issuer_reference(certificate, root, where)
        if certificate.not_valid_after_utc > root.not_valid_after_utc:
            findings.append(
                Finding("outlives-root", where, f"it ends after its root, which ends {iso(root.not_valid_after_utc)}")
            )
    return tuple(findings)


def leaf_rejection(leaf: x509.Certificate, chain: Sequence[x509.Certificate], now: datetime) -> str | None:
    """Why a peer refuses a workload certificate, None if it does not.

    chain: issuer first, root last. Path validation of RFC 5280 as far as these profiles need it: signatures, validity,
    CA and signing rights, path lengths, permitted URI hosts (no subdomains) and DNS names (with subdomains).
    """
    path = [leaf, *chain]
    names = _extension(leaf, x509.SubjectAlternativeName)
    uris = names.value.get_values_for_type(x509.UniformResourceIdentifier) if names is not None else []
    hosts = names.value.get_values_for_type(x509.DNSName) if names is not None else []
    for position, (certificate, issuer) in enumerate(zip(path, [*chain, chain[-1]], strict=True)):
        if not signed_by(certificate, issuer):
            return f"{_shown(certificate.subject)} is not signed by {_shown(issuer.subject)}"
        if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
            return f"{_shown(certificate.subject)} is not valid now"
        if position == 0:
            continue
        basic, usage = _extension(certificate, x509.BasicConstraints), _extension(certificate, x509.KeyUsage)
        if basic is None or not basic.value.ca or usage is None or not usage.value.key_cert_sign:
            return f"{_shown(certificate.subject)} is no CA"
        if basic.value.path_length is not None and position - 1 > basic.value.path_length:
            return f"the chain is longer than {_shown(certificate.subject)} allows"
        uri_domains = permitted(certificate, x509.UniformResourceIdentifier)
        dns_domains = permitted(certificate, x509.DNSName)
        for uri in uris:
            if uri_domains and urlsplit(uri).hostname not in uri_domains:
                return f"{uri} is outside what {_shown(certificate.subject)} may sign, {', '.join(uri_domains)}"
        for host in hosts:
            if dns_domains and not any(host == domain or host.endswith(f".{domain}") for domain in dns_domains):
                return f"{host} is outside what {_shown(certificate.subject)} may sign, {', '.join(dns_domains)}"
    return None


def _layout(data: Mapping[str, bytes]) -> Iterator[Finding]:
    for name in FILES:
        if name not in data:
            yield Finding("missing-file", name, "it is missing, and istiod does not start on an incomplete set")
    if ISTIO_GENERATED in data:
        yield Finding("istio-generated", ISTIO_GENERATED, "istiod made this CA itself and will write it again")
    if "tls.crt" in data:
        yield Finding("tls-layout", "tls.crt", f"its presence makes istiod read the tls.* files instead of {CA_CERT}")


def _certificates(name: str, content: bytes, findings: list[Finding]) -> Iterator[x509.Certificate]:
    read = pem.read(content)
    findings += [Finding("malformed-pem", name, defect) for defect in read.defects]
    for index, block in enumerate(read.blocks):
        if block.label != "CERTIFICATE":
            what = "a private key" if "PRIVATE KEY" in block.label else "something"
            findings.append(Finding("not-a-certificate", name, f"block {index} is {what}, expected a certificate"))
            continue
        try:
            yield parse(block.der)
        except UnreadableCertificate as error:
            findings.append(Finding("unreadable-certificate", name, f"block {index} is {error}"))


def _private_key(content: bytes, findings: list[Finding]) -> keys.PrivateKey | None:
    read = pem.read(content)
    findings += [Finding("malformed-pem", CA_KEY, defect) for defect in read.defects]
    if any(block.label == "ENCRYPTED PRIVATE KEY" for block in read.blocks):
        findings.append(Finding("encrypted-key", CA_KEY, "it is encrypted, which istiod cannot read"))
        return None
    if [block.label for block in read.blocks] != ["PRIVATE KEY"]:
        if not read.defects:
            findings.append(Finding("unreadable-key", CA_KEY, "it is not one block PRIVATE KEY (PKCS#8)"))
        return None
    der = read.blocks[0].der
    try:
        key = serialization.load_der_private_key(der, None)
        canonical = key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    except Exception as error:  # noqa: BLE001 - the library raises whatever its parser finds
        findings.append(Finding("unreadable-key", CA_KEY, f"it cannot be parsed ({type(error).__name__})"))
        return None
    weakness = keys.weakness(key.public_key())
    if weakness is not None or not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        findings.append(Finding("unfit-key", CA_KEY, f"it is {weakness}"))
        return None
    if canonical != der:
        findings.append(Finding("unreadable-key", CA_KEY, "it is not PKCS#8 in the form that OpenSSL and Go write"))
    return key


def _issuer_reference(certificate: x509.Certificate, issuer: x509.Certificate, where: str) -> Iterator[Finding]:
    reference = _extension(certificate, x509.AuthorityKeyIdentifier)
    if reference is not None and not refers_to(reference.value, issuer):
        yield Finding("key-identifier", where, "its authority key identifier is not that of its issuer")


def _ambiguous(roots: Sequence[x509.Certificate]) -> Iterator[Finding]:
    """Two roots that verifiers cannot tell apart: some try only one of them."""
    keys_by_name: dict[tuple[x509.Name, bytes], set[bytes]] = {}
    for root in roots:
        own = _extension(root, x509.SubjectKeyIdentifier)
        keys_by_name.setdefault((root.subject, own.value.digest if own is not None else b""), set()).add(
            _public_der(root)
        )
    for (subject, _key_id), found in keys_by_name.items():
        if len(found) > 1:
            what = f"roots {_shown(subject)} have the same name and key identifier, and different keys"
            yield Finding("ambiguous-roots", ROOT_CERT, what)


def _roots(roots: Sequence[x509.Certificate], expected: Sequence[x509.Certificate], now: datetime) -> Iterator[Finding]:
    known = {fingerprint(root) for root in expected}
    prints = [fingerprint(root) for root in roots]
    for root, digest in zip(roots, prints, strict=True):
        yield from root_findings(root, ROOT_CERT, now)
        if digest not in known:
            yield Finding(
                "foreign-root",
                ROOT_CERT,
                f"it trusts {_shown(root.subject)} (SHA-256 {digest}), not a root of this federation",
            )
    if max(map(prints.count, prints), default=0) > 2:
        # a new signer repeats its root on purpose, see transition
        yield Finding("duplicate-root", ROOT_CERT, "it holds a root more than twice")
    yield from _ambiguous([*roots, *expected])
    if roots and not set(prints) & known:
        yield Finding(
            "shared-root-missing", ROOT_CERT, "the shared root is not in it, so no other mesh would be trusted"
        )


def _chain(
    ca: x509.Certificate, chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> Iterator[Finding]:
    if not chain:
        return
    if chain[0] != ca:
        yield Finding("chain-order", CERT_CHAIN, f"its first certificate is not {CA_CERT}")
        return
    for position, (certificate, issuer) in enumerate(pairwise(chain)):
        if not signed_by(certificate, issuer):
            yield Finding("chain-broken", CERT_CHAIN, f"certificate {position} is not signed by the one after it")
    if len(chain) != 2:
        yield Finding("chain-length", CERT_CHAIN, f"it holds {len(chain)} certificates, expected intermediate and root")
    if roots and chain[-1] not in roots:
        yield Finding("chain-broken", CERT_CHAIN, f"it does not end in a root of {ROOT_CERT}")


def _authority(certificate: x509.Certificate, where: str, now: datetime) -> Iterator[Finding]:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begins:
        yield Finding("not-yet-valid", where, f"it is valid from {iso(begins)}, and now it is {iso(now)}")
    if now >= ends:
        yield Finding("expired", where, f"it ended {iso(ends)}, and now it is {iso(now)}")
    if certificate.version != x509.Version.v3:
        yield Finding("version", where, "it is not an X.509 version 3 certificate")
    if certificate.serial_number >= 1 << 159:
        yield Finding("serial", where, "its serial number has more than 20 octets")
    if not list(certificate.subject) or not list(certificate.issuer):
        yield Finding("subject", where, "a CA needs a subject and an issuer")
    if certificate.signature_algorithm_oid not in _signature_oids():
        yield Finding(
            "signature-algorithm", where, "it is not signed by ECDSA or RSA (PKCS#1) with SHA-256, -384 or -512"
        )
    weakness = keys.weakness(certificate.public_key())
    if weakness is not None:
        yield Finding("unfit-key", where, f"it has {weakness}")
    yield from form_findings(certificate, where)
    yield from _authority_extensions(certificate, where)


def _authority_extensions(certificate: x509.Certificate, where: str) -> Iterator[Finding]:
    basic = _extension(certificate, x509.BasicConstraints)
    if basic is None or not basic.value.ca:
        yield Finding("not-a-ca", where, "its basic constraints do not say CA")
    elif not basic.critical:
        yield Finding("not-critical", where, "its basic constraints are not critical")
    usage = _extension(certificate, x509.KeyUsage)
    if usage is None or not usage.value.key_cert_sign:
        yield Finding("key-usage", where, "its key usage lacks keyCertSign, so no peer accepts what it signs")
    elif not usage.critical:
        yield Finding("not-critical", where, "its key usage is not critical")
    if usage is not None and not usage.value.crl_sign:
        yield Finding("key-usage", where, "its key usage lacks cRLSign, so nothing could ever be revoked")
    if _extension(certificate, x509.ExtendedKeyUsage) is not None:
        yield Finding("extended-key-usage", where, "it has an extended key usage, which Go applies to all it signs")
    if _extension(certificate, x509.SubjectKeyIdentifier) is None:
        yield Finding("key-identifier", where, "it has no subject key identifier")
    authority = _extension(certificate, x509.AuthorityKeyIdentifier)
    if authority is None or authority.value.key_identifier is None:
        yield Finding("key-identifier", where, "it has no authority key identifier")
    known = {ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE, ExtensionOID.NAME_CONSTRAINTS}
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in known:
            yield Finding(
                "critical-extension",
                where,
                f"its extension {shown(extension.oid.dotted_string)} is critical and not understood",
            )


def _name_constraints(certificate: x509.Certificate, where: str, expected: Expectation) -> Iterator[Finding]:
    constraints = _extension(certificate, x509.NameConstraints)
    if constraints is None:
        yield Finding(
            "name-constraint",
            where,
            f"it has no name constraint, so it can speak for more than {expected.trust_domain}",
        )
        return
    if not constraints.critical:
        yield Finding("not-critical", where, "its name constraint is not critical, so verifiers may ignore it")
    if constraints.value.excluded_subtrees:
        yield Finding("name-constraint", where, "its name constraint excludes names, expected it to permit only")
    wanted = sorted([f"URI:{expected.trust_domain}", *(f"DNS:{domain}" for domain in expected.dns_domains)])
    found = sorted(_subtree(name) for name in constraints.value.permitted_subtrees or [])
    if found != wanted:
        yield Finding(
            "name-constraint",
            where,
            f"it permits {shown(', '.join(found)) or 'nothing'}, expected {', '.join(wanted)}",
        )


def _subtree(name: x509.GeneralName) -> str:
    kinds: list[tuple[type[x509.GeneralName], str]] = [(x509.UniformResourceIdentifier, "URI"), (x509.DNSName, "DNS")]
    for kind, label in kinds:
        if isinstance(name, kind):
            return f"{label}:{name.value}"
    return type(name).__name__


def _throwaway_leaf(authority: Authority, expected: Expectation, now: datetime) -> Iterator[Finding]:
    roots = [root for root in expected.roots if signed_by(authority.certificate, root)]
    chain = [authority.certificate, *roots[:1]]
    leaf = issue_leaf(authority, f"spiffe://{expected.trust_domain}/ns/probe/sa/probe", now, [ISTIOD_DNS])
    reason = leaf_rejection(leaf, chain, now)
    if reason is not None:
        yield Finding("leaf-refused", CA_CERT, f"peers would refuse the certificates it signs: {reason}")
    foreign = issue_leaf(authority, "spiffe://another.mesh.invalid/ns/probe/sa/probe", now)
    if leaf_rejection(foreign, chain, now) is None:
        yield Finding("leaf-unbounded", CA_CERT, "peers would accept workload certificates it signs for another mesh")


def _extension(certificate: x509.Certificate, kind: type[_E]) -> x509.Extension[_E] | None:
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def _public_der(certificate: x509.Certificate) -> bytes:
    public_key = certificate.public_key()
    return keys.public_der(public_key) if isinstance(public_key, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey)) else b""


def _signature_oids() -> set[x509.ObjectIdentifier]:
    return {
        SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        SignatureAlgorithmOID.ECDSA_WITH_SHA384,
        SignatureAlgorithmOID.ECDSA_WITH_SHA512,
        SignatureAlgorithmOID.RSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA384,
        SignatureAlgorithmOID.RSA_WITH_SHA512,
    }


def _shown(name: x509.Name) -> str:
    return f'"{shown(name.rfc4514_string())}"'
