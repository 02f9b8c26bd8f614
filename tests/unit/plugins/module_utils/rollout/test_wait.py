# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.kube import errors
from ansible_collections.multimesh.istio.plugins.module_utils.kube.streams import StreamError
from ansible_collections.multimesh.istio.plugins.module_utils.rollout.held import Held, HeldCrl, Leaf, Trust
from ansible_collections.multimesh.istio.plugins.module_utils.rollout.wait import (
    ANNOTATION,
    Place,
    Rollout,
    Settings,
    wait,
    written,
)
from ansible_collections.multimesh.istio.plugins.module_utils.rollout.wanted import BACKDATED, Wanted

from tests.unit.plugins.module_utils.rollout.pods import istiod, pod

OLD, NEW = "a" * 64, "b" * 64
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
WANTED = Wanted(frozenset({OLD, NEW}))
MINUTE = timedelta(minutes=1)


class Cluster:
    """Serves these pods and a Secret that was written now; remembers what was asked and written."""

    mesh = "east"

    def __init__(self, *pods, version="5"):
        self.pods = list(pods)
        self.version = version
        self.asked = []
        self.applied = []
        self.refusal = None

    def get(self, resource, namespace, name, *, metadata_only=False):
        assert (resource.plural, namespace, name, metadata_only) == ("secrets", "istio-system", "cacerts", True)
        if self.version is None:
            return None
        files = {"manager": "x", "time": "2026-11-21T12:00:00Z", "fieldsV1": {"f:data": {"f:ca-key.pem": {}}}}
        label = {"manager": "y", "time": "2026-11-21T12:30:00Z", "fieldsV1": {"f:metadata": {}}}
        metadata = {"resourceVersion": self.version, "creationTimestamp": "2026-11-20T12:00:00Z"}
        return {"metadata": {**metadata, "managedFields": [label, files]}}

    def list_objects(self, _resource, namespace=None, *, label_selector=None):
        self.asked.append((namespace, label_selector))
        wanted = dict(part.split("=") for part in (label_selector or "").split(",") if part)
        return [
            body
            for body in self.pods
            if namespace in (None, body["metadata"]["namespace"])
            and wanted.items() <= body["metadata"].get("labels", {}).items()
        ]

    def apply(self, _resource, body, *, manager):
        assert manager == "multimesh.istio"
        if self.refusal:
            raise self.refusal
        self.applied.append(body["metadata"])
        for found in self.pods:
            if found["metadata"]["uid"] == body["metadata"]["uid"]:
                found["metadata"]["annotations"] = body["metadata"]["annotations"]
        return body


