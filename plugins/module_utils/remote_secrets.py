# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The credentials by which a control plane reads other clusters of its mesh.

istiod looks for them in Secrets of its namespace with label ``istio/multiCluster``, which hold a kubeconfig under the
name of the cluster (istio.io/istio, pkg/kube/multicluster). The token in it belongs to a service account of that
cluster. It ends by itself, and is renewed when half of its life is over; one without end is a choice for API servers
that grant too little time.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.cluster import Applier, Deleter, Getter, Lister
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import (
    CONFIG_MAPS,
    SECRETS,
    SERVICE_ACCOUNTS,
)

NAMESPACE = "istio-system"
LABEL = "istio/multiCluster"
RECORD = "multimesh-remote-secrets"
"""ConfigMap with the names of the Secrets that were made, so that nobody has to list Secrets to know of them."""
FIELD_MANAGER = "multimesh.istio"
_NAMES = "secrets.json"
_MANAGED = "app.kubernetes.io/managed-by"
_CLUSTER = "networking.istio.io/cluster"
_DAYS = "multimesh.istio/token-lifetime-days"
_TOKEN_SECONDS = 30.0
_DAY = timedelta(days=1)


class ControlPlane(Getter, Lister, Applier, Deleter, Protocol):
    """What is needed of the cluster with the control plane."""


class Remote(Getter, Applier, Deleter, Protocol):
    """What is needed of a cluster that is read."""

    def create_token(self, namespace: str, account: str, lifetime_seconds: int) -> str: ...


class RemoteSecretError(MultimeshError):
    """No credential can be made."""


@dataclass(frozen=True)
class Wanted:
    """What a control plane is to have of one cluster.

    cluster: its name in Istio. server: URL of its API server as the control plane reaches it. ca: PEM that the server's
    certificate is checked against, "" for what the control plane's image trusts. server_name: in that certificate, if
    it is another than the URL's. account: ServiceAccount there. days: life of the token, 0 for one without end.
    """

    cluster: str
    server: str
    ca: str
    account: str
    days: int
    server_name: str = ""

    @property
    def secret(self) -> str:
        """Name of the Secret, as ``istioctl create-remote-secret`` calls it."""
        return f"istio-remote-secret-{self.cluster}"


@dataclass(frozen=True)
class Token:
    """A service account's token (JSON Web Token, RFC 7519). begins, ends: None in one without end."""

    text: str = field(repr=False)
    account: str
    uid: str
    begins: datetime | None
    ends: datetime | None

    @classmethod
    def read(cls, text: str) -> Token:
        """Raises ValueError. The signature is not looked at: whoever takes the token does that."""
        payload = text.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        bound = (claims.get("kubernetes.io") or {}).get("serviceaccount") or {}
        ends, begins = (
            datetime.fromtimestamp(claims[name], UTC) if name in claims else None for name in ("exp", "iat")
        )
        return cls(
            text,
            str(bound.get("name") or claims.get("kubernetes.io/serviceaccount/service-account.name") or ""),
            str(bound.get("uid") or claims.get("kubernetes.io/serviceaccount/service-account.uid") or ""),
            begins if ends else None,
            ends,
        )

    def is_due(self, now: datetime) -> bool:
        """Whether half of its life is over."""
        return bool(self.begins and self.ends and now >= self.begins + (self.ends - self.begins) / 2)


