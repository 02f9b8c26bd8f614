# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates that say something else than they should, properly signed."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.fuzz import der, keyring
from tests.fuzz.draft import TRUST_DOMAIN, Draft
from tests.fuzz.plan import (
    BASIC,
    CONSTRAINTS,
    EXTENDED_USAGE,
    ISSUER_ID,
    NAMES,
    OWN_ID,
    USAGE,
    Extension,
    Plan,
    algorithm_identifier,
    common_name,
    moment,
    name,
    usage,
)

NULL, TRUE, FALSE = b"\x05\x00", b"\x01\x01\xff", b"\x01\x01\x00"
ODD_VALUES = (b"", NULL, b"\x30\x00", b"\x04\x00", b"\x30\x80\x00\x00", b"\x30\x03\x02\x01\x00", b"junk", TRUE)


def target(draft: Draft) -> Plan:
    """The certificate to spoil, more often the intermediate."""
    return draft.plans[draft.rng.choices(("ca", "root"), (65, 35))[0]]


def junk(rng: random.Random, most: int = 40) -> bytes:
    """Random bytes."""
    return rng.randbytes(rng.randrange(most + 1))


def basic(draft: Draft) -> None:
    """Basic constraints."""
    rng = draft.rng
    sizes = [
        b"",
        *(der.integer(size) for size in (0, 0, 1, 2, 255, 2**31, 2**70, -1)),
        b"\x02\x02\x00\x00",
        b"\x02\x00",
    ]
    value = der.sequence(rng.choice((TRUE, TRUE, FALSE, b"", b"\x01\x01\x01", NULL)), rng.choice(sizes))
    extension = target(draft).find(BASIC)
    extension.value = rng.choice((value, value, value, value + b"\0", rng.choice(ODD_VALUES)))
    extension.critical = rng.choice((True, True, True, False, "explicit", "one"))


def key_usage(draft: Draft) -> None:
    """Key usage: other bits, other ways to write them."""
    rng = draft.rng
    extension = target(draft).find(USAGE)
    chosen = usage(*(bit for bit in range(9) if rng.random() < (0.85 if bit in (5, 6) else 0.3)))
    padded = b"\x03\x02\x00\x06", b"\x03\x03\x07\x06\x00", b"\x03\x02\x01\x07", b"\x03\x02\x08\x06", b"\x03\x01\x00"
    extension.value = rng.choice((chosen, chosen, chosen, *padded, b"\x03\x09\x00\x06" + bytes(7), *ODD_VALUES))
    extension.critical = rng.choice((True, True, True, False, "explicit", "one"))


def general_name(rng: random.Random) -> bytes:
    """A general name, as a constraint or as an alternative name."""
    domains = (TRUST_DOMAIN, f".{TRUST_DOMAIN}", f"{TRUST_DOMAIN}.", TRUST_DOMAIN.upper(), f"*.{TRUST_DOMAIN}",
               "west.mesh", "mesh", "", ".", "svc", ".svc", "SVC", "svc.",
               "istiod.istio-system.svc", "*", "a..b", "-", "_x.svc",
               "xn--bcher-kva.svc", "a b", "10.0.0.1", "x" * 64 + ".svc", "x." * 300 + "svc", "svc\0.x")  # fmt: skip
    uris = (f"spiffe://{TRUST_DOMAIN}", f"spiffe://{TRUST_DOMAIN}/", f"spiffe://{TRUST_DOMAIN}/ns/a/sa/b",
            "spiffe://west.mesh", f"{TRUST_DOMAIN}:80", f"user@{TRUST_DOMAIN}", "[::1]", "https://", "%zz", "://",
            "urn:x:y", f"SPIFFE://{TRUST_DOMAIN.upper()}")  # fmt: skip
    address = rng.choice((bytes(8), bytes(4), bytes(32), bytes(5), b"\x0a\0\0\0\xff\0\0\0", b"\x0a\0\0\0\xff\0\xff\0"))
    tag, content = rng.choice(
        (
            (0x86, rng.choice(domains).encode()),
            (0x86, rng.choice(uris).encode()),
            (0x82, rng.choice(domains).encode()),
            (0x82, rng.choice(uris).encode()),
            (rng.choice((0x82, 0x86)), rng.choice((b"\xff\xfe", "ö.svc".encode(), b"\x80", b"a\nb", b"\x1b[31m"))),
            (0x87, address),
            (0x81, rng.choice((b"svc", b"a@svc", b".svc", b"", b"@", b"a@b@c", b"\xff"))),
            (0xA4, rng.choice((b"\x30\x00", common_name("east mesh CA 1"), common_name("x"), NULL))),
            (0xA0, der.oid("1.2.3.4") + der.wrap(0xA0, der.wrap(der.UTF8, b"x"))),
            (0x88, der.oid("1.2.3.4")[2:]),
            (0xA3, b""),
            (0xA5, b""),
            (rng.randrange(256), junk(rng)),
        )
    )
    return der.wrap(tag, content)


