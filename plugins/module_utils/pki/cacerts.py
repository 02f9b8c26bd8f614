# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Secrets with the CA of one cluster: ``cacerts``, which istiod reads, and ``multimesh-next-ca``, its candidate.

Everything of a Secret is written in one server-side apply that is bound to what was read, so istiod never sees half of
it, and of two runs at once one is refused.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.cluster import Getter
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import ConflictError, KubeError, NotFoundError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.lease import Cluster
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import NAMESPACES, SECRETS
from ansible_collections.multimesh.istio.plugins.module_utils.pki import bundle, keys, pem
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import Authority
from ansible_collections.multimesh.istio.plugins.module_utils.pki.verify import certificates

with contextlib.suppress(ImportError):  # the modules report a missing library
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

if TYPE_CHECKING:
    from ansible_collections.multimesh.istio.plugins.module_utils.pki.keys import PrivateKey

NAMESPACE = "istio-system"
SECRET = "cacerts"  # noqa: S105 - a name
CANDIDATE = "multimesh-next-ca"
SELF_SIGNED = "istio-ca-secret"
FIELD_MANAGER = "multimesh.istio"
_CLAIMING_MANAGER = "multimesh.istio-claim"

LEASE = "multimesh-shared-root-ca"
LEASE_DURATION = timedelta(minutes=5)
"""A run that was killed keeps others away for this long at most; every step that writes renews it."""

_WINDOW = 24
"""Bytes of a key that may not appear anywhere."""


@dataclass(frozen=True)
class Candidate:
    """A CA that waits: for its signature, or for the moment it is to sign.

    certificate: None while it waits for its signature.
    """

    key: PrivateKey = field(repr=False)
    certificate: x509.Certificate | None

    @property
    def authority(self) -> Authority:
        """It as a CA. Raises ValueError while it waits for its signature."""
        if self.certificate is None:
            raise ValueError("a candidate without a certificate")
        return Authority(self.certificate, self.key)


@dataclass(frozen=True)
class Held:
    """One Secret as it was read.

    secret: None when it does not exist.
    files: its content; {} when there is none.
    """

    secret: Mapping[str, Any] | None = field(repr=False)
    files: Mapping[str, bytes] = field(repr=False)


def read(cluster: Getter, name: str = SECRET) -> Held:
    """Raises KubeError, and MultimeshError where the answer is no Secret."""
    secret = cluster.get(SECRETS, NAMESPACE, name)
    try:
        files = {
            file: base64.b64decode(value, validate=True) for file, value in ((secret or {}).get("data") or {}).items()
        }
    except (TypeError, ValueError):
        raise MultimeshError(
            f"{cluster.mesh}: Secret {NAMESPACE}/{name} came with data that is not base64. Check what stands between "
            "this machine and the API server."
        ) from None
    return Held(secret, files)


def has_self_signed(cluster: Cluster) -> bool:
    """Whether istiod of this cluster has made a CA of its own."""
    return cluster.get(SECRETS, NAMESPACE, SELF_SIGNED, metadata_only=True) is not None


def candidate(held: Held) -> Candidate | None:
    """What Secret multimesh-next-ca holds; None where that is nothing of use, so that it can be written anew."""
    blocks = pem.read(held.files.get(bundle.CA_KEY, b"")).blocks
    if len(blocks) != 1:
        return None
    try:
        key = serialization.load_der_private_key(blocks[0].der, None)
    except Exception:  # noqa: BLE001 - the library raises whatever its parser finds
        return None
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        return None
    issued = certificates(held.files.get(bundle.CA_CERT, b""))
    own = [one for one in issued if one.public_key() == key.public_key()]
    return Candidate(key, own[0] if own else None)


def candidate_files(waiting: Candidate) -> dict[str, bytes]:
    """The content of Secret multimesh-next-ca."""
    files = {bundle.CA_KEY: keys.private_pem(waiting.key, passphrase=None)}
    if waiting.certificate is not None:
        files[bundle.CA_CERT] = bundle.certificate_pem(waiting.certificate)
    return files


