# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The CAs of the meshes come out right, whatever request a run is killed at and whatever request fails.

Three API servers without nodes, emptied before each trial; what is under test reaches them through a proxy. Most trials
take the steps of the role directly, in about a second; some run the role by ansible-playbook.
MULTIMESH_KILL_POINTS says how many trials a test makes, `all` for one at every request.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, TypeVar

import pytest
import yaml

from tests.e2e.api.ca_clusters import MESHES, Bundle, CaClusters, assert_in_order, ca_clusters, the_root
from tests.e2e.api.ca_run import PASSPHRASE, CaRun, Result
from tests.e2e.api.proxy import Answer, Fault, Hang, Kill, Plan, Reset, let_pass, on
from tests.e2e.support import Run

BROKEN = "west"
POINTS = os.environ.get("MULTIMESH_KILL_POINTS", "6")
PLAYBOOK_POINTS = "20" if POINTS == "all" else "1"
RUNS = 100 if POINTS == "all" else 3
"""How often two runs are started at once, each time to provision and to exchange the root."""
PATIENCE = 2
"""Seconds that one request may take, its retries included, where an API server does not recover anyway."""
ONCE = [
    *(Answer(status, late=late) for status in (429, 500, 503) for late in (False, True)),
    Answer(429, retry_after=1),
    Reset(),
    Reset(late=True),
]
LASTING = [Answer(429), Answer(500), Answer(503, late=True), Reset(late=True), Hang(), Hang(late=True)]

_T = TypeVar("_T")


def sample(trials: Iterable[_T], points: str = POINTS) -> list[_T]:
    """So many of these, or all; the same ones every time."""
    every = list(trials)
    if points == "all":
        return every
    chosen = sorted(random.Random(len(every)).sample(range(len(every)), min(int(points), len(every))))
    return [every[index] for index in chosen]


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CaClusters]:
    with ca_clusters(tmp_path_factory.mktemp("interruptions")) as clusters:
        yield clusters


def failures(results: Mapping[str, Result]) -> dict[str, str]:
    return {mesh: result.failure for mesh, result in results.items() if result.failure}


def killed(clusters: CaClusters, what: CaRun, index: int, *, late: bool) -> bool:
    """Start a run and kill it at a request; whether it came that far."""
    pid: Future[int] = Future()
    clusters.proxy.begin(on(Kill(pid, late=late), index=index))
    running = what.start()
    pid.set_result(running.pid)
    return running.finish() is None


def kill_points(requests: Counter[str]) -> list[tuple[int, bool]]:
    """At every request, before and after the API server got it."""
    return sample((index, late) for index in range(requests.total()) for late in (False, True))


def finish(clusters: CaClusters, what: CaRun) -> list[Bundle]:
    """Run undisturbed: everything is good then, nothing is left over, and another run has nothing to do."""
    clusters.proxy.begin()
    results = what.finish()
    assert not failures(results)
    bundles = assert_finished(clusters)
    assert {root for result in results.values() for root in result.roots} == {the_root(bundles)}
    assert_nothing_to_do(clusters, what)
    return bundles


def assert_finished(clusters: CaClusters) -> list[Bundle]:
    bundles = clusters.bundles()
    assert [bundle.mesh for bundle in bundles] == list(MESHES)
    assert all(bundle.lists for bundle in bundles)
    assert_in_order(bundles)
    assert clusters.leftovers() == []
    return bundles


def assert_nothing_to_do(clusters: CaClusters, what: CaRun) -> None:
    clusters.proxy.begin()
    results = what.finish()
    assert not failures(results)
    assert [result.changed for result in results.values()] == [False] * len(MESHES)
    assert {request.method for request in clusters.proxy.requests} == {"GET"}


def assert_kept(before: Iterable[Bundle], after: Iterable[Bundle]) -> None:
    """A mesh that had a CA has the same one."""
    signers = {bundle.mesh: (bundle.signer, bundle.files["ca-key.pem"]) for bundle in after}
    for bundle in before:
        assert signers[bundle.mesh] == (bundle.signer, bundle.files["ca-key.pem"]), bundle.mesh


def counted(clusters: CaClusters, what: CaRun) -> Counter[str]:
    """How many requests a run sends to each cluster."""
    clusters.proxy.begin()
    begin = time.monotonic()
    results = what.finish()
    seconds = time.monotonic() - begin
    requests = clusters.proxy.requests
    assert not failures(results)
    counts = Counter(request.mesh for request in requests)
    print(f"\n{dict(counts)} in {seconds:.1f} s", *(one for one in requests if one.mesh == MESHES[0]), sep="\n")
    return counts


@pytest.fixture(scope="module")
def provisioning(clusters: CaClusters) -> Counter[str]:
    """Requests of a run on empty clusters."""
    what = clusters.emptied()
    counts = counted(clusters, what)
    finish(clusters, what)
    return counts


