# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Roots and their encrypted keys as files: what is there, and whether it can be used. Nothing is written here.

============================  =========================================================================================
``root-<16 digits>.pem``      a root: its certificate and its key (encrypted PKCS#8) in one file, so there are no halves
``*.pem``                     the same under any other name: a root that was brought along
``root-ca.crt, root-ca.key``  the same in two files, as other programs keep a root
``*.crl``                     lists of what these roots have revoked; the newest one of each root counts
``retired-<16 digits>.crt``   a root whose key was destroyed, or given up for lost by its owner
============================  =========================================================================================

The digits are the first of the SHA-256 fingerprint. Other files are not looked at; no first root is made beside them.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ansible_collections.multimesh.istio.plugins.module_utils.pki import crl, keys, pem
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import Authority
from ansible_collections.multimesh.istio.plugins.module_utils.pki.bundle import certificate_pem
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import CustodyError
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.journal import RUN
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.store import LEDGER, Blobs
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import (
    UnreadableCertificate,
    fingerprint,
    iso,
    parse,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki.verify import root_findings

with contextlib.suppress(ImportError):  # the modules report a missing library
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

if TYPE_CHECKING:
    from ansible_collections.multimesh.istio.plugins.module_utils.pki.ledger import Action, Entry

CERTIFICATE_FILE = "root-ca.crt"
KEY_FILE = "root-ca.key"
SHORTEST_PASSPHRASE = 12
"""Characters. PKCS#8 encryption slows guessing down little, so the passphrase has to be strong by itself."""

_LONGEST_PASSPHRASE = 1023  # bytes, a limit of OpenSSL
_MOST_ROOTS = 2
_NO_SECOND = "No new root is made: every mesh would have to change to it."


def file_name(root: x509.Certificate, kind: str, suffix: str) -> str:
    """Name of a file about a root, for example ``root-04892a3f69075352.pem``."""
    return f"{kind}-{fingerprint(root)[:16]}.{suffix}"


@dataclass(frozen=True)
class HeldRoot:
    """A root with its key.

    files: where it is; the key is in the first.
    crl: its newest list.
    """

    authority: Authority
    files: tuple[str, ...]
    crl: x509.CertificateRevocationList | None = None

    @property
    def certificate(self) -> x509.Certificate:
        return self.authority.certificate

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.certificate)


@dataclass(frozen=True)
class Content:
    """What was found, all of it fit for use.

    held: the roots that can sign, those longest in this place first.
    undone: roots whose retirement was begun and not ended.
    retired: certificates of roots that were retired, by fingerprint.
    rest: files of retired roots that were left.
    said: the last that the ledger says of each root's stay, by fingerprint.
    """

    held: tuple[HeldRoot, ...]
    undone: tuple[HeldRoot, ...]
    retired: Mapping[str, x509.Certificate]
    rest: tuple[str, ...]
    said: Mapping[str, Action]


@dataclass(frozen=True)
class Keyring:
    """The one passphrase of all keys of a place. place: how messages name it."""

    place: str
    passphrase: str = field(repr=False)

    def open(self, blobs: Blobs, entries: Sequence[Entry]) -> Content:
        """Read all roots, and decrypt their keys.

        entries: the ledger, which knows what has to be there.
        Raises CustodyError for whatever is wrong: going on could end in a second root, or in two that clash.
        """
        stays = [entry for entry in entries if entry.action in ("root-made", "root-taken-over", "root-retired")]
        said = {entry.fingerprint: entry.action for entry in stays}
        retired = self._retired(blobs)
        found = list(self._roots(blobs, retired))
        held = [root for root in found if root.fingerprint not in retired]
        undone = [root for root in found if root.fingerprint in retired]
        for root in found:
            if said.get(root.fingerprint) == "root-retired":
                raise self._came_back(root, stays)
        self._refuse_lost(held, said, retired)
        self._refuse_strangers(blobs, held, retired)
        self._refuse_clashes(held)
        self._refuse_last(held, undone)
        came = {entry.fingerprint: index for index, entry in reversed(list(enumerate(stays)))}
        held.sort(
            key=lambda root: (
                came.get(root.fingerprint, len(stays)),
                root.certificate.not_valid_before_utc,
                root.fingerprint,
            )
        )
        known = [*(root.certificate for root in found), *retired.values()]
        lists = self._lists(blobs, known)
        rest = [file_name(certificate, "root", "crl") for certificate in retired.values()]
        rest += [CERTIFICATE_FILE] if KEY_FILE not in blobs else []
        return Content(
            tuple(replace(root, crl=_newest(lists, root.certificate)) for root in held),
            tuple(undone),
            retired,
            tuple(name for name in rest if name in blobs),
            said,
        )

    def encrypted(self, root: Authority) -> bytes:
        """The one file of a root that is made here. Raises CustodyError for a passphrase that is too weak for it."""
        self.refuse_passphrase()
        return certificate_pem(root.certificate) + keys.private_pem(root.key, self._secret)

    def refuse_passphrase(self) -> None:
        """Raises CustodyError for a passphrase that no root is made with."""
        if len(self.passphrase) < SHORTEST_PASSPHRASE or len(self._secret) > _LONGEST_PASSPHRASE:
            raise CustodyError(
                f"{self.place}: the passphrase for the new root has {len(self.passphrase)} characters, expected "
                f"{SHORTEST_PASSPHRASE} to {_LONGEST_PASSPHRASE}. Set another shared_root_ca_passphrase."
            )

    @property
    def _secret(self) -> bytes:
        return self.passphrase.encode("utf-8", "surrogateescape")

    # Reading

    def _retired(self, blobs: Blobs) -> dict[str, x509.Certificate]:
        retired = {}
        for name in blobs:
            if name.startswith("retired-") and name.endswith(".crt"):
                certificate = self._certificate(name, blobs[name])
                if name != file_name(certificate, "retired", "crt"):
                    expected = file_name(certificate, "retired", "crt")
                    raise self._unusable(name, f"it holds the certificate of {expected}", "Rename it, or remove it")
                retired[fingerprint(certificate)] = certificate
        return retired

    def _roots(self, blobs: Blobs, retired: Mapping[str, object]) -> Iterator[HeldRoot]:
        for name, content in blobs.items():
            if name.lower().endswith(".pem"):
                yield self._root({name: content})
        pair = {name: blobs[name] for name in (KEY_FILE, CERTIFICATE_FILE) if name in blobs}
        if len(pair) == 2:
            yield self._root(pair)
        elif KEY_FILE in pair or (
            pair and fingerprint(self._certificate(CERTIFICATE_FILE, pair[CERTIFICATE_FILE])) not in retired
        ):
            missing = CERTIFICATE_FILE if KEY_FILE in pair else KEY_FILE
            raise CustodyError(
                f"{self.place}: {missing} is missing, the other half of the root is there. Restore it from the backup. "
                f"{_NO_SECOND}"
            )

    def _root(self, files: Blobs) -> HeldRoot:
        """One root out of one file, or out of two, that of the key first."""
        key_file, certificate_file = next(iter(files)), list(files)[-1]
        blocks = {name: pem.read(content).blocks for name, content in files.items()}
        secret = [block for block in blocks[key_file] if block.label.endswith("PRIVATE KEY")]
        rest = [block for block in blocks[certificate_file] if block not in secret]
        if [block.label for block in rest] != ["CERTIFICATE"]:
            raise self._no_certificate(certificate_file)
        certificate = self._parse(certificate_file, rest[0].der)
        if [block.label for block in secret] != ["ENCRYPTED PRIVATE KEY"]:
            raise self._unusable(
                key_file,
                "it does not hold one encrypted PKCS#8 key",
                f"Restore it from the backup, or, if its key is not encrypted, do that: {_encrypting(files)}",
            )
        key = self._decrypt(key_file, secret[0].der)
        if key.public_key() != certificate.public_key():
            raise self._unusable(
                key_file,
                f"its key is not that of the certificate in {certificate_file}",
                "Restore both from one backup",
            )
        self._refuse_unfit(certificate_file, certificate)
        return HeldRoot(Authority(certificate, key), tuple(files))

    def _certificate(self, file: str, content: bytes) -> x509.Certificate:
        blocks = pem.read(content).blocks
        if [block.label for block in blocks] != ["CERTIFICATE"]:
            raise self._no_certificate(file)
        return self._parse(file, blocks[0].der)

    def _parse(self, file: str, der: bytes) -> x509.Certificate:
        try:
            return parse(der)
        except UnreadableCertificate as error:
            raise self._unusable(file, f"it is {error}", "Restore it from the backup") from None

    def _decrypt(self, file: str, der: bytes) -> keys.PrivateKey:
        try:
            key = serialization.load_der_private_key(der, self._secret)
        except Exception:  # noqa: BLE001 - a wrong passphrase and damaged data show in many ways
            raise self._unusable(
                file,
                "its key cannot be decrypted: the passphrase is not the one it was encrypted with, or it is damaged",
                "Set shared_root_ca_passphrase to that one, or restore the file from the backup",
            ) from None
        if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
            raise self._unusable(file, "its key is no ECDSA or RSA key", "Put a root with such a key there")
        return key

    def _lists(self, blobs: Blobs, known: Sequence[x509.Certificate]) -> list[x509.CertificateRevocationList]:
        found = []
        for name in blobs:
            if name.lower().endswith(".crl"):
                lists = crl.read(blobs[name])
                if not lists or not all(any(crl.issued_by(one, root) for root in known) for one in lists):
                    raise self._unusable(
                        name,
                        "it is not a revocation list of a root that is here",
                        "Restore it from the backup. If there is none, remove it: a list is made from the ledger",
                    )
                found += lists
        return found

    # Judging

    def _refuse_unfit(self, file: str, certificate: x509.Certificate) -> None:
        """Whether it is valid at this moment is asked where it signs."""
        findings = root_findings(certificate, file, certificate.not_valid_before_utc)
        if findings:
            shown = "\n".join(f"  - {finding}" for finding in findings)
            raise CustodyError(
                f"{self.place}: {file} cannot be the shared root:\n{shown}\nKeep it elsewhere, and put a fit root "
                "there, or none for one to be made. Nothing was written."
            )

    def _refuse_lost(self, held: Sequence[HeldRoot], said: Mapping[str, Action], retired: Mapping[str, object]) -> None:
        present = {root.fingerprint for root in held}
        for root, action in said.items():
            if action != "root-retired" and root not in present and root not in retired:
                raise CustodyError(
                    f"{self.place}: the ledger knows the root with SHA-256 {root}, and it is not there. Restore it "
                    f"from the backup. {_NO_SECOND} If it is lost for good, copy its certificate out of the ledger to "
                    f"retired-{root[:16]}.crt there: that gives it up."
                )

    def _refuse_strangers(self, blobs: Blobs, held: Sequence[HeldRoot], retired: Mapping[str, object]) -> None:
        """Whoever names the wrong place would get a second root."""
        if not held and not retired and set(blobs) - {RUN, LEDGER}:
            raise CustodyError(
                f"{self.place}: there are files in it, but no root. Restore the root from the backup, or, if none was "
                "ever made, name a place that does not exist yet."
            )

    def _refuse_clashes(self, held: Sequence[HeldRoot]) -> None:
        shown = ", ".join(f"{root.files[-1]} (SHA-256 {root.fingerprint})" for root in held)
        if len(held) > _MOST_ROOTS:
            raise CustodyError(
                f"{self.place}: there are {len(held)} roots, {shown}; expected one, or two while the root is being "
                "exchanged. Keep those that no mesh is to trust elsewhere."
            )
        if len({root.certificate.subject for root in held}) < len(held):
            raise CustodyError(
                f"{self.place}: the roots {shown} have the same subject, so verifiers could try the wrong one. Keep "
                "one of them elsewhere."
            )

    def _refuse_last(self, held: Sequence[HeldRoot], undone: Sequence[HeldRoot]) -> None:
        """No retirement begins with the only root, so somebody else has put the mark there."""
        for root in undone[: 0 if held else 1]:
            raise CustodyError(
                f"{self.place}: {file_name(root.certificate, 'retired', 'crt')} says that the only root was retired. "
                f"Remove that file, or, if the root is really to be destroyed, remove {' and '.join(root.files)}."
            )

    def _came_back(self, root: HeldRoot, stays: Sequence[Entry]) -> CustodyError:
        retired = max(entry.time for entry in stays if entry.fingerprint == root.fingerprint)
        return CustodyError(
            f"{self.place}: {root.files[0]} holds the root with SHA-256 {root.fingerprint}, which was retired "
            f"{iso(retired)} and does not come back. Remove {' and '.join(root.files)}. If a root is needed, make one."
        )

    def _no_certificate(self, file: str) -> CustodyError:
        return self._unusable(
            file,
            "it does not hold one PEM certificate",
            "Restore it from the backup, or keep what is no root elsewhere",
        )

    def _unusable(self, file: str, what: str, way_out: str) -> CustodyError:
        return CustodyError(f"{self.place}: {file}: {what}. {way_out}. No new root is made.")


def _newest(
    lists: Sequence[x509.CertificateRevocationList], root: x509.Certificate
) -> x509.CertificateRevocationList | None:
    return max((one for one in lists if crl.issued_by(one, root)), key=crl.number, default=None)


def _encrypting(files: Blobs) -> str:
    """Shell command that encrypts the key of a root, in the directory of its files."""
    file = shlex.quote(next(iter(files)))
    encrypt = f"openssl pkcs8 -topk8 -v2 aes-256-cbc -in {file}"
    both = encrypt if len(files) > 1 else f"{{ openssl x509 -in {file}; {encrypt}; }}"
    return f"umask 077; {both} > encrypted && mv encrypted {file}"
