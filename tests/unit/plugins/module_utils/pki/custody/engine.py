# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A PKI secrets engine in memory that answers as Vault does where custody/vault.py depends on it.

That it does is shown by tests/e2e/custody, which asks a real server the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.pki import crl
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import Authority
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import Revocation
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.vault_api import RejectedError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.unit.plugins.module_utils.pki import forge
from tests.unit.plugins.module_utils.pki.forge import DNS, NOW, URI, to_pem

MOUNT = "pki"


@dataclass
class Issuer:
    """One issuer: what the engine shows of it, and its key."""

    authority: Authority
    name: str
    usage: str = "read-only,issuing-certificates,crl-signing"
    revoked: bool = False
    has_key: bool = True


@dataclass
class FakeEngine:
    """unknown: parameters that the server does not know. before: called ahead of every request."""

    issuers: dict[str, Issuer] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    stored: set[int] = field(default_factory=set)
    revocations: dict[int, datetime] = field(default_factory=dict)
    lists: dict[str, x509.CertificateRevocationList] = field(default_factory=dict)
    configuration: dict[str, Any] = field(default_factory=lambda: {"expiry": "72h", "auto_rebuild": False})
    unknown: frozenset[str] = frozenset()
    before: Callable[[str, str], None] = lambda _verb, _path: None
    asked: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    number: int = 0

    @property
    def place(self) -> str:
        return "https://vault.example"

    def read(self, path: str) -> dict[str, Any] | None:
        self._ask("read", path)
        match path.split("/")[1:]:
            case ["issuer", identity]:
                return self._shown(identity)
            case ["issuer", identity, "crl"]:
                return {"crl": crl.pem([self.lists[identity]]).decode()} if identity in self.lists else None
            case ["key", identity]:
                return {"key_id": identity} if identity in self.keys else None
            case ["crl", "rotate"]:
                self.rotate()
                return {"success": True}
        raise AssertionError(path)

    def list(self, path: str) -> dict[str, Any] | None:
        self._ask("list", path)
        assert path == f"{MOUNT}/issuers"
        shown = {identity: {"issuer_name": issuer.name} for identity, issuer in self.issuers.items()}
        return {"keys": list(shown), "key_info": shown} if shown else None

    def write(self, path: str, content: Mapping[str, Any]) -> dict[str, Any]:
        self._ask("write", path, content)
        known = {name: value for name, value in content.items() if name not in self.unknown}
        match path.split("/")[1:]:
            case ["config", "crl"]:
                self.configuration |= known
                return {}
            case ["root", "generate" | "rotate", "internal"]:
                return self._generate(known)
            case ["issuer", identity, "sign-intermediate"]:
                return self._sign(self.issuers[identity].authority, known)
            case ["revoke"]:
                return self._revoke(known)
        raise AssertionError(path)

    def delete(self, path: str) -> None:
        self._ask("delete", path)
        match path.split("/")[1:]:
            case ["issuer", identity]:
                self.issuers.pop(identity, None)
            case ["key", identity]:
                self.keys.discard(identity)

    def add(self, authority: Authority, name: str = "", **changes: Any) -> str:
        """An issuer that somebody made; gives its id."""
        self.number += 1
        identity = f"issuer-{self.number}"
        self.issuers[identity] = Issuer(authority, name, **changes)
        self.keys.add(f"key-{self.number}")
        self.rotate()
        return identity

    def rotate(self) -> None:
        """Make all lists anew."""
        hours = int(self.configuration["expiry"].removesuffix("h"))
        self.number += 1
        for identity, issuer in self.issuers.items():
            revocations = [Revocation(serial, date) for serial, date in self.revocations.items()]
            whole = crl.sign(issuer.authority, revocations, self.number, NOW)
            builder = (
                x509.CertificateRevocationListBuilder()
                .issuer_name(whole.issuer)
                .last_update(NOW)
                .next_update(NOW + timedelta(hours=hours))
            )
            for extension in whole.extensions:
                builder = builder.add_extension(extension.value, extension.critical)
            if not self.configuration.get("disable"):
                for entry in whole:
                    builder = builder.add_revoked_certificate(entry)
            self.lists[identity] = builder.sign(issuer.authority.key, hashes.SHA256())

    def _ask(self, verb: str, path: str, content: Mapping[str, Any] | None = None) -> None:
        self.before(verb, path)
        assert path.startswith(f"{MOUNT}/"), path
        self.asked.append((verb, path, dict(content or {})))

    def _shown(self, identity: str) -> dict[str, Any] | None:
        issuer = self.issuers.get(identity)
        if issuer is None:
            return None
        return {
            "issuer_id": identity,
            "issuer_name": issuer.name,
            "key_id": identity.replace("issuer", "key") if issuer.has_key else "",
            "usage": issuer.usage,
            "revoked": issuer.revoked,
            "certificate": to_pem(issuer.authority.certificate).decode().strip(),
        }

    def _generate(self, content: Mapping[str, Any]) -> dict[str, Any]:
        if any(issuer.name == content["issuer_name"] for issuer in self.issuers.values()):
            raise RejectedError("issuer name already in use")
        lifetime = datetime.fromisoformat(content["not_after"]) - NOW
        identity = self.add(forge.root(lifetime), content["issuer_name"])
        return {"certificate": to_pem(self.issuers[identity].authority.certificate).decode(), "issuer_id": identity}

    def _sign(self, issuer: Authority, content: Mapping[str, Any]) -> dict[str, Any]:
        request = x509.load_pem_x509_csr(content["csr"].encode())
        permitted = [
            *(DNS(name) for name in content.get("permitted_dns_domains") or []),
            *(URI(name) for name in (content.get("permitted_uri_domains") or "").split(",") if name),
        ]
        constraints: x509.NameConstraints | None = x509.NameConstraints(permitted, None) if permitted else None
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, content["common_name"])])
        if content["use_csr_values"]:
            constraints = request.extensions.get_extension_for_class(x509.NameConstraints).value
            subject = request.subject
        forgery = forge.Forgery(
            key=_Key(request.public_key()),
            subject=subject,
            serial=x509.random_serial_number(),
            begins=NOW - timedelta(seconds=content["not_before_duration"]),
            ends=datetime.fromisoformat(content["not_after"]).astimezone(UTC),
        )
        certificate = forgery.with_extension("constraints", constraints).sign(issuer).certificate
        self.stored.add(certificate.serial_number)
        return {"certificate": to_pem(certificate).decode().strip()}

    def _revoke(self, content: Mapping[str, Any]) -> dict[str, Any]:
        if "certificate" in content:
            serial = x509.load_pem_x509_certificate(content["certificate"].encode()).serial_number
        else:
            serial = int(content["serial_number"].replace(":", ""), 16)
            if serial not in self.stored:
                raise RejectedError(f"certificate with serial {content['serial_number']} not found")
        self.revocations.setdefault(serial, NOW)
        if not self.configuration["auto_rebuild"]:
            self.rotate()
        return {"state": "revoked"}


@dataclass(frozen=True)
class _Key:
    """Stands for the private key that only the owner of a request has."""

    public: Any

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self.public  # type: ignore[no-any-return]
