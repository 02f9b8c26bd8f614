# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import (
    Call,
    ConflictError,
    InvalidError,
    refused,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki import bundle
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import Authority
from ansible_collections.multimesh.istio.plugins.module_utils.pki.cacerts import Outcome, RefusedError, Request, provide
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.file import CustodyError, FileCustody
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import fingerprint
from ansible_collections.multimesh.istio.plugins.module_utils.pki.verify import verify_bundle

from tests.canary import Canary
from tests.unit.plugins.module_utils.pki import forge
from tests.unit.plugins.module_utils.pki.fakes import FakeCluster
from tests.unit.plugins.module_utils.pki.forge import DAY, NOW

SECRET = "Secret istio-system/cacerts"
REQUEST = Request(mesh="east", trust_domain="east.mesh")
FOREIGN = forge.root()


@dataclass
class Bench:
    cluster: FakeCluster
    custody: FileCustody

    def provide(self, request: Request = REQUEST, *, check: bool = False, now: Any = NOW) -> Outcome:
        return provide(self.cluster, self.custody, request, now, check=check)

    def data(self) -> dict[str, bytes]:
        data = self.cluster.objects[SECRET]["data"]
        return {name: base64.b64decode(value) for name, value in data.items()}

    def plant(self, files: dict[str, bytes]) -> None:
        data = {name: base64.b64encode(content).decode() for name, content in files.items()}
        self.cluster.put(SECRET, {"metadata": {"name": "cacerts"}, "data": data})


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(FakeCluster(), FileCustody(tmp_path / "ca", "correct horse battery staple"))


def test_first_run_makes_root_and_bundle_second_keeps_them(bench: Bench) -> None:
    first = bench.provide()
    root = bench.custody.load()
    assert root is not None
    assert first.changed
    assert first.root == root.certificate
    assert verify_bundle(bench.data(), forge.expectation(root), NOW) == ()
    assert set(bench.data()) == set(bundle.FILES)
    written = len(bench.cluster.written)

    second = bench.provide(replace(REQUEST, known_roots=frozenset([fingerprint(root.certificate)])))
    assert not second.changed
    assert (second.root, second.intermediate) == (first.root, first.intermediate)
    assert second.before == second.after == first.after
    assert len(bench.cluster.written) == written


