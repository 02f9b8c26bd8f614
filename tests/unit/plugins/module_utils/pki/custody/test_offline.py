# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The printed commands are run as they are printed, by the real openssl program, in a copy of the folder."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.pki import crl
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import Authority, new_request
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import (
    CustodyError,
    IntermediateProfile,
    Revocation,
    Root,
    RootProfile,
    SignaturePending,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.offline import OfflineRoot
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import fingerprint
from ansible_collections.multimesh.istio.plugins.module_utils.pki.verify import (
    Expectation,
    candidate_findings,
    root_findings,
)
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.offline_machine import Machine
from tests.unit.plugins.module_utils.pki import forge
from tests.unit.plugins.module_utils.pki.forge import DAY, NOW

PASSPHRASE = "correct horse battery staple"
EAST = IntermediateProfile("east", "east.mesh", ("svc", "mesh.example"))
WEST = IntermediateProfile("west", "west.mesh")
LATER = NOW + timedelta(hours=1)
"""When what openssl signs in a test is valid."""
KEY, REQUEST = new_request("ecdsa-p256")


@pytest.fixture
def custody(tmp_path: Path) -> OfflineRoot:
    return OfflineRoot(tmp_path / "ca")


def folder(custody: OfflineRoot) -> Path:
    return Path(custody.place)


def requests(custody: OfflineRoot) -> list[str]:
    """Names of what waits; the lock of the folder is none."""
    return sorted(path.name for path in (folder(custody) / "requests").iterdir() if not path.name.startswith("."))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "vault", PASSPHRASE)


def pending(act: Callable[[], object]) -> SignaturePending:
    with pytest.raises(SignaturePending) as caught:
        act()
    return caught.value


def root_of(custody: OfflineRoot, machine: Machine, profile: RootProfile = RootProfile()) -> Root:  # noqa: B008
    machine.does(folder(custody), str(pending(lambda: custody.make_root(profile, NOW))))
    (root,) = custody.roots()
    return root


def existing_root(custody: OfflineRoot, name: str = "root-ca", lifetime: timedelta = 3650 * DAY) -> Authority:
    """A root of the user's own, brought along with a list."""
    authority = forge.root(lifetime=lifetime)
    folder(custody).mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder(custody) / f"{name}.crt").write_bytes(forge.to_pem(authority.certificate))
    put_list(custody, authority, name=name)
    return authority


def put_list(custody: OfflineRoot, authority: Authority, *revoked: int, number: int = 1, name: str = "root-ca") -> None:
    listed = crl.sign(authority, [Revocation(serial, NOW) for serial in revoked], number, NOW)
    (folder(custody) / f"{name}.crl").write_bytes(crl.pem([listed]))


def put_signed(custody: OfflineRoot, certificate: x509.Certificate, name: str = "east") -> Path:
    path = folder(custody) / "signed" / f"{name}.crt"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(forge.to_pem(certificate))
    return path


def ask(
    custody: OfflineRoot, root: Root | Authority, profile: IntermediateProfile = EAST, now: datetime = NOW
) -> x509.Certificate:
    return custody.issue(fingerprint(root.certificate), profile, REQUEST, now)


# The commands


@pytest.mark.parametrize("key_type", ["ecdsa-p256", "ecdsa-p384", "rsa-3072"])
def test_the_commands_make_a_root_that_is_good(custody: OfflineRoot, machine: Machine, key_type: str) -> None:
    assert custody.roots() == ()
    waiting = pending(lambda: custody.make_root(RootProfile(400 * DAY, key_type), NOW))
    assert waiting.request == str(folder(custody) / "requests" / "root-ca-new.cnf")
    assert machine.does(folder(custody), str(waiting)) == ["root-ca.crt", "root-ca.crl"]
    assert machine.output.count("OK") == 2
    (root,) = custody.roots()
    assert root_findings(root.certificate, "root", NOW + DAY) == ()
    life = root.certificate.not_valid_after_utc - root.certificate.not_valid_before_utc
    assert life == 400 * DAY
    assert root.crl is not None
    assert crl.findings(crl.pem([root.crl]), [root.certificate], NOW + DAY) == ()
    assert root.crl.next_update_utc is not None
    assert root.crl.next_update_utc > root.certificate.not_valid_after_utc
    assert custody.make_root(RootProfile(), NOW).certificate == root.certificate
    key = (machine.folder / "root-ca.key").read_text()
    assert key.startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")


