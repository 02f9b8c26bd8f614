# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A CA certificate before it is signed: every field in its hand, none of them checked."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from tests.fuzz import der, keyring
from tests.fuzz.keyring import Key

HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha1": hashes.SHA1(),
    "sha224": hashes.SHA224(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
    "sha3-256": hashes.SHA3_256(),
}
_ECDSA = {
    "sha1": "1.2.840.10045.4.1",
    "sha224": "1.2.840.10045.4.3.1",
    "sha256": "1.2.840.10045.4.3.2",
    "sha384": "1.2.840.10045.4.3.3",
    "sha512": "1.2.840.10045.4.3.4",
    "sha3-256": "2.16.840.1.101.3.4.3.10",
}
_RSA = {
    "sha1": "1.2.840.113549.1.1.5",
    "sha224": "1.2.840.113549.1.1.14",
    "sha256": "1.2.840.113549.1.1.11",
    "sha384": "1.2.840.113549.1.1.12",
    "sha512": "1.2.840.113549.1.1.13",
    "sha3-256": "2.16.840.1.101.3.4.3.14",
}
_HASH_OIDS = {
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
}

BASIC, USAGE, CONSTRAINTS, NAMES = "2.5.29.19", "2.5.29.15", "2.5.29.30", "2.5.29.17"
OWN_ID, ISSUER_ID, EXTENDED_USAGE = "2.5.29.14", "2.5.29.35", "2.5.29.37"


@dataclass
class Extension:
    """One extension.

    value: DER inside the OCTET STRING. critical: whether it says so; "explicit" writes the default FALSE out,
    "one" writes TRUE as 0x01; both are forbidden in DER.
    """

    oid: str
    value: bytes
    critical: bool | str = False

    def encode(self) -> bytes:
        """The extension's SEQUENCE."""
        flags = {True: b"\x01\x01\xff", False: b"", "explicit": b"\x01\x01\x00", "one": b"\x01\x01\x01"}
        return der.sequence(der.oid(self.oid), flags[self.critical], der.wrap(der.OCTET_STRING, self.value))


class Extended:
    """What has extensions."""

    extensions: list[Extension]

    def find(self, oid: str) -> Extension:
        """The first extension of a kind, added if there is none."""
        for extension in self.extensions:
            if extension.oid == oid:
                return extension
        self.extensions.append(Extension(oid, b"\x30\x00"))
        return self.extensions[-1]


@dataclass
class Plan(Extended):
    """What a certificate says. Fields of bytes hold whole elements.

    key: the subject's. public: SubjectPublicKeyInfo if it is not simply that of the key.
    issuer, issuer_id: name and key identifier of the issuer; None takes over the signer's.
    own_id: subject key identifier that certificates below refer to.
    digest, pss: how the signer signs. inner, outer: algorithm identifiers if they do not say just that.
    tail: elements after the extensions. reshape: changes the tree of what is signed, before it is.
    """

    key: Key
    serial: bytes
    subject: bytes
    begins: bytes
    ends: bytes
    extensions: list[Extension]
    own_id: bytes
    version: bytes = b"\xa0\x03\x02\x01\x02"
    issuer: bytes | None = None
    issuer_id: bytes | None = None
    public: bytes | None = None
    digest: str = "sha256"
    pss: bool = False
    inner: bytes | None = None
    outer: bytes | None = None
    tail: bytes = b""
    reshape: list[Callable[[der.Node], der.Node]] = field(default_factory=list)

    def drop(self, oid: str) -> None:
        """Remove all extensions of a kind."""
        self.extensions = [extension for extension in self.extensions if extension.oid != oid]

    def sign(self, signer: Plan) -> bytes:
        """The certificate, signed with the key of another plan, or of this one."""
        algorithm = algorithm_identifier(signer.key, self.digest, pss=self.pss)
        content = der.sequence(
            self.version,
            self.serial,
            self.inner or algorithm,
            signer.subject if self.issuer is None else self.issuer,
            der.sequence(self.begins, self.ends),
            self.subject,
            self.public or keyring.public_der(self.key),
            der.wrap(0xA3, der.sequence(*(extension.encode() for extension in self._extensions(signer)))),
            self.tail,
        )
        for change in self.reshape:
            # What is odd already may be no tree, or have nothing left to change.
            with contextlib.suppress(der.MalformedDer, IndexError):
                content = change(der.parse(content)).encode()
        signature = keyring.sign(signer.key, content, HASHES[self.digest], pss=self.pss)
        return der.sequence(content, self.outer or algorithm, der.bits(signature))

    def _extensions(self, signer: Plan) -> list[Extension]:
        """The extensions, with the issuer's key identifier in its place."""
        known = signer.own_id if self.issuer_id is None else self.issuer_id
        value = der.sequence(der.wrap(0x80, known))
        return [
            Extension(item.oid, value, item.critical) if item.oid == ISSUER_ID and not item.value else item
            for item in self.extensions
        ]