@dataclass(frozen=True)
class Held:
    """A credential as it is in its Secret. token: None if there is none, or none that can be read."""

    server: str = ""
    ca: str = ""
    server_name: str = ""
    days: int | None = None
    token: Token | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one credential. reason: why it was, or in check mode would be, made anew; "" if it was not.

    before, after: what of it may be shown; after has no end of the token in check mode.
    """

    wanted: Wanted
    reason: str
    before: dict[str, Any]
    after: dict[str, Any]
    token: Token | None = field(default=None, repr=False)


def renew(
    control_plane: ControlPlane,
    remote: Remote,
    wanted: Wanted,
    now: datetime,
    *,
    check_mode: bool,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Make sure that the control plane has a credential for this cluster that lasts for a while.

    Raises RemoteSecretError and KubeError.
    """
    held = read(control_plane.get(SECRETS, NAMESPACE, wanted.secret), wanted.cluster)
    account = remote.get(SERVICE_ACCOUNTS, NAMESPACE, wanted.account)
    if account is None and not check_mode:
        raise RemoteSecretError(
            f"{remote.mesh}: there is no ServiceAccount {NAMESPACE}/{wanted.account} as which another cluster's"
            " control plane could come. Run role multimesh.istio.control_plane for this host too."
        )
    lasting = None if wanted.days or account is None else _lasting(remote, wanted, check_mode, sleep)
    reason = _reason(held, wanted, str((account or {"metadata": {"uid": ""}})["metadata"]["uid"]), lasting, now)
    if not reason:
        return Outcome(wanted, "", _shown(wanted, held), _shown(wanted, held), held.token)
    if check_mode:
        to_come = Held(wanted.server, wanted.ca, wanted.server_name, wanted.days)
        return Outcome(wanted, reason, _shown(wanted, held), {**_shown(wanted, to_come), "ends": "to be made"})
    text = lasting or remote.create_token(NAMESPACE, wanted.account, round(wanted.days * _DAY.total_seconds()))
    token = Token.read(text)
    control_plane.apply(SECRETS, manifest(wanted, text), manager=FIELD_MANAGER)
    if wanted.days:
        _delete_lasting(remote, wanted)
    made = Held(wanted.server, wanted.ca, wanted.server_name, wanted.days, token)
    return Outcome(wanted, reason, _shown(wanted, held), _shown(wanted, made), token)


def superfluous(control_plane: ControlPlane, wanted: Iterable[Wanted]) -> list[Mapping[str, Any]]:
    """Metadata of the Secrets that this collection made for other clusters than these.

    Raises KubeError, and RemoteSecretError if somebody else's is for one of these: istiod takes only one Secret.
    """
    found = control_plane.list_objects(SECRETS, NAMESPACE, label_selector=f"{LABEL}=true", metadata_only=True)
    clusters = {one.cluster: one.secret for one in wanted}
    rest = []
    for metadata in (item["metadata"] for item in found):
        if (metadata.get("labels") or {}).get(_MANAGED) == "multimesh.istio":
            if metadata["name"] not in clusters.values():
                rest.append(metadata)
        elif (metadata.get("annotations") or {}).get(_CLUSTER) in clusters or metadata["name"] in clusters.values():
            raise RemoteSecretError(
                f"{control_plane.mesh}: Secret {NAMESPACE}/{metadata['name']} is a credential that somebody else made"
                " for the same cluster, and istiod takes a cluster from one Secret only. Delete it, and run again."
            )
    return sorted(rest, key=lambda metadata: str(metadata["name"]))


def recorded(control_plane: Getter) -> list[str]:
    """Names of the Secrets that were made here, sorted; of some that were deleted since, perhaps.

    Raises RemoteSecretError if somebody else changed the record, and KubeError.
    """
    found = control_plane.get(CONFIG_MAPS, NAMESPACE, RECORD)
    if found is None:
        return []
    try:
        return sorted(str(name) for name in json.loads(found["data"][_NAMES]))
    except (KeyError, TypeError, ValueError):
        raise RemoteSecretError(
            f"{control_plane.mesh}: ConfigMap {NAMESPACE}/{RECORD}: {_NAMES} is not what this collection wrote. Restore"
            f" it, or delete the ConfigMap and those Secrets with label {LABEL} that no inventory names."
        ) from None


def record(control_plane: ControlPlane, names: Iterable[str]) -> None:
    """Have exactly these names recorded; no names, no ConfigMap.

    To be called before a Secret is made and after one is deleted.
    """
    found = control_plane.get(CONFIG_MAPS, NAMESPACE, RECORD)
    wanted = sorted(names)
    if found and not wanted:
        control_plane.delete(CONFIG_MAPS, NAMESPACE, RECORD, str(found["metadata"]["uid"]))
    elif wanted and (found is None or found.get("data") != {_NAMES: json.dumps(wanted)}):
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": RECORD, "namespace": NAMESPACE, "labels": {_MANAGED: "multimesh.istio"}},
            "data": {_NAMES: json.dumps(wanted)},
        }
        control_plane.apply(CONFIG_MAPS, body, manager=FIELD_MANAGER)