class Asker:
    """Answers by the name of the pod, with a list of answers one after the other, the last one for ever."""

    def __init__(self, **answers):
        self.answers = {name.replace("_", "-"): list(found) for name, found in answers.items()}
        self.asked = []

    def proxy(self, target):
        self.asked.append(target.name)
        found = self.answers[target.name]
        answer = found.pop(0) if len(found) > 1 else found[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    replica = proxy


def own(issuer="11", made=NOW + MINUTE):
    return Leaf(issuer, "7", made - BACKDATED, made + timedelta(days=1))


def held(*roots):
    return Held((Trust(frozenset(roots)),), (own(),))


def look(cluster, asker, wanted=WANTED, **settings):
    return Rollout(Place(cluster, asker), wanted, Settings(**settings)).look()


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def run(cluster, asker, wanted=WANTED, **settings):
    clock = Clock()
    chosen = Settings(**settings)
    return wait(Rollout(Place(cluster, asker), wanted, chosen), chosen, clock, clock.sleep)


def test_everybody_is_ready():
    cluster = Cluster(istiod("istiod-1"), pod("cart"), pod("job", phase="Succeeded"), pod("plain", container="app2"))
    report = look(cluster, Asker(istiod_1=[own()], cart=[held(OLD, NEW)]))
    assert report.ready
    assert report.line == "east: istiod 1/1, proxies 1/1"
    assert cluster.applied == []
    found = report.as_dict()
    assert found["counts"]["proxies"] == {"ready": 1, "waiting": 0, "unreachable": 0, "unsupported": 0}
    assert found["proxies"][0] == {
        "namespace": "shop",
        "name": "cart",
        "kind": "sidecar",
        "state": "ready",
        "reason": "",
        "roots": [OLD, NEW],
        "issuer": "11",
        "serial": "7",
        "not_before": "2026-11-21T11:59:00Z",
        "not_after": "2026-11-22T12:01:00Z",
        "crls": [],
    }
    assert found["replicas"][0]["roots"] == []


def test_replicas_alone_are_awaited():
    cluster = Cluster(istiod("istiod-1"), pod("cart"))
    asker = Asker(istiod_1=[own()], cart=[held(OLD)])
    report = look(cluster, asker, proxies=False)
    assert report.ready
    assert report.proxies == ()
    assert asker.asked == ["istiod-1"]


def test_who_takes_no_other_root_is_told_how_to():
    takes = {"PROXY_CONFIG_XDS_AGENT": "true"}
    cluster = Cluster(istiod("istiod-1"), pod("cart", env=takes), pod("old"))
    report, _seconds = run(cluster, Asker(cart=[held(OLD, NEW)]), takes_roots=True)
    assert report.hopeless
    assert {entry.target.name: entry.state for entry in report.behind} == {
        "istiod-1": "unsupported",
        "old": "unsupported",
    }
    assert (
        "istiod istio-system/istiod-1: unsupported: it refuses another root without ISTIO_MULTIROOT" in report.failure
    )
    assert "PROXY_CONFIG_XDS_AGENT (meshConfig.defaultConfig.proxyMetadata, then restart the pods)" in report.failure


def test_lists_are_told():
    crls = frozenset({HeldCrl("22", 3), HeldCrl("11", 0)})
    asker = Asker(cart=[Held((Trust(frozenset({OLD}), crls),))])
    entry = look(Cluster(pod("cart")), asker, Wanted(crls={"11": 0})).as_dict()["proxies"][0]
    assert entry["crls"] == [{"issuer": "11", "number": 0}, {"issuer": "22", "number": 3}]
    assert entry["serial"] is None


def test_a_mesh_that_another_cluster_controls():
    cluster = Cluster(pod("cart"), version=None)
    assert look(cluster, Asker(cart=[held(OLD, NEW)]), hurry=True).line == "east: istiod 0/0, proxies 1/1"


@pytest.mark.parametrize(
    ("body", "answer", "state", "reason"),
    [
        (pod("a"), held(OLD), "waiting", "does not trust root bbbb"),
        (pod("a"), Held(), "ready", "only passes connections through"),
        (pod("a"), StreamError("east: no answer in time."), "unreachable", "no answer in time"),
        (pod("a", state="waiting"), StreamError("x"), "ready", "it does not run"),
        (pod("a", state="waiting"), held(OLD), "waiting", "does not trust"),
        (pod("a", node=None), AssertionError("is not asked"), "ready", "it does not run"),
        (pod("a", args=("proxy", "ztunnel")), AssertionError("is not asked"), "unsupported", "ambient"),
        (pod("a", deletionTimestamp="x"), held(OLD), "waiting", "does not trust"),
        (pod("a", deletionTimestamp="x"), StreamError("x"), None, None),
        (pod("a"), errors.NotFoundError("gone", 404), None, None),
    ],
)
def test_states_of_a_proxy(body, answer, state, reason):
    found = look(Cluster(body), Asker(a=[answer])).proxies
    assert [entry.state for entry in found] == ([state] if state else [])
    assert all(reason in entry.reason for entry in found)


@pytest.mark.parametrize(
    ("options", "answer", "state"),
    [
        ({}, own(), "ready"),
        ({}, own(made=NOW - MINUTE), "waiting"),
        ({}, StreamError("x"), "unreachable"),
        ({"state": "waiting"}, StreamError("x"), "waiting"),
        ({"deletionTimestamp": "x"}, StreamError("x"), None),
    ],
)
def test_states_of_a_replica(options, answer, state):
    found = look(Cluster(istiod("istiod-1", **options)), Asker(istiod_1=[answer])).replicas
    assert [entry.state for entry in found] == ([state] if state else [])


@pytest.mark.parametrize(
    "refusal",
    [errors.ForbiddenError("east: create portforward", 403), errors.UnauthorizedError("east: x", 401)],
)
@pytest.mark.parametrize("who", ["cart", "istiod-1"])
def test_missing_rights_are_no_matter_of_one_pod(refusal, who):
    answers = {"cart": [held(OLD, NEW)], "istiod-1": [own()], who: [refusal]}
    with pytest.raises(type(refusal)):
        look(Cluster(istiod("istiod-1"), pod("cart")), Asker(**answers))


def test_waiting_asks_only_who_is_behind():
    asker = Asker(istiod_1=[own()], fast=[held(OLD, NEW)], slow=[held(OLD), held(OLD), held(OLD, NEW)])
    report, seconds = run(Cluster(istiod("istiod-1"), pod("fast"), pod("slow")), asker, poll_interval=3)
    assert (report.ready, seconds) == (True, 6)
    assert sorted(asker.asked) == ["fast", "istiod-1", "slow", "slow", "slow"]


def test_who_was_ready_before_all_replicas_were_is_asked_again():
    asker = Asker(istiod_1=[own(made=NOW - MINUTE), own()], cart=[held(OLD, NEW), held(OLD), held(OLD, NEW)])
    report, seconds = run(Cluster(istiod("istiod-1"), pod("cart")), asker, poll_interval=1)
    assert (report.ready, seconds) == (True, 2)


def test_another_version_of_the_secret_and_restarts_begin_anew():
    cluster = Cluster(istiod("istiod-1"), pod("cart"))
    asker = Asker(istiod_1=[own()], cart=[held(OLD, NEW)])
    rollout = Rollout(Place(cluster, asker), WANTED, Settings())
    rollout.look()
    rollout.look()
    assert len(asker.asked) == 2
    cluster.version = "6"
    rollout.look()
    assert len(asker.asked) == 4
    cluster.pods[1] = pod("cart", restarts=1)
    rollout.look()
    assert len(asker.asked) == 5


def test_time_is_over():
    asker = Asker(istiod_1=[own(made=NOW - MINUTE)], **{f"p{index}": [held(OLD)] for index in range(12)})
    cluster = Cluster(istiod("istiod-1"), *(pod(f"p{index}") for index in range(12)))
    report, seconds = run(cluster, asker, timeout=5, poll_interval=2)
    assert (report.ready, seconds) == (False, 5)
    text = report.failure
    assert text.startswith("east: not everybody holds what is wanted, ready are istiod 0/1, proxies 0/12:\n")
    assert "\n  - istiod istio-system/istiod-1: waiting: its own certificate was made 2026-11-21T11:59:00Z" in text
    assert "\n  - and 3 more\nNothing is lost by waiting: run again" in text
    assert report.line.startswith("east: istiod 0/1, proxies 0/12; istiod istio-system/istiod-1: waiting")
    assert report.line.endswith("(and 12 more)")


def test_nobody_waits_for_what_cannot_be():
    cluster = Cluster(pod("a", args=("proxy", "ztunnel")), pod("b"))
    report, seconds = run(cluster, Asker(b=[StreamError("east: connection refused")]))
    assert seconds == 0
    assert "leave the mesh first" in report.failure
    assert "kubelet of its node" in report.failure
    assert not report.as_dict()["pending"]


def test_revocation_lists_that_cannot_arrive_are_warned_of():
    gateways = [pod(f"gateway-{index}", args=("proxy", "router"), lists=False) for index in range(12)]
    asker = Asker(**{f"gateway_{index}": [held(OLD)] for index in range(12)}, idle=[Held()])
    cluster = Cluster(*gateways, pod("idle", lists=False))
    report = look(cluster, asker, Wanted(crls={"33": 2}))
    assert report.ready
    (warning,) = report.warnings
    assert warning.startswith("east: revocation lists do not reach gateway shop/gateway-0, gateway shop/gateway-1, ")
    assert " and 2 more: where these check peers" in warning
    assert look(cluster, asker, Wanted(frozenset({OLD}))).warnings == ()


def test_a_proxy_that_renewed_too_early():
    report = look(Cluster(istiod("istiod-1"), pod("cart")), Asker(istiod_1=[own()], cart=[held(OLD)]))
    assert report.as_dict()["late_renewal"]
    assert report.as_dict()["pending"]
    assert "when the bytes of root-cert.pem change again" in report.failure
    both = look(Cluster(istiod("istiod-1"), pod("cart")), Asker(istiod_1=[own(made=NOW - MINUTE)], cart=[held(OLD)]))
    assert not both.late_renewal
    assert "lines about cacerts and ROOT-CA" in both.failure


def test_one_look():
    report, seconds = run(Cluster(pod("cart")), Asker(cart=[held(OLD)]), timeout=0)
    assert (report.ready, seconds) == (False, 0)


def test_namespaces():
    cluster = Cluster(pod("cart"), pod("other", "bank"), pod("third", "third"))
    report = look(cluster, Asker(cart=[held(OLD, NEW)], other=[held(OLD, NEW)]), namespaces=["shop", "bank"])
    assert [entry.target.name for entry in report.proxies] == ["other", "cart"]
    assert cluster.asked == [("istio-system", "app=istiod"), ("shop", None), ("bank", None)]


def test_hurry_annotates_once_who_is_behind():
    late = own(made=NOW - MINUTE)
    cluster = Cluster(istiod("istiod-1"), istiod("istiod-2"))
    asker = Asker(istiod_1=[late, late, own()], istiod_2=[own()])
    report, _seconds = run(cluster, asker, hurry=True)
    assert report.ready
    assert report.hurried == ("istiod-1",)
    assert [metadata["annotations"] for metadata in cluster.applied] == [{ANNOTATION: "5"}]
    assert cluster.applied[0]["uid"] == "uid-istiod-1"


def test_hurry_needs_a_right():
    cluster = Cluster(istiod("istiod-1"))
    cluster.refusal = errors.ForbiddenError("east: apply Pod istio-system/istiod-1: HTTP 403", 403)
    with pytest.raises(errors.ForbiddenError):
        run(cluster, Asker(istiod_1=[own(made=NOW - MINUTE)]), hurry=True)
    cluster.refusal = errors.ConflictError("gone", 409)
    report, _seconds = run(cluster, Asker(istiod_1=[own(made=NOW - MINUTE)]), hurry=True, timeout=0)
    assert report.hurried == ()


def test_without_hurry_nothing_is_written():
    cluster = Cluster(istiod("istiod-1"))
    run(cluster, Asker(istiod_1=[own(made=NOW - MINUTE)]), timeout=0)
    assert cluster.applied == []


def test_when_a_secret_was_written():
    assert written(None) is None
    assert written({"metadata": {"creationTimestamp": "2026-11-21T12:00:00Z"}}) == NOW


def test_proxies_of_served_clusters_are_awaited_too():
    primary, served = Cluster(istiod("istiod-1"), pod("cart")), Cluster(pod("till"))
    served.mesh = "east-2"
    asker, other = Asker(istiod_1=[own()], cart=[held(OLD, NEW)]), Asker(till=[held(OLD), held(OLD, NEW)])
    rollout = Rollout(Place(primary, asker), WANTED, Settings(), [Place(served, other)])
    first = rollout.look()
    assert not first.ready
    assert "sidecar shop/till of east-2: waiting" in first.line
    assert rollout.look().ready
    assert asker.asked == ["istiod-1", "cart"]


def test_a_served_cluster_has_no_istiod_to_hurry():
    primary, served = Cluster(istiod("istiod-1"), pod("cart")), Cluster(pod("till"))
    asker = Asker(istiod_1=[own()], cart=[held(OLD, NEW)])
    rollout = Rollout(Place(primary, asker), WANTED, Settings(hurry=True), [Place(served, Asker(till=[held(OLD)]))])
    assert not rollout.look().ready
    assert served.applied == []
