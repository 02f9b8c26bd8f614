# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Give one cluster its CA under the shared root: keep a good Secret ``cacerts``, make a missing one, touch no other."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import ConflictError, KubeError, NotFoundError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import Resource
from ansible_collections.multimesh.istio.plugins.module_utils.pki import bundle, pem
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import (
    Authority,
    create_root,
    issue_intermediate,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.file import CustodyError, RootCustody
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import describe, fingerprint, iso, parse
from ansible_collections.multimesh.istio.plugins.module_utils.pki.verify import (
    Expectation,
    Finding,
    certificates,
    root_findings,
    verify_bundle,
)

with contextlib.suppress(ImportError):  # the modules report a missing library
    from cryptography import x509

NAMESPACE = "istio-system"
SECRET = "cacerts"  # noqa: S105 - a name
SELF_SIGNED = "istio-ca-secret"
FIELD_MANAGER = "multimesh.istio"
_CLAIMING_MANAGER = "multimesh.istio-claim"

_SECRETS = Resource("", "v1", "Secret", "secrets", namespaced=True)
_NAMESPACES = Resource("", "v1", "Namespace", "namespaces", namespaced=False)
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DNS_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_LONGEST_LIFETIME = timedelta(days=30 * 365)
_WINDOW = 24


class Cluster(Protocol):
    """What is used of kube.client.Client."""

    def get(
        self, resource: Resource, namespace: str | None, name: str, *, metadata_only: bool = False
    ) -> dict[str, Any] | None: ...

    def apply(self, resource: Resource, body: Mapping[str, Any], *, manager: str) -> dict[str, Any]: ...


class RefusedError(MultimeshError):
    """Going on would replace or damage a CA. Nothing was written to the cluster.

    findings: what is wrong with a certificate or the Secret, empty where the reason is another.
    """

    def __init__(self, reason: str, way_out: str, findings: Sequence[Finding] = ()) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join([reason, *(f"  - {finding}" for finding in self.findings), way_out]))


@dataclass(frozen=True)
class Request:
    """What one cluster has to have.

    mesh: name of the mesh, for messages and for the subject of its intermediate.
    trust_domain: SPIFFE trust domain of the mesh.
    dns_domains: DNS names the mesh may sign for, with everything below them.
    root_lifetime, root_key_type: of a root that is made, see keys.KEY_TYPES.
    lifetime, key_type: of an intermediate that is made.
    known_roots: SHA-256 fingerprints (lower-case hexadecimal) of the roots that clusters of this run have in cacerts.
    """

    mesh: str
    trust_domain: str
    dns_domains: Sequence[str] = ("svc",)
    root_lifetime: timedelta = timedelta(days=3650)
    root_key_type: str = "ecdsa-p384"
    lifetime: timedelta = timedelta(days=90)
    key_type: str = "ecdsa-p256"
    known_roots: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Outcome:
    """What the cluster has now, or would have.

    root, intermediate: None where they are still to be made, which only happens in a check.
    before, after: descriptions for a diff, free of secrets.
    warnings: sentences for the user.
    """

    changed: bool
    root: x509.Certificate | None
    intermediate: x509.Certificate | None
    before: dict[str, Any]
    after: dict[str, Any]
    warnings: tuple[str, ...] = ()


def provide(cluster: Cluster, custody: RootCustody, request: Request, now: datetime, *, check: bool) -> Outcome:
    """Make sure that the cluster has a CA of its own under the shared root.

    check: predict only, write nothing anywhere.
    Raises RefusedError for every state that is neither good nor absent, CustodyError, KubeError.
    """
    _validate(request)
    with _named(request):
        root = custody.load()
    if root is not None:
        _refuse_unfit_root(root, custody, request, now)
    secret = cluster.get(_SECRETS, NAMESPACE, SECRET)
    data = _decode(secret, request)
    if data:
        return _keep(data, root, custody, request, now)
    if cluster.get(_SECRETS, NAMESPACE, SELF_SIGNED, metadata_only=True) is not None:
        raise RefusedError(
            f"{request.mesh}: istiod of this cluster has made a CA of its own (Secret {NAMESPACE}/{SELF_SIGNED}), and "
            f"there is no Secret {SECRET}. Writing one would part the running workloads from those that start later.",
            f"If nothing runs in the mesh yet, uninstall istiod, delete Secret {SELF_SIGNED} and run again. Otherwise "
            "leave this cluster out of the run.",
        )
    _refuse_other_root(root, custody, request)
    signer = root or create_root(request.root_lifetime, request.root_key_type, now)
    if root is None and not check:
        with _named(request):
            signer = custody.create(signer)  # another process may have been first
        _refuse_unfit_root(signer, custody, request, now)
    intermediate, files = _issue(signer, request, now)
    after = {"root": describe(signer.certificate, now), "intermediate": describe(intermediate.certificate, now)}
    if check:
        return Outcome(True, root.certificate if root else None, None, {}, _predicted(after, new_root=root is None))
    _write(cluster, secret, files, request)
    return Outcome(True, signer.certificate, intermediate.certificate, {}, after)


