# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The right pieces in the wrong files, doubled, missing, and keys that are not the key."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.multimesh.istio.plugins.module_utils.pki.bundle import (
    CA_CERT,
    CA_CRL,
    CA_KEY,
    CERT_CHAIN,
    ROOT_CERT,
)
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from tests.fuzz import keyring
from tests.fuzz.draft import Block, Draft

SEC1, PKCS8 = serialization.PrivateFormat.TraditionalOpenSSL, serialization.PrivateFormat.PKCS8
CERTIFICATES = (CA_CERT, CERT_CHAIN, ROOT_CERT)


def _blocks(draft: Draft, *names: str) -> list[Block]:
    """The blocks of one of these files, to be changed; of none if it is missing."""
    return draft.blocks.get(draft.rng.choice(names or sorted(draft.blocks)), [])


def _certificate(content: bytes) -> Block:
    return Block("CERTIFICATE", content)


def double(draft: Draft) -> None:
    """A block twice, or many times."""
    blocks = _blocks(draft, *CERTIFICATES, ROOT_CERT, CA_KEY, CA_CRL)
    if blocks:
        blocks += [draft.rng.choice(blocks)] * draft.rng.choice((1, 1, 1, 2, 15, 20))


def drop(draft: Draft) -> None:
    """A block less."""
    blocks = _blocks(draft, CERT_CHAIN, CERT_CHAIN, ROOT_CERT, CA_CERT, CA_KEY, CA_CRL, CA_CRL)
    if blocks:
        del blocks[draft.rng.randrange(len(blocks))]


def reorder(draft: Draft) -> None:
    """The other way round."""
    _blocks(draft, CERT_CHAIN, CERT_CHAIN, ROOT_CERT, CA_CRL).reverse()


def exchange(draft: Draft) -> None:
    """Two files exchanged."""
    one, other = draft.rng.sample(sorted(draft.blocks), 2)
    draft.blocks[one], draft.blocks[other] = draft.blocks[other], draft.blocks[one]


def missing(draft: Draft) -> None:
    """A file less."""
    del draft.blocks[draft.rng.choice(sorted(draft.blocks))]


def more(draft: Draft) -> None:
    """A file more, known to istiod or not."""
    name = draft.rng.choice(
        ("tls.crt", "tls.key", "ca.crt", "istio-generated", "ca-crl.pem", "key.pem", "note", "..data")
    )
    draft.blocks[name] = draft.rng.choice(([], list(draft.blocks.get(CA_CERT, []))))


def stranger(draft: Draft) -> None:
    """A certificate of somebody else in a file."""
    foreign = draft.foreign(draft.rng.choice((None, "east.mesh", "west.mesh")))
    signer = draft.rng.choice((foreign, draft.plans["root"]))
    blocks = _blocks(draft, ROOT_CERT, ROOT_CERT, CERT_CHAIN, CA_CERT)
    blocks.insert(draft.rng.randrange(len(blocks) + 1), _certificate(foreign.sign(signer)))


def sibling(draft: Draft) -> None:
    """The certificate of another CA of this mesh or of another one, in place of the right one, here or everywhere."""
    other = draft.foreign(draft.rng.choice(("east.mesh", "west.mesh")))
    block = _certificate(other.sign(draft.plans["root"]))
    everywhere = draft.rng.random() < 0.4
    for name in (CA_CERT, CERT_CHAIN):
        if draft.blocks.get(name) and (everywhere or draft.rng.random() < 0.5):
            draft.blocks[name][0] = block
    if draft.rng.random() < 0.6:
        draft.blocks[CA_KEY] = [Block("PRIVATE KEY", keyring.private_der(other.key))]


def signed_anew(draft: Draft) -> None:
    """The same CA or root in a second certificate, in one of the files."""
    rng = draft.rng
    which = rng.choice(("ca", "root"))
    plan = draft.plans[which]
    plan.serial = rng.choice((plan.serial, b"\x02\x01\x05"))
    plan.digest = rng.choice(("sha384", "sha512"))
    again = _certificate(plan.sign(draft.plans["root"]))
    for name in CERTIFICATES:
        old = draft.encoded[which]
        if name in draft.blocks and rng.random() < 0.5:
            draft.blocks[name] = [again if block.der == old else block for block in draft.blocks[name]]


def key(draft: Draft) -> None:
    """Another key, of any kind."""
    draft.blocks[CA_KEY] = [
        Block("PRIVATE KEY", keyring.private_der(draft.keys.get(draft.rng.choice(keyring.KINDS), "other")))
    ]


def key_form(draft: Draft) -> None:
    """The right key in another form: SEC1, PKCS#1, encrypted, under a wrong label."""
    own = draft.key()
    if isinstance(own, ed25519.Ed25519PrivateKey):
        return
    plain = keyring.private_der(own)
    old = keyring.private_der(own, SEC1)
    label = "EC PRIVATE KEY" if isinstance(own, ec.EllipticCurvePrivateKey) else "RSA PRIVATE KEY"
    parameters = Block("EC PARAMETERS", b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07")
    encryption = serialization.BestAvailableEncryption(b"secret")
    encrypted = own.private_bytes(serialization.Encoding.DER, PKCS8, encryption)
    draft.blocks[CA_KEY] = draft.rng.choice(
        (
            [Block(label, old)],
            [parameters, Block(label, old)],
            [parameters, Block("PRIVATE KEY", plain)],
            [Block("PRIVATE KEY", old)],
            [Block(label, plain)],
            [Block("ENCRYPTED PRIVATE KEY", encrypted)],
            [Block("PRIVATE KEY", encrypted)],
            [Block("ANY PRIVATE KEY", plain)],
            [Block("PRIVATE KEY", plain), _certificate(draft.encoded["ca"])],
        )
    )


def label(draft: Draft) -> None:
    """Another label."""
    blocks = _blocks(draft)
    if blocks:
        at = draft.rng.randrange(len(blocks))
        name = draft.rng.choice(("X509 CERTIFICATE", "TRUSTED CERTIFICATE", "CERTIFICATE", "CERTIFICATE REQUEST",
                                 "PKCS7", "PUBLIC KEY", "PRIVATE KEY", "X509 CRL", "certificate"))  # fmt: skip
        blocks[at] = Block(name, blocks[at].der)


MUTATORS: tuple[tuple[str, Callable[[Draft], None], int], ...] = (
    ("double", double, 10),
    ("drop", drop, 6),
    ("reorder", reorder, 6),
    ("exchange", exchange, 3),
    ("missing", missing, 3),
    ("more", more, 4),
    ("stranger", stranger, 8),
    ("sibling", sibling, 8),
    ("signed-anew", signed_anew, 8),
    ("key", key, 6),
    ("key-form", key_form, 6),
    ("label", label, 5),
)
