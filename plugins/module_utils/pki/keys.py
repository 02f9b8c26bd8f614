# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private keys: which kinds are used, how they are made, and which are fit to be a CA's."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeAlias

with contextlib.suppress(ImportError):  # the modules report a missing library
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

if TYPE_CHECKING:
    PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    PublicKey: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

KEY_TYPES = ("ecdsa-p256", "ecdsa-p384", "rsa-3072", "rsa-4096")
"""Kinds of key that are made here. Go, BoringSSL and OpenSSL verify all of them."""

_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_RSA_BITS = range(2048, 8193)
_RSA_EXPONENT = 65537


def generate(key_type: str) -> PrivateKey:
    """Make a private key; key_type is one of KEY_TYPES."""
    algorithm, size = key_type.split("-")
    if algorithm == "rsa":
        return rsa.generate_private_key(_RSA_EXPONENT, int(size))
    return ec.generate_private_key({"p256": ec.SECP256R1(), "p384": ec.SECP384R1()}[size])


def signature_hash(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384:
    """The hash that is as strong as the key."""
    strong = isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size > 256
    return hashes.SHA384() if strong else hashes.SHA256()


def weakness(public_key: object) -> str | None:
    """Why a key is not fit for a CA, None if it is."""
    if isinstance(public_key, rsa.RSAPublicKey):
        if public_key.key_size not in _RSA_BITS:
            return f"an RSA key of {public_key.key_size} bits, expected {_RSA_BITS[0]} to {_RSA_BITS[-1]}"
        if public_key.public_numbers().e != _RSA_EXPONENT:
            return f"an RSA key with an exponent other than {_RSA_EXPONENT}"
        return None
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        name = public_key.curve.name
        return None if name in _CURVES else f"a key on curve {name}, expected one of {', '.join(_CURVES)}"
    return f"a key of kind {type(public_key).__name__.removesuffix('PublicKey')}, expected ECDSA or RSA"


def public_der(public_key: PublicKey) -> bytes:
    """SubjectPublicKeyInfo in its one canonical form, the form that every parser takes."""
    return public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def private_pem(key: PrivateKey, passphrase: bytes | None) -> bytes:
    """PKCS#8 PEM, encrypted if there is a passphrase. Istio reads only the unencrypted form."""
    encryption: serialization.KeySerializationEncryption = (
        serialization.NoEncryption() if passphrase is None else serialization.BestAvailableEncryption(passphrase)
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
