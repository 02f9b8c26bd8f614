# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A root whose key is in a PKI secrets engine with Vault's API. It signs there; the key never leaves the server.

The roots are the self-signed issuers of the mount that may issue and whose key is there.
Source: https://developer.hashicorp.com/vault/api-docs/secret/pki
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.pki import crl
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import (
    BACKDATE,
    ISTIOD_DNS,
    requested_key,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody import external
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import (
    CustodyError,
    IntermediateProfile,
    Revocation,
    Root,
    RootProfile,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.external import ExternalRoots
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.store import Store
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.vault_api import (
    LOGINS,
    Api,
    Login,
    RejectedError,
    Server,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import fingerprint, is_ca, iso, signed_by
from ansible_collections.multimesh.istio.plugins.module_utils.pki.finding import Finding
from ansible_collections.multimesh.istio.plugins.module_utils.pki.verify import certificates, root_findings

with contextlib.suppress(ImportError):  # the modules report a missing library
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

_DAY = timedelta(days=1)
_KEY_NOTE = "key "
"""Begins the note of a retired root in the ledger: which key of the engine is to be destroyed."""


@dataclass(frozen=True)
class Engine:
    """The secrets engine.

    mount: its path.
    issuer: name of the root in it; its successors are named ``<issuer>-after-`` and the beginning of the fingerprint of
    the root before. Without one, every root of the mount counts.
    generate: make roots that are missing, and let the lists of the mount live as long as they do.
    destroy: delete issuer and key of a retired root.
    """

    mount: str = "pki"
    issuer: str = ""
    generate: bool = False
    destroy: bool = False

    @property
    def name(self) -> str:
        """Of the first root that is made."""
        return self.issuer or "mesh-federation-root"


@dataclass(frozen=True)
class _Issuer:
    """A root, and what the engine calls it and its key."""

    root: Root
    id: str
    key: str

    @property
    def certificate(self) -> x509.Certificate:
        return self.root.certificate


VAULT_OPTIONS: dict[str, dict[str, Any]] = {
    "vault_url": {"type": "str"},
    "vault_namespace": {"type": "str", "default": ""},
    "vault_ca_cert": {"type": "path"},
    "vault_auth": {"type": "str", "choices": list(LOGINS), "default": "token"},
    "vault_auth_mount": {"type": "str", "default": ""},
    "vault_token": {"type": "str", "no_log": True},
    "vault_role": {"type": "str", "default": ""},
    "vault_role_id": {"type": "str", "no_log": True},
    "vault_secret_id": {"type": "str", "no_log": True},
    "vault_jwt": {"type": "str", "no_log": True},
    "vault_mount": {"type": "str", "default": "pki"},
    "vault_issuer": {"type": "str", "default": ""},
    "vault_generate": {"type": "bool", "default": False},
    "vault_destroy_retired": {"type": "bool", "default": False},
}
"""Of modules; see docs/custody.md."""


def from_options(options: Mapping[str, Any], store: Store) -> VaultRoots:
    """The custody that these options mean. Whether they are right shows in the first request."""
    login = Login(
        method=options["vault_auth"],
        mount=options["vault_auth_mount"],
        role=options["vault_role"],
        token=options["vault_token"] or "",
        role_id=options["vault_role_id"] or "",
        secret_id=options["vault_secret_id"] or "",
        jwt=options["vault_jwt"] or "",
    )
    server = Server(options["vault_url"] or "", options["vault_namespace"], options["vault_ca_cert"] or "")
    engine = Engine(
        options["vault_mount"], options["vault_issuer"], options["vault_generate"], options["vault_destroy_retired"]
    )
    return VaultRoots(store, Api(server, login), engine)


class VaultRoots(ExternalRoots):
    """Custody of the roots in one secrets engine."""

    def __init__(self, store: Store, api: Api, engine: Engine) -> None:
        """store: for the ledger and the lock, which the engine has no place for."""
        super().__init__(store)
        self._api = api
        self._engine = engine

    @property
    def place(self) -> str:
        return f"{self._api.place}, secrets engine {self._engine.mount}"

    def roots(self) -> tuple[Root, ...]:
        return tuple(issuer.root for issuer in self._issuers())

    def make_root(self, profile: RootProfile, now: datetime, *, beside: str | None = None) -> Root:
        found = self._others(beside)
        if not found:
            name = self._engine.name if beside is None else f"{self._engine.name}-after-{beside[:8]}"
            self._generate(name, profile, now, rotate=beside is not None)
            found = self._others(beside)
        if not found:
            raise CustodyError(
                f"{self.place}: a root was made and is not among the issuers: vault list {self._path('issuers')}"
            )
        return found[0].root

    def issue(
        self, root: str, profile: IntermediateProfile, request: x509.CertificateSigningRequest, now: datetime
    ) -> x509.Certificate:
        issuer, public_key = self._find(root), requested_key(request)
        ends = min(now + profile.lifetime, issuer.certificate.not_valid_after_utc)
        self._refuse_short_list(issuer, ends, now)
        answer = self._api.write(
            self._path(f"issuer/{issuer.id}/sign-intermediate"),
            {
                "csr": request.public_bytes(serialization.Encoding.PEM).decode("ascii"),
                "use_csr_values": _is_complete(request, profile),
                "common_name": external.common_name(profile, public_key),
                "organization": external.ORGANIZATION,
                "alt_names": ISTIOD_DNS,
                "uri_sans": external.uri(profile),
                "exclude_cn_from_sans": True,
                "permitted_dns_domains": list(profile.dns_domains),
                "permitted_uri_domains": profile.trust_domain,
                "max_path_length": 0,
                "not_before_duration": _backdate(issuer.certificate, now),
                "not_after": iso(ends),  # a ttl would be cut to that of the mount, without an error
                "format": "pem",
            },
        )
        certificate = self._certificate(answer)
        self._refuse(
            issuer,
            certificate,
            external.findings(
                certificate,
                public_key,
                profile,
                issuer.certificate,
                f"serial {_serial(certificate.serial_number)}",
                now,
            ),
            f"the CA of mesh {profile.mesh}",
        )
        self.record_root(issuer.certificate, "root-taken-over", now, f"issuer {issuer.id}")
        self.record_issue(issuer.certificate, certificate, profile, now)
        return certificate

    def revoke(self, root: str, revocations: Iterable[Revocation], now: datetime) -> Root:  # noqa: ARG002
        """As Custody.revoke; when each was revoked is for the server to say."""
        wanted = tuple(revocations)
        issuer = self._find(root)
        for one in _missing(issuer, wanted):
            self._revoke(root, one.serial)
        issuer = self._find(root)
        if issuer.root.crl is None or _missing(issuer, wanted):
            self._api.read(self._path("crl/rotate"))  # with auto_rebuild the list is only made now and then
            issuer = self._find(root)
        missing = _missing(issuer, wanted)
        if issuer.root.crl is None or missing:
            shown = ", ".join(_serial(one.serial) for one in missing) or "nothing yet"
            raise CustodyError(
                f"{self.place}: {shown} is revoked, but not on the list of issuer {issuer.id}. A certificate that has "
                "ended is not listed. If it has not, lists are turned off: "
                f"vault write {self._path('config/crl')} disable=false"
            )
        self.record_revocations(root, wanted)
        return issuer.root

    def retire(self, root: str, now: datetime) -> bool:
        issuers = {fingerprint(one.certificate): one for one in self._issuers()}
        if root not in issuers:
            self._destroy_left_key(root)
            return False
        if len(issuers) == 1:
            raise CustodyError(f"{self.place}: {root} is the only root. Make the one that is to follow it first.")
        issuer = issuers[root]
        paths = self._path(f"issuer/{issuer.id}"), self._path(f"key/{issuer.key}")
        if not self._engine.destroy:
            raise CustodyError(
                f"{self.place}: nobody trusts the root with SHA-256 {root} any more, but its key still is there. "
                "Delete it, or let this be done by shared_root_ca_vault_destroy_retired=true:\n"
                f"  vault delete {paths[0]}\n  vault delete {paths[1]}"
            )
        # The engine keeps a key that an issuer has, so the issuer goes first; the note is what a killed run leaves.
        self.record_root(issuer.certificate, "root-retired", now, f"{_KEY_NOTE}{issuer.key}")
        for path in paths:
            self._api.delete(path)
        return True

    # What is there

    def _issuers(self) -> list[_Issuer]:
        """The roots that can sign, with their lists, oldest first."""
        found = [one for one in self._read_issuers() if one is not None]
        if len({fingerprint(one.certificate) for one in found}) > 2:
            names = ", ".join(one.id for one in found)
            raise CustodyError(
                f"{self.place}: there are {len(found)} roots ({names}), expected one, or two while the root is being "
                "exchanged. Name the one of the meshes in shared_root_ca_vault_issuer, or delete those that no mesh "
                "trusts."
            )
        return sorted(found, key=lambda one: (one.certificate.not_valid_before_utc, fingerprint(one.certificate)))

    def _read_issuers(self) -> Iterator[_Issuer | None]:
        listed = self._api.list(self._path("issuers")) or {}
        for reference in listed.get("keys") or []:
            content = self._api.read(self._path(f"issuer/{reference}"))
            if content is not None and self._is_ours(content):
                yield self._issuer(content)

    def _is_ours(self, content: dict[str, Any]) -> bool:
        name, wanted = content.get("issuer_name") or "", self._engine.issuer
        usage = content.get("usage") or ""
        return (
            (not wanted or name == wanted or name.startswith(f"{wanted}-after-") or content["issuer_id"] == wanted)
            and "issuing-certificates" in (usage.split(",") if isinstance(usage, str) else usage)
            and bool(content.get("key_id"))
            and not content.get("revoked")
        )

    def _issuer(self, content: dict[str, Any]) -> _Issuer | None:
        certificate = self._certificate(content)
        if not is_ca(certificate) or not signed_by(certificate, certificate):
            return None
        listed = self._api.read(self._path(f"issuer/{content['issuer_id']}/crl")) or {}
        lists = [one for one in crl.read(str(listed.get("crl") or "").encode()) if crl.issued_by(one, certificate)]
        return _Issuer(Root(certificate, lists[0] if lists else None), content["issuer_id"], content["key_id"])

    def _others(self, beside: str | None) -> list[_Issuer]:
        if beside is not None:
            self._find(beside)
        return [one for one in self._issuers() if fingerprint(one.certificate) != beside]

    def _find(self, root: str) -> _Issuer:
        issuers = self._issuers()
        for issuer in issuers:
            if fingerprint(issuer.certificate) == root:
                return issuer
        known = ", ".join(fingerprint(issuer.certificate) for issuer in issuers) or "none"
        raise CustodyError(
            f"{self.place}: the root with SHA-256 {root} is not there, or may not issue. There is: {known}. Check "
            "shared_root_ca_vault_url, shared_root_ca_vault_mount and shared_root_ca_vault_issuer."
        )

    def _certificate(self, answer: dict[str, Any]) -> x509.Certificate:
        found = certificates(_ended(str(answer.get("certificate") or "")).encode())
        if not found:
            raise CustodyError(f"{self.place}: the server gave no certificate that can be read. See its log.")
        return found[0]

    # What is asked for

    def _generate(self, name: str, profile: RootProfile, now: datetime, *, rotate: bool) -> None:
        path = self._path(f"root/{'rotate' if rotate else 'generate'}/internal")
        kind, size = profile.key_type.split("-")
        content = {
            "issuer_name": name,
            "key_name": name,
            "common_name": f"Mesh federation root {secrets.token_hex(4)}",
            "organization": external.ORGANIZATION,
            "exclude_cn_from_sans": True,
            "key_type": "rsa" if kind == "rsa" else "ec",
            "key_bits": int(size.removeprefix("p")),
            "not_before_duration": int(BACKDATE.total_seconds()),
            "not_after": iso(now + profile.lifetime),  # a ttl would be cut to that of the mount, without an error
        }
        lists = {"expiry": _hours(profile.lifetime + _DAY), "disable": False, "auto_rebuild": False}
        if not self._engine.generate:
            raise CustodyError(
                f"{self.place}: there is no {'other root' if rotate else 'root'}. Make it, or let this be done by "
                f"shared_root_ca_vault_generate=true:\n"
                f"  {_command(self._path('config/crl'), lists)}\n  {_command(path, content)}"
            )
        self._api.write(self._path("config/crl"), lists)
        try:
            answer = self._api.write(path, content)
        except RejectedError:
            if not any(name == issuer for issuer in self._names()):
                raise
            return  # somebody else was faster, and names are unique
        certificate = self._certificate(answer)
        findings = root_findings(certificate, f"issuer {name}", now)
        if findings:
            raise CustodyError(_listed(f"{self.place}: the root that was made cannot be used:", findings))
        self.record_root(certificate, "root-made", now, f"issuer {name}")

    def _names(self) -> list[str]:
        listed = self._api.list(self._path("issuers")) or {}
        return [one.get("issuer_name") or "" for one in (listed.get("key_info") or {}).values()]

    def _refuse_short_list(self, issuer: _Issuer, until: datetime, now: datetime) -> None:
        """Peers refuse every CA under a root whose list is missing or has ended."""
        ends = issuer.root.crl.next_update_utc if issuer.root.crl is not None else None
        if ends is not None and ends >= until:
            return
        shown = f"ends {iso(ends)}, before the CA that it is about" if ends is not None else "is missing"
        lists = {
            "expiry": _hours(issuer.certificate.not_valid_after_utc - now + _DAY),
            "disable": False,
            "auto_rebuild": False,
        }
        raise CustodyError(
            f"{self.place}: the revocation list of issuer {issuer.id} {shown}; without it every mesh refuses all "
            "others. Let the lists of this mount live as long as the root:\n"
            f"  {_command(self._path('config/crl'), lists)}\n  vault read {self._path('crl/rotate')}"
        )

    def _refuse(self, issuer: _Issuer, certificate: x509.Certificate, findings: Iterable[Finding], what: str) -> None:
        wrong = tuple(findings)
        if not wrong:
            return
        way_out = "Correct the settings of the engine and run again."
        if any(finding.name == "name-constraint" for finding in wrong):
            way_out = (
                "Servers set name constraints of URIs from Vault 1.19 on (permitted_uri_domains); older ones, and "
                "OpenBao, only copy them from a request that has them. Update the server."
            )
        serial = _serial(certificate.serial_number)
        raise CustodyError(
            _listed(f"{self.place}: issuer {issuer.id} has signed {what}, and what it gave cannot be used:", wrong)
            + f"\n{way_out} The certificate was thrown away; revoke it: vault write {self._path('revoke')} "
            f"serial_number={serial}"
        )

    def _revoke(self, root: str, serial: int) -> None:
        path = self._path("revoke")
        try:
            self._api.write(path, {"serial_number": _serial(serial)})
        except RejectedError:
            known = self.issued(root, serial)
            if known is None or not known.certificate:
                raise
            self._api.write(path, {"certificate": known.certificate})  # the engine may have forgotten what it signed

    def _destroy_left_key(self, root: str) -> None:
        """Of a run that was killed while it retired this root."""
        entries = [one for one in self.ledger() if one.action == "root-retired" and one.fingerprint == root]
        if self._engine.destroy and entries and entries[-1].note.startswith(_KEY_NOTE):
            self._api.delete(self._path(f"key/{entries[-1].note.removeprefix(_KEY_NOTE)}"))

    def _path(self, below: str) -> str:
        return f"{self._engine.mount.strip('/')}/{below}"


def _is_complete(request: x509.CertificateSigningRequest, profile: IntermediateProfile) -> bool:
    """Whether the request itself asks for what binds the CA to its mesh; some servers can only copy it from there."""
    try:
        found = request.extensions.get_extension_for_class(x509.NameConstraints)
    except x509.ExtensionNotFound:
        return False
    return found.critical and found.value == external.name_constraints(profile)


def _backdate(root: x509.Certificate, now: datetime) -> int:
    """Seconds; half of the root's age at most, because no certificate may begin before it, by the server's clock."""
    return max(0, min(int(BACKDATE.total_seconds()), int((now - root.not_valid_before_utc).total_seconds() / 2)))


def _missing(issuer: _Issuer, revocations: Iterable[Revocation]) -> list[Revocation]:
    listed = frozenset() if issuer.root.crl is None else crl.revoked(issuer.root.crl)
    return [one for one in revocations if one.serial not in listed]


def _serial(number: int) -> str:
    """As the engine writes serial numbers: pairs of digits with colons."""
    digits = f"{number:x}"
    return bytes.fromhex(digits if len(digits) % 2 == 0 else f"0{digits}").hex(":")


def _hours(duration: timedelta) -> str:
    return f"{-(-duration // timedelta(hours=1))}h"


def _command(path: str, content: dict[str, Any]) -> str:
    """The same as a command of the program ``vault`` (or ``bao``)."""
    shown = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in content.items()}
    return " ".join(
        [
            "vault write",
            path,
            *(f"{name}='{value}'" if " " in value else f"{name}={value}" for name, value in shown.items()),
        ]
    )


def _listed(head: str, findings: Iterable[Finding]) -> str:
    return "\n".join([head, *(f"  - {finding}" for finding in findings)])


def _ended(text: str) -> str:
    return text if text.endswith("\n") else f"{text}\n"