def constraints(draft: Draft) -> None:
    """Name constraints: several, of other kinds, excluding, with minimum and maximum, empty."""
    rng = draft.rng
    right = [der.wrap(0x86, TRUST_DOMAIN.encode()), der.wrap(0x82, b"svc")]

    def subtree(base: bytes) -> bytes:
        edges = (b"", b"", b"", b"", b"", b"\x80\x01\x00", b"\x80\x01\x01", b"\x81\x01\x00", b"\x81\x01\x05", NULL)
        return der.sequence(base, rng.choice(edges) if rng.random() < 0.3 else b"")

    permitted = list(right) if rng.random() < 0.7 else [item for item in right if rng.random() < 0.5]
    permitted += [general_name(rng) for _turn in range(rng.choice((0, 0, 1, 2)))]
    rng.shuffle(permitted)
    excluded = [general_name(rng) for _turn in range(rng.choice((0, 0, 0, 1, 2)))]
    value = der.wrap(0xA0, *map(subtree, permitted)) if permitted or rng.random() < 0.2 else b""
    if excluded or rng.random() < 0.1:
        value += der.wrap(0xA1, *map(subtree, excluded))
    plan = draft.plans["ca"] if rng.random() < 0.9 else draft.plans["root"]
    extension = plan.find(CONSTRAINTS)
    extension.value = rng.choice(ODD_VALUES) if rng.random() < 0.05 else der.sequence(value)
    extension.critical = rng.choice((True, True, True, True, False, "explicit", "one"))


def alternative_names(draft: Draft) -> None:
    """Alternative names of the CA itself."""
    rng = draft.rng
    plan = target(draft)
    if rng.random() < 0.1:
        plan.drop(NAMES)
        return
    names = [general_name(rng) for _turn in range(rng.choice((0, 1, 1, 2)))]
    if rng.random() < 0.5:
        names += [der.wrap(0x82, b"istiod.istio-system.svc"), der.wrap(0x86, f"spiffe://{TRUST_DOMAIN}".encode())]
    extension = plan.find(NAMES)
    extension.value = rng.choice(ODD_VALUES) if rng.random() < 0.1 else der.sequence(*names)
    extension.critical = rng.choice((True, False, False, False))


def own_id(draft: Draft) -> None:
    """Subject key identifier: another one, of another size; certificates below may follow it."""
    rng = draft.rng
    plan = target(draft)
    value = rng.choice((rng.randbytes(20), b"", b"\0", rng.randbytes(300), draft.plans["root"].own_id, plan.own_id))
    extension = plan.find(OWN_ID)
    extension.value = der.wrap(rng.choice((der.OCTET_STRING,) * 9 + (der.UTF8,)), value)
    if rng.random() < 0.1:
        plan.drop(OWN_ID)
    extension.critical = rng.random() < 0.1
    if rng.random() < 0.7:
        plan.own_id = value


def issuer_id(draft: Draft) -> None:
    """Authority key identifier: wrong ones, and the issuer's name and serial number beside it, right and wrong."""
    rng = draft.rng
    root, plan = draft.plans["root"], target(draft)
    known = rng.choice((root.own_id, root.own_id, root.own_id, plan.own_id, rng.randbytes(20), b""))
    issuer = rng.choice((root.subject, common_name("somebody"), b"\x30\x00", NULL))
    number = rng.choice((root.serial, plan.serial, der.integer(1), b"\x02\x00"))
    parts = [
        der.wrap(0x80, known) if rng.random() < 0.8 else b"",
        der.wrap(0xA1, der.wrap(0xA4, issuer)) if rng.random() < 0.6 else b"",
        der.wrap(0x82, number[2:]) if rng.random() < 0.6 else b"",
    ]
    if rng.random() < 0.1:
        rng.shuffle(parts)
    extension = plan.find(ISSUER_ID)
    extension.value = rng.choice(ODD_VALUES) if rng.random() < 0.05 else der.sequence(*parts)
    extension.critical = rng.random() < 0.1