@contextlib.contextmanager
def _named(request: Request) -> Iterator[None]:
    try:
        yield
    except CustodyError as error:
        raise CustodyError(f"{request.mesh}: {error}") from None


def _validate(request: Request) -> None:
    domain = request.trust_domain
    if not _DNS_NAME.fullmatch(domain) or len(domain) > 253 or domain == "cluster.local":
        raise MultimeshError(
            f"{request.mesh}: mesh_trust_domain: {domain!r} cannot be a trust domain, expected a lower-case DNS name "
            "of the mesh's own, not cluster.local. Name one such as east.mesh."
        )
    for variable, lifetime in (
        ("root_lifetime_days", request.root_lifetime),
        ("intermediate_lifetime_days", request.lifetime),
    ):
        if not timedelta(0) < lifetime <= _LONGEST_LIFETIME:
            raise MultimeshError(
                f"{request.mesh}: {variable}: {lifetime.days} cannot be used, expected 1 to {_LONGEST_LIFETIME.days}."
            )
    for index, name in enumerate(request.dns_domains):
        if not _DNS_NAME.fullmatch(name):
            raise MultimeshError(
                f"{request.mesh}: permitted_dns_domains[{index}]: {name!r} cannot be used, expected a lower-case DNS "
                "name without a leading dot. Name one such as svc."
            )


def _decode(secret: Mapping[str, Any] | None, request: Request) -> dict[str, bytes]:
    try:
        return {
            name: base64.b64decode(value, validate=True) for name, value in ((secret or {}).get("data") or {}).items()
        }
    except (TypeError, ValueError):
        raise MultimeshError(
            f"{request.mesh}: Secret {NAMESPACE}/{SECRET} came with data that is not base64. Check what stands between "
            "this machine and the API server."
        ) from None


def _keep(
    data: Mapping[str, bytes], root: Authority | None, custody: RootCustody, request: Request, now: datetime
) -> Outcome:
    roots = certificates(data.get(bundle.ROOT_CERT, b"")) if root is None else [root.certificate]
    findings = verify_bundle(data, Expectation(request.trust_domain, request.dns_domains, roots), now)
    if root is None:
        trusted = ", ".join(fingerprint(certificate) for certificate in roots) or "unreadable"
        raise RefusedError(
            f"{request.mesh}: Secret {NAMESPACE}/{SECRET} is there (SHA-256 of its root: {trusted}), but "
            f"{custody.place} holds no root.",
            "No second root is made. Restore that directory from its backup, or name the right one in "
            "shared_root_ca_directory. If this CA is not one of this collection, leave the cluster out of the run.",
            findings,
        )
    if findings:
        raise RefusedError(
            f"{request.mesh}: Secret {NAMESPACE}/{SECRET} is not a good CA under the shared root:",
            "Nothing was written. If the root is foreign or the trust domain another one, check that "
            "shared_root_ca_directory and mesh_trust_domain are those of this mesh. If nothing runs in the mesh yet, "
            "delete the Secret and run again. Otherwise leave this cluster out of the run.",
            findings,
        )
    ca = parse(pem.read(data[bundle.CA_CERT]).blocks[0].der)
    shown = {"root": describe(root.certificate, now), "intermediate": describe(ca, now)}
    return Outcome(False, root.certificate, ca, shown, shown, _aging(ca, request, now))


def _aging(ca: x509.Certificate, request: Request, now: datetime) -> tuple[str, ...]:
    begins, ends = ca.not_valid_before_utc, ca.not_valid_after_utc
    if now - begins < (ends - begins) * 2 / 3:
        return ()
    return (f"{request.mesh}: two thirds of the life of its CA are over, it ends {iso(ends)}",)


def _refuse_unfit_root(root: Authority, custody: RootCustody, request: Request, now: datetime) -> None:
    findings = root_findings(root.certificate, custody.place, now)
    if findings:
        raise RefusedError(
            f"{request.mesh}: the shared root cannot be used:",
            "Nothing was written. Check this machine's clock, or restore the root from its backup.",
            findings,
        )


