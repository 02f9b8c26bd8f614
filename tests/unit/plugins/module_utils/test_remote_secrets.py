# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils import remote_secrets
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import CONFIG_MAPS, SECRETS, Resource
from ansible_collections.multimesh.istio.plugins.module_utils.remote_secrets import (
    NAMESPACE,
    Outcome,
    RemoteSecretError,
    Token,
    Wanted,
    manifest,
    read,
    renew,
    superfluous,
)

from tests.unit.plugins.module_utils.applyset.memory import MemoryCluster

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ACCOUNT = "multimesh-remote-control-plane"
WANTED = Wanted("south-b", "https://192.0.2.7:6443", "-----CA-----\n", ACCOUNT, 90)


def jwt(claims: dict[str, Any]) -> str:
    parts = ({"alg": "none"}, claims)
    return ".".join(
        [*(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts), "x"]
    )


def bound(uid: str, begins: datetime, days: float) -> str:
    account = {"name": ACCOUNT, "uid": uid}
    times = {"iat": int(begins.timestamp()), "exp": int((begins + days * DAY).timestamp())}
    return jwt({**times, "kubernetes.io": {"namespace": NAMESPACE, "serviceaccount": account}})


class Cluster(MemoryCluster):
    """Makes tokens as an API server does, and fills Secrets for those without end."""

    def __init__(self, mesh: str, now: datetime = NOW, granted_days: float | None = None) -> None:
        super().__init__()
        self.mesh = mesh
        self.now = now
        self.granted_days = granted_days
        self.kinds["", "Secret"] = SECRETS
        self.kinds["", "ServiceAccount"] = Resource("", "v1", "ServiceAccount", "serviceaccounts", True)
        self.tokens = 0

    def account(self, name: str = ACCOUNT) -> str:
        self.put({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": NAMESPACE}})
        return str(self.objects["ServiceAccount", NAMESPACE, name]["metadata"]["uid"])

    def create_token(self, namespace: str, account: str, lifetime_seconds: int) -> str:
        assert (namespace, account) == (NAMESPACE, ACCOUNT)
        self.tokens += 1
        uid = self.objects["ServiceAccount", namespace, account]["metadata"]["uid"]
        return bound(uid, self.now, self.granted_days or lifetime_seconds / DAY.total_seconds())

    def apply(self, resource: Resource, body: Any, **options: Any) -> dict[str, Any]:
        found = super().apply(resource, body, **options)
        if body.get("type") == "kubernetes.io/service-account-token":
            account = body["metadata"]["annotations"]["kubernetes.io/service-account.name"]
            uid = self.objects["ServiceAccount", NAMESPACE, account]["metadata"]["uid"]
            prefix = "kubernetes.io/serviceaccount/service-account"
            text = jwt({f"{prefix}.name": account, f"{prefix}.uid": uid})
            self.objects["Secret", NAMESPACE, body["metadata"]["name"]]["data"] = {
                "token": base64.b64encode(text.encode()).decode()
            }
        return found


@pytest.fixture
def control_plane() -> Cluster:
    return Cluster("south-a")


@pytest.fixture
def remote() -> Cluster:
    found = Cluster("south-b")
    found.account()
    return found


def run(
    control_plane: Cluster, remote: Cluster, wanted: Wanted = WANTED, check: bool = False, **changes: Any
) -> Outcome:
    return renew(control_plane, remote, wanted, changes.get("now", NOW), check_mode=check, sleep=lambda _seconds: None)


def held(control_plane: Cluster) -> remote_secrets.Held:
    return read(control_plane.get(SECRETS, NAMESPACE, WANTED.secret), "south-b")


def test_a_credential_is_made_and_then_left_alone(control_plane: Cluster, remote: Cluster) -> None:
    first = run(control_plane, remote)
    assert first.reason == "it has none"
    assert first.before == {}
    assert first.after["ends"] == "2027-02-19T12:00:00Z"
    found = held(control_plane)
    assert (found.server, found.ca, found.days) == (WANTED.server, WANTED.ca, 90)
    writes = control_plane.writes
    again = run(control_plane, remote)
    assert (again.reason, again.before) == ("", again.after)
    assert control_plane.writes == writes


def test_istiod_finds_it(control_plane: Cluster, remote: Cluster) -> None:
    run(control_plane, remote)
    secret = control_plane.objects["Secret", NAMESPACE, "istio-remote-secret-south-b"]
    assert secret["metadata"]["labels"]["istio/multiCluster"] == "true"
    config = json.loads(base64.b64decode(secret["data"]["south-b"]))
    assert config["current-context"] == "south-b"
    assert config["clusters"][0]["cluster"]["server"] == WANTED.server
    assert Token.read(config["users"][0]["user"]["token"]).account == ACCOUNT


@pytest.mark.parametrize(
    ("days", "reason"), [(44, ""), (46, "half of its life is over"), (91, "half of its life is over")]
)
def test_it_is_renewed_when_half_of_its_life_is_over(
    control_plane: Cluster, remote: Cluster, days: int, reason: str
) -> None:
    run(control_plane, remote)
    remote.now = NOW + days * DAY
    assert run(control_plane, remote, now=remote.now).reason == reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"server": "https://192.0.2.8:6443"}, "the API server has another address"),
        ({"server_name": "api.example.com"}, "the API server has another address"),
        ({"ca": "other"}, "the API server's certificate is checked against another CA"),
        ({"days": 30}, "another lifetime is wanted"),
        ({"days": 0}, "another lifetime is wanted"),
    ],
)
def test_it_is_made_anew_when_something_else_is_wanted(
    control_plane: Cluster, remote: Cluster, changes: dict[str, Any], reason: str
) -> None:
    run(control_plane, remote)
    other = Wanted(**{**WANTED.__dict__, **changes})
    assert run(control_plane, remote, other, check=True).reason == reason
    assert run(control_plane, remote, other).reason == reason
    assert run(control_plane, remote, other).reason == ""