def test_the_commands_sign_a_ca_that_is_good(custody: OfflineRoot, machine: Machine) -> None:
    root = root_of(custody, machine)
    waiting = pending(lambda: ask(custody, root))
    assert waiting.request == str(folder(custody) / "requests" / "east.csr")
    assert "root-ca-new.txt" not in requests(custody), "nobody makes the root once more"
    (name,) = machine.does(folder(custody), str(waiting))
    assert re.fullmatch(r"signed/east-[0-9a-f]{8}\.crt", name)
    assert machine.output.count("OK") == 2
    digest = re.search(r"^     # ([0-9a-f]{64})$", str(waiting), re.MULTILINE)
    assert digest is not None
    assert f"= {digest[1]}" in machine.output
    certificate = ask(custody, root, now=LATER)
    expected = Expectation(EAST.trust_domain, EAST.dns_domains, [root.certificate])
    assert candidate_findings(Authority(certificate, KEY), expected, NOW + DAY) == ()
    assert "east mesh CA" in certificate.subject.rfc4514_string()
    assert requests(custody) == []
    assert ask(custody, root, now=LATER) == certificate


def test_the_commands_revoke(custody: OfflineRoot, machine: Machine) -> None:
    root = root_of(custody, machine)
    issuer = fingerprint(root.certificate)
    first, second = Revocation(0xABC, NOW - DAY), Revocation(2**158 + 1, NOW)
    assert custody.revoke(issuer, [], NOW) == root
    machine.does(folder(custody), str(pending(lambda: custody.revoke(issuer, [first], NOW))))
    renewed = custody.revoke(issuer, [first], NOW)
    assert renewed.crl is not None
    assert crl.revoked(renewed.crl) == {first.serial}
    machine.does(folder(custody), str(pending(lambda: custody.revoke(issuer, [second], NOW))))
    renewed = custody.revoke(issuer, [first, second], NOW)
    assert renewed.crl is not None
    assert {entry.serial_number: entry.revocation_date_utc for entry in renewed.crl} == {
        first.serial: first.date,
        second.serial: second.date,
    }
    assert crl.number(renewed.crl) == 3
    assert crl.findings(crl.pem([renewed.crl]), [root.certificate], NOW + DAY) == ()
    assert [name for name in requests(custody) if name.startswith("root-ca.")] == []


def test_the_commands_make_a_second_root_and_sign_with_it(custody: OfflineRoot, machine: Machine) -> None:
    old = root_of(custody, machine)
    beside = fingerprint(old.certificate)
    waiting = pending(lambda: custody.make_root(RootProfile(), NOW, beside=beside))
    assert "root-ca.key" not in str(waiting)
    machine.does(folder(custody), str(waiting))
    new = custody.make_root(RootProfile(), NOW, beside=beside)
    assert new.certificate.subject != old.certificate.subject
    assert {root.certificate for root in custody.roots()} == {old.certificate, new.certificate}
    machine.does(folder(custody), str(pending(lambda: ask(custody, new))))
    assert ask(custody, new, now=LATER).issuer == new.certificate.subject
    assert custody.retire(beside, NOW)
    assert not custody.retire(beside, NOW)
    assert custody.roots() == (new,)
    kept = {path.name for path in (folder(custody) / "retired").iterdir()}
    assert kept - {".lock"} == {"root-ca.crt", "root-ca.crl", "root-ca.txt"}
    assert "Destroy its key" in (folder(custody) / "retired" / "root-ca.txt").read_text()


def test_a_missing_list_is_asked_for_with_the_signature(custody: OfflineRoot, machine: Machine) -> None:
    root_of(custody, machine)
    (folder(custody) / "root-ca.crl").unlink()
    (root,) = custody.roots()
    assert root.crl is None
    names = machine.does(folder(custody), str(pending(lambda: ask(custody, root))))
    assert names[1:] == ["root-ca.crl"]
    assert ask(custody, root, now=LATER) is not None
    assert custody.roots()[0].crl is not None


# What is asked for


def test_asking_twice_changes_nothing(custody: OfflineRoot) -> None:
    def state() -> dict[str, tuple[bytes, int]]:
        return {path.name: path.read_bytes() for path in folder(custody).rglob("*") if path.is_file()}

    assert str(pending(lambda: custody.make_root(RootProfile(), NOW))) == str(
        pending(lambda: custody.make_root(RootProfile(), NOW))
    )
    root = existing_root(custody)
    first = pending(lambda: ask(custody, root))
    before = state()
    _key, again = new_request("ecdsa-p256", KEY)
    assert again != REQUEST
    second = pending(lambda: custody.issue(fingerprint(root.certificate), EAST, again, NOW))
    assert str(first) == str(second)
    assert state() == before
    assert stat.S_IMODE(folder(custody).stat().st_mode) == 0o700


