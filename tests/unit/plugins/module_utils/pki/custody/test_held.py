# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import contextlib
import multiprocessing
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.pki import crl
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import (
    Authority,
    new_request,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import (
    Custody,
    CustodyError,
    IntermediateProfile,
    Revocation,
    Root,
    RootProfile,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.held import HeldRoots
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.secret_store import SecretStore
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.store import LEDGER, FileStore, Store
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import fingerprint
from ansible_collections.multimesh.istio.plugins.module_utils.pki.ledger import Entry
from ansible_collections.multimesh.istio.plugins.module_utils.pki.verify import Expectation, intermediate_findings
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from tests.unit.plugins.module_utils.pki import forge
from tests.unit.plugins.module_utils.pki.custody.api import Api
from tests.unit.plugins.module_utils.pki.custody.memory import Killed, MemoryStore
from tests.unit.plugins.module_utils.pki.forge import DAY, NOW

PASSPHRASE = "correct horse battery staple"
PROFILE = RootProfile(key_type="ecdsa-p256")
EAST = IntermediateProfile("east", "east.mesh")
KEY, REQUEST = new_request("ecdsa-p256")
OWN = forge.root()
"""A root that somebody brings along."""


def encrypted(key: object, passphrase: str = PASSPHRASE) -> bytes:
    encryption = serialization.BestAvailableEncryption(passphrase.encode())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)  # type: ignore[attr-defined, no-any-return]


def plain(key: object) -> bytes:
    return key.private_bytes(  # type: ignore[attr-defined, no-any-return]
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


CERTIFICATE, ENCRYPTED = forge.to_pem(OWN.certificate), encrypted(OWN.key)
PEM = CERTIFICATE + ENCRYPTED


def name_of(root: Root | Authority, kind: str = "root", suffix: str = "pem") -> str:
    return f"{kind}-{fingerprint(root.certificate)[:16]}.{suffix}"


def custody_of(store: Store) -> HeldRoots:
    return HeldRoots(store, PASSPHRASE)


def actions(custody: Custody) -> list[str]:
    return [entry.action for entry in custody.ledger()]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def custody(store: MemoryStore) -> HeldRoots:
    return custody_of(store)


@pytest.fixture
def two(custody: HeldRoots) -> tuple[str, str]:
    """Fingerprints of a root and its successor."""
    old = fingerprint(custody.make_root(PROFILE, NOW).certificate)
    return old, fingerprint(custody.make_root(PROFILE, NOW, beside=old).certificate)


# Making


def test_makes_a_root_once(custody: HeldRoots, store: MemoryStore) -> None:
    assert custody.roots() == ()
    assert store.blobs == {}
    root = custody.make_root(PROFILE, NOW)
    assert root.crl is not None
    assert crl.issued_by(root.crl, root.certificate)
    assert crl.revoked(root.crl) == frozenset()
    assert custody.roots() == (root,)
    assert set(store.blobs) == {name_of(root), name_of(root, suffix="crl"), LEDGER}
    before = dict(store.blobs)
    assert custody.make_root(PROFILE, NOW + DAY) == root
    assert store.blobs == before
    assert root.certificate.not_valid_after_utc == NOW + 3650 * DAY


def test_makes_one_successor(custody: HeldRoots) -> None:
    first = custody.make_root(PROFILE, NOW)
    old = fingerprint(first.certificate)
    # of the same second: which is the older one is told by the ledger
    second = custody.make_root(PROFILE, NOW, beside=old)
    new = fingerprint(second.certificate)
    assert custody.roots() == (first, second)
    assert custody.make_root(PROFILE, NOW, beside=old) == second
    assert custody.make_root(PROFILE, NOW, beside=new) == first  # the way back
    assert custody.make_root(PROFILE, NOW) == first
    assert actions(custody) == ["root-made", "root-made"]
    with pytest.raises(CustodyError, match=rf"^memory: the root with SHA-256 0000 is not there.*{old}, {new}"):
        custody.make_root(PROFILE, NOW, beside="0000")


def test_the_ledger_names_the_run(custody: HeldRoots) -> None:
    custody.acquire("site by ann", NOW, DAY)
    root = custody.make_root(PROFILE, NOW)
    (entry,) = custody.ledger()
    assert entry == Entry.of(root.certificate, "root-made", time=NOW, run="site by ann")


@pytest.mark.parametrize("passphrase", ["", "short", "x" * 1024])
def test_a_new_root_needs_a_fit_passphrase(store: MemoryStore, passphrase: str) -> None:
    custody = HeldRoots(store, passphrase)
    for attempt in (custody.roots, lambda: custody.make_root(PROFILE, NOW)):
        with pytest.raises(CustodyError, match=r"expected 12 to 1023.*shared_root_ca_passphrase"):
            attempt()
    assert store.blobs == {}


def test_a_wrong_passphrase_is_named_and_not_shown(custody: HeldRoots, store: MemoryStore) -> None:
    custody.make_root(PROFILE, NOW)
    before = dict(store.blobs)
    wrong = HeldRoots(store, "another passphrase")
    for attempt in (wrong.roots, lambda: wrong.make_root(PROFILE, NOW)):
        with pytest.raises(
            CustodyError, match=r"cannot be decrypted.*shared_root_ca_passphrase.*No new root"
        ) as caught:
            attempt()
        assert "another passphrase" not in str(caught.value)
    assert store.blobs == before


# Signing


def test_signs_what_a_mesh_asks_for(custody: HeldRoots) -> None:
    root = custody.make_root(PROFILE, NOW)
    certificate = custody.issue(fingerprint(root.certificate), EAST, REQUEST, NOW)
    expected = Expectation("east.mesh", ["svc"], [root.certificate])
    assert intermediate_findings(certificate, "ca", expected, NOW) == ()
    assert certificate.public_key() == KEY.public_key()
    entry = custody.ledger()[-1]
    assert (entry.action, entry.mesh, entry.trust_domain) == ("ca-issued", "east", "east.mesh")
    assert (entry.fingerprint, entry.issuer) == (fingerprint(certificate), fingerprint(root.certificate))
    custody.record([replace(entry, issuer="", run="the caller records it too")])
    assert actions(custody) == ["root-made", "ca-issued"]


def test_each_of_two_roots_signs(custody: HeldRoots, two: tuple[str, str]) -> None:
    for root, held in zip(two, custody.roots(), strict=True):
        certificate = custody.issue(root, EAST, REQUEST, NOW)
        assert crl.issued_by(held.crl, held.certificate)  # type: ignore[arg-type]
        certificate.verify_directly_issued_by(held.certificate)


def test_what_is_not_signed(custody: HeldRoots, store: MemoryStore) -> None:
    root = fingerprint(custody.make_root(PROFILE, NOW).certificate)
    before = dict(store.blobs)
    key = ed25519.Ed25519PrivateKey.generate()
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, None)
    with pytest.raises(CustodyError, match=r"^memory: The certificate signing request asks for a key of kind Ed25519"):
        custody.issue(root, EAST, request, NOW)
    with pytest.raises(CustodyError, match=r"^memory: The shared root is valid from .* rotate the root"):
        custody.issue(root, EAST, REQUEST, NOW + 3651 * DAY)
    with pytest.raises(CustodyError, match=r"^memory: the root with SHA-256 1234 is not there"):
        custody.issue("1234", EAST, REQUEST, NOW)
    assert store.blobs == before


# Revoking


def test_revokes(custody: HeldRoots) -> None:
    root = fingerprint(custody.make_root(PROFILE, NOW).certificate)
    certificate = custody.issue(root, EAST, REQUEST, NOW)
    stolen = [Revocation(certificate.serial_number, NOW), Revocation(4711, NOW - DAY)]
    revoked = custody.revoke(root, stolen, NOW)
    assert revoked.crl is not None
    assert crl.revoked(revoked.crl) == {certificate.serial_number, 4711}
    assert crl.number(revoked.crl) > crl.number(custody.roots()[0].crl) - 1  # type: ignore[arg-type]
    assert custody.roots() == (revoked,)
    known, unknown = custody.ledger()[-2:]
    assert (known.action, known.mesh, known.fingerprint) == ("ca-revoked", "east", fingerprint(certificate))
    assert (unknown.action, unknown.serial, unknown.issuer) == ("ca-revoked", "1267", root)
    assert custody.revoke(root, reversed(stolen), NOW + DAY) == revoked
    assert custody.revoke(root, [], NOW + DAY) == revoked
    assert len(actions(custody)) == 4
    later = custody.revoke(root, [Revocation(4712, NOW), Revocation(4712, NOW)], NOW - DAY)
    assert crl.number(later.crl) == crl.number(revoked.crl) + 1  # type: ignore[arg-type]
    assert actions(custody).count("ca-revoked") == 3


@pytest.mark.parametrize("how", ["lost", "rolled back"])
def test_a_list_is_made_good_from_the_ledger(custody: HeldRoots, store: MemoryStore, how: str) -> None:
    made = custody.make_root(PROFILE, NOW)
    root, file = fingerprint(made.certificate), name_of(made, suffix="crl")
    old = store.blobs[file]
    revoked = custody.revoke(root, [Revocation(4711, NOW)], NOW)
    if how == "lost":
        del store.blobs[file]
        assert custody.roots() == (Root(made.certificate, None),)
    else:
        store.blobs[file] = old
    again = custody.revoke(root, [], NOW + DAY)
    assert crl.revoked(again.crl) == {4711}  # type: ignore[arg-type]
    assert crl.number(again.crl) > crl.number(revoked.crl)  # type: ignore[arg-type]


def test_a_root_that_has_ended_needs_no_list(custody: HeldRoots, store: MemoryStore) -> None:
    old = custody.make_root(PROFILE, NOW)
    custody.make_root(PROFILE, NOW, beside=fingerprint(old.certificate))
    del store.blobs[name_of(old, suffix="crl")]
    with pytest.raises(CustodyError, match="this CA ended"):
        custody.revoke(fingerprint(old.certificate), [Revocation(1, NOW)], NOW + 3651 * DAY)
    assert custody.retire(fingerprint(old.certificate), NOW + 3651 * DAY)


@pytest.mark.parametrize("content", [b"", b"junk", crl.pem([crl.sign(forge.root(), (), 1, NOW)])])
def test_a_list_that_is_none_is_refused(custody: HeldRoots, store: MemoryStore, content: bytes) -> None:
    root = custody.make_root(PROFILE, NOW)
    store.blobs[name_of(root, suffix="crl")] = content
    with pytest.raises(
        CustodyError, match=r"\.crl: it is not a revocation list of a root that is here.*backup.*ledger"
    ):
        custody.roots()


# Retiring


def test_destroys_the_key_of_a_root_that_nobody_trusts(
    custody: HeldRoots, store: MemoryStore, two: tuple[str, str]
) -> None:
    (old, new), gone = two, custody.roots()[0]
    assert custody.retire(old, NOW + DAY) is True
    assert [fingerprint(root.certificate) for root in custody.roots()] == [new]
    assert name_of(gone) not in store.blobs
    assert name_of(gone, suffix="crl") not in store.blobs
    assert store.blobs[name_of(gone, "retired", "crt")] == forge.to_pem(gone.certificate)
    assert custody.retire(old, NOW + DAY) is False
    assert actions(custody)[-1] == "root-retired"
    assert actions(custody).count("root-retired") == 1
    with pytest.raises(CustodyError, match=f"{old} was retired. Name one that is: {new}"):
        custody.issue(old, EAST, REQUEST, NOW)
    third = custody.make_root(PROFILE, NOW, beside=new)
    assert len(custody.roots()) == 2
    assert custody.roots()[1] == third


def test_the_only_root_is_not_retired(custody: HeldRoots, two: tuple[str, str]) -> None:
    custody.retire(two[1], NOW)
    with pytest.raises(CustodyError, match="is the only root"):
        custody.retire(two[0], NOW)
    with pytest.raises(CustodyError, match="SHA-256 4711 is not there"):
        custody.retire("4711", NOW)


def test_a_retired_root_does_not_come_back(custody: HeldRoots, store: MemoryStore, two: tuple[str, str]) -> None:
    gone = custody.roots()[0]
    backup = store.blobs[name_of(gone)]
    custody.retire(two[0], NOW)
    for marked in (True, False):
        if not marked:
            del store.blobs[name_of(gone, "retired", "crt")]
        store.blobs["restored.pem"] = backup
        for attempt in (custody.roots, lambda: custody.revoke(two[1], [], NOW)):
            with pytest.raises(CustodyError, match=r"restored\.pem holds .* was retired .* Remove restored\.pem\."):
                attempt()
        del store.blobs["restored.pem"]
    assert custody.retire(two[0], NOW) is False


# Lost and found


def test_a_lost_root_is_never_replaced(custody: HeldRoots, store: MemoryStore) -> None:
    root = custody.make_root(PROFILE, NOW)
    kept = store.blobs.pop(name_of(root))
    for attempt in (custody.roots, lambda: custody.make_root(PROFILE, NOW), lambda: custody.retire("1", NOW)):
        with pytest.raises(CustodyError, match=rf"ledger knows .*{fingerprint(root.certificate)}.*backup.*No new root"):
            attempt()
    store.blobs["restored under another name.pem"] = kept
    assert custody.roots() == (root,)


def test_a_lost_root_can_be_given_up(custody: HeldRoots, store: MemoryStore) -> None:
    root = custody.make_root(PROFILE, NOW)
    del store.blobs[name_of(root)]
    store.blobs[name_of(root, "retired", "crt")] = custody.ledger()[0].certificate.encode()
    assert custody.roots() == ()
    custody.make_root(PROFILE, NOW)
    assert actions(custody) == ["root-made", "root-retired", "root-made"]


def test_the_only_root_is_not_destroyed_by_a_file(custody: HeldRoots, store: MemoryStore) -> None:
    root = custody.make_root(PROFILE, NOW)
    store.blobs[name_of(root, "retired", "crt")] = forge.to_pem(root.certificate)
    with pytest.raises(CustodyError, match=r"retired-.*\.crt says that the only root was retired. Remove that file"):
        custody.revoke(fingerprint(root.certificate), [], NOW)
    assert name_of(root) in store.blobs


def test_a_ledger_that_was_changed_is_refused(custody: HeldRoots, store: MemoryStore, two: tuple[str, str]) -> None:
    store.blobs[LEDGER] = store.blobs[LEDGER].replace(b"root-made", b"root-retired", 1)
    for attempt in (custody.roots, lambda: custody.issue(two[0], EAST, REQUEST, NOW), custody.ledger):
        with pytest.raises(CustodyError, match=r"^memory: ledger\.jsonl: line 2 of the ledger .*backup"):
            attempt()


def test_no_first_root_beside_strangers(custody: HeldRoots, store: MemoryStore) -> None:
    store.blobs["thesis.pdf"] = b"%PDF"
    for attempt in (custody.roots, lambda: custody.make_root(PROFILE, NOW)):
        with pytest.raises(CustodyError, match=r"there are files in it, but no root.*backup"):
            attempt()
    store.blobs["own.pem"] = PEM
    assert len(custody.roots()) == 1


def test_what_a_run_left_before_its_first_root_is_no_stranger(custody: HeldRoots) -> None:
    custody.acquire("ann", NOW, DAY)
    custody.record([Entry(NOW, "ca-revoked", serial="1")])
    custody.make_root(PROFILE, NOW)


# Roots that are brought along

LAYOUTS = {
    "one file": {"our root.PEM": PEM},
    "key first": {"own.pem": ENCRYPTED + CERTIFICATE},
    "text between": {"own.pem": b"Certificate:\n" + CERTIFICATE + b"\n\nBag Attributes: <No Attributes>\n" + ENCRYPTED},
    "two files": {"root-ca.crt": CERTIFICATE, "root-ca.key": ENCRYPTED},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_takes_over_a_root(custody: HeldRoots, store: MemoryStore, layout: str) -> None:
    store.blobs |= LAYOUTS[layout]
    assert custody.roots() == (Root(OWN.certificate),)
    assert custody.make_root(PROFILE, NOW).certificate == OWN.certificate
    (root,) = custody.roots()
    assert root.crl is not None
    (entry,) = custody.ledger()
    assert (entry.action, entry.note[:8]) == ("root-taken-over", "found as")
    successor = custody.make_root(PROFILE, NOW - DAY, beside=entry.fingerprint)
    assert custody.roots() == (root, successor)
    assert custody.retire(entry.fingerprint, NOW)
    assert not set(LAYOUTS[layout]) & set(store.blobs)
    assert actions(custody) == ["root-taken-over", "root-made", "root-retired"]


def test_a_root_that_comes_later_is_the_newer_one(custody: HeldRoots, store: MemoryStore) -> None:
    """However old it is: meshes go from what they have to what their owner brings."""
    young = custody.make_root(PROFILE, NOW + DAY)
    store.blobs["own.pem"] = PEM
    for _look in range(2):
        assert [root.certificate for root in custody.roots()] == [young.certificate, OWN.certificate]
        custody.revoke(fingerprint(young.certificate), [], NOW + DAY)


def test_the_newest_of_its_lists_counts_and_is_made_to_last(custody: HeldRoots, store: MemoryStore) -> None:
    store.blobs |= {"own.pem": PEM, "own.crl": crl.pem([crl.sign(OWN, [Revocation(1, NOW)], 9, NOW)])}
    old = crl.sign(OWN, [], 8, NOW)
    store.blobs["backup.crl"] = crl.pem([old])
    assert crl.number(custody.roots()[0].crl) == 9  # type: ignore[arg-type]
    assert custody.revoke(fingerprint(OWN.certificate), [], NOW).crl == custody.roots()[0].crl
    builder = x509.CertificateRevocationListBuilder().issuer_name(OWN.certificate.subject)
    short = builder.last_update(NOW).next_update(NOW + DAY).add_extension(x509.CRLNumber(1 << 40), critical=False)
    store.blobs["own.crl"] = crl.pem([short.sign(OWN.key, forge.hashes.SHA256())])
    lasting = custody.revoke(fingerprint(OWN.certificate), [], NOW).crl
    assert lasting is not None
    assert lasting.next_update_utc == OWN.certificate.not_valid_after_utc
    assert crl.number(lasting) == (1 << 40) + 1


def without_crl_sign() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "old")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + DAY)
    builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    builder = builder.add_extension(forge.key_usage(crl_sign=False), critical=True)
    return forge.to_pem(builder.sign(key, forge.hashes.SHA256())) + encrypted(key)


