# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a proxy or a replica of istiod holds, public parts only: fingerprints, key identifiers, times."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.pki import crl as crl_file
from ansible_collections.multimesh.istio.plugins.module_utils.pki import pem
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import fingerprint, parse

with contextlib.suppress(ImportError):  # the module reports a missing library
    from cryptography import x509

_ROOT = "ROOTCA"
_WORKLOAD = "default"
"""Names of a proxy's trust bundle and of its own certificate (istio/istio, pkg/security/security.go)."""

_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"

Secrets: TypeAlias = Iterable[tuple[str, Mapping[str, Any]]]


class UnreadableDump(MultimeshError):
    """An answer that is not what Envoy says about its secrets."""


@dataclass(frozen=True)
class Leaf:
    """A certificate that is shown to peers.

    issuer: key identifier of the CA that signed it (hexadecimal), None where the certificate does not say.
    serial: serial number (hexadecimal).
    trust_domains: of the SPIFFE identities in it.
    """

    issuer: str | None
    serial: str
    not_before: datetime
    not_after: datetime
    trust_domains: frozenset[str] = frozenset()


@dataclass(frozen=True, order=True)
class HeldCrl:
    """A revocation list that peers are checked against.

    issuer: key identifier of the CA that it is of (hexadecimal), "" where the list does not say.
    number: which of its lists, 0 where the list does not say.
    """

    issuer: str
    number: int


@dataclass(frozen=True)
class Trust:
    """What peers are checked against. roots: SHA-256 fingerprints (lower-case hexadecimal)."""

    roots: frozenset[str]
    crls: frozenset[HeldCrl] = frozenset()


@dataclass(frozen=True)
class Held:
    """What a proxy holds. Several entries mean that it uses several, and each one counts.

    pending: it waits for a certificate or a bundle that it has asked for.
    """

    trusts: tuple[Trust, ...] = ()
    leaves: tuple[Leaf, ...] = ()
    pending: bool = False

    @property
    def empty(self) -> bool:
        """It takes no part in mutual TLS by itself."""
        return not (self.trusts or self.leaves or self.pending)


def leaf(der: bytes) -> Leaf:
    """Raises UnreadableCertificate."""
    certificate = parse(der)
    return Leaf(
        issuer=_authority_key_id(certificate),
        serial=f"{certificate.serial_number:x}",
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        trust_domains=_trust_domains(certificate),
    )


def read_dump(active: bytes, warming: bytes = b"") -> Held:
    """What Envoy answers to ``/config_dump?resource=dynamic_active_secrets`` and ``dynamic_warming_secrets``.

    Only certificates and revocation lists are looked at; the answer has the place of a private key redacted by Envoy.
    https://www.envoyproxy.io/docs/envoy/latest/api-v3/admin/v3/config_dump_shared.proto
    Raises UnreadableDump.
    """
    try:
        return _held(_secrets(active), _secrets(warming))
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
        raise UnreadableDump("what it answers is not what Envoy says about its secrets") from None


def _held(active: Secrets, warming: Secrets) -> Held:
    trusts, leaves = [], []
    for name, secret in active:
        if name == _ROOT:
            context = secret.get("validation_context") or {}
            trusts.append(_trust(_content(context.get("trusted_ca")), _content(context.get("crl"))))
        elif name == _WORKLOAD:
            chain = _content((secret.get("tls_certificate") or {}).get("certificate_chain"))
            leaves += [leaf(der) for der in list(_certificates(chain))[:1]]
    return Held(tuple(trusts), tuple(leaves), any(name in (_ROOT, _WORKLOAD) for name, _secret in warming))


def _trust(roots: bytes, crls: bytes) -> Trust:
    lists = [HeldCrl(crl_file.issuer_key_id(crl), crl_file.number(crl)) for crl in crl_file.read(crls)]
    return Trust(frozenset(fingerprint(parse(der)) for der in _certificates(roots)), frozenset(lists))


def _secrets(answer: bytes) -> Secrets:
    for entry in (json.loads(answer).get("configs") or []) if answer else []:
        yield str(entry.get("name") or ""), entry.get("secret") or {}


def _content(source: Mapping[str, Any] | None) -> bytes:
    """Content of a DataSource; b"" where there is none, or where it is a file that Envoy has not read."""
    if source and "inline_string" in source:
        return str(source["inline_string"]).encode()
    return base64.b64decode((source or {}).get("inline_bytes") or "", validate=True)


def _certificates(content: bytes) -> Iterator[bytes]:
    """DER of each certificate, one block at a time: a bundle may have more of them than a file of a CA."""
    for piece in content.split(_BEGIN)[1:]:
        read = pem.read(_BEGIN + piece.partition(_END)[0] + _END + b"\n")
        if not read.blocks:
            raise UnreadableDump("it holds a certificate that cannot be read")
        yield read.blocks[0].der


def _trust_domains(certificate: x509.Certificate) -> frozenset[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    uris = map(urlsplit, names.get_values_for_type(x509.UniformResourceIdentifier))
    return frozenset(uri.netloc for uri in uris if uri.scheme == "spiffe")


def _authority_key_id(certificate: x509.Certificate) -> str | None:
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return None
    return None if found is None else found.hex()