def finish_provisioning(clusters: CaClusters, what: CaRun) -> None:
    """After a run that was killed: what is there is in order, and kept by the next one."""
    before = clusters.bundles()
    assert_in_order(before)
    assert_kept(before, finish(clusters, what))


def kill_and_finish(
    clusters: CaClusters,
    requests: Counter[str],
    subtests: pytest.Subtests,
    begin: Callable[[CaClusters], CaRun],
    resume: Callable[[CaClusters, CaRun], None],
) -> None:
    """Kill one run after the other, each at another request, and see what the next one makes of it."""
    kills = 0
    points = kill_points(requests)
    for index, late in points:
        with subtests.test(index=index, late=late):
            what = begin(clusters)
            kills += killed(clusters, what, index, late=late)
            resume(clusters, what)
    print(f"{kills} of {len(points)} runs were killed")
    assert kills > len(points) * 0.9


def test_provisioning_that_is_killed_is_finished_by_the_next_run(
    clusters: CaClusters, provisioning: Counter[str], subtests: pytest.Subtests
) -> None:
    kill_and_finish(clusters, provisioning, subtests, CaClusters.emptied, finish_provisioning)


def test_a_request_that_fails_once_is_repeated(
    clusters: CaClusters, provisioning: Counter[str], subtests: pytest.Subtests
) -> None:
    for index, fault in sample((index, fault) for index in range(provisioning.total()) for fault in ONCE):
        with subtests.test(index=index, fault=fault):
            what = clusters.emptied()
            clusters.proxy.begin(on(fault, index=index))
            assert not failures(what.finish())
            assert_finished(clusters)


def assert_others_finished(bundles: Iterable[Bundle]) -> None:
    """All meshes are, but for the one whose API server is broken."""
    others = [bundle for bundle in bundles if bundle.mesh != BROKEN]
    assert [bundle.mesh for bundle in others] == [mesh for mesh in MESHES if mesh != BROKEN]
    assert all(bundle.lists for bundle in others)
    assert_in_order(others)


def broken_points(requests: Counter[str]) -> list[tuple[int, Fault]]:
    return sample((number, fault) for number in range(requests[BROKEN]) for fault in LASTING)


def test_an_api_server_that_fails_stops_the_provisioning_of_its_own_mesh_only(
    clusters: CaClusters, provisioning: Counter[str], subtests: pytest.Subtests
) -> None:
    for number, fault in broken_points(provisioning):
        with subtests.test(number=number, fault=fault):
            what = clusters.emptied(PATIENCE)
            clusters.proxy.begin(on(fault, mesh=BROKEN, skip=number))
            messages = failures(what.finish())
            assert set(messages) == {BROKEN}
            assert messages[BROKEN].startswith(f"{BROKEN}: ")
            before = clusters.bundles()
            assert_others_finished(before)
            assert_kept(before, finish(clusters, what))


def rotation_of(clusters: CaClusters, request_timeout: int = 30) -> CaRun:
    """The exchange of the root of freshly provisioned meshes."""
    what = clusters.emptied()
    clusters.proxy.begin()
    assert not failures(what.finish())
    return replace(what, rotate_from=the_root(clusters.bundles()), request_timeout=request_timeout)


def finish_rotation(clusters: CaClusters, what: CaRun) -> None:
    """After whatever happened to an earlier run: no mesh is cut off, and the next one leads all to one new root."""
    assert_in_order(clusters.bundles())
    bundles = finish(clusters, what)
    assert the_root(bundles) != what.rotate_from
    assert_nothing_to_do(clusters, replace(what, rotate_from=None))


@pytest.fixture(scope="module")
def rotation(clusters: CaClusters) -> Counter[str]:
    """Requests of an exchange of the root."""
    what = rotation_of(clusters)
    counts = counted(clusters, what)
    finish_rotation(clusters, what)
    return counts


def test_a_rotation_that_is_killed_is_finished_by_the_next_run(
    clusters: CaClusters, rotation: Counter[str], subtests: pytest.Subtests
) -> None:
    kill_and_finish(clusters, rotation, subtests, rotation_of, finish_rotation)


def test_an_api_server_that_fails_stops_the_rotation_of_all(
    clusters: CaClusters, rotation: Counter[str], subtests: pytest.Subtests
) -> None:
    for number, fault in broken_points(rotation):
        with subtests.test(number=number, fault=fault):
            what = rotation_of(clusters, PATIENCE)
            clusters.proxy.begin(on(fault, mesh=BROKEN, skip=number))
            messages = failures(what.finish())
            assert set(messages) == {BROKEN}
            assert messages[BROKEN].startswith(f"{BROKEN}: ")
            finish_rotation(clusters, what)