def extended_usage(draft: Draft) -> None:
    """Extended key usage."""
    rng = draft.rng
    kinds = [der.oid(kind) for kind in ("1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2", "2.5.29.37.0", "1.3.6.1.5.5.7.3.9")]
    value = der.sequence(*rng.sample(kinds, rng.randrange(4)))
    extension = target(draft).find(EXTENDED_USAGE)
    extension.value, extension.critical = rng.choice((value, *ODD_VALUES)), rng.random() < 0.3


_ANY_POLICY = der.sequence(der.oid("2.5.29.32.0"))
_URI_NAME = der.wrap(0x86, b"http://x.invalid/crl")
_POINT = der.sequence(der.sequence(der.wrap(0xA0, der.wrap(0xA0, _URI_NAME))))
_ACCESS = der.sequence(der.sequence(der.oid("1.3.6.1.5.5.7.48.1"), _URI_NAME))
OTHER_EXTENSIONS: dict[str, tuple[bytes, ...]] = {
    "2.5.29.9": (der.sequence(der.sequence(der.oid("1.3.6.1.5.5.7.9.4"), der.wrap(der.SET, b"\x13\x02DE"))),),
    "2.5.29.16": (der.sequence(der.wrap(0x80, b"20200101000000Z"), der.wrap(0x81, b"20210101000000Z")),),
    "2.5.29.18": (der.sequence(_URI_NAME), der.sequence(der.wrap(0x82, b"svc"))),
    "2.5.29.20": (der.integer(5),),
    "2.5.29.27": (der.integer(5),),
    "2.5.29.28": (der.sequence(b"\x81\x01\xff"), b"\x30\x00"),
    "2.5.29.31": (_POINT, der.sequence(b"\x30\x00")),
    "2.5.29.32": (
        der.sequence(_ANY_POLICY),
        der.sequence(der.sequence(der.oid("1.2.3.4"))),
        der.sequence(_ANY_POLICY, _ANY_POLICY),
        der.sequence(der.sequence(der.oid("1.2.3.4"), NULL)),
    ),
    "2.5.29.33": (der.sequence(der.sequence(der.oid("1.2.3.4"), der.oid("1.2.3.5"))), der.sequence(_ANY_POLICY * 2)),
    "2.5.29.36": (der.sequence(b"\x80\x01\x00"), der.sequence(b"\x80\x01\x00\x81\x01\x00"), b"\x30\x00"),
    "2.5.29.46": (_POINT,),
    "2.5.29.54": (der.integer(0), der.integer(-1)),
    "1.3.6.1.5.5.7.1.1": (_ACCESS,),
    "1.3.6.1.5.5.7.1.3": (der.sequence(der.sequence(der.oid("0.4.0.1862.1.1"))),),
    "1.3.6.1.5.5.7.1.7": (der.sequence(der.sequence(b"\x04\x02\x00\x01", der.sequence(b"\x03\x02\x00\x0a"))),),
    "1.3.6.1.5.5.7.1.8": (der.sequence(der.wrap(0xA0, der.sequence(der.integer(65000)))),),
    "1.3.6.1.5.5.7.1.11": (_ACCESS,),
    "1.3.6.1.5.5.7.1.14": (der.sequence(der.sequence(der.oid("1.3.6.1.5.5.7.21.1"))),),
    "1.3.6.1.5.5.7.1.24": (der.sequence(der.integer(5)),),
    "1.3.6.1.5.5.7.48.1.5": (NULL,),
    "1.3.6.1.4.1.11129.2.4.2": (der.wrap(der.OCTET_STRING, b"\0\0"),),
    "1.3.6.1.4.1.11129.2.4.3": (NULL,),
    "1.3.6.1.4.1.311.20.2": (der.wrap(der.BMP, b"\0S\0u\0b\0C\0A"),),
    "1.3.6.1.4.1.311.21.1": (der.integer(0),),
    "2.16.840.1.113730.1.1": tuple(b"\x03\x02\x00" + bytes([value]) for value in (0x07, 0x80, 0x04, 0xFF, 0x00)),
    "2.16.840.1.113730.1.3": (der.wrap(der.IA5, b"http://x.invalid/"),),
    "2.16.840.1.113730.1.13": (der.wrap(der.IA5, b"OpenSSL Generated Certificate"),),
    "1.2.840.113533.7.65.0": (der.sequence(der.wrap(0x1B, b"V7.1"), b"\x03\x02\x00\x01"),),
    "1.2.3.4": (NULL,),
}
"""Extensions that do not belong there, by OID, with values that are well-formed."""


