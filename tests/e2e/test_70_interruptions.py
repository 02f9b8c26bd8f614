# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The CAs of meshes are provisioned in the end, whatever request a run is killed at and whatever request fails.

Three API servers without nodes, emptied before each trial; what is under test reaches them through a proxy. Most trials
take the steps of the role directly, in about a second; some run the role by ansible-playbook.
MULTIMESH_KILL_POINTS says how many trials a test makes, `all` for one at every request.
"""

from __future__ import annotations

import base64
import os
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml
from ansible_collections.multimesh.istio.plugins.module_utils.pki.verify import Expectation, verify_bundle
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.e2e.api.cluster import ApiCluster
from tests.e2e.api_proxy import Answer, ApiProxy, Fault, Hang, Kill, Plan, Reset, let_pass, on
from tests.e2e.provisioning import PASSPHRASE, Provisioning, Result
from tests.e2e.support import Run
from tests.lab.api import Lab
from tests.lab.kubeapi import ApiError

MESHES = ("east", "west", "north")
BROKEN = "west"
SYSTEM = "/api/v1/namespaces/istio-system"
POINTS = os.environ.get("MULTIMESH_KILL_POINTS", "10")
PLAYBOOK_POINTS = "20" if POINTS == "all" else str(max(1, int(POINTS) // 4))
PATIENCE = 2
"""Seconds that one request may take, its retries included, where an API server does not recover anyway."""

_T = TypeVar("_T")


def sample(trials: Iterable[_T], points: str = POINTS) -> list[_T]:
    """So many of these, or all; the same ones every time."""
    every = list(trials)
    chosen = random.Random(len(every)).sample(every, len(every) if points == "all" else min(int(points), len(every)))
    return [trial for trial in every if trial in chosen]


class Clusters:
    """The API servers. What is under test has `clusters` and goes through the proxy, the tests go around it."""

    def __init__(self, lab: Lab, proxy: ApiProxy, folder: Path) -> None:
        self.lab = lab
        self.proxy = proxy
        self.folder = folder
        self.clusters = [ApiCluster(lab, mesh) for mesh in MESHES]
        self._apis = {mesh: lab.cluster(mesh).api() for mesh in MESHES}
        for cluster in self.clusters:
            cluster.kubeconfig = proxy.kubeconfig(cluster.mesh)

    def emptied(self, request_timeout: int = 30) -> Provisioning:
        """A run that has everything before it: no namespace istio-system anywhere, no directory of the root."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._empty, MESHES))
        directory = self.folder / "ca"
        shutil.rmtree(directory, ignore_errors=True)
        return Provisioning(self.clusters, directory, request_timeout)

    def _empty(self, mesh: str) -> None:
        # Nothing but the API server runs, so nobody else empties a namespace that is deleted.
        api = self._apis[mesh]
        leases = SYSTEM.replace("/api/v1", "/apis/coordination.k8s.io/v1") + "/leases"
        for collection in (f"{SYSTEM}/secrets", f"{SYSTEM}/configmaps", leases):
            api.request("DELETE", collection)
        try:
            api.request("DELETE", SYSTEM)
            namespace = api.request("GET", SYSTEM)
        except ApiError as error:
            if error.status == 404:
                return
            raise
        namespace["spec"]["finalizers"] = []
        api.request("PUT", f"{SYSTEM}/finalize", namespace)

    def secrets(self, mesh: str) -> dict[str, dict[str, bytes]]:
        """By name what Secrets of istio-system hold; those without content are left out."""
        items = self._apis[mesh].request("GET", f"{SYSTEM}/secrets")["items"]
        return {
            item["metadata"]["name"]: {file: base64.b64decode(value) for file, value in item["data"].items()}
            for item in items
            if item.get("data")
        }

    def cacerts(self) -> dict[str, dict[str, bytes]]:
        """By mesh what Secret cacerts holds, for the meshes where that is something."""
        found = {mesh: self.secrets(mesh).get("cacerts") for mesh in MESHES}
        return {mesh: files for mesh, files in found.items() if files}

    def holders(self) -> list[str]:
        """The runs that have a cluster to themselves."""
        path = "/apis/coordination.k8s.io/v1/namespaces/istio-system/leases"
        leases = [lease for api in self._apis.values() for lease in api.request("GET", path)["items"]]
        return [holder for lease in leases if (holder := lease["spec"].get("holderIdentity"))]


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clusters]:
    lab = Lab(os.environ.get("MULTIMESH_INTERRUPTIONS_LAB", "interruptions"))
    lab.down()
    lab.up(MESHES, api_only=True)
    folder = tmp_path_factory.mktemp("interruptions")
    with ApiProxy({mesh: lab.kubeconfig(mesh) for mesh in MESHES}, folder / "proxy") as proxy:
        yield Clusters(lab, proxy, folder)
    lab.down()


def faults(results: Mapping[str, Result]) -> dict[str, str]:
    """Messages of the meshes that failed."""
    return {mesh: result["msg"] for mesh, result in results.items() if result.get("failed")}


