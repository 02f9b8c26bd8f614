# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A root whose key is on another machine. People carry requests there and signatures back, in a folder.

==================  ================================================================================================
``root-ca*.crt``    the root, and its successor while the root is being exchanged
``root-ca*.crl``    the revocation list of each
``requests/``       what waits for a signature, and the commands in a text file beside it; nothing in it is secret
``signed/*.crt``    the CAs of the meshes, under any name: each is found by its key
``retired/``        roots that nobody trusts any more, and what is left to do about their keys
==================  ================================================================================================

What comes back is judged by its content alone, so another program than the one of the instructions will do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.multimesh.istio.plugins.module_utils.pki import crl, pem
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import requested_key
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody import ceremony, external
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import (
    CustodyError,
    IntermediateProfile,
    Revocation,
    Root,
    RootProfile,
    SignaturePending,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.ceremony import NEW, REQUESTS, SIGNED, Task
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.external import ExternalRoots
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.store import FileStore, Store
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import (
    UnreadableCertificate,
    fingerprint,
    iso,
    parse,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki.finding import Finding

with contextlib.suppress(ImportError):  # the modules report a missing library
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

if TYPE_CHECKING:
    from ansible_collections.multimesh.istio.plugins.module_utils.pki.keys import PublicKey

ROOT = "root-ca"
"""Stem of the files of the first root. A successor's is ``root-ca-after-`` and the beginning of its fingerprint."""

RETIRED = "retired"


@dataclass(frozen=True)
class _Held:
    """A root and the stem of its files."""

    root: Root
    stem: str

    @property
    def certificate(self) -> x509.Certificate:
        return self.root.certificate


class OfflineRoot(ExternalRoots):
    """Custody of a root that others keep: what takes its key raises SignaturePending until the result was brought."""

    def __init__(self, directory: Path, store: Store | None = None) -> None:
        """directory: the folder, made if it is missing. store: for the ledger and the lock, default: the folder."""
        self._directory = directory
        self._folder = FileStore(directory)
        self._requests = FileStore(directory / REQUESTS)
        super().__init__(store or self._folder)

    @property
    def place(self) -> str:
        return str(self._directory)

    def roots(self) -> tuple[Root, ...]:
        return tuple(held.root for held in self._held())

    def make_root(self, profile: RootProfile, now: datetime, *, beside: str | None = None) -> Root:  # noqa: ARG002
        held = self._held()
        if beside is not None:
            self._find(beside)
            held = [one for one in held if fingerprint(one.certificate) != beside]
        if held:
            return held[0].root
        stem = ROOT if beside is None else f"{ROOT}-after-{beside[:8]}"
        raise self._pending(ceremony.make_root(stem, profile, self._requests.read()))

    def issue(
        self, root: str, profile: IntermediateProfile, request: x509.CertificateSigningRequest, now: datetime
    ) -> x509.Certificate:
        if profile.mesh.startswith(ROOT):
            raise CustodyError(
                f"{self.place}: mesh_name: {profile.mesh!r} begins like the names of the root's files, {ROOT}. Name "
                "the mesh differently."
            )
        held, public_key = self._find(root), requested_key(request)
        found = self._signed(public_key)
        if found is None:
            raise self._ask(held, profile, request, public_key, now)
        certificate, path = found
        self._refuse(certificate, public_key, profile, held, path, now)
        shortage = _shortage(held.root, certificate.not_valid_after_utc)
        if shortage is not None:
            raise self._pending(ceremony.sign_list(held.stem, held.root, (), now, shortage))
        made = f"{held.stem}{NEW}.cnf" in self._requests.read()
        self.record_root(held.certificate, "root-made" if made else "root-taken-over", now)
        self.record_issue(held.certificate, certificate, profile, now)
        self._forget(profile.mesh, f"{held.stem}{NEW}")
        return certificate

    def revoke(self, root: str, revocations: Iterable[Revocation], now: datetime) -> Root:
        held = self._find(root)
        listed = frozenset() if held.root.crl is None else crl.revoked(held.root.crl)
        wanted = tuple(revocations)
        missing = [one for one in wanted if one.serial not in listed]
        if held.root.crl is None or missing:
            raise self._pending(ceremony.sign_list(held.stem, held.root, missing, now, "a new revocation list"))
        self.record_revocations(root, wanted)
        self._forget(held.stem)
        return held.root

    def retire(self, root: str, now: datetime) -> bool:
        """Move what is public to ``retired/``. The key is for people to destroy: see left_to_do."""
        held = {fingerprint(one.certificate): one for one in self._held()}
        if root not in held:
            return False
        if len(held) == 1:
            raise CustodyError(f"{self.place}: {root} is the only root. Make the one that is to follow it first.")
        stem = held[root].stem
        content = {name: blob for name, blob in self._folder.read().items() if Path(name).stem == stem}
        note = f"{self.left_to_do(root)}\n".encode()
        self.record_root(held[root].certificate, "root-retired", now, "its key is to be destroyed by hand")
        FileStore(self._directory / RETIRED).update(lambda _blobs: ({**content, f"{stem}.txt": note}, None))
        self._folder.update(lambda _blobs: (dict.fromkeys(content), None))
        return True

    def left_to_do(self, root: str) -> str:
        """What people have to do once a root is retired; also kept in ``retired/``."""
        return (
            f"Nobody trusts the root with SHA-256 {root} any more. Destroy its key and every backup of it: overwrite "
            "its file where it is kept (shred -u), destroy the media it was copied to, delete it in the HSM."
        )

    # What is there

    def _held(self) -> list[_Held]:
        """The roots with their newest lists, oldest first."""
        blobs = self._folder.read()
        for name, content in blobs.items():
            if name.endswith(".key"):
                self._refuse_key(self._directory / name)
            if name.endswith((".crt", ".crl")):
                self._refuse_key(self._directory / name, content)
        lists = {name: self._list(name, content) for name, content in blobs.items() if name.endswith(".crl")}
        held = []
        for name in (name for name in blobs if name.endswith(".crt")):
            path = self._directory / name
            certificates = list(self._certificates(path, blobs[name]))
            if len(certificates) != 1:
                raise _unusable(path, f"it holds {len(certificates)} certificates, expected one root")
            own = [one for one in lists.values() if crl.issued_by(one, certificates[0])]
            newest = max(own, key=lambda one: (crl.number(one), one.last_update_utc), default=None)
            held.append(_Held(Root(certificates[0], newest), path.stem))
        for name, one in lists.items():
            if held and not any(crl.issued_by(one, root.certificate) for root in held):
                raise _unusable(self._directory / name, "it is the revocation list of no root that is here")
        if len(held) > 2:
            raise CustodyError(
                f"{self.place}: there are {len(held)} roots, expected one, or two while the root is being exchanged. "
                f"Move the files of those that no mesh trusts to {RETIRED}."
            )
        return sorted(held, key=lambda one: (one.certificate.not_valid_before_utc, fingerprint(one.certificate)))

    def _find(self, root: str) -> _Held:
        for held in self._held():
            if fingerprint(held.certificate) == root:
                return held
        raise CustodyError(f"{self.place}: the root with SHA-256 {root} is not there. Bring its certificate back.")

    def _signed(self, public_key: PublicKey) -> tuple[x509.Certificate, Path] | None:
        """The certificate of this key that lasts longest, and its file."""
        found = [one for one in self._brought() if one[0].public_key() == public_key]
        return max(found, key=lambda one: one[0].not_valid_after_utc, default=None)

    def _brought(self) -> Iterator[tuple[x509.Certificate, Path]]:
        for path in sorted((self._directory / SIGNED).glob("*.crt")):
            try:
                content = path.read_bytes()
            except OSError as error:
                raise _unusable(path, f"it cannot be read: {error.strerror}") from None
            self._refuse_key(path, content)
            yield from ((certificate, path) for certificate in self._certificates(path, content))

    def _refuse(
        self,
        certificate: x509.Certificate,
        public_key: PublicKey,
        profile: IntermediateProfile,
        held: _Held,
        path: Path,
        now: datetime,
    ) -> None:
        findings = list(external.findings(certificate, public_key, profile, held.certificate, path.name, now))
        for other, name in self._brought():
            if other.subject == certificate.subject and other.public_key() != public_key:
                what = f"it has the name of the CA in {name.name}, and issuers are looked for by name"
                findings.append(Finding("subject", path.name, what))
        if findings:
            raise CustodyError(
                "\n".join(
                    [
                        f"{path}: this is for the CA of mesh {profile.mesh}, but cannot be used:",
                        *(f"  - {finding}" for finding in findings),
                        f"Remove it and run the playbook again, then sign as {REQUESTS}/{profile.mesh}.txt says.",
                    ]
                )
            )

    def _certificates(self, path: Path, content: bytes) -> Iterator[x509.Certificate]:
        """Text around a certificate, which openssl ca writes, does not matter: it is not passed on."""
        blocks = [block for block in pem.read(content).blocks if block.label == "CERTIFICATE"]
        if not blocks:
            raise _unusable(path, "it holds no certificate as PEM", "x509")
        for block in blocks:
            try:
                yield parse(block.der)
            except UnreadableCertificate as error:
                raise _unusable(path, f"it holds {error}") from None

    def _list(self, name: str, content: bytes) -> x509.CertificateRevocationList:
        lists = crl.read(content)
        if len(lists) != 1:
            raise _unusable(
                self._directory / name, f"it holds {len(lists)} revocation lists as PEM, expected one", "crl"
            )
        return lists[0]

    def _refuse_key(self, path: Path, content: bytes = b"PRIVATE KEY") -> None:
        if b"PRIVATE KEY" in content:
            raise CustodyError(
                f"{path}: this is a private key. That of an offline root must not be on this machine: take it away, "
                "and consider whether anybody else could read it here."
            )

    # What is asked for

    def _ask(
        self,
        held: _Held,
        profile: IntermediateProfile,
        request: x509.CertificateSigningRequest,
        public_key: PublicKey,
        now: datetime,
    ) -> CustodyError:
        ends = held.certificate.not_valid_after_utc
        if ends - now < timedelta(days=1):
            return CustodyError(
                f"{self.place}: the root ends {iso(ends)}, and now it is {iso(now)}, so it can sign nothing any more. "
                "Check this machine's clock, or rotate the root."
            )
        self._forget(f"{held.stem}{NEW}", suffix=".txt")  # whoever did that once more would have another root
        content = self._written(profile.mesh, request, public_key)
        task = ceremony.sign_intermediate(held.stem, held.root, profile, public_key, content, now)
        shortage = _shortage(held.root, min(now + profile.lifetime, ends))
        if shortage is not None:
            task = ceremony.both(task, ceremony.sign_list(held.stem, held.root, (), now, shortage))
        return self._pending(task)

    def _written(self, mesh: str, request: x509.CertificateSigningRequest, public_key: PublicKey) -> bytes:
        """The request as PEM: the one that waits already if it is of the same key, since each is signed differently."""
        present = self._requests.read().get(f"{mesh}.csr", b"")
        try:
            known = x509.load_pem_x509_csr(present)
            same = known.subject == request.subject and requested_key(known) == public_key
        except Exception:  # noqa: BLE001 - whatever is there cannot be used
            same = False
        return present if same else request.public_bytes(serialization.Encoding.PEM)

    def _pending(self, task: Task) -> SignaturePending:
        """Write down what is asked for; to be raised."""
        text = task.text(self.place)
        files = {**task.files, f"{task.name}.txt": f"{text}\n".encode()}
        self._folder.update(lambda _blobs: ({}, None))  # makes it, closed to others
        self._requests.update(
            lambda blobs: ({name: blob for name, blob in files.items() if blobs.get(name) != blob}, None)
        )
        with contextlib.suppress(OSError):  # whoever brings something there can make it too
            (self._directory / SIGNED).mkdir(mode=0o700, exist_ok=True)
        return SignaturePending(text, str(self._directory / REQUESTS / next(iter(task.files))))

    def _forget(self, *stems: str, suffix: str | None = None) -> None:
        """Take back what was asked for, once it is there. suffix: of these files alone."""
        paths = map(Path, self._requests.read())
        names = [path.name for path in paths if path.stem in stems and suffix in (None, path.suffix)]
        if names:
            self._requests.update(lambda _blobs: (dict.fromkeys(names), None))


def _shortage(root: Root, until: datetime) -> str | None:
    """What is missing of the list that peers check this root's CAs with, until then; they refuse them without it."""
    if root.crl is None:
        return "its revocation list, which is missing"
    ends = root.crl.next_update_utc
    if ends is None or ends < until:
        shown = "does not say when it ends" if ends is None else f"ends {iso(ends)}, before the CAs that it is about"
        return f"a new revocation list: the one there {shown}"
    return None


def _unusable(path: Path, what: str, converter: str = "") -> CustodyError:
    hint = f" If it is DER, convert it: openssl {converter} -inform DER -in FILE -out NEW." if converter else ""
    return CustodyError(f"{path}: {what}. Put the right file there, or take this one away.{hint}")