def other_extension(draft: Draft) -> None:
    """An extension that does not belong there, more often well-formed and not critical."""
    rng = draft.rng
    kind = rng.choice(list(OTHER_EXTENSIONS))
    value = rng.choice(OTHER_EXTENSIONS[kind]) if rng.random() < 0.7 else rng.choice((*ODD_VALUES, junk(rng)))
    critical = rng.random() < 0.1
    for plan in draft.plans.values() if rng.random() < 0.2 else [target(draft)]:
        plan.extensions.insert(rng.randrange(len(plan.extensions) + 1), Extension(kind, value, critical))


def extension_set(draft: Draft) -> None:
    """Extensions doubled, left out, in another order, or hundreds of them."""
    rng = draft.rng
    extensions = target(draft).extensions
    at = rng.randrange(len(extensions))
    match rng.randrange(5):
        case 0:
            extensions.append(extensions[at])
        case 1:
            del extensions[at]
        case 2:
            rng.shuffle(extensions)
        case 3:
            extensions[at].critical = not extensions[at].critical
        case _:
            extensions += [Extension(f"1.2.3.{number}", NULL) for number in range(rng.choice((5, 400)))]


def odd_time(rng: random.Random, when: datetime) -> bytes:
    """A time, seldom written as it has to be."""
    short, long = when.strftime("%y%m%d%H%M%S"), f"{when.year:04}{when:%m%d%H%M%S}"
    kind, text = rng.choice(
        (
            (der.UTC_TIME, short + "Z"),
            (der.GENERALIZED_TIME, long + "Z"),
            (der.UTC_TIME, short[:-2] + "Z"),
            (der.UTC_TIME, short + "+0000"),
            (der.UTC_TIME, short + "-0100"),
            (der.UTC_TIME, short),
            (der.GENERALIZED_TIME, long[:-2] + "Z"),
            (der.GENERALIZED_TIME, long + ".5Z"),
            (der.GENERALIZED_TIME, long + ".Z"),
            (der.GENERALIZED_TIME, long + "+0000"),
            (der.GENERALIZED_TIME, long[:4] + "1301000000Z"),
            (der.GENERALIZED_TIME, long[:4] + "0230000000Z"),
            (der.GENERALIZED_TIME, long[:8] + "240000Z"),
            (der.GENERALIZED_TIME, long[:8] + "235960Z"),
            (der.GENERALIZED_TIME, "00000101000000Z"),
            (der.GENERALIZED_TIME, "00010101000000Z"),
            (der.GENERALIZED_TIME, "99991231235959Z"),
            (der.UTC_TIME, "500101000000Z"),
            (der.UTC_TIME, "491231235959Z"),
            (der.UTC_TIME, ""),
            (der.UTF8, long + "Z"),
            (der.UTC_TIME, "99" * 600 + "Z"),
        )
    )
    return der.wrap(kind, text.encode())


def validity(draft: Draft) -> None:
    """Begin and end: moved, the wrong way round, written in another way."""
    rng = draft.rng
    plan = target(draft)
    shifts = [timedelta(seconds=sign * step) for step in (0, 1, 2, 3600, 86400) for sign in (1, -1)]
    shifts += [timedelta(days=days) for days in (-9000, -400, 200, 2999, 3000, 3001, 9000, 40000)]
    near = draft.now + rng.choice(shifts)
    match rng.randrange(5):
        case 0:
            plan.begins = moment(near)
        case 1:
            plan.ends = moment(near)
        case 2:
            plan.begins, plan.ends = plan.ends, plan.begins
        case 3:
            plan.begins = odd_time(rng, draft.now - timedelta(days=1))
        case _:
            plan.ends = odd_time(rng, draft.now + timedelta(days=80))