def write(cluster: Cluster, held: Held, files: Mapping[str, bytes], name: str = SECRET, *, force: bool = False) -> None:
    """Make the Secret hold exactly these files, if nobody has written it since it was read.

    Server-side apply cannot say "only if it is absent". So a missing Secret is made empty first, which istiod takes for
    a missing one: of two runs only one then has the right resourceVersion.

    force: take over what another field manager owns, and remove what it has beside these files.
    Raises MultimeshError when somebody was faster, ConflictError, KubeError. No message holds a key.
    """
    seen = _claim(cluster, name) if held.secret is None else held.secret
    if held.secret is None and seen.get("data"):
        raise _beaten(cluster, name)
    conflict: ConflictError | None = None
    try:
        if force and (gone := held.files.keys() - files.keys()):
            # only who owns a field removes it, by not applying it again
            body = _body(name, seen, {**held.files, **dict.fromkeys(gone, b"to be removed")})
            seen = cluster.apply(SECRETS, body, manager=FIELD_MANAGER, force=True)
        cluster.apply(SECRETS, _body(name, seen, files), manager=FIELD_MANAGER, force=force)
    except ConflictError as error:  # also what a repeated request gets whose first answer was lost
        withhold_key(error, files.get(bundle.CA_KEY, b""), f"{cluster.mesh}: Secret {NAMESPACE}/{name}")
        conflict = error
    except KubeError as error:
        withhold_key(error, files.get(bundle.CA_KEY, b""), f"{cluster.mesh}: Secret {NAMESPACE}/{name}")
        raise
    written = read(cluster, name)
    if dict(written.files) == dict(files):
        return
    if conflict is not None and written.files == held.files:
        raise _owned(conflict, cluster, name) if conflict.owners else conflict
    raise _beaten(cluster, name)


def _body(name: str, seen: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": {"app.kubernetes.io/managed-by": FIELD_MANAGER},
            "resourceVersion": seen["metadata"]["resourceVersion"],
        },
        "type": seen.get("type", "Opaque"),
        "data": {file: base64.b64encode(content).decode("ascii") for file, content in files.items()},
    }


def _claim(cluster: Cluster, name: str) -> dict[str, Any]:
    """Make the Secret without files; one that is there stays as it is.

    As the field manager of the files this would delete files that another run has just written.
    """
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "type": "Opaque",
    }
    try:
        return cluster.apply(SECRETS, body, manager=_CLAIMING_MANAGER)
    except NotFoundError:
        make_namespace(cluster)
        return cluster.apply(SECRETS, body, manager=_CLAIMING_MANAGER)


def make_namespace(cluster: Cluster) -> None:
    """Make namespace istio-system; one that is there stays as it is."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    cluster.apply(NAMESPACES, namespace, manager=_CLAIMING_MANAGER)


def _owned(conflict: ConflictError, cluster: Cluster, name: str) -> ConflictError:
    owners = "; ".join(conflict.owners)
    return ConflictError(
        f"{cluster.mesh}: Secret {NAMESPACE}/{name} has been written by somebody else: {owners}. Nothing was written. "
        "If that was done once by hand, run with shared_root_ca_take_over=true. If something goes on doing it, end "
        "that first, for it would write the old CA again.",
        conflict.status,
        conflict.owners,
    )


def _beaten(cluster: Cluster, name: str) -> MultimeshError:
    return MultimeshError(
        f"{cluster.mesh}: Secret {NAMESPACE}/{name} was written by somebody else at the same moment. Let only one "
        "run at a time do this, and run again: a good CA is kept."
    )


def withhold_key(error: KubeError, key: bytes, subject: str) -> None:
    """An admission webhook may quote what it refuses.

    key: PEM. subject: mesh and Secret, for the message.
    Raises MultimeshError instead of an error that quotes it.
    """
    message = str(error)
    for text in (key.decode("ascii").replace("\n", ""), base64.b64encode(key).decode("ascii")):
        if any(text[start : start + _WINDOW] in message for start in range(len(text) - _WINDOW + 1)):
            raise MultimeshError(
                f"{subject} was refused, HTTP {error.status}. The answer quotes the "
                "private key and is withheld: look at the admission webhooks of the cluster."
            ) from None