def read(secret: Mapping[str, Any] | None, cluster: str) -> Held:
    """What a Secret holds for a cluster, as far as this collection wrote it."""
    if secret is None:
        return Held()
    try:
        config = json.loads(base64.b64decode(secret["data"][cluster]))
        server = config["clusters"][0]["cluster"]
        token = Token.read(config["users"][0]["user"]["token"])
        days = int((secret["metadata"].get("annotations") or {})[_DAYS])
        ca = base64.b64decode(server.get("certificate-authority-data") or "").decode()
    except (binascii.Error, IndexError, KeyError, TypeError, ValueError):
        return Held()  # somebody else's, and made anew
    return Held(str(server.get("server")), ca, str(server.get("tls-server-name") or ""), days, token)


def manifest(wanted: Wanted, token: str) -> dict[str, Any]:
    """The Secret that istiod looks for."""
    name = wanted.cluster
    cluster = {"server": wanted.server}
    if wanted.ca:
        cluster["certificate-authority-data"] = base64.b64encode(wanted.ca.encode()).decode()
    if wanted.server_name:
        cluster["tls-server-name"] = wanted.server_name
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": wanted.secret,
            "namespace": NAMESPACE,
            "labels": {LABEL: "true", _MANAGED: "multimesh.istio"},
            "annotations": {_CLUSTER: name, _DAYS: str(wanted.days)},
        },
        "type": "Opaque",
        "data": {name: base64.b64encode(json.dumps(config).encode()).decode()},
    }


def _reason(held: Held, wanted: Wanted, uid: str, lasting: str | None, now: datetime) -> str:
    """Why another token or another Secret is needed; "" if not."""
    token = held.token
    if token is None:
        return "it has none"
    if (held.server, held.server_name) != (wanted.server, wanted.server_name):
        return "the API server has another address"
    if held.ca != wanted.ca:
        return "the API server's certificate is checked against another CA"
    if (token.account, token.uid) != (wanted.account, uid):
        return "the service account is another one"
    if held.days != wanted.days:
        return "another lifetime is wanted"
    if lasting is not None and lasting != token.text:
        return "the service account's token is another one"
    return "half of its life is over" if token.is_due(now) else ""


def _shown(wanted: Wanted, held: Held) -> dict[str, Any]:
    if held.days is None:
        return {}
    return {
        "cluster": wanted.cluster,
        "server": held.server,
        "ca_sha256": hashlib.sha256(held.ca.encode()).hexdigest() if held.ca else None,
        "service_account": held.token.account if held.token else wanted.account,
        "lifetime_days": held.days,
        "ends": held.token.ends.strftime("%Y-%m-%dT%H:%M:%SZ") if held.token and held.token.ends else None,
    }


# Tokens without end: https://kubernetes.io/docs/concepts/configuration/secret/#serviceaccount-token-secrets


def _lasting_secret(wanted: Wanted) -> str:
    return f"{wanted.account}-token"


def _lasting(remote: Remote, wanted: Wanted, check_mode: bool, sleep: Callable[[float], None]) -> str:
    """The token that the API server puts into a Secret of its own; "" if it is still to be made."""
    name = _lasting_secret(wanted)
    if remote.get(SECRETS, NAMESPACE, name, metadata_only=True) is None:
        if check_mode:
            return ""
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "labels": {_MANAGED: "multimesh.istio"},
                "annotations": {"kubernetes.io/service-account.name": wanted.account},
            },
            "type": "kubernetes.io/service-account-token",
        }
        remote.apply(SECRETS, body, manager=FIELD_MANAGER)
    passed = 0.0
    while True:
        secret = remote.get(SECRETS, NAMESPACE, name) or {}
        text = (secret.get("data") or {}).get("token")
        if text:
            return base64.b64decode(text).decode()
        if passed >= _TOKEN_SECONDS:
            raise RemoteSecretError(
                f"{remote.mesh}: Secret {NAMESPACE}/{name} has no token after {_TOKEN_SECONDS:.0f} s. Look at the"
                " cluster's controller manager, which makes it, or choose tokens that end."
            )
        sleep(0.5)
        passed += 0.5


def _delete_lasting(remote: Remote, wanted: Wanted) -> None:
    """A token without end would go on beside the one that ends."""
    found = remote.get(SECRETS, NAMESPACE, _lasting_secret(wanted), metadata_only=True)
    if found:
        remote.delete(SECRETS, NAMESPACE, _lasting_secret(wanted), str(found["metadata"]["uid"]))
