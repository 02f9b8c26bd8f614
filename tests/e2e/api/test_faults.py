# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sets of objects on an API server that fails, is slow, or whose client is killed, at any request.

MULTIMESH_KILL_POINTS says how many trials a test makes, `all` for one at every request.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from tests.e2e.api.cluster import ApiCluster
from tests.e2e.api.conftest import MESH
from tests.e2e.api.objects import config_map, destination_rule, service, service_entry
from tests.e2e.api.proxy import Answer, ApiProxy, Hang, Kill, Plan, Reset, Slow, let_pass, on

POINTS = os.environ.get("MULTIMESH_KILL_POINTS", "6")
PORTS = [{"name": "http", "port": 80}]
HOST = "reviews.shop.svc.east.global"
ONCE = [
    *(Answer(status, late=late) for status in (429, 500, 503) for late in (False, True)),
    Answer(429, retry_after=1),
    Reset(),
    Reset(late=True),
    Slow(1.0),
]
LASTING = [Answer(429), Answer(500), Answer(503, late=True), Reset(late=True), Hang(), Hang(late=True)]


def sample(trials: list[Any]) -> list[Any]:
    """So many of these, or all; the same ones every time."""
    if POINTS == "all":
        return trials
    chosen = random.Random(len(trials)).sample(range(len(trials)), min(int(POINTS), len(trials)))
    return [trials[index] for index in sorted(chosen)]


class Sets:
    """One set in a namespace, applied through the proxy; other objects are around it."""

    def __init__(self, cluster: ApiCluster, proxy: ApiProxy, namespace: str) -> None:
        self.cluster = cluster
        self.proxy = proxy
        self.namespace = namespace

    def before(self) -> list[dict[str, Any]]:
        where = self.namespace
        return [config_map(where, "kept", x="1"), service(where, "old", PORTS), service_entry(where, "old.test")]

    def after(self) -> list[dict[str, Any]]:
        where = self.namespace
        new = [config_map(where, f"new-{index}", x="1") for index in range(3)]
        return [config_map(where, "kept", x="2"), *new, service_entry(where, HOST), destination_rule(where, HOST)]

    def options(self) -> dict[str, Any]:
        return {"name": "set", "namespace": self.namespace, "kubeconfig": str(self.proxy.kubeconfig(MESH))}

    def run(self, objects: list[dict[str, Any]] | None, plan: Plan = let_pass, **options: Any) -> dict[str, Any]:
        self.proxy.begin(plan)
        return self.cluster.module("applyset", objects=objects, **{"mesh": MESH, **self.options(), **options})

    def begin(self) -> None:
        """As an earlier run has left it."""
        assert "failed" not in self.run(self.before())

    def held(self) -> dict[str, Any]:
        """What is in the namespace, without what differs by history."""
        kinds = "configmaps,services,serviceentries,destinationrules"
        items = json.loads(self.cluster.kubectl("get", kinds, "-n", self.namespace, "-o", "json"))["items"]
        return {
            f"{item['kind']} {self.namespace}/{item['metadata']['name']}": (
                item.get("data"),
                {key: value for key, value in item.get("spec", {}).items() if not key.startswith("clusterIP")},
                item["metadata"].get("labels"),
            )
            for item in items
            if item["metadata"]["name"] != "kube-root-ca.crt"
        }

    def finish(self, whole: dict[str, Any]) -> None:
        """Undisturbed, the next run makes it whole, and the one after that has nothing to do."""
        assert "failed" not in self.run(self.after())
        assert self.held() == whole
        again = self.run(self.after())
        assert (again["changed"], again["requests"]["write"]) == (False, 0)


@pytest.fixture(scope="module")
def proxy(api_cluster: ApiCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProxy]:
    with ApiProxy({MESH: api_cluster.kubeconfig}, tmp_path_factory.mktemp("proxy")) as proxy:
        yield proxy


@pytest.fixture
def sets(api_cluster: ApiCluster, proxy: ApiProxy, namespace: str) -> Sets:
    return Sets(api_cluster, proxy, namespace)


@pytest.fixture
def whole(sets: Sets) -> dict[str, Any]:
    """What an undisturbed run leads to."""
    sets.begin()
    assert "failed" not in sets.run(sets.after(), concurrency=1)
    return sets.held()