def test_all_four_files_come_in_one_request_that_owns_its_fields(bench: Bench) -> None:
    bench.provide()
    claim, full = bench.cluster.written
    assert claim == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "cacerts", "namespace": "istio-system"},
        "type": "Opaque",
    }
    assert full["type"] == "Opaque"
    assert set(full["data"]) == set(bundle.FILES)
    assert full["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "multimesh.istio"}
    assert full["metadata"]["resourceVersion"]


def test_check_mode_writes_nothing_and_predicts_the_same(bench: Bench) -> None:
    predicted = bench.provide(check=True)
    assert predicted.changed
    assert (predicted.root, predicted.intermediate) == (None, None)
    assert bench.cluster.written == []
    assert not bench.custody.directory.exists()
    assert list(bench.custody.directory.parent.iterdir()) == []
    done = bench.provide()
    assert done.after.keys() == predicted.after.keys()
    for name, shown in predicted.after.items():
        assert {key: value for key, value in shown.items() if value != "known after the run"}.items() <= (
            done.after[name].items()
        )
    assert not bench.provide(check=True).changed


def test_check_mode_knows_a_root_that_is_there(bench: Bench) -> None:
    bench.custody.create(FOREIGN)
    predicted = bench.provide(check=True)
    assert predicted.root == FOREIGN.certificate
    assert predicted.after["root"]["fingerprint_sha256"] == fingerprint(FOREIGN.certificate)
    assert predicted.after["intermediate"]["fingerprint_sha256"] == "known after the run"


def test_every_mesh_has_its_own_intermediate_under_one_root(bench: Bench) -> None:
    first = bench.provide()
    other = Bench(FakeCluster(mesh="west"), bench.custody)
    second = other.provide(Request(mesh="west", trust_domain="west.mesh"))
    assert second.root == first.root
    assert second.intermediate != first.intermediate


def test_the_namespace_is_made_if_missing(bench: Bench) -> None:
    bench.cluster.objects.clear()
    bench.provide()
    assert [body["kind"] for body in bench.cluster.written] == ["Namespace", "Secret", "Secret"]


@pytest.mark.parametrize("data", [None, {}])
def test_an_empty_secret_counts_as_none(bench: Bench, data: object) -> None:
    bench.cluster.put(SECRET, {"metadata": {"name": "cacerts"}, "data": data})
    assert bench.provide().changed
    assert len(bench.cluster.written) == 1


def test_a_mesh_with_a_ca_of_its_own_is_left_alone(bench: Bench) -> None:
    bench.cluster.put("Secret istio-system/istio-ca-secret", {"data": {"ca-key.pem": "c2VjcmV0"}})
    for check in (True, False):
        with pytest.raises(RefusedError, match=r"(?s)^east: istiod .*/istio-ca-secret.*uninstall istiod"):
            bench.provide(check=check)
    assert bench.cluster.written == []
    assert bench.custody.load() is None


def good(signer: Authority) -> dict[str, bytes]:
    return bundle.build(forge.intermediate(signer), signer.certificate)


@pytest.mark.parametrize(
    ("files", "findings"),
    [
        (good(FOREIGN), {"foreign-root", "shared-root-missing"}),
        ({**good(FOREIGN), "istio-generated": b""}, {"foreign-root", "shared-root-missing", "istio-generated"}),
        ({"ca-cert.pem": b"junk"}, {"missing-file", "malformed-pem"}),
        ({"notes.txt": b"pre-created"}, {"missing-file"}),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_a_bad_bundle_is_named_and_left_alone(
    bench: Bench, files: dict[str, bytes], findings: set[str], check: bool
) -> None:
    bench.custody.create(forge.root())
    bench.plant(files)
    before = bench.cluster.objects[SECRET]
    with pytest.raises(
        RefusedError, match=r"(?s)^east: Secret istio-system/cacerts is not a good CA.*Nothing was"
    ) as caught:
        bench.provide(check=check)
    assert {finding.name for finding in caught.value.findings} == findings
    assert bench.cluster.objects[SECRET] == before
    assert bench.cluster.written == []


def test_a_bundle_without_a_root_to_compare_asks_for_the_root(bench: Bench) -> None:
    bench.plant({**good(FOREIGN), "istio-generated": b""})
    with pytest.raises(RefusedError, match=r"(?s)holds no root.*istio-generated.*No second root") as caught:
        bench.provide()
    assert fingerprint(FOREIGN.certificate) in str(caught.value)
    assert not bench.custody.directory.exists()


@pytest.mark.parametrize("held", [True, False])
def test_another_root_elsewhere_stops_a_new_ca(bench: Bench, held: bool) -> None:
    if held:
        bench.custody.create(forge.root())
    request = replace(REQUEST, known_roots=frozenset([fingerprint(FOREIGN.certificate)]))
    for check in (True, False):
        with pytest.raises(RefusedError, match=rf"(?s)holds {'another' if held else 'no root'}.*backup"):
            bench.provide(request, check=check)
    assert bench.cluster.written == []
    assert bench.custody.directory.exists() is held


def test_the_shared_root_among_others_is_enough(bench: Bench) -> None:
    bench.custody.create(root := forge.root())
    known = frozenset([fingerprint(FOREIGN.certificate), fingerprint(root.certificate)])
    assert bench.provide(replace(REQUEST, known_roots=known)).changed


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (replace(REQUEST, trust_domain="cluster.local"), "mesh_trust_domain: 'cluster.local'"),
        (replace(REQUEST, trust_domain="East.mesh"), "mesh_trust_domain"),
        (replace(REQUEST, trust_domain="spiffe://east.mesh"), "mesh_trust_domain"),
        (replace(REQUEST, trust_domain=""), "mesh_trust_domain"),
        (replace(REQUEST, trust_domain="east.mesh\n"), "mesh_trust_domain"),
        (replace(REQUEST, trust_domain="a." * 130 + "mesh"), "mesh_trust_domain"),
        (replace(REQUEST, dns_domains=["svc", ".global"]), r"permitted_dns_domains\[1\]"),
        (replace(REQUEST, dns_domains=["global"]), "would not work.*istiod.istio-system.svc is outside"),
        (replace(REQUEST, root_lifetime=timedelta(0)), "root_lifetime_days: 0"),
        (replace(REQUEST, lifetime=timedelta(days=100000)), "intermediate_lifetime_days: 100000"),
    ],
)
def test_what_cannot_work_is_refused_before_any_write(bench: Bench, request_: Request, message: str) -> None:
    for check in (True, False):
        with pytest.raises(MultimeshError, match=f"(?s)^east: .*{message}"):
            bench.provide(request_, check=check)
    assert bench.cluster.written == []


def test_a_root_that_is_not_valid_is_named(bench: Bench) -> None:
    bench.provide()
    with pytest.raises(RefusedError, match=r"(?s)shared root cannot be used.*expired.*clock"):
        bench.provide(now=NOW + 3651 * DAY)


def test_an_expired_intermediate_is_named(bench: Bench) -> None:
    bench.provide()
    with pytest.raises(RefusedError) as caught:
        bench.provide(now=NOW + 91 * DAY)
    assert {finding.name for finding in caught.value.findings} == {"expired"}


@pytest.mark.parametrize(("days", "warned"), [(59, False), (61, True)])
def test_warns_when_two_thirds_of_the_life_are_over(bench: Bench, days: int, warned: bool) -> None:
    bench.provide()
    outcome = bench.provide(now=NOW + days * DAY)
    assert not outcome.changed
    assert [warning.startswith("east: two thirds") for warning in outcome.warnings] == [True] * warned


def test_custody_is_asked_first(bench: Bench) -> None:
    bench.provide()
    with pytest.raises(CustodyError, match=r"^east: .*root-ca\.key: it cannot be decrypted"):
        replace(bench, custody=FileCustody(bench.custody.directory, "another passphrase")).provide()


@pytest.mark.parametrize("moment", [1, 2])
def test_of_two_runs_at_once_one_wins_and_the_other_says_so(bench: Bench, moment: int) -> None:
    """The second run does all its work at one point in the middle of the first one."""
    bench.cluster.objects[SECRET] = {"metadata": {"name": "cacerts", "resourceVersion": "0"}}
    rival, calls = Bench(bench.cluster, bench.custody), 0

    def race(_verb: str, subject: str) -> None:
        nonlocal calls
        calls += subject == SECRET
        if calls == moment + 1:
            bench.cluster.before = lambda *_: None
            if moment < 2:
                rival.provide()
            else:
                bench.plant(good(FOREIGN))

    bench.cluster.before = race
    with pytest.raises(MultimeshError, match=r"^east: Secret istio-system/cacerts was written by somebody else"):
        bench.provide()


def test_a_conflict_without_a_rival_is_passed_on(bench: Bench) -> None:
    def refusing(verb: str, subject: str) -> None:
        if verb == "apply":
            causes = [{"reason": "FieldManagerConflict", "field": ".metadata.labels", "message": "owned by helm"}]
            raise refused(Call("east", "apply", subject), 409, {"details": {"causes": causes}})

    bench.cluster.put(SECRET, {"metadata": {"name": "cacerts"}})
    bench.cluster.before = refusing
    with pytest.raises(ConflictError, match="owned by helm"):
        bench.provide()


def test_of_two_runs_that_find_no_secret_one_wins(bench: Bench) -> None:
    rival, calls = Bench(bench.cluster, bench.custody), 0

    def race(verb: str, _subject: str) -> None:
        nonlocal calls
        calls += verb == "apply"
        if calls == 1:
            bench.cluster.before = lambda *_: None
            rival.provide()

    bench.cluster.before = race
    with pytest.raises(MultimeshError, match="written by somebody else"):
        bench.provide()
    root = bench.custody.load()
    assert root is not None
    assert verify_bundle(bench.data(), forge.expectation(root), NOW) == ()


def test_a_repeated_request_whose_first_answer_was_lost_is_no_conflict(bench: Bench) -> None:
    apply = bench.cluster.apply

    def twice(resource: Any, body: Any, *, manager: str) -> dict[str, Any]:
        answer = apply(resource, body, manager=manager)
        return apply(resource, body, manager=manager) if body.get("data") else answer

    bench.cluster.apply = twice  # type: ignore[method-assign]
    assert bench.provide().changed


def test_a_run_that_dies_at_any_request_is_finished_by_the_next(bench: Bench) -> None:
    """As by SIGKILL: the exception is none that anything handles."""

    class Killed(BaseException):
        pass

    roots = set()
    for limit in range(1, 9):
        bench.cluster = FakeCluster(objects={})
        calls = 0

        def die(_verb: str, _subject: str, limit: int = limit) -> None:
            nonlocal calls
            calls += 1
            if calls == limit:
                raise Killed

        bench.cluster.before = die
        try:
            bench.provide()
        except Killed:
            bench.cluster.before = lambda *_: None
            bench.provide()
        root = bench.custody.load()
        assert root is not None
        roots.add(fingerprint(root.certificate))
        assert verify_bundle(bench.data(), forge.expectation(root), NOW) == ()
    assert calls == 7  # so that the last round died nowhere
    assert len(roots) == 1


@pytest.mark.parametrize("form", [lambda text: text, lambda text: base64.b64decode(text).decode()])
def test_an_answer_that_quotes_the_key_is_withheld(bench: Bench, form: Any) -> None:
    apply, sent = bench.cluster.apply, {}

    def quoting(resource: Any, body: Any, *, manager: str) -> dict[str, Any]:
        if not body.get("data"):
            return apply(resource, body, manager=manager)
        sent.update(body["data"])
        said = {"message": f"denied: {json.dumps(form(body['data']['ca-key.pem']))}"}
        raise refused(Call("east", "apply", SECRET), 422, said)

    bench.cluster.apply = quoting  # type: ignore[method-assign]
    with pytest.raises(MultimeshError, match="admission webhooks") as caught:
        bench.provide()
    canary = Canary({"ca": base64.b64decode(sent["ca-key.pem"])})
    assert canary.find(str(caught.value).encode()) == set()


def test_another_refusal_is_passed_on(bench: Bench) -> None:
    def refusing(verb: str, subject: str) -> None:
        if verb == "apply":
            raise refused(Call("east", "apply", subject), 422, {"message": "denied by policy x"})

    bench.cluster.before = refusing
    with pytest.raises(InvalidError, match="denied by policy x"):
        bench.provide()


def test_nothing_that_is_shown_holds_a_key(bench: Bench) -> None:
    outcome = bench.provide()
    canary = Canary({"ca": bench.data()["ca-key.pem"]})
    assert canary.find(repr(outcome).encode()) == set()
    assert canary.find(json.dumps([outcome.before, outcome.after]).encode()) == set()