def _refuse_other_root(root: Authority | None, custody: RootCustody, request: Request) -> None:
    known = request.known_roots
    if not known or (root is not None and fingerprint(root.certificate) in known):
        return
    held = "no root" if root is None else f"another one, SHA-256 {fingerprint(root.certificate)}"
    raise RefusedError(
        f"{request.mesh}: clusters of this run have a CA under a root with SHA-256 {', '.join(sorted(known))}, "
        f"and {custody.place} holds {held}. A mesh under another root could call none of them.",
        "Restore that directory from its backup, or name the right one in shared_root_ca_directory. Clusters whose CA "
        "is not one of this collection have to be left out of the run.",
    )


def _issue(root: Authority, request: Request, now: datetime) -> tuple[Authority, dict[str, bytes]]:
    intermediate = issue_intermediate(
        root, request.mesh, request.trust_domain, request.dns_domains, request.lifetime, request.key_type, now
    )
    files = bundle.build(intermediate, root.certificate)
    expected = Expectation(request.trust_domain, request.dns_domains, [root.certificate])
    findings = verify_bundle(files, expected, now)
    if findings:
        raise RefusedError(
            f"{request.mesh}: the CA made for this mesh would not work:",
            "Nothing was written to the cluster. Check permitted_dns_domains and the root.",
            findings,
        )
    return intermediate, files


def _predicted(after: dict[str, Any], *, new_root: bool) -> dict[str, Any]:
    made = ["intermediate", *(["root"] if new_root else [])]
    unknown = dict.fromkeys(("subject", "serial", "fingerprint_sha256"), "known after the run")
    shown = {name: {**value, **unknown} if name in made else value for name, value in after.items()}
    if new_root:
        shown["root"]["issuer"] = shown["intermediate"]["issuer"] = "known after the run"
    return shown


def _write(cluster: Cluster, secret: Mapping[str, Any] | None, files: Mapping[str, bytes], request: Request) -> None:
    """All four files in one server-side apply, bound to the empty Secret that was seen.

    Server-side apply cannot say "only if it is absent". So a missing Secret is made empty first, which istiod takes for
    a missing one: of two runs only one then has the right resourceVersion.
    """
    seen = _claim(cluster) if secret is None else secret
    if seen.get("data"):
        raise _beaten(request)
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": SECRET,
            "namespace": NAMESPACE,
            "labels": {"app.kubernetes.io/managed-by": FIELD_MANAGER},
            "resourceVersion": seen["metadata"]["resourceVersion"],
        },
        "type": "Opaque",
        "data": {name: base64.b64encode(content).decode("ascii") for name, content in files.items()},
    }
    conflict: ConflictError | None = None
    try:
        cluster.apply(_SECRETS, body, manager=FIELD_MANAGER)
    except ConflictError as error:  # also what a repeated request gets whose first answer was lost
        _withhold_secrets(error, files, request)
        conflict = error
    except KubeError as error:
        _withhold_secrets(error, files, request)
        raise
    written = cluster.get(_SECRETS, NAMESPACE, SECRET) or {}
    if written.get("data") == body["data"]:
        return
    if conflict is not None and not written.get("data"):
        raise conflict
    raise _beaten(request)


def _claim(cluster: Cluster) -> dict[str, Any]:
    """Make the Secret without files; one that is there stays as it is.

    As the field manager of the files this would delete files that another run has just written.
    """
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": NAMESPACE},
        "type": "Opaque",
    }
    try:
        return cluster.apply(_SECRETS, body, manager=_CLAIMING_MANAGER)
    except NotFoundError:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        cluster.apply(_NAMESPACES, namespace, manager=_CLAIMING_MANAGER)
        return cluster.apply(_SECRETS, body, manager=_CLAIMING_MANAGER)


def _beaten(request: Request) -> MultimeshError:
    return MultimeshError(
        f"{request.mesh}: Secret {NAMESPACE}/{SECRET} was written by somebody else at the same moment. Let only one "
        "run at a time do this, and run again: a good CA is kept."
    )


def _withhold_secrets(error: KubeError, files: Mapping[str, bytes], request: Request) -> None:
    """An admission webhook may quote what it refuses."""
    key = files[bundle.CA_KEY]
    message = str(error)
    for text in (key.decode("ascii").replace("\n", ""), base64.b64encode(key).decode("ascii")):
        if any(text[start : start + _WINDOW] in message for start in range(len(text) - _WINDOW + 1)):
            raise MultimeshError(
                f"{request.mesh}: Secret {NAMESPACE}/{SECRET} was refused, HTTP {error.status}. The answer quotes the "
                "private key and is withheld: look at the admission webhooks of the cluster."
            ) from None