@pytest.mark.parametrize("made", [CaClusters.emptied, rotation_of], ids=["provisioning", "rotation"])
def test_of_two_runs_at_once_one_is_told_who_the_other_is(
    clusters: CaClusters, made: Callable[[CaClusters], CaRun], subtests: pytest.Subtests
) -> None:
    """The second one begins somewhere within the first."""
    told = 0
    for trial in range(RUNS):
        with subtests.test(trial=trial):
            what = made(clusters)
            clusters.proxy.begin()
            first = what.start()
            time.sleep(random.Random(trial).uniform(0, 1.5))
            second = what.start()
            outcomes = [running.finish() or {} for running in (first, second)]
            messages = [message for results in outcomes for message in failures(results).values()]
            told += any(f"process {running.pid}" in message for running in (first, second) for message in messages)
            assert any(not failures(results) for results in outcomes), messages
            assert_in_order(clusters.bundles())
            finish(clusters, what)
    print(f"{told} of {RUNS} times somebody was told who holds the lease")
    assert told


class Playbook:
    """The role, run by ansible-playbook through the proxy."""

    def __init__(self, clusters: CaClusters) -> None:
        self.clusters = clusters
        self.folder = clusters.folder / "playbook"
        self.folder.mkdir()
        hosts = {mesh: {"mesh_kubeconfig": str(clusters.proxy.kubeconfig(mesh))} for mesh in MESHES}
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "shared_root_ca_directory": str(clusters.folder / "ca"),
            "shared_root_ca_passphrase": PASSPHRASE,
        }
        play = {"hosts": "meshes", "gather_facts": False, "roles": ["multimesh.istio.shared_root_ca"]}
        self._write("hosts.yml", {"meshes": {"hosts": hosts, "vars": variables}})
        self._write("play.yml", [play])

    def _write(self, name: str, content: Any) -> None:
        (self.folder / name).write_text(yaml.safe_dump(content))

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["ansible-playbook", "-i", "hosts.yml", "play.yml"],
            cwd=self.folder,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, plan: Plan = let_pass) -> Run:
        self.clusters.proxy.begin(plan)
        begin = time.monotonic()
        process = self.start()
        output, _none = process.communicate(timeout=900)
        run = Run(output, process.returncode, time.monotonic() - begin)
        print(f"{run.seconds:.1f} s, exit code {run.returncode}, {run.recap}")
        return run

    def killed(self, index: int, *, late: bool) -> bool:
        """Start it and kill it at a request; whether it came that far."""
        pid: Future[int] = Future()
        self.clusters.proxy.begin(on(Kill(pid, late=late), index=index))
        process = self.start()
        pid.set_result(process.pid)
        process.communicate(timeout=900)
        return process.returncode == -9

    def finish(self) -> None:
        """Run undisturbed: what was good is kept, the rest is made good, and another run has nothing to do."""
        before = self.clusters.bundles()
        self.run().ok()
        assert_kept(before, assert_finished(self.clusters))
        again = self.run().ok()
        assert {mesh: counts["changed"] for mesh, counts in again.recap.items()} == dict.fromkeys(MESHES, 0)
        assert {request.method for request in self.clusters.proxy.requests} == {"GET"}


@pytest.fixture(scope="module")
def playbook(clusters: CaClusters) -> Playbook:
    return Playbook(clusters)


@pytest.fixture(scope="module")
def played(clusters: CaClusters, playbook: Playbook) -> Counter[str]:
    """Requests of the playbook on empty clusters."""
    clusters.emptied()
    playbook.run().ok()
    return Counter(request.mesh for request in clusters.proxy.requests)


def test_a_playbook_that_is_killed_is_finished_by_the_next(
    clusters: CaClusters, playbook: Playbook, played: Counter[str], subtests: pytest.Subtests
) -> None:
    points = ((index, late) for index in range(played.total()) for late in (False, True))
    for index, late in sample(points, PLAYBOOK_POINTS):
        with subtests.test(index=index, late=late):
            clusters.emptied()
            assert playbook.killed(index, late=late)
            assert_in_order(clusters.bundles())
            playbook.finish()


@pytest.mark.parametrize("fault", sample([Answer(500), Answer(429, retry_after=1), Hang(late=True)], PLAYBOOK_POINTS))
def test_a_playbook_goes_on_without_the_mesh_whose_api_server_fails(
    clusters: CaClusters, playbook: Playbook, played: Counter[str], fault: Fault
) -> None:
    clusters.emptied()
    run = playbook.run(on(fault, mesh=BROKEN, skip=played[BROKEN] // 2))
    assert run.returncode != 0
    assert f"{BROKEN}: " in run.output
    assert {mesh: counts["failed"] for mesh, counts in run.recap.items()} == {**dict.fromkeys(MESHES, 0), BROKEN: 1}
    assert_others_finished(clusters.bundles())
    playbook.finish()