def test_the_folder_says_the_same_as_the_message(custody: OfflineRoot) -> None:
    root = existing_root(custody)
    waiting = pending(lambda: ask(custody, root))
    assert (folder(custody) / "requests" / "east.txt").read_text() == f"{waiting}\n"


def test_meshes_wait_beside_each_other(custody: OfflineRoot) -> None:
    root = existing_root(custody)
    for profile in (EAST, WEST):
        pending(lambda profile=profile: ask(custody, root, profile))
    names = set(requests(custody))
    assert names == {f"{mesh}.{kind}" for mesh in ("east", "west") for kind in ("csr", "cnf", "txt")}


def test_the_life_of_a_ca_ends_with_the_root(custody: OfflineRoot) -> None:
    root = existing_root(custody, lifetime=20 * DAY + timedelta(hours=1))
    assert " -days 20 " in str(pending(lambda: ask(custody, root)))
    with pytest.raises(CustodyError, match="so it can sign nothing"):
        custody.issue(fingerprint(root.certificate), EAST, REQUEST, NOW + 20 * DAY)


def test_a_mesh_cannot_be_named_like_the_root(custody: OfflineRoot) -> None:
    root = existing_root(custody)
    with pytest.raises(CustodyError, match="mesh_name: 'root-ca'"):
        ask(custody, root, replace(EAST, mesh="root-ca"))


# What comes back


def good(root: Authority, **changes: object) -> x509.Certificate:
    constraints = x509.NameConstraints([forge.URI("east.mesh"), forge.DNS("svc"), forge.DNS("mesh.example")], None)
    forgery = forge.Forgery(**{"key": KEY, **changes})  # type: ignore[arg-type]
    if "constraints" not in forgery.extensions:
        forgery = forgery.with_extension("constraints", constraints)
    return forgery.sign(root).certificate


def test_a_certificate_is_found_under_any_name_by_its_key(custody: OfflineRoot) -> None:
    root = existing_root(custody)
    other = forge.intermediate(root).certificate
    certificate = good(root)
    put_signed(custody, other, "another")
    path = put_signed(custody, certificate, "from the corporate CA")
    path.write_bytes(b"Certificate:\r\n  text before it\r\n" + forge.to_pem(certificate, root.certificate))
    assert ask(custody, root) == certificate


def test_a_new_key_does_not_pick_up_an_old_certificate(custody: OfflineRoot) -> None:
    root = existing_root(custody)
    put_signed(custody, good(root))
    assert ask(custody, root) is not None
    _key, request = new_request("ecdsa-p256")
    waiting = pending(lambda: custody.issue(fingerprint(root.certificate), EAST, request, NOW))
    written = x509.load_pem_x509_csr(Path(waiting.request).read_bytes())
    assert written.public_key() == request.public_key()


BAD: dict[str, tuple[Callable[[Authority], x509.Certificate], str]] = {
    "no name constraint": (
        lambda root: forge.Forgery(key=KEY).with_extension("constraints", None).sign(root).certificate,
        "has no name constraint",
    ),
    "not critical": (
        lambda root: good(
            root,
            extensions={
                "constraints": (
                    x509.NameConstraints([forge.URI("east.mesh"), forge.DNS("svc"), forge.DNS("mesh.example")], None),
                    False,
                )
            },
        ),
        "name constraint is not critical",
    ),
    "another mesh": (
        lambda root: (
            forge.Forgery(key=KEY)
            .with_extension("constraints", x509.NameConstraints([forge.URI("west.mesh"), forge.DNS("svc")], None))
            .sign(root)
            .certificate
        ),
        "permits DNS:svc, URI:west.mesh, expected",
    ),
    "another root": (lambda _root: good(forge.root()), "expected the shared root"),
    "expired": (lambda root: good(root, begins=NOW - 2 * DAY, ends=NOW - DAY), "it ended"),
    "too long": (lambda root: good(root, ends=NOW + 365 * DAY), r"lives for 365.0 days, expected at most 90.0"),
    "no ca": (
        lambda root: good(root, extensions={"basic": (x509.BasicConstraints(False, None), True)}),
        "do not say CA",
    ),
}


def test_two_cas_of_one_name_are_refused(custody: OfflineRoot) -> None:
    root = existing_root(custody)
    other, _request = new_request("ecdsa-p256")
    put_signed(custody, good(root, key=other), "west")
    put_signed(custody, good(root))
    with pytest.raises(CustodyError, match=r"it has the name of the CA in west\.crt"):
        ask(custody, root)


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_certificate_is_refused_by_name(custody: OfflineRoot, case: str) -> None:
    make, message = BAD[case]
    root = existing_root(custody)
    pending(lambda: ask(custody, root))
    path = put_signed(custody, make(root))
    with pytest.raises(CustodyError, match=f"(?s)^{re.escape(str(path))}: .*{message}.*requests/east.txt") as caught:
        ask(custody, root)
    assert not isinstance(caught.value, SignaturePending)
    assert (folder(custody) / "requests" / "east.csr").exists()


