# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates in words and numbers that may be shown to anybody."""

from __future__ import annotations

import contextlib
import warnings
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.pki import pem as pem_file

with contextlib.suppress(ImportError):  # the modules report a missing library
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes


KEPT = 4096
"""Certificates and lists, and signatures by them, that are judged once: each step looks at those of all meshes."""


class UnreadableCertificate(MultimeshError):
    """A certificate that cannot be parsed."""


@lru_cache(maxsize=KEPT)
def parse(der: bytes) -> x509.Certificate:
    """Parse one certificate and every part of it that is used here.

    Raises UnreadableCertificate. The library parses lazily and raises whatever its parser finds, hence the broad catch.
    """
    try:
        with warnings.catch_warnings():  # of what a later version of the library will refuse
            warnings.simplefilter("ignore")
            certificate = x509.load_der_x509_certificate(der)
            for part in ("subject", "issuer", "extensions", "not_valid_before_utc", "not_valid_after_utc"):
                getattr(certificate, part)
            certificate.public_key()
            positive = certificate.serial_number > 0
    except Exception as error:  # noqa: BLE001
        raise UnreadableCertificate(f"not a certificate that can be parsed ({type(error).__name__})") from None
    if not positive:
        raise UnreadableCertificate("not a certificate with a positive serial number (RFC 5280, 4.1.2.2)")
    return certificate


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 over the DER form: 64 lower-case hexadecimal digits."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def describe(certificate: x509.Certificate, now: datetime | None = None) -> dict[str, Any]:
    """Describe one certificate; see describe_pem for the keys."""
    now = now or datetime.now(UTC)
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "serial": f"{certificate.serial_number:x}",
        "fingerprint_sha256": fingerprint(certificate),
        "not_before": iso(certificate.not_valid_before_utc),
        "not_after": iso(certificate.not_valid_after_utc),
        "days_left": (certificate.not_valid_after_utc - now) // timedelta(days=1),
        "is_ca": is_ca(certificate),
        "self_signed": signed_by(certificate, certificate),
        "uri_constraints": permitted(certificate, x509.UniformResourceIdentifier),
        "key_id": key_id(certificate),
    }


def describe_pem(pem: str | bytes, now: datetime | None = None) -> list[dict[str, Any]]:
    """Describe every certificate of a PEM file, in the order of the file.

    now: time that days_left counts from, default: the clock.
    Keys: subject and issuer (RFC 4514), serial (hexadecimal), fingerprint_sha256 (lower-case hexadecimal), not_before
    and not_after (ISO 8601, UTC), days_left (whole days, negative once expired), is_ca, self_signed,
    uri_constraints (permitted URI hosts, empty where there is no name constraint), key_id (subject key identifier,
    hexadecimal, None where there is none). Blocks of other kinds are skipped.
    Raises UnreadableCertificate when the file holds no certificate, or one that cannot be parsed.
    """
    content = pem.encode("utf-8", "replace") if isinstance(pem, str) else pem
    read = pem_file.read(content)
    blocks = [block for block in read.blocks if block.label == "CERTIFICATE"]
    if not blocks:
        reasons = "; ".join(read.defects) or "it has blocks of other kinds only"
        raise UnreadableCertificate(f"no certificate can be read: {reasons}")
    return [describe(parse(block.der), now) for block in blocks]


def shown(text: str, most: int = 100) -> str:
    """Text out of a certificate as it may be printed: one line, without control characters, not too long.

    most: characters of the text that are kept.
    """
    kept = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text[:most])
    return kept if len(text) <= most else f"{kept}..."


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC with whole seconds, for example 2027-01-31T08:00:00Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_ca(certificate: x509.Certificate) -> bool:
    """Whether basicConstraints say CA:TRUE."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def key_id(certificate: x509.Certificate) -> str | None:
    """Subject key identifier, lower-case hexadecimal; None where there is none."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
    except x509.ExtensionNotFound:
        return None


@lru_cache(maxsize=KEPT)
def signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the issuer's name and key are those that signed the certificate; nothing about validity or rights."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # noqa: BLE001 - a wrong name, a wrong signature and an unknown algorithm are one answer here
        return False
    return True


def refers_to(reference: x509.AuthorityKeyIdentifier, issuer: x509.Certificate) -> bool:
    """Whether an authority key identifier is that of the issuer in all it says; OpenSSL looks for another one if not.

    It may say the issuer's key identifier, and the issuer and the serial number of the issuer's certificate.
    """
    own = key_id(issuer)
    return (
        (own is None or reference.key_identifier in (None, bytes.fromhex(own)))
        and reference.authority_cert_issuer in (None, [x509.DirectoryName(issuer.issuer)])
        and reference.authority_cert_serial_number in (None, issuer.serial_number)
    )


def permitted(certificate: x509.Certificate, kind: type[x509.GeneralName]) -> list[str]:
    """Permitted subtrees of one kind in the name constraints, empty where there are none."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in constraints.permitted_subtrees or [] if isinstance(name, kind)]