def test_the_cluster_was_built_anew(control_plane: Cluster, remote: Cluster) -> None:
    run(control_plane, remote)
    rebuilt = Cluster("south-b")
    rebuilt.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "shop"}})
    rebuilt.account()
    assert run(control_plane, rebuilt).reason == "the service account is another one"


def test_check_mode_makes_nothing(control_plane: Cluster, remote: Cluster) -> None:
    found = run(control_plane, remote, check=True)
    assert (found.reason, found.after["ends"]) == ("it has none", "to be made")
    assert (control_plane.writes, remote.writes, remote.tokens) == (0, 0, 0)
    assert run(control_plane, Cluster("south-b"), check=True).reason == "it has none"


def test_without_the_service_account(control_plane: Cluster) -> None:
    with pytest.raises(RemoteSecretError) as raised:
        run(control_plane, Cluster("south-b"))
    assert str(raised.value) == (
        f"south-b: there is no ServiceAccount istio-system/{ACCOUNT} as which another cluster's control plane could"
        f" come. Run role multimesh.istio.control_plane for this host too."
    )


def test_a_token_without_end(control_plane: Cluster, remote: Cluster) -> None:
    lasting = Wanted(**{**WANTED.__dict__, "days": 0})
    assert run(control_plane, remote, lasting, check=True).reason == "it has none"
    assert run(control_plane, remote, lasting).after["ends"] is None
    assert run(control_plane, remote, lasting, now=NOW + 9999 * DAY).reason == ""
    assert remote.tokens == 0
    name = f"{ACCOUNT}-token"
    secret = remote.objects["Secret", NAMESPACE, name]
    remote.delete(SECRETS, NAMESPACE, name, secret["metadata"]["uid"])
    assert run(control_plane, remote, lasting, check=True).reason == "the service account's token is another one"
    run(control_plane, remote, lasting)
    assert ("Secret", NAMESPACE, name) in remote.objects
    assert run(control_plane, remote).reason == "another lifetime is wanted"
    assert ("Secret", NAMESPACE, name) not in remote.objects


def test_a_controller_that_makes_no_token(control_plane: Cluster, remote: Cluster) -> None:
    remote.objects["Secret", NAMESPACE, f"{ACCOUNT}-token"] = {"metadata": {"uid": "1"}}
    with pytest.raises(RemoteSecretError, match=r"south-b: Secret istio-system/.* has no token after 30 s\. Look at"):
        run(control_plane, remote, Wanted(**{**WANTED.__dict__, "days": 0}))


def test_what_others_wrote_there_is_made_anew(control_plane: Cluster, remote: Cluster) -> None:
    for content in ("", "not JSON", json.dumps({"clusters": []})):
        data = base64.b64encode(content.encode()).decode()
        secret = {"metadata": {}, "data": {"south-b": data}}
        assert read(secret, "south-b") == remote_secrets.Held()
    assert read({"metadata": {}, "data": {}}, "south-b") == remote_secrets.Held()
    assert run(control_plane, remote).reason == "it has none"


def test_superfluous_ones_are_those_of_this_collection(control_plane: Cluster, remote: Cluster) -> None:
    run(control_plane, remote)
    theirs = manifest(Wanted("elsewhere", "https://192.0.2.9", "", "x", 1), jwt({}))
    theirs["metadata"]["labels"].pop("app.kubernetes.io/managed-by")
    control_plane.put(theirs)
    assert superfluous(control_plane, [WANTED]) == []
    assert [metadata["name"] for metadata in superfluous(control_plane, [])] == ["istio-remote-secret-south-b"]


def test_somebody_elses_credential_for_the_same_cluster(control_plane: Cluster) -> None:
    theirs = manifest(Wanted("south-b", "https://192.0.2.9", "", "x", 1), jwt({}))
    theirs["metadata"] |= {"name": "by-hand", "labels": {"istio/multiCluster": "true"}}
    control_plane.put(theirs)
    with pytest.raises(RemoteSecretError) as raised:
        superfluous(control_plane, [WANTED])
    assert str(raised.value) == (
        "south-a: Secret istio-system/by-hand is a credential that somebody else made for the same cluster, and istiod"
        " takes a cluster from one Secret only. Delete it, and run again."
    )


def test_a_token_is_never_in_what_is_shown(control_plane: Cluster, remote: Cluster) -> None:
    found = run(control_plane, remote)
    assert found.token
    assert found.token.text not in repr(found) + str(found.before) + str(found.after) + repr(found.token)


@pytest.mark.parametrize("data", [{}, {"secrets.json": "["}, {"secrets.json": "7"}])
def test_a_record_that_somebody_changed(control_plane: Cluster, data: dict[str, str]) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": remote_secrets.RECORD, "namespace": NAMESPACE},
        "data": data,
    }
    control_plane.apply(CONFIG_MAPS, body, manager="somebody")
    with pytest.raises(RemoteSecretError, match=r"^south-a: .*is not what this collection wrote\. Restore"):
        remote_secrets.recorded(control_plane)