def test_the_newest_certificate_of_a_key_counts(custody: OfflineRoot) -> None:
    root = existing_root(custody)
    put_signed(custody, good(root, ends=NOW + 10 * DAY), "a")
    put_signed(custody, good(root, ends=NOW + 80 * DAY), "b")
    put_signed(custody, good(root, ends=NOW + 40 * DAY), "c")
    assert ask(custody, root).not_valid_after_utc == NOW + 80 * DAY


def test_a_list_that_ends_before_the_ca_is_replaced_first(custody: OfflineRoot) -> None:
    root = existing_root(custody)
    put_signed(custody, good(root))
    short = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(root.certificate.subject)
        .last_update(NOW - DAY)
        .next_update(NOW + 3 * DAY)
        .add_extension(x509.CRLNumber(7), critical=False)
        .sign(root.key, forge.hashes.SHA256())
    )
    (folder(custody) / "root-ca.crl").write_bytes(crl.pem([short]))
    waiting = pending(lambda: ask(custody, root))
    assert "the one there ends" in str(waiting)
    assert (folder(custody) / "requests" / "root-ca.number").read_text() == "08\n"


def spoil(name: str, content: bytes) -> Callable[[OfflineRoot], object]:
    return lambda custody: (folder(custody) / name).write_bytes(content)


PLAIN_KEY = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
SPOILED: dict[str, tuple[Callable[[OfflineRoot], object], str]] = {
    "the key as a file": (spoil("root-ca.key", b""), r"root-ca\.key: this is a private key"),
    "the key beside the certificate": (spoil("root-ca.crt", PLAIN_KEY), r"root-ca\.crt: this is a private key"),
    "no certificate": (spoil("root-ca.crt", b"junk"), r"root-ca\.crt: it holds no certificate as PEM.*-inform DER"),
    "two certificates": (
        spoil("root-ca.crt", forge.to_pem(forge.root().certificate, forge.root().certificate)),
        "it holds 2 certificates, expected one root",
    ),
    "no list": (spoil("root-ca.crl", b"junk"), r"root-ca\.crl: it holds 0 revocation lists.*openssl crl -inform DER"),
    "a foreign list": (
        lambda custody: put_list(custody, forge.root()),
        r"root-ca\.crl: it is the revocation list of no root",
    ),
    "three roots": (
        lambda custody: [existing_root(custody, f"root-ca-{number}") for number in range(2)],
        "there are 3 roots",
    ),
}


@pytest.mark.parametrize("case", SPOILED)
def test_names_what_is_wrong_with_the_folder(custody: OfflineRoot, case: str) -> None:
    existing_root(custody)
    change, message = SPOILED[case]
    change(custody)
    with pytest.raises(CustodyError, match=f"(?s)^{re.escape(str(folder(custody)))}.*{message}"):
        custody.roots()


def test_private_keys_are_never_quoted(custody: OfflineRoot) -> None:
    existing_root(custody)
    spoil("root-ca.crt", PLAIN_KEY)(custody)
    with pytest.raises(CustodyError) as caught:
        custody.roots()
    assert PLAIN_KEY.decode().splitlines()[1] not in str(caught.value)


def test_the_only_root_is_not_retired(custody: OfflineRoot) -> None:
    root = existing_root(custody)
    with pytest.raises(CustodyError, match="the only root"):
        custody.retire(fingerprint(root.certificate), NOW)


@pytest.mark.parametrize("act", ["issue", "revoke", "make_root"])
def test_a_root_that_is_not_there_is_named(custody: OfflineRoot, act: str) -> None:
    existing_root(custody)
    absent = "0" * 64
    calls: dict[str, Callable[[], object]] = {
        "issue": lambda: custody.issue(absent, EAST, REQUEST, NOW),
        "revoke": lambda: custody.revoke(absent, [], NOW),
        "make_root": lambda: custody.make_root(RootProfile(), NOW, beside=absent),
    }
    with pytest.raises(CustodyError, match=absent):
        calls[act]()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    custody = OfflineRoot(tmp_path / "file" / "ca")
    with pytest.raises(CustodyError, match=re.escape(str(folder(custody)))):
        custody.make_root(RootProfile(), NOW)
