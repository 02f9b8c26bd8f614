# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates of ingress controllers: a Secret of type kubernetes.io/tls for each Ingress of the federation.

They are signed by the mesh's own CA, whose key is read from Secret ``cacerts`` and goes nowhere. Which Secrets there
are stands in ConfigMap RECORD, so that none has to be listed: the right to list Secrets is the right to read them all.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.kube import lease
from ansible_collections.multimesh.istio.plugins.module_utils.kube.cluster import Deleter, Getter
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import KubeError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import CONFIG_MAPS, SECRETS
from ansible_collections.multimesh.istio.plugins.module_utils.pki import cacerts, keys, pem
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import Authority, sign_server
from ansible_collections.multimesh.istio.plugins.module_utils.pki.bundle import certificate_pem
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import describe, signed_by
from ansible_collections.multimesh.istio.plugins.module_utils.pki.request import RefusedError
from ansible_collections.multimesh.istio.plugins.module_utils.pki.transition import RENEW_AT, State, share_of_life
from ansible_collections.multimesh.istio.plugins.module_utils.pki.verify import certificates, leaf_rejection

with contextlib.suppress(ImportError):  # the modules report a missing library
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

RECORD = "multimesh-ingress-certificates"
KEY = "certificates.json"
TYPE = "kubernetes.io/tls"
CERTIFICATE_FILE, KEY_FILE = "tls.crt", "tls.key"
_LABELS = {"app.kubernetes.io/managed-by": cacerts.FIELD_MANAGER}
_CONCURRENCY = 8
_UNKNOWN = "known after the run"

Action = Literal["kept", "issued", "renewed", "deleted"]


class Cluster(lease.Cluster, Deleter, Protocol):
    """What is needed of a cluster."""


@dataclass(frozen=True)
class Wanted:
    """One certificate that there has to be, and the Secret it has to be in."""

    namespace: str
    secret: str
    hosts: tuple[str, ...]
    spiffe_id: str

    @property
    def place(self) -> str:
        """Namespace and name of the Secret."""
        return f"{self.namespace}/{self.secret}"

    def as_dict(self) -> dict[str, Any]:
        """As ConfigMap RECORD has it, and as the module takes and returns it."""
        return {
            "namespace": self.namespace,
            "secret": self.secret,
            "hosts": list(self.hosts),
            "spiffe_id": self.spiffe_id,
        }

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Wanted:
        """Raises KeyError, TypeError and AttributeError for what is none."""
        hosts = tuple(str(host) for host in value["hosts"])
        return cls(str(value["namespace"]), str(value["secret"]), hosts, str(value["spiffe_id"]))


@dataclass(frozen=True)
class Request:
    """What one cluster has to have.

    wanted: exactly these; None for those of the run before, as far as they are still there.
    lifetime: of a new certificate, which never outlives the CA.
    key_type: see keys.KEY_TYPES.
    run, break_lease: as for the CA of the mesh.
    """

    wanted: Sequence[Wanted] | None
    lifetime: timedelta = timedelta(days=30)
    key_type: str = "ecdsa-p256"
    run: str = "a run without a name"
    break_lease: bool = False


@dataclass(frozen=True)
class Entry:
    """What becomes of one Secret.

    reason: why it is issued, renewed or deleted.
    before, after: certificates; None where there is none, and in a check where it is still to be made.
    """

    wanted: Wanted
    action: Action
    reason: str = ""
    before: x509.Certificate | None = None
    after: x509.Certificate | None = None


