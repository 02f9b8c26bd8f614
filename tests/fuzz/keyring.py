# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private keys that follow from a seed, so that a case can be made again. Worthless for anything but tests."""

from __future__ import annotations

import functools
import hashlib
import random
from typing import TypeAlias

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

Key: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

CURVES: dict[str, ec.EllipticCurve] = {
    "p224": ec.SECP224R1(),
    "p256": ec.SECP256R1(),
    "p384": ec.SECP384R1(),
    "p521": ec.SECP521R1(),
    "k256": ec.SECP256K1(),
    "brainpool": ec.BrainpoolP256R1(),
}
RSA: dict[str, tuple[int, int]] = {
    "rsa-1024": (1024, 65537),
    "rsa-2048": (2048, 65537),
    "rsa-2048-e3": (2048, 3),
    "rsa-3072": (3072, 65537),
}
"""Bits and public exponent by kind."""

SALT = 32
"""Octets of salt in PSS signatures."""

KINDS = (*CURVES, *RSA, "ed25519")
_SMALL_PRIMES = [number for number in range(3, 2000, 2) if all(number % other for other in range(3, number, 2))]


class Keyring:
    """Keys by kind and name: the same seed gives the same keys."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._keys: dict[tuple[str, str], Key] = {}

    def get(self, kind: str, name: str = "") -> Key:
        """A key; kind is one of KINDS. Of RSA there is one key for each kind, whatever the name: they are slow."""
        name = "" if kind in RSA else name
        if (kind, name) not in self._keys:
            self._keys[kind, name] = self._make(kind, f"{self._seed}:{kind}:{name}")
        return self._keys[kind, name]

    def prepare(self) -> None:
        """Make the slow ones now: seconds."""
        for kind in RSA:
            self.get(kind)

    @staticmethod
    def _make(kind: str, text: str) -> Key:
        if kind == "ed25519":
            return ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(text.encode()).digest())
        if kind in RSA:
            bits, exponent = RSA[kind]
            return _rsa(*_primes(int(text.split(":")[0]), bits // 2), exponent)
        scalar = int.from_bytes(hashlib.sha256(text.encode()).digest()[:27], "big") | 1
        return ec.derive_private_key(scalar, CURVES[kind])


def sign(key: Key, content: bytes, digest: hashes.HashAlgorithm, *, pss: bool = False) -> bytes:
    """A signature, the same each time, PSS aside. Ed25519 has its own digest."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(content, ec.ECDSA(digest, deterministic_signing=True))
    if isinstance(key, rsa.RSAPrivateKey):
        scheme = padding.PSS(padding.MGF1(digest), SALT) if pss else padding.PKCS1v15()
        return key.sign(content, scheme, digest)
    return key.sign(content)


def public_der(key: Key) -> bytes:
    """SubjectPublicKeyInfo."""
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def private_der(key: Key, form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8) -> bytes:
    """PKCS#8, or what is asked for."""
    return key.private_bytes(serialization.Encoding.DER, form, serialization.NoEncryption())


def _rsa(p: int, q: int, exponent: int) -> rsa.RSAPrivateKey:
    d = pow(exponent, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(exponent, p * q)
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), rsa.rsa_crt_iqmp(p, q), public).private_key()


@functools.cache
def _primes(seed: int, bits: int) -> tuple[int, int]:
    """Two primes with their two highest bits set, that fit all exponents of RSA above."""
    rng = random.Random(f"{seed}:{bits}")
    found: list[int] = []
    while len(found) < 2:
        number = rng.getrandbits(bits) | 1 | 3 << (bits - 2)
        if any(number % small == 0 for small in _SMALL_PRIMES):
            continue
        # Fermat's test is enough for random numbers.
        if all((number - 1) % exponent for _size, exponent in RSA.values()) and pow(2, number - 1, number) == 1:
            found.append(number)
    return found[0], found[1]
