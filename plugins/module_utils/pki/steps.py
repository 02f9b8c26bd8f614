# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is done to the CA of one cluster: each step looks first, and writes only what is missing.

``issue`` gives a mesh its first CA and prepares the next one in time. ``prepare``, ``trust``, ``sign``, ``renew`` and
``untrust`` lead a mesh to a target root, see transition. ``retire`` and ``revoke`` are about the root alone. Whoever
calls them keeps the order over all meshes: nobody signs before all trust.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.kube import lease
from ansible_collections.multimesh.istio.plugins.module_utils.kube.lease import Cluster
from ansible_collections.multimesh.istio.plugins.module_utils.pki import (
    bundle,
    cacerts,
    crl,
    guards,
    ingress,
    lists,
    transition,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import BACKDATE, Authority, new_request
from ansible_collections.multimesh.istio.plugins.module_utils.pki.cacerts import (
    LEASE,
    LEASE_DURATION,
    Candidate,
    Held,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import (
    Custody,
    CustodyError,
    Revocation,
    Root,
    SignaturePending,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import describe, fingerprint, signed_by
from ansible_collections.multimesh.istio.plugins.module_utils.pki.finding import Finding
from ansible_collections.multimesh.istio.plugins.module_utils.pki.ledger import Action, Entry
from ansible_collections.multimesh.istio.plugins.module_utils.pki.request import (
    Outcome,
    RefusedError,
    Request,
    validate,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki.transition import Files, State
from ansible_collections.multimesh.istio.plugins.module_utils.pki.verify import (
    candidate_findings,
    certificates,
    intermediate_findings,
)

with contextlib.suppress(ImportError):  # the modules report a missing library
    from cryptography import x509


class Steps:
    """The steps at one cluster.

    check: predict only, write nothing anywhere.
    Every step raises RefusedError for a state that it must not touch, CustodyError, lease.LeaseHeldError and KubeError.
    """

    def __init__(self, cluster: Cluster, custody: Custody, request: Request, now: datetime, *, check: bool) -> None:
        validate(request)
        self._cluster = cluster
        self._custody = custody
        self._request = request
        self._now = now
        self._check = check
        self._warnings: list[str] = []
        self._next: Held | None = None
        self._wrote_candidate = False

    # Steps at the mesh

    def issue(self) -> Outcome:
        """Make sure that the mesh has a CA of its own under the shared root, and in time a candidate to succeed it.

        Raises SignaturePending when somebody else has to sign the first CA; for its successor that is a warning.
        """
        held = cacerts.read(self._cluster)
        roots = self._roots()  # after that, or the root of a CA that another run has just made would seem lost
        if held.files:
            guards.existing(self._request, held.files, roots, self._custody.place, self._now)
            try:
                return self._prepare(held, self._target(roots), urgent=False)
            except SignaturePending as pending:
                self._warnings.append(str(pending))
                outcome = self._outcome(held.files, self._target(roots), held.files)
                return replace(outcome, changed=self._wrote_candidate)
        self_signed = cacerts.has_self_signed(self._cluster)
        guards.first_ca(self._request, roots, self._custody.place, self_signed=self_signed)
        if self._check:
            return self._predicted(roots)
        self._acquire()
        root = roots[0] if roots else self._make_root()
        successor = self._successor(root)
        files = bundle.build(successor, root.certificate)
        guards.planned(self._request, files, [root], self._now)
        cacerts.write(self._cluster, held, files)
        self._record("ca-active", successor.certificate)
        self._keep_candidate(None)
        return self._outcome(files, root, {})

    def plug_in(self) -> Outcome:
        """Make sure that Secret cacerts holds the mesh's CA, also one that istiod has made for itself.

        A CA in cacerts can be succeeded while everything runs. istiod looks for it when it starts; it is to be
        restarted, and goes on with the very CA it had.
        """
        held = cacerts.read(self._cluster)
        files = self._plugged_in(held.files)
        if files != held.files:
            guards.planned(self._request, files, [], self._now)
        if files != held.files and not self._check:
            self._acquire()
            cacerts.write(self._cluster, held, files, force=True)
        return self._outcome(files, None, held.files)

    def _plugged_in(self, held: Files) -> Files:
        generated = bundle.ISTIO_GENERATED in held
        if held and not generated:
            return held
        own = held if generated else cacerts.read(self._cluster, cacerts.SELF_SIGNED).files
        guards.own_ca(self._request, own)
        return bundle.plugged_in(own)

    def prepare(self) -> Outcome:
        """Make sure that a candidate under the target root waits, unless the mesh's CA is under it already.

        Raises SignaturePending when somebody else has to sign it.
        """
        roots = self._roots()
        if not roots and self._request.adopt:
            return self._prepare_first()
        held = self._existing(roots)
        leaves = self._request.successor_of
        if [fingerprint(root.certificate) for root in roots] == [leaves]:
            if self._check:
                return replace(self._outcome(held.files, None, held.files), changed=True)
            self._acquire()
            roots = (*roots, self._make_root(beside=leaves))
        return self._prepare(held, self._target(roots), urgent=True)

    def _prepare_first(self) -> Outcome:
        """The same where the mesh that is adopted is the first one of its federation."""
        guards.first_ca(self._request, (), self._custody.place, self_signed=False)
        if self._check:
            return Outcome(changed=True)
        self._acquire()
        root = self._make_root()
        held = self._existing([root])
        return self._prepare(held, root, urgent=True)

    def trust(self) -> Outcome:
        """Trust the target root beside what is trusted, and hold the CRLs of all CAs of the federation."""
        if self._is_to_come():
            return Outcome(changed=True)
        roots = self._roots()
        held = self._existing(roots)
        target = self._target(roots)
        trusted = State.of(held.files).roots
        wanted = [root for root in roots if root is target or root.certificate in trusted]
        files = transition.trust(held.files, [target.certificate], self._lists(held.files, wanted))
        return self._replace(held, files, target, roots, ("root-trusted", target.certificate))

    def sign(self) -> Outcome:
        """Let the candidate sign, if there is one whose time has come.

        One that is younger than its CRL needs to reach every proxy is left waiting.
        """
        if self._is_to_come():
            return Outcome(changed=True)
        roots = self._roots()
        held = self._existing(roots)
        target = self._target(roots)
        waiting = self._candidate()
        state = State.of(held.files)
        if waiting is None or state.signer is None or not self._is_fit(waiting, target):
            return self._outcome(held.files, target, held.files)
        successor = waiting.authority
        if not self._shall_sign(state.signer, target) or not self._has_settled(successor.certificate):
            return self._outcome(held.files, target, held.files)
        guards.may_sign(self._request, held.files, successor.certificate, target)
        revoked = guards.is_revoked(state.signer, roots)
        left = self._has_to_go(state.signer, target)
        files = transition.sign(held.files, successor, target.certificate, renewal=left)
        if revoked:  # the list that revokes it was kept away from its own mesh so far
            trusted = [root for root in roots if root.certificate in state.roots]
            files = transition.trust(files, [], self._lists(files, trusted))
        outcome = self._replace(held, files, target, roots, ("ca-active", successor.certificate))
        if not self._check:
            self._keep_candidate(None)
        return replace(outcome, candidate=None, renewal_due=False)

    def renew(self) -> Outcome:
        """Have every proxy get its certificate anew from the CA that signs now, where that is pending.

        Every replica of istiod has to have that CA already.
        """
        if self._is_to_come():
            return Outcome(changed=True)
        roots = self._roots()
        held = self._existing(roots)
        due = self._request.renew_again or transition.is_renewal_pending(held.files)
        files = transition.renew(held.files) if due else held.files
        return self._replace(held, files, self._target(roots), roots)

    def untrust(self) -> Outcome:
        """Trust the target root alone."""
        if self._is_to_come():
            return Outcome(changed=True)
        roots = self._roots()
        held = self._existing(roots)
        target = self._target(roots)
        stage = State.of(held.files).stage(target.certificate)
        guards.may_untrust(self._request, stage, held.files)
        if stage == "sign" and not self._check:  # a check predicts before that they are issued anew
            ingress.refuse_other_roots(self._cluster, target.certificate)
        files = held.files
        left = [root for root in State.of(files).roots if root != target.certificate]
        if stage == "sign":
            alone = {**files, bundle.ROOT_CERT: bundle.certificate_pem(target.certificate)}
            files = transition.untrust(files, target.certificate, self._lists(alone, [target], left))
        return self._replace(held, files, target, [target], *(("root-untrusted", root) for root in left))

    def status(self) -> Outcome:
        """How far the mesh is, without judging what it has."""
        roots = self._roots()
        held = cacerts.read(self._cluster)
        return self._outcome(held.files, self._target(roots) if roots else None, held.files)

    def _is_to_come(self) -> bool:
        """Whether this step is predicted after others that would have made what it needs."""
        return self._check and self._request.new_issuers

    # Steps at the custody

    def retire(self) -> Outcome:
        """Destroy the keys of all roots but the target, once no mesh of the run trusts them."""
        roots = self._roots()
        target = self._target(roots)
        others = [root for root in roots if root is not target]
        trusted = self._request.known_roots.intersection(fingerprint(root.certificate) for root in others)
        if trusted:
            raise RefusedError(
                f"{self._mesh}: clusters of this run still trust the root with SHA-256 {', '.join(sorted(trusted))}.",
                f"Its key was kept. {guards.ROTATE}",
            )
        if others and not self._check:
            self._acquire()
            for root in others:
                with self._named():
                    self._custody.retire(fingerprint(root.certificate), self._now)
                self._record("root-retired", root.certificate, mesh="")
        return replace(self._outcome({}, target, {}), changed=bool(others))

    def revoke(self) -> Outcome:
        """Put every CA that the ledger knows of the named meshes on the roots' lists."""
        roots = self._roots()
        target = self._target(roots)
        wanted = [
            (mesh, root, one)
            for mesh in self._request.revoke
            for one in self._alive(mesh)
            for root in roots
            if signed_by(one, root.certificate) and not guards.is_revoked(one, [root])
        ]
        if wanted and not self._check:
            self._acquire()
            for mesh, root, one in wanted:
                with self._named():
                    self._custody.revoke(
                        fingerprint(root.certificate), [Revocation(one.serial_number, self._now)], self._now
                    )
                self._record("ca-revoked", one, mesh=mesh)
        return replace(self._outcome({}, target, {}), changed=bool(wanted))

    def ledger(self) -> Outcome:
        """What has happened to roots and CAs."""
        with self._named():
            return Outcome(changed=False, ledger=self._custody.ledger())

    def release(self) -> Outcome:
        """Let other runs change CAs again."""
        if not self._check:
            with self._named():
                self._custody.release(self._request.run)
            lease.release(self._cluster, LEASE, self._request.run)
        return Outcome(changed=False)

    # Roots

    @property
    def _mesh(self) -> str:
        return self._request.mesh

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Errors of the custody do not know which mesh they are about."""
        try:
            yield
        except SignaturePending as pending:
            raise SignaturePending(f"{self._mesh}: {pending}", pending.request) from None
        except CustodyError as error:
            raise CustodyError(f"{self._mesh}: {error}") from None

    def _roots(self) -> tuple[Root, ...]:
        with self._named():
            roots = self._custody.roots()
        guards.fit_roots(roots, self._custody.place, self._mesh, self._now)
        return roots

    def _make_root(self, beside: str | None = None) -> Root:
        with self._named():
            root = self._custody.make_root(self._request.root, self._now, beside=beside)
        guards.fit_roots([root], self._custody.place, self._mesh, self._now)
        return root

    def _target(self, roots: Sequence[Root]) -> Root:
        return guards.target(self._request, roots, self._custody.place)

    def _existing(self, roots: Sequence[Root]) -> Held:
        held = cacerts.read(self._cluster)
        if self._check and self._request.adopt:  # plug_in was predicted
            held = replace(held, files=self._plugged_in(held.files))
        guards.existing(self._request, held.files, roots, self._custody.place, self._now)
        return held

    # Candidates

    def _waiting(self) -> Held:
        """Secret multimesh-next-ca, read once as long as nothing is written to it."""
        if self._next is None:
            self._next = cacerts.read(self._cluster, cacerts.CANDIDATE)
        return self._next

    def _candidate(self) -> Candidate | None:
        return cacerts.candidate(self._waiting())

    def _keep_candidate(self, waiting: Candidate | None) -> None:
        files = cacerts.candidate_files(waiting) if waiting else {}
        if dict(self._waiting().files) != files:
            cacerts.write(self._cluster, self._waiting(), files, cacerts.CANDIDATE)
            self._next = None
            self._wrote_candidate = True

    def _prepare(self, held: Held, target: Root, *, urgent: bool) -> Outcome:
        """urgent: the mesh is to move to the target; otherwise only what is due is done."""
        signer = State.of(held.files).signer
        waiting = self._candidate()
        spent = waiting is not None and waiting.certificate == signer
        if spent and not self._check:  # a run was killed right after it had made the candidate the signer
            self._acquire()
            self._keep_candidate(None)
        fit = waiting is not None and not spent and self._is_fit(waiting, target)
        if fit or signer is None or not self._is_due(signer, target, urgent=urgent):
            return self._outcome(held.files, target, held.files)
        if not self._check:
            self._acquire()
            self._successor(target)
        return replace(self._outcome(held.files, target, held.files), changed=True)

    def _findings(self, successor: Authority, root: Root) -> tuple[Finding, ...]:
        return candidate_findings(successor, guards.expectation(self._request, [root]), self._now)

    def _is_fit(self, waiting: Candidate, root: Root) -> bool:
        return (
            waiting.certificate is not None
            and not self._findings(waiting.authority, root)
            and not guards.is_revoked(waiting.certificate, [root])
            and transition.share_of_life(waiting.certificate, self._now) < transition.RENEW_AT
        )

    def _has_to_go(self, signer: x509.Certificate, target: Root) -> bool:
        """Whether it is no good CA of this mesh under the target, whatever its age."""
        expected = guards.expectation(self._request, [target])
        return (
            not signed_by(signer, target.certificate)
            or guards.is_revoked(signer, [target])
            or (self._request.adopt and bool(intermediate_findings(signer, bundle.CA_CERT, expected, self._now)))
        )

    def _is_due(self, signer: x509.Certificate, target: Root, *, urgent: bool) -> bool:
        if self._has_to_go(signer, target):
            return urgent or signed_by(signer, target.certificate)
        return transition.share_of_life(signer, self._now) >= transition.PREPARE_AT

    def _shall_sign(self, signer: x509.Certificate, target: Root) -> bool:
        """Whether a candidate is to take the signer's place now."""
        return self._has_to_go(signer, target) or transition.share_of_life(signer, self._now) >= transition.RENEW_AT

    def _has_settled(self, candidate: x509.Certificate) -> bool:
        """How long it has been waiting is known no better than by its begin, which others than we date back less."""
        settle = self._request.settle
        return not settle or self._now >= candidate.not_valid_before_utc + BACKDATE + settle

    def _successor(self, root: Root) -> Authority:
        """A CA under this root. Its key waits in the cluster until it signs, and for its signature if need be."""
        waiting = self._candidate()
        if waiting is not None and self._is_fit(waiting, root):
            return waiting.authority
        unsigned = waiting.key if waiting is not None and waiting.certificate is None else None
        key, request = new_request(self._request.key_type, unsigned)
        try:
            with self._named():
                certificate = self._custody.issue(
                    fingerprint(root.certificate), self._request.profile, request, self._now
                )
        except SignaturePending:
            self._keep_candidate(Candidate(key, None))
            raise
        successor = Authority(certificate, key)
        findings = self._findings(successor, root)
        if findings:
            raise RefusedError(
                f"{self._mesh}: the CA that {self._custody.place} has issued for this mesh cannot be used:",
                "Nothing was written. Correct that, and run again.",
                findings,
            )
        self._record("ca-issued", certificate)
        self._keep_candidate(Candidate(key, certificate))
        return successor

    # Revocation lists

    def _lists(
        self, files: Files, roots: Sequence[Root], left: Sequence[x509.Certificate] = ()
    ) -> tuple[x509.CertificateRevocationList, ...]:
        """Those that the mesh has to hold beside these files. left: roots that it trusted before."""
        if not self._request.revocation:
            return tuple(crl.read(files.get(bundle.CA_CRL, b"")))
        own = _authorities(files, self._candidate())
        issued = [*self._request.certificates, *self._issued(), *left]
        return lists.needed(files, own, roots, issued, self._request.crls, self._now)

    def _issued(self, mesh: str | None = None) -> list[x509.Certificate]:
        """Roots and CAs of the ledger: also of meshes that do not answer in this run; or those of one mesh."""
        with self._named():
            entries = self._custody.ledger()
        texts = [entry.certificate for entry in entries if mesh in (None, entry.mesh)]
        return [one for text in dict.fromkeys(texts) for one in certificates(text.encode("ascii", "replace"))]

    def _alive(self, mesh: str) -> list[x509.Certificate]:
        """CAs of a mesh that have not ended. Raises RefusedError without any: the name may be a wrong one."""
        found = [one for one in self._issued(mesh) if one.not_valid_after_utc > self._now and _is_intermediate(one)]
        if not found:
            raise RefusedError(
                f"{self._mesh}: revoke_meshes: the ledger of {self._custody.place} knows no CA of mesh {mesh!r} that "
                "has not ended.",
                "Nothing was revoked. Correct the name; playbook multimesh.istio.ledger shows the ledger.",
            )
        return found

    # Writing

    def _acquire(self) -> None:
        """Keep other runs from changing CAs; they are told who does."""
        run, broken = self._request.run, self._request.break_lease
        with self._named():
            self._custody.acquire(run, self._now, LEASE_DURATION, break_lease=broken)
        taken = lease.acquire(self._cluster, LEASE, run, LEASE_DURATION, self._now, break_held=broken)
        if taken is not None:
            self._warnings.append(f"{self._mesh}: went on from a run that did not end in order: {taken}")

    def _replace(
        self,
        held: Held,
        files: Files,
        target: Root,
        roots: Sequence[Root],
        *events: tuple[Action, x509.Certificate],
    ) -> Outcome:
        changed = dict(files) != dict(held.files)
        if changed:
            guards.planned(self._request, files, roots, self._now)
        if changed and not self._check:
            self._acquire()
            cacerts.write(self._cluster, held, files, force=self._request.adopt or self._request.take_over)
            for action, certificate in events:
                if files[bundle.ROOT_CERT] != held.files.get(bundle.ROOT_CERT) or action == "ca-active":
                    self._record(action, certificate)
        return self._outcome(files, target, held.files)

    def _record(self, action: Action, certificate: x509.Certificate, *, mesh: str | None = None) -> None:
        entry = Entry.of(
            certificate,
            action,
            mesh=self._mesh if mesh is None else mesh,
            trust_domain=self._request.profile.trust_domain if mesh is None else "",
            run=self._request.run,
            time=self._now,
        )
        with self._named():
            self._custody.record([entry])

    # Outcomes

    def _outcome(self, files: Files, target: Root | None, before: Files) -> Outcome:
        state = State.of(files)
        waiting = self._candidate() if files else None
        waits = waiting is not None and waiting.certificate != state.signer
        own = _authorities(files, waiting)
        held = crl.read(files.get(bundle.CA_CRL, b""))
        with self._named():
            roots = self._custody.roots()
        of_roots = [root.crl for root in roots if root.crl is not None]
        return Outcome(
            changed=dict(files) != dict(before),
            root=target.certificate if target else None,
            signer=state.signer,
            candidate=waiting.certificate if waiting and waits else None,
            stage=state.stage(target.certificate) if target else "absent",
            before=self._shown(before),
            after=self._shown(files),
            roots=tuple(fingerprint(root.certificate) for root in roots),
            trusted_roots=tuple(fingerprint(root) for root in state.roots),
            renewal_pending=transition.is_renewal_pending(files),
            renewal_due=bool(target and state.signer and waits and self._shall_sign(state.signer, target)),
            share_of_life=transition.share_of_life(state.signer, self._now) if state.signer else 0.0,
            certificates=tuple(authority.certificate for authority in own),
            crls=crl.distinct([*held, *lists.fresh(own, held, self._now), *of_roots]),
            held_crls=tuple(held),
            warnings=tuple(self._warnings),
        )

    def _shown(self, files: Files) -> dict[str, Any]:
        state = State.of(files)
        if state.signer is None:
            return {}
        return {
            "roots": [describe(root, self._now) for root in state.roots],
            "signer": describe(state.signer, self._now),
            "crls": [crl.describe(one, self._now) for one in crl.read(files.get(bundle.CA_CRL, b""))],
        }

    def _predicted(self, roots: Sequence[Root]) -> Outcome:
        """What is made in a run is not known before it."""
        unknown = "known after the run"
        after = {
            "roots": [describe(root.certificate, self._now) for root in roots] or unknown,
            "signer": {"uri_constraints": [self._request.profile.trust_domain], "fingerprint_sha256": unknown},
        }
        return Outcome(changed=True, root=roots[0].certificate if roots else None, after=after)


def _authorities(files: Files, waiting: Candidate | None) -> list[Authority]:
    """The CAs whose keys are in this cluster, signer first."""
    found = [cacerts.candidate(Held(None, files)), waiting]
    ready = {one.certificate: one.authority for one in found if one is not None and one.certificate is not None}
    return list(ready.values())


def _is_intermediate(certificate: x509.Certificate) -> bool:
    return not signed_by(certificate, certificate)