def root_of(bundles: Mapping[str, Mapping[str, bytes]]) -> x509.Certificate:
    """The one root of these meshes."""
    roots = {one for files in bundles.values() for one in x509.load_pem_x509_certificates(files["root-cert.pem"])}
    assert len(roots) == 1, roots
    return roots.pop()


def assert_good(bundles: Mapping[str, Mapping[str, bytes]]) -> None:
    """Every mesh can work with what it has, under one root, and believes all the others."""
    root = root_of(bundles)
    signers = {mesh: x509.load_pem_x509_certificate(files["ca-cert.pem"]) for mesh, files in bundles.items()}
    assert len({files["ca-key.pem"] for files in bundles.values()}) == len(bundles)
    for mesh, files in bundles.items():
        assert_whole(mesh, files, root)
        lists = [x509.load_pem_x509_crl(text) for text in blocks(files["ca-crl.pem"])]
        for authority in (root, *signers.values()):
            assert [signed_by(one, authority) for one in lists].count(True) == 1, f"{mesh}: {authority}"


def assert_whole(mesh: str, files: Mapping[str, bytes], root: x509.Certificate) -> None:
    """istiod of this mesh and its peers can work with these files."""
    findings = verify_bundle(files, Expectation(f"{mesh}.mesh", ("svc",), [root]), datetime.now(UTC))
    assert not findings, f"{mesh}: {'; '.join(map(str, findings))}"


def assert_nothing_half_written(clusters: Clusters) -> dict[str, dict[str, bytes]]:
    """Whatever has a CA has a whole one, under one root; gives what there is."""
    bundles = clusters.cacerts()
    if bundles:
        root = root_of(bundles)
        for mesh, files in bundles.items():
            assert_whole(mesh, files, root)
    return bundles


def assert_complete(clusters: Clusters, results: Mapping[str, Result]) -> None:
    """Nothing is missing, and nothing of the way there is left."""
    assert not faults(results)
    bundles = clusters.cacerts()
    assert set(bundles) == set(MESHES)
    assert_good(bundles)
    assert {root for result in results.values() for root in result["roots"]} == {fingerprint(root_of(bundles))}
    assert_tidy(clusters)


def assert_tidy(clusters: Clusters) -> None:
    assert [sorted(clusters.secrets(mesh)) for mesh in MESHES] == [["cacerts"]] * len(MESHES)
    assert clusters.holders() == []


def assert_nothing_to_do(clusters: Clusters, what: Provisioning) -> None:
    clusters.proxy.begin()
    results = what.run()
    assert not faults(results)
    assert [result["changed"] for result in results.values()] == [False] * len(MESHES)
    assert {request.method for request in clusters.proxy.requests} == {"GET"}


def assert_kept(before: Mapping[str, Mapping[str, bytes]], clusters: Clusters) -> None:
    """What had a CA has the same one."""
    after = clusters.cacerts()
    for mesh, files in before.items():
        for name in ("ca-key.pem", "ca-cert.pem", "root-cert.pem"):
            assert after[mesh][name] == files[name], f"{mesh}: {name} is another one"


def assert_converges(clusters: Clusters, what: Provisioning) -> None:
    """After whatever happened, the next run makes everything good and keeps what is good; then nothing is to do."""
    before = assert_nothing_half_written(clusters)
    clusters.proxy.begin()
    assert_complete(clusters, what.run())
    assert_kept(before, clusters)
    assert_nothing_to_do(clusters, what)


def blocks(pem: bytes) -> list[bytes]:
    end = b"-----END X509 CRL-----\n"
    return [part + end for part in pem.split(end) if part.strip()]