@pytest.fixture
def requests(sets: Sets, whole: dict[str, Any]) -> int:  # noqa: ARG001, for its order
    """How many requests such a run sends, one after the other."""
    sets.begin()
    sets.run(sets.after(), concurrency=1)
    return len(sets.proxy.requests)


def test_a_request_that_fails_once_is_repeated(
    sets: Sets, whole: dict[str, Any], requests: int, subtests: pytest.Subtests
) -> None:
    for index, fault in sample([(index, fault) for index in range(requests) for fault in ONCE]):
        with subtests.test(index=index, fault=fault):
            sets.begin()
            result = sets.run(sets.after(), on(fault, index=index), concurrency=1)
            assert "failed" not in result, result["msg"]
            assert sets.held() == whole


def test_an_api_server_that_goes_on_failing_is_named_and_nothing_is_done_in_silence(
    sets: Sets, whole: dict[str, Any], requests: int, subtests: pytest.Subtests
) -> None:
    for index, fault in sample([(index, fault) for index in range(requests) for fault in LASTING]):
        with subtests.test(index=index, fault=fault):
            sets.begin()
            before = sets.held()
            result = sets.run(sets.after(), on(fault, skip=index), request_timeout=2)
            assert result["failed"] is True
            assert result["msg"].startswith(f"{MESH}: ")
            after = sets.held()
            touched = {name for name in {*before, *after} if before.get(name) != after.get(name)}
            said = {name for names in ("create", "change", "delete") for name in result.get("done", {}).get(names, [])}
            # a late fault is one that the server carried out and nobody heard of: its object is named in the message
            unsaid = [name for name in touched - said if name not in result["msg"] and not name.endswith("/set")]
            assert unsaid == []
            sets.finish(whole)


def test_a_slow_api_server_is_waited_for(sets: Sets, whole: dict[str, Any]) -> None:
    sets.begin()
    assert "failed" not in sets.run(sets.after(), on(Slow(0.5)))
    assert sets.held() == whole


def test_a_run_killed_at_any_request_is_completed_by_the_next(
    sets: Sets, whole: dict[str, Any], requests: int, subtests: pytest.Subtests
) -> None:
    for index, late in sample([(index, late) for index in range(requests) for late in (False, True)]):
        with subtests.test(index=index, late=late):
            sets.begin()
            pid: Future[int] = Future()
            sets.proxy.begin(on(Kill(pid, late=late), index=index))
            process = sets.cluster.start_module("applyset", objects=sets.after(), concurrency=1, **sets.options())
            pid.set_result(process.pid)
            process.communicate()
            assert process.returncode == -9
            sets.finish(whole)


def test_random_histories_touch_nobody_elses_object_and_kubectl_agrees(
    sets: Sets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECTL_APPLYSET", "true")
    where, chance = sets.namespace, random.Random(7)
    sets.cluster.kubectl("create", "configmap", "-n", where, "theirs", "--from-literal=x=1")
    other = [config_map(where, "of-another-set", x="1")]
    assert "failed" not in sets.run(other, name="other")
    foreign = ("theirs", "of-another-set", "other")

    def versions() -> dict[str, str]:
        found = (sets.cluster.get("configmap", where, name) for name in foreign)
        return {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in found if item}

    before = versions()
    assert len(before) == 3
    makers: list[Callable[[str], dict[str, Any]]] = [
        lambda name: config_map(where, name, x=str(chance.randrange(3))),
        lambda name: service(where, name, PORTS),
        lambda name: service_entry(where, f"{name}.test"),
    ]
    pruned = 0
    for _step in range(25 if POINTS != "all" else 200):
        wanted = [make(name) for name in "abc" for make in makers if chance.random() < 0.5]
        planned = sets.run(wanted, check=True)["plan"]["delete"]
        if wanted:  # kubectl wants at least one object
            said = sets.cluster.kubectl(
                *(
                    "apply",
                    "--server-side",
                    "--field-manager=multimesh.istio",
                    "--dry-run=server",
                    "--prune",
                    "-n",
                    where,
                ),
                *("--applyset=configmaps/set", "-f", "-"),
                stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": wanted}),
            )
            assert said.count("pruned") == len(planned), (planned, said)
        done = sets.run(wanted)
        assert done["plan"]["delete"] == planned
        pruned += len(planned)
        assert versions() == before
    print(f"{pruned} objects were pruned")
    assert pruned > 25
