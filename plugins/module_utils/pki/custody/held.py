# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Custody of roots whose keys are ours: encrypted with a passphrase, in a store. See keyring for the files.

A root may be brought along by putting it there. Which root is the older one, what was revoked and whether a root was
lost is told by the ledger; so a backup is the whole directory, or the Secret and its ConfigMaps.

Every change begins with what a run that was killed has left undone, so it does not matter after which write that was.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.pki import crl
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import (
    Authority,
    create_root,
    requested_key,
    sign_intermediate,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki.bundle import certificate_pem
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import (
    CustodyError,
    IntermediateProfile,
    Revocation,
    Root,
    RootProfile,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.journal import Journal
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.keyring import (
    HeldRoot,
    Keyring,
    file_name,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.store import Blobs, Changes, Store, T
from ansible_collections.multimesh.istio.plugins.module_utils.pki.ledger import Action, Entry

with contextlib.suppress(ImportError):  # the modules report a missing library
    from cryptography import x509


class HeldRoots(Journal):
    """Custody of one root, or of two while it is being exchanged.

    What it makes, takes over, signs, revokes and destroys it records by itself, before anybody gets it.
    """

    def __init__(self, store: Store, passphrase: str) -> None:
        super().__init__(store)
        self._keyring = Keyring(store.place, passphrase)

    @property
    def place(self) -> str:
        return self._store.place

    def roots(self) -> tuple[Root, ...]:
        blobs = self._store.read()
        held = self._keyring.open(blobs, self.entries(blobs)).held
        if not held:
            self._keyring.refuse_passphrase()
        return tuple(Root(root.certificate, root.crl) for root in held)

    def make_root(self, profile: RootProfile, now: datetime, *, beside: str | None = None) -> Root:
        made = functools.cache(lambda: create_root(profile.lifetime, profile.key_type, now))

        def find_or_make(draft: _Draft) -> HeldRoot:
            if beside is not None:
                draft.find(beside)
            others = [root for root in draft.held if root.fingerprint != beside]
            return others[0] if others else draft.add(made())

        root = self._change(now, find_or_make)
        return Root(root.certificate, root.crl)

    def issue(
        self, root: str, profile: IntermediateProfile, request: x509.CertificateSigningRequest, now: datetime
    ) -> x509.Certificate:
        return self._change(now, lambda draft: draft.issue(draft.find(root), profile, request))

    def revoke(self, root: str, revocations: Iterable[Revocation], now: datetime) -> Root:
        """As Custody.revoke; with nothing to revoke it makes sure that there is a list."""
        wanted = tuple(revocations)
        held = self._change(now, lambda draft: draft.revoke(draft.find(root), wanted))
        return Root(held.certificate, held.crl)

    def retire(self, root: str, now: datetime) -> bool:
        return self._change(now, lambda draft: draft.retire(root))

    def _change(self, now: datetime, act: Callable[[_Draft], T]) -> T:
        def change(blobs: Blobs) -> tuple[Changes, T]:
            draft = _Draft(self._keyring, blobs, self.entries(blobs), self.holder, now)
            result = act(draft)
            return {**draft.changes, **self.recorded(blobs, draft.entries)}, result

        try:
            return self.update(change)
        except CustodyError:
            raise
        except MultimeshError as error:
            raise CustodyError(f"{self.place}: {error}") from None


class _Draft:
    """One change of the store, worked out.

    held: the roots that can sign, oldest first.
    changes: what to write, in this order.
    entries: what to add to the ledger, which is written last: it never tells of what is not there.
    """

    def __init__(self, keyring: Keyring, blobs: Blobs, known: Iterable[Entry], run: str, now: datetime) -> None:
        self._keyring = keyring
        self._known = tuple(known)
        self._run = run
        self._now = now
        self._content = keyring.open(blobs, self._known)
        self.held = list(self._content.held)
        self.changes: dict[str, bytes | None] = {}
        self.entries: list[Entry] = []
        self._finish_what_was_begun()

    def find(self, fingerprint: str) -> HeldRoot:
        """Raises CustodyError if it is not there."""
        for root in self.held:
            if root.fingerprint == fingerprint:
                return root
        known = ", ".join(root.fingerprint for root in self.held) or "none"
        why = "was retired" if self._is_retired(fingerprint) else "is not there"
        raise CustodyError(
            f"{self._keyring.place}: the root with SHA-256 {fingerprint} {why}. Name one that is: {known}."
        )

    def add(self, made: Authority) -> HeldRoot:
        """Keep a root that was made."""
        root = HeldRoot(made, (file_name(made.certificate, "root", "pem"),))
        self.changes[root.files[0]] = self._keyring.encrypted(made)
        self._record(Entry.of(root.certificate, "root-made", time=self._now, run=self._run))
        self.held.append(root)
        return self._list(root)

    def issue(
        self, root: HeldRoot, profile: IntermediateProfile, request: x509.CertificateSigningRequest
    ) -> x509.Certificate:
        """Sign the CA of a mesh."""
        certificate = sign_intermediate(
            root.authority,
            requested_key(request),
            profile.mesh,
            profile.trust_domain,
            profile.dns_domains,
            profile.lifetime,
            self._now,
        )
        self._record(
            Entry.of(
                certificate,
                "ca-issued",
                time=self._now,
                run=self._run,
                mesh=profile.mesh,
                trust_domain=profile.trust_domain,
                issuer=root.fingerprint,
            )
        )
        return certificate

    def revoke(self, root: HeldRoot, wanted: Iterable[Revocation]) -> HeldRoot:
        """Give a root a list with these on it too."""
        wanted = tuple(dict.fromkeys(wanted))
        for one in wanted:
            self._record(self._revocation(root, one))
        return self._list(root, wanted)

    def retire(self, fingerprint: str) -> bool:
        """Destroy the key of a root; False if it is not there any more."""
        if self._is_retired(fingerprint):
            return False
        root = self.find(fingerprint)
        if len(self.held) == 1:
            raise CustodyError(
                f"{self._keyring.place}: {fingerprint} is the only root, so it cannot be retired. Make another first."
            )
        self._destroy(root)
        self.held.remove(root)
        return True

    def _finish_what_was_begun(self) -> None:
        for root in list(self.held):
            if root.fingerprint not in self._content.said:
                own = root.files == (file_name(root.certificate, "root", "pem"),)
                action: Action = "root-made" if own else "root-taken-over"
                note = "" if own else f"found as {' and '.join(root.files)}"
                self._record(Entry.of(root.certificate, action, time=self._now, run=self._run, note=note))
            self._list(root)
        for root in self._content.undone:
            self._destroy(root)
        for name in self._content.rest:
            self.changes[name] = None
        for fingerprint, certificate in self._content.retired.items():
            if self._content.said.get(fingerprint) != "root-retired":
                self._record(Entry.of(certificate, "root-retired", time=self._now, run=self._run))

    def _destroy(self, root: HeldRoot) -> None:
        """The certificate is put aside first: it is how an interrupted retirement is told from a lost key."""
        self.changes[file_name(root.certificate, "retired", "crt")] = certificate_pem(root.certificate)
        self.changes |= dict.fromkeys((*root.files, file_name(root.certificate, "root", "crl")))
        if root.fingerprint not in self._content.retired:
            self._record(Entry.of(root.certificate, "root-retired", time=self._now, run=self._run))

    def _list(self, root: HeldRoot, wanted: Iterable[Revocation] = ()) -> HeldRoot:
        """Make sure that a root has a list that lasts as long as itself, with these and all that the ledger knows.

        Numbers are seconds since 1970, so that they grow even where the list before was lost.
        """
        wanted = tuple(wanted)
        listed = {
            Revocation(entry.serial_number, entry.revocation_date_utc)
            for entry in (() if root.crl is None else root.crl)
        }
        known = {
            Revocation(int(entry.serial, 16), entry.time)
            for entry in self._known
            if entry.action == "ca-revoked" and entry.issuer == root.fingerprint
        }
        everything = listed | known | set(wanted)
        ends = root.certificate.not_valid_after_utc
        lasts = root.crl is not None and root.crl.next_update_utc is not None and root.crl.next_update_utc >= ends
        if (lasts and everything == listed) or (self._now >= ends and not wanted):
            return root
        before = -1 if root.crl is None else crl.number(root.crl)
        signed = crl.sign(root.authority, everything, max(int(self._now.timestamp()), before + 1), self._now)
        fresh = replace(root, crl=signed)
        self.changes[file_name(root.certificate, "root", "crl")] = crl.pem([signed])
        self.held[self.held.index(root)] = fresh
        return fresh

    def _revocation(self, root: HeldRoot, one: Revocation) -> Entry:
        serial = f"{one.serial:x}"
        for entry in self._known:
            if entry.action == "ca-issued" and entry.serial == serial and entry.issuer == root.fingerprint:
                return replace(entry, action="ca-revoked", time=one.date, run=self._run, note="")
        return Entry(one.date, "ca-revoked", serial=serial, issuer=root.fingerprint, run=self._run)

    def _is_retired(self, fingerprint: str) -> bool:
        return fingerprint in self._content.retired or self._content.said.get(fingerprint) == "root-retired"

    def _record(self, entry: Entry) -> None:
        self.entries.append(entry)