@dataclass(frozen=True)
class Outcome:
    """entries: sorted by place. warnings: sentences for the user."""

    changed: bool
    entries: tuple[Entry, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Ca:
    """The CA of the mesh with the root that it is under."""

    authority: Authority
    root: x509.Certificate

    @property
    def chain(self) -> list[x509.Certificate]:
        return [self.authority.certificate, self.root]


@dataclass(frozen=True)
class _Secret:
    """A Secret as it was read; body is None if there is none."""

    wanted: Wanted
    body: Mapping[str, Any] | None = field(repr=False)

    @property
    def is_ours(self) -> bool:
        labels = ((self.body or {}).get("metadata") or {}).get("labels") or {}
        return _LABELS.items() <= labels.items()

    def file(self, name: str) -> bytes:
        try:
            return base64.b64decode(((self.body or {}).get("data") or {}).get(name) or "", validate=True)
        except (binascii.Error, ValueError):
            return b""

    @property
    def certificates(self) -> list[x509.Certificate]:
        return certificates(self.file(CERTIFICATE_FILE))


@dataclass(frozen=True)
class _Record:
    """ConfigMap RECORD as it was read."""

    body: Mapping[str, Any] | None
    entries: tuple[Wanted, ...]


def ensure(cluster: Cluster, request: Request, now: datetime, *, check: bool) -> Outcome:
    """Make sure that these certificates are there, good, and no others of this collection.

    check: predict only, write nothing.
    Raises RefusedError for a Secret that is somebody else's and a CA that cannot sign, lease.LeaseHeldError, KubeError.
    """
    record = _read_record(cluster)
    wanted = record.entries if request.wanted is None else tuple(request.wanted)
    places = {one.place for one in wanted}
    found = _read(cluster, wanted)
    if request.wanted is None:  # with its namespace, perhaps: the next run of the federation says
        found = [one for one in found if one.body is not None]
    _refuse_foreign(cluster, found)
    gone = [one for one in _read(cluster, [one for one in record.entries if one.place not in places]) if one.is_ours]
    ca = _ca(cluster) if found else None
    entries = [_entry(one, ca, now) for one in found]
    entries += [Entry(one.wanted, "deleted", "nobody needs it any more", _first(one)) for one in gone]
    entries.sort(key=lambda entry: entry.wanted.place)
    changed = any(entry.action != "kept" for entry in entries)
    listed = wanted if request.wanted is not None else record.entries
    if check or not (changed or set(listed) != set(record.entries)):
        return Outcome(changed, tuple(entries))
    if found:
        _required(cluster, ca)
    made, warnings = _write(cluster, request, record, listed, entries, [*found, *gone], now)
    return Outcome(changed, tuple(made), tuple(warnings))


def recorded(cluster: Getter) -> tuple[Wanted, ...]:
    """The certificates that were made here, of which some may be gone. Raises MultimeshError and KubeError."""
    return _read_record(cluster).entries


def refuse_other_roots(cluster: Getter, root: x509.Certificate) -> None:
    """Refuse to go on while a certificate of an Ingress is under another root than this one.

    Raises RefusedError, KubeError.
    """
    hanging = [
        one.wanted.place
        for one in _read(cluster, _read_record(cluster).entries)
        if one.is_ours and not (one.certificates and signed_by(one.certificates[-1], root))
    ]
    if hanging:
        raise RefusedError(
            f"{cluster.mesh}: the certificates of Ingresses in Secret {', '.join(sorted(hanging))} are under another"
            " root, and callers would refuse them.",
            "Nothing was written. Run playbook multimesh.istio.rotate_root_ca, which has them issued anew before this"
            " step, or module multimesh.istio.ingress_certificates without certificates.",
        )


def shown(entry: Entry, now: datetime, *, after: bool) -> dict[str, Any]:
    """A certificate in words and numbers that may be shown to anybody; nothing where there is none."""
    certificate = entry.after if after else entry.before
    if certificate is None and after and entry.action in ("issued", "renewed"):
        return {"hosts": list(entry.wanted.hosts), "spiffe_id": entry.wanted.spiffe_id, "fingerprint_sha256": _UNKNOWN}
    if certificate is None:
        return {}
    told = describe(certificate, now)
    uris, hosts = _names(certificate)
    return {
        "hosts": hosts,
        "spiffe_id": ", ".join(uris),
        "signed_by": certificate.issuer.rfc4514_string(),
        **{key: told[key] for key in ("fingerprint_sha256", "not_before", "not_after", "days_left")},
    }


# Reading


def _read_record(cluster: Getter) -> _Record:
    body = cluster.get(CONFIG_MAPS, cacerts.NAMESPACE, RECORD)
    text = ((body or {}).get("data") or {}).get(KEY) or "[]"
    try:
        return _Record(body, tuple(Wanted.of(value) for value in json.loads(text)))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise MultimeshError(
            f"{cluster.mesh}: ConfigMap {cacerts.NAMESPACE}/{RECORD}: {KEY} is not what this collection wrote. Restore "
            "it, or delete the ConfigMap and those Secrets multimesh-ingress.* that no Ingress names."
        ) from None


def _read(cluster: Getter, wanted: Sequence[Wanted]) -> list[_Secret]:
    with ThreadPoolExecutor(_CONCURRENCY) as pool:
        bodies = pool.map(lambda one: cluster.get(SECRETS, one.namespace, one.secret), wanted)
        return [_Secret(one, body) for one, body in zip(wanted, bodies, strict=True)]


def _refuse_foreign(cluster: Getter, found: Iterable[_Secret]) -> None:
    foreign = [one.wanted.place for one in found if one.body is not None and not one.is_ours]
    if foreign:
        raise RefusedError(
            f"{cluster.mesh}: Secret {', '.join(foreign)} is there and not of this collection: it lacks the label "
            f"{'='.join(next(iter(_LABELS.items())))}.",
            "Nothing was written. Delete or rename what is there.",
        )


def _ca(cluster: Getter) -> _Ca | None:
    """The CA of the mesh, None where there is none (yet)."""
    held = cacerts.read(cluster)
    signer = cacerts.candidate(held)
    if signer is None or signer.certificate is None:
        return None
    roots = [root for root in State.of(held.files).roots if signed_by(signer.certificate, root)]
    return _Ca(signer.authority, roots[0]) if roots else None


def _required(cluster: Getter, ca: _Ca | None) -> _Ca:
    if ca is None:
        raise RefusedError(
            f"{cluster.mesh}: Secret {cacerts.NAMESPACE}/{cacerts.SECRET} has no CA that could sign for an Ingress.",
            "Nothing was written. Run playbook multimesh.istio.site, which gives the mesh a CA first.",
        )
    return ca


# Judging


def _entry(secret: _Secret, ca: _Ca | None, now: datetime) -> Entry:
    first = _first(secret)
    if secret.body is None:
        return Entry(secret.wanted, "issued", "there is none")
    reason = _reason(secret, ca, now)
    if reason is None:
        return Entry(secret.wanted, "kept", "", first, first)
    return Entry(secret.wanted, "renewed", reason, first)


def _reason(secret: _Secret, ca: _Ca | None, now: datetime) -> str | None:
    """Why a certificate has to be issued anew; None for a good one."""
    chain = secret.certificates
    if ca is None:
        return "the mesh is to get another CA"
    if not chain:
        return "it cannot be read"
    leaf = chain[0]
    if chain[1:] != [ca.authority.certificate]:
        return "it is not signed by the CA that signs for the mesh now"
    uris, hosts = _names(leaf)
    if (uris, sorted(hosts)) != ([secret.wanted.spiffe_id], sorted(secret.wanted.hosts)):
        return "it is for other names"
    if _public_key(secret.file(KEY_FILE)) != keys.public_der(leaf.public_key()):  # type: ignore[arg-type]
        return "its key is another one"
    if share_of_life(leaf, now) >= RENEW_AT:
        return "two thirds of its life are over"
    return leaf_rejection(leaf, ca.chain, now)


def _first(secret: _Secret) -> x509.Certificate | None:
    return next(iter(secret.certificates), None)


def _names(certificate: x509.Certificate) -> tuple[list[str], list[str]]:
    """URIs and DNS names."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return [], []
    return names.get_values_for_type(x509.UniformResourceIdentifier), names.get_values_for_type(x509.DNSName)


def _public_key(content: bytes) -> bytes | None:
    """Of the one private key in a file; None without one that can be read."""
    blocks = pem.read(content).blocks
    try:
        key = serialization.load_der_private_key(blocks[0].der, None) if len(blocks) == 1 else None
        return keys.public_der(key.public_key()) if key is not None else None  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - the library raises whatever its parser finds
        return None


# Writing


def _write(
    cluster: Cluster,
    request: Request,
    record: _Record,
    listed: Sequence[Wanted],
    entries: Sequence[Entry],
    secrets: Sequence[_Secret],
    now: datetime,
) -> tuple[list[Entry], list[str]]:
    """A Secret is on the record before it is made and until it is deleted, so a run that was killed forgets none."""
    bodies = {one.wanted.place: one.body for one in secrets}
    warnings = []
    had = lease.is_held(cluster, cacerts.LEASE, request.run)
    taken = lease.acquire(
        cluster, cacerts.LEASE, request.run, cacerts.LEASE_DURATION, now, break_held=request.break_lease
    )
    if taken is not None:
        warnings.append(f"{cluster.mesh}: went on from a run that did not end in order: {taken}")
    try:
        places = {one.place for one in listed}
        body = _write_record(cluster, record, [*listed, *(one for one in record.entries if one.place not in places)])
        made = []
        ca: _Ca | None = None
        for entry in entries:
            seen = bodies[entry.wanted.place]
            if entry.action == "deleted" and seen is not None:
                cluster.delete(SECRETS, entry.wanted.namespace, entry.wanted.secret, seen["metadata"]["uid"])
            elif entry.action in ("issued", "renewed"):
                # Another run may have changed it before this one kept others from doing so.
                ca = ca or _required(cluster, _ca(cluster))
                entry = _issue(cluster, request, ca, entry, seen, now)
            made.append(entry)
        _write_record(cluster, body, listed)
    finally:
        if not had:
            lease.release(cluster, cacerts.LEASE, request.run)
    return made, warnings


def _issue(
    cluster: Cluster, request: Request, ca: _Ca, entry: Entry, seen: Mapping[str, Any] | None, now: datetime
) -> Entry:
    wanted = entry.wanted
    key = keys.generate(request.key_type)
    leaf = sign_server(ca.authority, key.public_key(), wanted.spiffe_id, wanted.hosts, request.lifetime, now)
    rejection = leaf_rejection(leaf, ca.chain, now)
    if rejection:
        raise RefusedError(
            f"{cluster.mesh}: callers would refuse a certificate for Secret {wanted.place}: {rejection}.",
            "It was not written. Check mesh_trust_domain, and that svc is among shared_root_ca_permitted_dns_domains.",
        )
    private = keys.private_pem(key, passphrase=None)
    files = {
        CERTIFICATE_FILE: certificate_pem(leaf) + certificate_pem(ca.authority.certificate),
        KEY_FILE: private,
    }
    metadata: dict[str, Any] = {"name": wanted.secret, "namespace": wanted.namespace, "labels": dict(_LABELS)}
    if seen is not None:
        metadata["resourceVersion"] = seen["metadata"]["resourceVersion"]
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": TYPE,
        "data": {name: base64.b64encode(content).decode("ascii") for name, content in files.items()},
    }
    try:
        # Forced: what counts is the label and the resourceVersion, not who wrote which field.
        cluster.apply(SECRETS, body, manager=cacerts.FIELD_MANAGER, force=True)
    except KubeError as error:
        cacerts.withhold_key(error, private, f"{cluster.mesh}: Secret {wanted.place}")
        raise
    return Entry(wanted, entry.action, entry.reason, entry.before, leaf)


def _write_record(cluster: Cluster, record: _Record, entries: Sequence[Wanted]) -> _Record:
    """Make the ConfigMap say exactly this; without entries it goes."""
    if set(entries) == set(record.entries):
        return record
    if not entries:
        if record.body is not None:
            cluster.delete(CONFIG_MAPS, cacerts.NAMESPACE, RECORD, record.body["metadata"]["uid"])
        return _Record(None, ())
    ordered = tuple(sorted(entries, key=lambda one: one.place))
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": RECORD, "namespace": cacerts.NAMESPACE, "labels": dict(_LABELS)},
        "data": {KEY: json.dumps([one.as_dict() for one in ordered], indent=2) + "\n"},
    }
    return _Record(cluster.apply(CONFIG_MAPS, body, manager=cacerts.FIELD_MANAGER, force=True), ordered)