def algorithm_identifier(key: Key, digest: str, *, pss: bool = False) -> bytes:
    """How a key signs, as certificates say it."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return der.sequence(der.oid("1.3.101.112"))
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return der.sequence(der.oid(_ECDSA[digest]))
    if not pss:
        return der.sequence(der.oid(_RSA[digest]), b"\x05\x00")
    hashed = der.sequence(der.oid(_HASH_OIDS[digest]), b"\x05\x00")
    masked = der.sequence(der.oid("1.2.840.113549.1.1.8"), hashed)
    salt = der.integer(keyring.SALT)
    parameters = der.sequence(der.wrap(0xA0, hashed), der.wrap(0xA1, masked), der.wrap(0xA2, salt))
    return der.sequence(der.oid("1.2.840.113549.1.1.10"), parameters)


def name(*parts: tuple[str, int, bytes]) -> bytes:
    """A distinguished name: kind of attribute, tag of the string, content."""
    return der.sequence(
        *(der.wrap(der.SET, der.sequence(der.oid(kind), der.wrap(tag, content))) for kind, tag, content in parts)
    )


def common_name(text: str) -> bytes:
    """The names that are used here."""
    return name(("2.5.4.10", der.UTF8, b"multimesh.istio"), ("2.5.4.3", der.UTF8, text.encode()))


def moment(when: datetime) -> bytes:
    """A time as RFC 5280 wants it."""
    if when.year < 2050:
        return der.wrap(der.UTC_TIME, when.strftime("%y%m%d%H%M%SZ").encode())
    return der.wrap(der.GENERALIZED_TIME, f"{when.year:04}{when:%m%d%H%M%S}Z".encode())


def key_id(key: Key) -> bytes:
    """The usual key identifier, RFC 5280, 4.2.1.2 (1)."""
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest


def serial(text: str) -> bytes:
    """A serial number that follows from a text."""
    return der.integer(int.from_bytes(hashlib.sha256(text.encode()).digest()[:15], "big") | 1)


def usage(*positions: int) -> bytes:
    """Key usage with these bits, 0 is digitalSignature, 5 keyCertSign, 6 cRLSign."""
    if not positions:
        return b"\x03\x01\x00"
    octets = bytearray(max(positions) // 8 + 1)
    for position in positions:
        octets[position // 8] |= 0x80 >> position % 8
    return der.bits(bytes(octets), 7 - max(positions) % 8)


def authority(
    key: Key, text: str, begins: datetime, ends: datetime, trust_domain: str | None, dns: tuple[str, ...] = ("svc",)
) -> Plan:
    """A good CA: the intermediate of a mesh, or a root if there is no trust domain."""
    subject_id = key_id(key)
    extensions = [
        Extension(OWN_ID, der.wrap(der.OCTET_STRING, subject_id)),
        Extension(ISSUER_ID, b""),
        Extension(BASIC, der.sequence(b"\x01\x01\xff", b"" if trust_domain is None else der.integer(0)), True),
        Extension(USAGE, usage(5, 6), True),
    ]
    if trust_domain is not None:
        names = [der.wrap(0x82, b"istiod.istio-system.svc"), der.wrap(0x86, f"spiffe://{trust_domain}".encode())]
        allowed = [der.wrap(0x86, trust_domain.encode()), *(der.wrap(0x82, domain.encode()) for domain in dns)]
        permitted = der.wrap(0xA0, *(der.sequence(item) for item in allowed))
        extensions.append(Extension(NAMES, der.sequence(*names)))
        extensions.append(Extension(CONSTRAINTS, der.sequence(permitted), True))
    return Plan(key, serial(text), common_name(text), moment(begins), moment(ends), extensions, subject_id)