def signed_by(crl: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    key = authority.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return crl.issuer == authority.subject and crl.is_signature_valid(key)


def fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


@pytest.fixture(scope="module")
def undisturbed(clusters: Clusters) -> Counter[str]:
    """How many requests a run on empty clusters sends to each."""
    what = clusters.emptied()
    clusters.proxy.begin()
    begin = time.monotonic()
    results = what.run()
    seconds = time.monotonic() - begin
    assert_complete(clusters, results)
    requests = clusters.proxy.requests
    assert_nothing_to_do(clusters, what)
    unchanged = Counter(request.mesh for request in clusters.proxy.requests)
    counts = Counter(request.mesh for request in requests)
    print(f"\nfresh: {dict(counts)} in {seconds:.1f} s, unchanged: {dict(unchanged)}")
    print("\n".join(str(request) for request in requests if request.mesh == MESHES[0]))
    return counts


def test_a_run_that_is_killed_at_a_request_is_finished_by_the_next(
    clusters: Clusters, undisturbed: Counter[str], subtests: pytest.Subtests
) -> None:
    trials = sample((index, late) for index in range(undisturbed.total()) for late in (False, True))
    killed = 0
    for index, late in trials:
        with subtests.test(index=index, late=late):
            what = clusters.emptied()
            pid: Future[int] = Future()
            clusters.proxy.begin(on(Kill(pid, late=late), index=index))
            running = what.start()
            pid.set_result(running.pid)
            killed += running.finish() is None
            assert_converges(clusters, what)
    print(f"{killed} of {len(trials)} runs were killed")
    assert killed > len(trials) * 0.9


ONCE = [
    *(Answer(status, late=late) for status in (429, 500, 503) for late in (False, True)),
    Answer(429, retry_after=1),
    Reset(),
    Reset(late=True),
]


def test_a_request_that_fails_once_is_repeated(
    clusters: Clusters, undisturbed: Counter[str], subtests: pytest.Subtests
) -> None:
    for index, fault in sample((index, fault) for index in range(undisturbed.total()) for fault in ONCE):
        with subtests.test(index=index, fault=fault):
            what = clusters.emptied()
            clusters.proxy.begin(on(fault, index=index))
            assert_complete(clusters, what.run())
            assert_nothing_to_do(clusters, what)


LASTING = [Answer(429), Answer(500), Answer(503, late=True), Reset(late=True), Hang(), Hang(late=True)]


def test_an_api_server_that_fails_from_a_request_on_stops_only_its_own_mesh(
    clusters: Clusters, undisturbed: Counter[str], subtests: pytest.Subtests
) -> None:
    for number, fault in sample((number, fault) for number in range(undisturbed[BROKEN]) for fault in LASTING):
        with subtests.test(number=number, fault=fault):
            what = clusters.emptied(PATIENCE)
            clusters.proxy.begin(on(fault, mesh=BROKEN, skip=number))
            messages = faults(what.run())
            print(messages)
            assert set(messages) == {BROKEN}
            assert messages[BROKEN].startswith(f"{BROKEN}: ")
            bundles = assert_nothing_half_written(clusters)
            assert_good({mesh: files for mesh, files in bundles.items() if mesh != BROKEN})
            assert set(bundles) >= set(MESHES) - {BROKEN}
            assert_converges(clusters, what)


class Playbook:
    """The role, run by ansible-playbook through the proxy."""

    def __init__(self, clusters: Clusters) -> None:
        self.clusters = clusters
        self.folder = clusters.folder / "playbook"
        self.folder.mkdir(exist_ok=True)
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
        output, _none = process.communicate(timeout=600)
        run = Run(output, process.returncode, time.monotonic() - begin)
        print(f"{run.seconds:.1f} s, exit code {run.returncode}, {run.recap}, {len(self.clusters.proxy.requests)}")
        return run

    def kill(self, plan_index: int, *, late: bool) -> bool:
        """Start it and kill it at a request; whether it came that far."""
        pid: Future[int] = Future()
        self.clusters.proxy.begin(on(Kill(pid, late=late), index=plan_index))
        process = self.start()
        pid.set_result(process.pid)
        process.communicate(timeout=600)
        return process.returncode == -9

    def assert_converges(self) -> None:
        before = assert_nothing_half_written(self.clusters)
        self.run().ok()
        bundles = self.clusters.cacerts()
        assert set(bundles) == set(MESHES)
        assert_good(bundles)
        assert_kept(before, self.clusters)
        assert_tidy(self.clusters)
        again = self.run().ok()
        assert {mesh: counts["changed"] for mesh, counts in again.recap.items()} == dict.fromkeys(MESHES, 0)
        assert {request.method for request in self.clusters.proxy.requests} == {"GET"}


@pytest.fixture(scope="module")
def playbook(clusters: Clusters) -> Playbook:
    return Playbook(clusters)


@pytest.fixture(scope="module")
def undisturbed_playbook(clusters: Clusters, playbook: Playbook) -> Counter[str]:
    """How many requests the playbook sends to each of the clusters when they are empty."""
    clusters.emptied()
    playbook.run().ok()
    return Counter(request.mesh for request in clusters.proxy.requests)


def test_a_playbook_that_is_killed_at_a_request_is_finished_by_the_next(
    clusters: Clusters, playbook: Playbook, undisturbed_playbook: Counter[str], subtests: pytest.Subtests
) -> None:
    total = undisturbed_playbook.total()
    for index, late in sample(((index, late) for index in range(total) for late in (False, True)), PLAYBOOK_POINTS):
        with subtests.test(index=index, late=late):
            clusters.emptied()
            assert playbook.kill(index, late=late)
            playbook.assert_converges()


@pytest.mark.parametrize("fault", [Answer(429, retry_after=1), Answer(500), Hang(late=True)], ids=str)
def test_a_playbook_goes_on_without_the_mesh_whose_api_server_fails(
    clusters: Clusters, playbook: Playbook, undisturbed_playbook: Counter[str], fault: Fault
) -> None:
    clusters.emptied()
    run = playbook.run(on(fault, mesh=BROKEN, skip=undisturbed_playbook[BROKEN] // 2))
    assert run.returncode != 0
    assert f"{BROKEN}: " in run.output
    assert {mesh: counts["failed"] for mesh, counts in run.recap.items()} == {**dict.fromkeys(MESHES, 0), BROKEN: 1}
    bundles = assert_nothing_half_written(clusters)
    assert_good({mesh: files for mesh, files in bundles.items() if mesh != BROKEN})
    playbook.assert_converges()