SPOILED: dict[str, tuple[Callable[[], dict[str, bytes]], str]] = {
    "no key": (lambda: {"root-ca.crt": CERTIFICATE}, r"root-ca\.key is missing.*backup.*No new root"),
    "no certificate": (lambda: {"root-ca.key": ENCRYPTED}, r"root-ca\.crt is missing.*backup.*No new root"),
    "certificate alone": (lambda: {"own.pem": CERTIFICATE}, r"own\.pem: .*not hold one encrypted PKCS#8 key.*openssl"),
    "key alone": (lambda: {"own.pem": ENCRYPTED}, r"own\.pem: it does not hold one PEM certificate.*backup"),
    "chain": (lambda: {"own.pem": CERTIFICATE + PEM}, "not hold one PEM certificate.*keep what is no root elsewhere"),
    "empty": (lambda: {"own.pem": b""}, "not hold one PEM certificate"),
    "junk certificate": (
        lambda: {"own.pem": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" + ENCRYPTED},
        "not a certificate that can be parsed.*backup",
    ),
    "another certificate": (
        lambda: {"root-ca.crt": forge.to_pem(forge.root().certificate), "root-ca.key": ENCRYPTED},
        r"root-ca\.key: its key is not that of the certificate in root-ca\.crt.*one backup",
    ),
    "plain key": (lambda: {"own.pem": CERTIFICATE + plain(OWN.key)}, r"not hold one encrypted PKCS#8 key.*umask 077"),
    "truncated key": (lambda: {"own.pem": PEM[:-60]}, r"not hold one encrypted PKCS#8 key"),
    "damaged key": (
        lambda: {"own.pem": CERTIFICATE + ENCRYPTED.replace(b"M", b"N", 1)},
        "cannot be decrypted.*passphr",
    ),
    "another passphrase": (lambda: {"own.pem": CERTIFICATE + encrypted(OWN.key, "x" * 12)}, "cannot be decrypted"),
    "unfit": (lambda: {"own.pem": without_crl_sign()}, r"own\.pem cannot be the shared root:.*cRLSign.*\(key-usage\)"),
    "an intermediate": (
        lambda: {"own.pem": forge.to_pem((ca := forge.intermediate(OWN)).certificate) + encrypted(ca.key)},
        "not-self-signed",
    ),
    "the same twice": (lambda: {"a.pem": PEM, "b.pem": PEM}, r"a\.pem .*b\.pem .* have the same subject"),
    "three": (
        lambda: {
            f"{index}.pem": forge.to_pem((one := forge.root()).certificate) + encrypted(one.key) for index in range(3)
        },
        "there are 3 roots, .*expected one, or two while",
    ),
    "a mark of another name": (
        lambda: {"own.pem": PEM, "retired-0123456789abcdef.crt": forge.to_pem(forge.root().certificate)},
        "it holds the certificate of retired-",
    ),
}


@pytest.mark.parametrize("case", SPOILED)
def test_names_what_is_wrong_and_makes_no_second_root(custody: HeldRoots, store: MemoryStore, case: str) -> None:
    spoiled, message = SPOILED[case]
    store.blobs |= spoiled()
    before = dict(store.blobs)
    for attempt in (custody.roots, lambda: custody.make_root(PROFILE, NOW)):
        with pytest.raises(CustodyError, match=f"(?s)^memory: .*{message}"):
            attempt()
    assert store.blobs == before


@pytest.mark.parametrize("layout", [["it's own.pem"], ["root-ca.crt", "root-ca.key"]])
def test_the_named_command_encrypts_a_key(tmp_path: Path, layout: list[str]) -> None:
    folder = tmp_path / "ca"
    folder.mkdir(mode=0o700)
    parts = {folder / layout[0]: CERTIFICATE, folder / layout[-1]: plain(OWN.key)}
    if len(layout) == 1:
        parts = {folder / layout[0]: CERTIFICATE + plain(OWN.key)}
    for path, content in parts.items():
        path.write_bytes(content)
    custody = custody_of(FileStore(folder))
    with pytest.raises(CustodyError, match="do that: umask") as caught:
        custody.roots()
    command = re.search(r"do that: (.*)\. No new root is made\.", str(caught.value))
    assert command is not None
    answered = command[1].replace("-topk8", "-topk8 -passout stdin")
    subprocess.run(answered, shell=True, cwd=folder, input=PASSPHRASE.encode(), check=True)
    assert custody.roots() == (Root(OWN.certificate),)


# Processes that die, and several at once


def story(custody: HeldRoots) -> Iterator[Callable[[], object]]:
    """The life of a federation: each step is repeated until it is done."""
    yield lambda: custody.acquire("ann", NOW, DAY)
    yield lambda: custody.make_root(PROFILE, NOW)
    old = custody.roots()[0].certificate
    yield lambda: custody.issue(fingerprint(old), EAST, REQUEST, NOW)
    yield lambda: custody.revoke(fingerprint(old), [Revocation(4711, NOW)], NOW)
    yield lambda: custody.make_root(PROFILE, NOW, beside=fingerprint(old))
    yield lambda: custody.retire(fingerprint(old), NOW)
    yield lambda: custody.release("ann")


def live(store: MemoryStore, dies_at: int | None) -> tuple[int, list[str]]:
    """Live through the story, once killed before the given write; gives the number of writes and the ledger."""
    custody = custody_of(store)
    store.dies_at = dies_at
    for step in story(custody):
        try:
            step()
        except Killed:
            store.dies_at = None
            custody = custody_of(store)
            assert len(custody.roots()) <= 2
            step()
    assert len(custody.roots()) == 1
    return store.writes, actions(custody)


@pytest.mark.parametrize("layout", ["made", "two files"])
def test_a_run_that_dies_anywhere_is_completed_by_the_next(layout: str) -> None:
    brought = LAYOUTS.get(layout, {})
    undisturbed = MemoryStore(dict(brought))
    writes, expected = live(undisturbed, None)
    assert writes > 12
    for death in range(writes):
        store = MemoryStore(dict(brought))
        _writes, done = live(store, death)
        again = [action for action in done if action != "ca-issued"]
        assert again == [action for action in expected if action != "ca-issued"]
        assert done.count("ca-issued") == 1
        shape = re.compile(r"-[0-9a-f]{16}\.")
        assert sorted(shape.sub("-x.", name) for name in store.blobs) == sorted(
            shape.sub("-x.", name) for name in undisturbed.blobs
        )
        (left,) = custody_of(store).roots()
        assert left.crl is not None


def make_in_process(directory: Path, barrier: object, results: object) -> None:
    custody = custody_of(FileStore(directory))
    barrier.wait()  # type: ignore[attr-defined]
    old = fingerprint(custody.make_root(PROFILE, NOW).certificate)
    barrier.wait()  # type: ignore[attr-defined]
    new = fingerprint(custody.make_root(PROFILE, NOW, beside=old).certificate)
    custody.issue(new, EAST, REQUEST, NOW)
    results.put((old, new))  # type: ignore[attr-defined]


def test_processes_that_begin_at_once_end_with_one_root_and_one_successor(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(6), context.Queue()
    arguments = (tmp_path / "ca", barrier, results)
    processes = [context.Process(target=make_in_process, args=arguments) for _index in range(6)]
    for process in processes:
        process.start()
    found = {results.get(timeout=60) for _process in processes}
    for process in processes:
        process.join()
    custody = custody_of(FileStore(tmp_path / "ca"))
    assert found == {tuple(fingerprint(root.certificate) for root in custody.roots())}
    assert actions(custody) == ["root-made"] * 2 + ["ca-issued"] * 6


def test_begins_anew_where_another_run_was_faster() -> None:
    """In a Secret there is no lock: whoever loses looks again, and finds the root that the other one made."""
    api = Api()
    store = SecretStore(api, "trust", "root", sleep=lambda _seconds: None)
    other = custody_of(SecretStore(api, "trust", "root"))
    made: list[Root] = []

    def interfere(verb: str, _subject: str) -> None:
        if verb == "apply" and not made:
            made.append(Root(OWN.certificate))
            made[0] = other.make_root(PROFILE, NOW)

    api.before = interfere
    assert custody_of(store).make_root(PROFILE, NOW) == made[0]
    assert actions(other) == ["root-made"]


def live_in_secret(death: int, answered: bool) -> bool:
    """Live through the story, once killed at the given write; gives whether it came to that."""
    api, requests, died = Api(), 0, False
    store = SecretStore(api, "trust", "root", sleep=lambda _seconds: None)

    def die(verb: str, _subject: str) -> None:
        nonlocal requests
        requests += verb == "apply"
        if requests == death and verb == "apply":
            raise Killed

    setattr(api, "after" if answered else "before", die)
    custody = custody_of(store)
    for step in story(custody):
        try:
            step()
        except Killed:
            died = True
            step()
    assert [action for action in actions(custody) if action != "ca-issued"] == [
        "root-made",
        "ca-revoked",
        "root-made",
        "root-retired",
    ]
    (left,) = custody.roots()
    assert left.crl is not None
    return died


@pytest.mark.parametrize("answered", [False, True])
def test_every_request_to_the_api_server_may_be_the_last(answered: bool) -> None:
    """As for other stores; here the Secret is written at once, and the ledger after it."""
    death = 1
    while live_in_secret(death, answered):
        death += 1
    assert death > 8


# Secrets


def windows(secret: bytes) -> set[bytes]:
    return {secret[start : start + 16] for start in range(len(secret) - 15)}


def leaks(key: object) -> set[bytes]:
    """Whatever would show a private key: its number, and every part of its forms."""
    der = key.private_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    number = key.private_numbers().private_value  # type: ignore[attr-defined]
    raw = number.to_bytes(32, "big")
    start = der.index(raw)
    encoded = {base64.b64encode(der[offset : start + 32])[4:-4] for offset in range(3)}
    found = windows(raw) | {str(number).encode(), f"{number:x}".encode()}
    for text in encoded:
        found |= windows(text[-40:])
    return found


def test_no_key_is_seen_anywhere(store: MemoryStore) -> None:
    store.blobs["own.pem"] = PEM
    custody = custody_of(store)
    own = fingerprint(OWN.certificate)
    custody.acquire("ann", NOW, DAY)
    seen = [repr(custody), repr(custody._keyring), repr(custody.make_root(PROFILE, NOW))]
    custody.issue(own, EAST, REQUEST, NOW)
    custody.make_root(PROFILE, NOW, beside=own)
    content = custody._keyring.open(store.read(), custody.ledger())
    seen += [repr(content), repr(content.held[0]), str(custody.ledger())]
    kept = dict(store.blobs)
    for name in kept:
        for spoil in (
            b"",
            b"junk",
            kept[name][:-70],
            kept[name] + kept[name],
            plain(OWN.key),
            CERTIFICATE + plain(OWN.key),
        ):
            store.blobs[name] = spoil
            with contextlib.suppress(CustodyError):
                custody.roots()
                continue
            for attempt in (custody.roots, lambda: custody.revoke(own, [], NOW)):
                with pytest.raises(CustodyError) as caught:
                    attempt()
                chain: BaseException | None = caught.value
                while chain is not None:
                    seen.append(f"{chain} {chain!r} {chain.args}")
                    chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
        store.blobs[name] = kept[name]
    text = "\n".join(seen).encode() + b"".join(kept.values())
    assert PASSPHRASE.encode() not in text
    keys = [OWN.key, *(root.authority.key for root in content.held)]
    assert len(keys) == 3
    for key in keys:
        assert not [leak for leak in leaks(key) if leak in text]
    assert [leak for leak in leaks(OWN.key) if leak in plain(OWN.key).replace(b"\n", b"")]  # it would be noticed


def test_openssl_reads_what_is_kept(tmp_path: Path) -> None:
    custody = custody_of(FileStore(tmp_path / "ca"))
    root = custody.make_root(PROFILE, NOW)
    file = tmp_path / "ca" / name_of(root)
    command = ["openssl", "pkey", "-in", str(file), "-passin", "stdin", "-pubout"]
    key = subprocess.run(command, input=PASSPHRASE.encode(), check=True, capture_output=True).stdout
    certificate = subprocess.run(
        ["openssl", "x509", "-in", str(file), "-noout", "-pubkey"], check=True, capture_output=True
    )
    assert key == certificate.stdout
    assert os.stat(file).st_mode & 0o777 == 0o600
    crl_file = tmp_path / "ca" / name_of(root, suffix="crl")
    subprocess.run(["openssl", "crl", "-in", str(crl_file), "-noout", "-CAfile", str(file)], check=True)


def test_a_run_that_lost_its_turn_writes_nothing(store: MemoryStore) -> None:
    late = custody_of(store)
    late.acquire("ann", NOW, timedelta(minutes=5))
    custody_of(store).acquire("bob", NOW + timedelta(minutes=5), timedelta(minutes=5))
    before = dict(store.blobs)
    with pytest.raises(CustodyError, match="ann is not the run that changes CAs any more"):
        late.make_root(PROFILE, NOW)
    assert store.blobs == before