def serial_number(draft: Draft) -> None:
    """Serial number: zero, negative, too long, padded, empty, no number."""
    contents = (b"\0", b"\1", b"\x7f" + bytes(19), b"\0\x80" + bytes(19), b"\x7f" + bytes(20), b"\xff",
                b"\x80" + bytes(19), b"\0\1", b"\0\0\1", b"", b"\xff\xff", b"\1" * 200)  # fmt: skip
    value = der.wrap(der.INTEGER, draft.rng.choice(contents))
    target(draft).serial = draft.rng.choice((value, value, value, draft.plans["root"].serial, NULL))


def version(draft: Draft) -> None:
    """Version: none, 1, 2, others."""
    plan = target(draft)
    numbers = [der.wrap(0xA0, der.integer(number)) for number in (0, 1, 3, 2**40, -1)]
    plan.version = draft.rng.choice((b"", *numbers, b"\xa0\x04\x02\x02\x00\x02", b"\x80\x01\x02", b"\xa0\x00"))
    if draft.rng.random() < 0.3:
        plan.extensions = []


def attribute(rng: random.Random) -> tuple[str, int, bytes]:
    """One part of a name: kinds of strings, and what must not be in them."""
    kind = rng.choice(("2.5.4.3", "2.5.4.3", "2.5.4.10", "2.5.4.6", "1.2.840.113549.1.9.1", "2.5.4.5", "1.2.3.4",
                       "0.9.2342.19200300.100.1.25"))  # fmt: skip
    tag = rng.choice((der.UTF8, der.UTF8, der.PRINTABLE, der.IA5, der.T61, der.BMP, der.UNIVERSAL, 0x12, 0x1A, 0x04))
    content = rng.choice(
        (
            b"east", b"", b" east  mesh ", b"EAST", b"a*b", b"a@b", b"a_b&c", b"a\nb", b"a\0b", b"\x1b[31mred",
            b"\xff\xfe",
            "\u6771".encode(), "\u6771".encode("utf-16-be"), b"\0e\0a\0s\0t", b"\0\0\0e", b"\xd8\x00", b"\xed\xa0\x80",
            b"x" * 65, b"x" * 5000, b"DE", b"svc", b"istiod.istio-system.svc", b"west.mesh", b"=,+<>#;\\\"",
        )
    )  # fmt: skip
    return kind, tag, content


def subject(draft: Draft) -> None:
    """Subject: empty, odd strings, the issuer's own, parts in other orders."""
    rng = draft.rng
    plan = target(draft)
    parts = [attribute(rng) for _turn in range(rng.choice((1, 1, 2, 3)))]
    pair = [der.sequence(der.oid(kind), der.wrap(tag, content)) for kind, tag, content in (*parts, attribute(rng))]
    plan.subject = rng.choice(
        (
            name(*parts),
            name(*parts),
            name(*parts),
            der.sequence(der.wrap(der.SET, *pair)),
            der.sequence(der.wrap(der.SET)),
            b"\x30\x00",
            draft.plans["root"].subject,
            name(*parts * 100),
            NULL,
        )
    )


def issuer(draft: Draft) -> None:
    """Issuer: a name that is the signer's in meaning only, or not at all."""
    text = draft.rng.choice(("Mesh Federation Root 1", " Mesh federation root  1 ", "somebody", "east mesh CA 1"))
    tag = draft.rng.choice((der.UTF8, der.PRINTABLE))
    target(draft).issuer = draft.rng.choice(
        (
            name(("2.5.4.10", tag, b"multimesh.istio"), ("2.5.4.3", tag, text.encode())),
            name(("2.5.4.10", der.PRINTABLE, b"multimesh.istio"), ("2.5.4.3", tag, b"Mesh federation root 1")),
            b"\x30\x00",
        )
    )


def key_kind(draft: Draft) -> None:
    """Keys of other kinds; also the root's own key in the intermediate."""
    rng = draft.rng
    plan = target(draft)
    if rng.random() < 0.1:
        plan.key = draft.plans["root"].key
        return
    plan.key = draft.keys.get(rng.choice(keyring.KINDS), "other")
    if plan is draft.plans["root"]:
        for other in draft.plans.values():
            other.digest = "sha256"


def public_key(draft: Draft) -> None:
    """The public key, written in forms that only some can read, or not a key at all."""
    rng = draft.rng
    plan = target(draft)
    plain = keyring.public_der(plan.key)
    tree = der.parse(plain)
    assert tree.children is not None
    if not isinstance(plan.key, ec.EllipticCurvePrivateKey):
        numbers = [3, 65537, 2**2048 - 1, 2**16383 + 1, 0, 1, -5, 2**60000 + 1]
        pair = der.sequence(der.integer(rng.choice(numbers)), der.integer(rng.choice(numbers)))
        kinds = ("1.2.840.113549.1.1.1", "1.2.840.113549.1.1.10", "1.2.840.113549.1.1.7")
        identifier = der.sequence(der.oid(rng.choice(kinds)), rng.choice((NULL, b"", b"\x30\x00")))
        rest = rng.choice((der.bits(pair), tree.children[1].encode()))
        plan.public = der.sequence(identifier, rest)
        return
    point = tree.children[1].content[1:]
    half = len(point) // 2
    x, y = point[1 : half + 1], point[half + 1 :]
    sign = y[-1] & 1
    points = (
        bytes([2 + sign]) + x,
        bytes([6 + sign]) + x + y,
        b"\4" + y + x,
        b"\0",
        b"",
        b"\4" + x,
        b"\4" + x + y + b"\0",
    )
    kind = der.oid("1.2.840.10045.2.1")
    curves = [
        der.oid(curve) for curve in ("1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.10", "1.2.840.10045.3.1.1")
    ]
    right = tree.children[0].encode()
    plan.public = rng.choice(
        (
            der.sequence(right, der.bits(rng.choice(points))),
            der.sequence(right, der.bits(rng.choice(points))),
            der.sequence(der.sequence(kind, rng.choice((*curves, NULL, b""))), der.bits(point)),
            der.sequence(right, der.bits(point, rng.randrange(1, 9))),
            der.sequence(right + NULL, der.bits(point)),
        )
    )
    if rng.random() < 0.5:  # the plain form stands somewhere else in the certificate
        plan.extensions.append(Extension("1.2.3.5", plain))


def algorithm(draft: Draft) -> None:
    """How the signer signs, and what the certificate says of that."""
    rng = draft.rng
    plan, signer = target(draft), draft.plans["root"]
    plan.digest = rng.choice(("sha1", "sha224", "sha256", "sha384", "sha512", "sha3-256"))
    plan.pss = isinstance(signer.key, rsa.RSAPrivateKey) and rng.random() < 0.4
    if plan.pss:
        plan.digest = rng.choice(("sha256", "sha384", "sha512"))
    said = algorithm_identifier(signer.key, plan.digest, pss=plan.pss)
    other = algorithm_identifier(draft.keys.get(rng.choice(("p256", "rsa-2048", "ed25519"))), "sha384")
    kind = said[2 : 4 + said[3]]
    odd = (other, der.sequence(kind), der.sequence(kind, NULL), der.sequence(kind, b"\x30\x00"))
    match rng.randrange(5):
        case 0:
            plan.inner = rng.choice(odd)
        case 1:
            plan.outer = rng.choice(odd)
        case 2:
            plan.inner = plan.outer = rng.choice(odd)
        case _:
            pass


def tail(draft: Draft) -> None:
    """Unique identifiers of subject and issuer, and what has no name."""
    pieces = [b"\x81\x02\x00\x01", b"\x82\x02\x00\x01", b"\xa4\x02\x05\x00", b"\xa3\x02\x30\x00", NULL]
    plan = target(draft)
    pieces = draft.rng.sample(pieces, draft.rng.choice((1, 1, 2)))
    if draft.rng.random() < 0.5:
        plan.tail = b"".join(pieces)
        return

    def before_extensions(tree: der.Node) -> der.Node:
        assert tree.children is not None
        tree.children[-1:-1] = [der.parse(piece) for piece in pieces]
        return tree

    plan.reshape.append(before_extensions)


MUTATORS: tuple[tuple[str, Callable[[Draft], None], int], ...] = (
    ("basic-constraints", basic, 10),
    ("key-usage", key_usage, 10),
    ("name-constraints", constraints, 25),
    ("alternative-names", alternative_names, 15),
    ("subject-key-id", own_id, 8),
    ("authority-key-id", issuer_id, 12),
    ("extended-key-usage", extended_usage, 5),
    ("other-extension", other_extension, 20),
    ("extensions", extension_set, 8),
    ("validity", validity, 15),
    ("serial", serial_number, 8),
    ("version", version, 4),
    ("subject", subject, 15),
    ("issuer", issuer, 5),
    ("key-kind", key_kind, 8),
    ("public-key", public_key, 10),
    ("algorithm", algorithm, 12),
    ("unique-id", tail, 5),
)
