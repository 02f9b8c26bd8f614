# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The first CA of one mesh: what is made, what is refused, and what happens when others interfere."""

from __future__ import annotations

import base64
import functools
import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import (
    Call,
    ConflictError,
    InvalidError,
    refused,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki import bundle, cacerts, keys
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import Authority
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import (
    CustodyError,
    IntermediateProfile,
    RootProfile,
    SignaturePending,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.held import HeldRoots
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import fingerprint
from ansible_collections.multimesh.istio.plugins.module_utils.pki.request import Outcome, RefusedError, Request
from ansible_collections.multimesh.istio.plugins.module_utils.pki.steps import Steps
from ansible_collections.multimesh.istio.plugins.module_utils.pki.verify import verify_bundle

from tests.canary import Canary
from tests.unit.plugins.module_utils.pki import forge
from tests.unit.plugins.module_utils.pki.custody.memory import MemoryStore
from tests.unit.plugins.module_utils.pki.fakes import FakeCluster
from tests.unit.plugins.module_utils.pki.forge import DAY, NOW

SECRET = "Secret istio-system/cacerts"
NEXT = "Secret istio-system/multimesh-next-ca"
LEASE = "Lease istio-system/multimesh-shared-root-ca"
PASSPHRASE = "correct horse battery staple"
PROFILE = IntermediateProfile("east", "east.mesh")
REQUEST = Request(PROFILE, root=RootProfile(key_type="ecdsa-p256"), run="ann")
FOREIGN = forge.root()
NOT_BEFORE_THE_RUN = "known after the run"


@dataclass
class Bench:
    """One cluster and the place of the root."""

    cluster: FakeCluster = field(default_factory=FakeCluster)
    store: MemoryStore = field(default_factory=MemoryStore)
    passphrase: str = PASSPHRASE

    @property
    def custody(self) -> HeldRoots:
        """As another process would open it."""
        return HeldRoots(self.store, self.passphrase)

    def steps(self, request: Request = REQUEST, *, check: bool = False, now: datetime = NOW) -> Steps:
        return Steps(self.cluster, self.custody, request, now, check=check)

    def issue(self, request: Request = REQUEST, *, check: bool = False, now: datetime = NOW) -> Outcome:
        return self.steps(request, check=check, now=now).issue()

    def data(self, subject: str = SECRET) -> dict[str, bytes]:
        data = self.cluster.objects[subject]["data"]
        return {name: base64.b64decode(value) for name, value in data.items()}

    def plant(self, files: dict[str, bytes]) -> None:
        data = {name: base64.b64encode(content).decode() for name, content in files.items()}
        self.cluster.put(SECRET, {"metadata": {"name": "cacerts"}, "data": data})

    def bring(self, root: Authority) -> Authority:
        """Put a root into the place, as its owner may."""
        self.store.blobs["ours.pem"] = forge.to_pem(root.certificate) + keys.private_pem(root.key, PASSPHRASE.encode())
        return root

    def written(self, name: str) -> list[dict[str, Any]]:
        """What was sent about an object of this name."""
        return [body for body in self.cluster.written if body["metadata"]["name"] == name]

    def findings(self) -> set[str]:
        (root,) = self.custody.roots()
        expected = replace(forge.expectation(), roots=[root.certificate])
        return {finding.name for finding in verify_bundle(self.data(), expected, NOW)}

    def untouched(self) -> bool:
        return not self.cluster.written and not self.store.writes


@pytest.fixture
def bench() -> Bench:
    return Bench()


# What is made


def test_first_run_makes_root_and_bundle_second_keeps_them(bench: Bench) -> None:
    first = bench.issue()
    (root,) = bench.custody.roots()
    assert first.changed
    assert first.root == root.certificate
    assert bench.findings() == set()
    assert set(bench.data()) == set(bundle.FILES)
    sent, kept = len(bench.cluster.written), bench.store.writes

    second = bench.issue(replace(REQUEST, known_roots=frozenset([fingerprint(root.certificate)])))
    assert not second.changed
    assert (second.root, second.signer, second.stage) == (first.root, first.signer, "done")
    assert second.before == second.after == first.after
    assert (len(bench.cluster.written), bench.store.writes) == (sent, kept)


def test_all_four_files_come_in_one_request_that_owns_its_fields(bench: Bench) -> None:
    bench.issue()
    claim, full = bench.written("cacerts")
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


def test_the_key_waits_in_the_cluster_until_it_signs_and_is_nowhere_else_then(bench: Bench) -> None:
    bench.issue()
    _claim, waiting, emptied = bench.written("multimesh-next-ca")
    assert set(waiting["data"]) == {"ca-key.pem", "ca-cert.pem"}
    assert emptied["data"] == {}
    assert bench.data(NEXT) == {}
    canary = Canary({"ca": bench.data()["ca-key.pem"]})
    assert canary.find(repr(bench.store.blobs).encode()) == set()


def test_every_mesh_has_its_own_intermediate_under_one_root(bench: Bench) -> None:
    first = bench.issue()
    other = Bench(FakeCluster(mesh="west"), bench.store)
    second = other.issue(replace(REQUEST, profile=IntermediateProfile("west", "west.mesh")))
    assert second.root == first.root
    assert second.signer != first.signer


def test_the_namespace_is_made_if_missing(bench: Bench) -> None:
    bench.cluster.objects.clear()
    bench.issue()
    assert [body["kind"] for body in bench.cluster.written].count("Namespace") == 1
    assert bench.findings() == set()


@pytest.mark.parametrize("data", [None, {}])
def test_an_empty_secret_counts_as_none(bench: Bench, data: object) -> None:
    bench.cluster.put(SECRET, {"metadata": {"name": "cacerts"}, "data": data})
    assert bench.issue().changed
    assert len(bench.written("cacerts")) == 1


def test_the_ledger_tells_what_happened(bench: Bench) -> None:
    signer = bench.issue().signer
    assert signer is not None
    told = [(entry.action, entry.mesh, entry.run) for entry in bench.custody.ledger()]
    assert told == [("root-made", "", "ann"), ("ca-issued", "east", "ann"), ("ca-active", "east", "ann")]
    assert {entry.fingerprint for entry in bench.custody.ledger()[1:]} == {fingerprint(signer)}
    assert {entry.trust_domain for entry in bench.custody.ledger()[1:]} == {"east.mesh"}


# In check mode


def test_check_mode_writes_nothing_and_predicts_the_same(bench: Bench) -> None:
    predicted = bench.issue(check=True)
    assert predicted.changed
    assert (predicted.root, predicted.signer) == (None, None)
    assert bench.untouched()
    assert predicted.after["roots"] == NOT_BEFORE_THE_RUN
    done = bench.issue()
    shown = {name: value for name, value in predicted.after["signer"].items() if value != NOT_BEFORE_THE_RUN}
    assert shown
    assert shown.items() <= done.after["signer"].items()
    assert not bench.issue(check=True).changed


def test_check_mode_knows_a_root_that_is_there(bench: Bench) -> None:
    bench.bring(FOREIGN)
    predicted = bench.issue(check=True)
    assert predicted.root == FOREIGN.certificate
    assert [root["fingerprint_sha256"] for root in predicted.after["roots"]] == [fingerprint(FOREIGN.certificate)]
    assert predicted.after["signer"]["fingerprint_sha256"] == NOT_BEFORE_THE_RUN
    assert bench.untouched()


# What is refused


def test_a_mesh_with_a_ca_of_its_own_is_left_alone(bench: Bench) -> None:
    bench.cluster.put("Secret istio-system/istio-ca-secret", {"data": {"ca-key.pem": "c2VjcmV0"}})
    for check in (True, False):
        with pytest.raises(RefusedError, match=r"(?s)^east: istiod .*/istio-ca-secret.*uninstall istiod.*adopt"):
            bench.issue(check=check)
    assert bench.untouched()


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
    bench.bring(forge.root())
    bench.plant(files)
    with pytest.raises(
        RefusedError, match=r"(?s)^east: Secret istio-system/cacerts is not a good CA.*Nothing was"
    ) as caught:
        bench.issue(check=check)
    assert {finding.name for finding in caught.value.findings} == findings
    assert bench.untouched()


def test_a_bundle_without_a_root_to_compare_asks_for_the_root(bench: Bench) -> None:
    bench.plant({**good(FOREIGN), "istio-generated": b""})
    with pytest.raises(RefusedError, match=r"(?s)holds no root.*istio-generated.*No second root") as caught:
        bench.issue()
    assert fingerprint(FOREIGN.certificate) in str(caught.value)
    assert bench.untouched()


@pytest.mark.parametrize("held", [True, False])
def test_another_root_elsewhere_stops_a_new_ca(bench: Bench, held: bool) -> None:
    if held:
        bench.bring(forge.root())
    request = replace(REQUEST, known_roots=frozenset([fingerprint(FOREIGN.certificate)]))
    for check in (True, False):
        with pytest.raises(RefusedError, match=rf"(?s)holds {'another' if held else 'no root'}.*backup"):
            bench.issue(request, check=check)
    assert bench.untouched()


def test_the_shared_root_among_others_is_enough(bench: Bench) -> None:
    root = bench.bring(forge.root())
    known = frozenset([fingerprint(FOREIGN.certificate), fingerprint(root.certificate)])
    assert bench.issue(replace(REQUEST, known_roots=known)).changed


def of(**changes: Any) -> Request:
    """The request with another profile."""
    return replace(REQUEST, profile=replace(PROFILE, **changes))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (of(trust_domain="cluster.local"), "mesh_trust_domain: 'cluster.local'"),
        (of(trust_domain="East.mesh"), "mesh_trust_domain"),
        (of(trust_domain="spiffe://east.mesh"), "mesh_trust_domain"),
        (of(trust_domain=""), "mesh_trust_domain"),
        (of(trust_domain="east.mesh\n"), "mesh_trust_domain"),
        (of(trust_domain="a." * 130 + "mesh"), "mesh_trust_domain"),
        (of(dns_domains=["svc", ".global"]), r"permitted_dns_domains\[1\]"),
        (of(dns_domains=["global"]), "permitted_dns_domains: .*istiod.istio-system.svc"),
        (of(dns_domains=["od.istio-system.svc"]), "permitted_dns_domains: .*istiod.istio-system.svc"),
        (of(lifetime=timedelta(days=100000)), "intermediate_lifetime_days: 100000"),
        (replace(REQUEST, root=RootProfile(timedelta(0))), "root_lifetime_days: 0"),
    ],
)
def test_what_cannot_work_is_refused_before_any_write(bench: Bench, request_: Request, message: str) -> None:
    for check in (True, False):
        with pytest.raises(MultimeshError, match=f"(?s)^east: .*{message}"):
            bench.issue(request_, check=check)
    assert bench.untouched()


@pytest.mark.parametrize("dns_domains", [[], ["istiod.istio-system.svc"], ["istio-system.svc"], ["global", "svc"]])
def test_dns_domains_that_istiod_can_live_with(bench: Bench, dns_domains: list[str]) -> None:
    assert bench.issue(of(dns_domains=dns_domains)).changed


def test_a_root_that_is_not_valid_is_named(bench: Bench) -> None:
    bench.issue()
    with pytest.raises(RefusedError, match=r"(?s)shared root cannot be used.*expired.*clock"):
        bench.issue(now=NOW + 3651 * DAY)


def test_an_expired_intermediate_is_named(bench: Bench) -> None:
    bench.issue()
    with pytest.raises(RefusedError) as caught:
        bench.issue(now=NOW + 91 * DAY)
    assert {finding.name for finding in caught.value.findings} == {"expired"}


@pytest.mark.parametrize("passphrase", ["another passphrase", "short", ""])
def test_a_passphrase_that_does_not_fit_is_named(bench: Bench, passphrase: str) -> None:
    with pytest.raises(CustodyError, match=r"^east: .*expected 12 to 1023"):
        Bench(bench.cluster, bench.store, "short").issue()
    bench.issue()
    sent = len(bench.cluster.written)
    with pytest.raises(CustodyError, match=r"^east: .*cannot be decrypted") as caught:
        Bench(bench.cluster, bench.store, passphrase).issue()
    assert passphrase == "" or passphrase not in str(caught.value)
    assert len(bench.cluster.written) == sent


class Elsewhere(HeldRoots):
    """Somebody else signs. asked: public keys of the requests. signs: whether they have."""

    def __init__(self, store: MemoryStore, *, signs: bool, profile: IntermediateProfile | None = None) -> None:
        super().__init__(store, PASSPHRASE)
        self.asked: list[bytes] = []
        self.signs = signs
        self.profile = profile

    def issue(self, root: str, profile: IntermediateProfile, request: Any, now: datetime) -> Any:
        self.asked.append(keys.public_der(request.public_key()))
        if not self.signs:
            raise SignaturePending("sign requests/east.csr", "requests/east.csr")
        return super().issue(root, self.profile or profile, request, now)


def test_what_others_have_signed_wrongly_is_not_used(bench: Bench) -> None:
    """Vault, for example, with a role that leaves out the name constraint or names another mesh in it."""
    custody = Elsewhere(bench.store, signs=True, profile=IntermediateProfile("west", "west.mesh"))
    with pytest.raises(RefusedError, match=r"(?s)^east: the CA that memory has issued .*permits.*Nothing was"):
        Steps(bench.cluster, custody, REQUEST, NOW, check=False).issue()
    assert bench.written("cacerts") == []
    assert [entry.action for entry in bench.custody.ledger() if entry.mesh == "east"] == []


# A signature that takes somebody else's action


def test_the_key_of_the_first_ca_waits_for_its_signature(bench: Bench) -> None:
    asked = []
    for signs in (False, False, True):
        custody = Elsewhere(bench.store, signs=signs)
        steps = Steps(bench.cluster, custody, REQUEST, NOW, check=False)
        if signs:
            assert steps.issue().changed
        else:
            with pytest.raises(SignaturePending, match=r"^east: sign requests/east.csr") as caught:
                steps.issue()
            assert caught.value.request == "requests/east.csr"
            assert set(bench.data(NEXT)) == {"ca-key.pem"}
            assert bench.written("cacerts") == []
        asked += custody.asked
    assert len(set(asked)) == 1, "the same key was asked for in every run"
    assert bench.findings() == set()
    assert bench.data(NEXT) == {}


def test_a_successor_that_waits_for_its_signature_is_no_failure(bench: Bench) -> None:
    first = bench.issue().signer
    now, asked = NOW + 50 * DAY, []
    for signs in (False, False, True, True):
        custody = Elsewhere(bench.store, signs=signs)
        outcome = Steps(bench.cluster, custody, REQUEST, now, check=False).issue()
        assert outcome.signer == first
        assert (outcome.candidate is not None) is signs
        assert list(outcome.warnings) == ([] if signs else ["east: sign requests/east.csr"])
        asked.append(custody.asked)
    assert asked[0] == asked[1] == asked[2] != []
    assert asked[3] == [], "what waits is not asked for again"


def test_a_successor_that_is_asked_for_is_a_change_once(bench: Bench) -> None:
    bench.issue()
    changed = [
        Steps(bench.cluster, Elsewhere(bench.store, signs=signs), REQUEST, NOW + 50 * DAY, check=False).issue().changed
        for signs in (False, False, True, True)
    ]
    assert changed == [True, False, True, False]


# One run at a time


def test_the_lease_is_taken_to_write_and_given_back(bench: Bench) -> None:
    bench.steps(check=True).issue()
    assert LEASE not in bench.cluster.objects
    bench.issue()
    assert bench.cluster.objects[LEASE]["spec"]["holderIdentity"] == "ann"
    assert b'"holder": "ann"' in bench.store.blobs["run.json"]
    bench.steps(check=True).release()
    assert bench.cluster.objects[LEASE]["spec"]["holderIdentity"] == "ann"
    bench.steps(replace(REQUEST, run="bob")).release()
    assert bench.cluster.objects[LEASE]["spec"]["holderIdentity"] == "ann"
    bench.steps().release()
    assert bench.cluster.objects[LEASE]["spec"]["holderIdentity"] == ""
    assert "run.json" not in bench.store.blobs


def test_a_run_that_has_nothing_to_write_does_not_mind_another_one(bench: Bench) -> None:
    bench.issue()
    assert not bench.issue(replace(REQUEST, run="bob")).changed


def test_a_second_run_is_told_who_is_at_it(bench: Bench) -> None:
    bench.issue()
    with pytest.raises(CustodyError, match=r"^east: .*another run is changing CAs: ann, .*break_lease"):
        Bench(FakeCluster(), bench.store).issue(replace(REQUEST, run="bob"))


def test_another_place_of_the_root_does_not_help_a_second_run(bench: Bench) -> None:
    """The Lease in the cluster is there for runs that know nothing of each other's custody."""
    bench.issue()
    bench.cluster.objects.pop(SECRET)
    other = Bench(bench.cluster, MemoryStore())
    with pytest.raises(MultimeshError, match=r"^east: another run has this cluster \(Lease .*: ann, .*break_lease"):
        other.issue(replace(REQUEST, run="bob"))
    assert SECRET not in bench.cluster.objects


def test_a_run_that_is_known_to_be_over_can_be_gone_on_from(bench: Bench) -> None:
    bench.issue()
    bench.cluster.objects.pop(SECRET)
    outcome = bench.issue(replace(REQUEST, run="bob", break_lease=True))
    assert outcome.changed
    assert list(outcome.warnings) == ["east: went on from a run that did not end in order: ann"]


@dataclass
class Count:
    """Calls of the API. at: the number of the one before which something happens."""

    at: int
    happens: Any
    calls: int = 0

    def __call__(self, _verb: str, _subject: str) -> None:
        self.calls += 1
        if self.calls == self.at:
            self.happens()


@pytest.mark.parametrize("run", ["ann", "bob"])
def test_of_two_runs_at_once_one_ca_is_left(run: str) -> None:
    """A second run does all its work at one point in the middle of the first one, whichever point that is."""
    texts = set()
    for moment in range(1, 100):
        bench = Bench()
        won: list[bytes] = []

        def race(bench: Bench, won: list[bytes]) -> None:
            bench.cluster.before = lambda *_: None
            try:
                bench.issue(replace(REQUEST, run=run))
            except MultimeshError as error:
                texts.add(str(error))
            if bench.cluster.objects.get(SECRET, {}).get("data"):
                won.append(bench.data()["ca-cert.pem"])

        bench.cluster.before = count = Count(moment, functools.partial(race, bench, won))
        try:
            bench.issue()
        except MultimeshError as error:
            texts.add(str(error))
        if count.calls < moment:
            break
        bench.cluster.before = lambda *_: None
        bench.issue(replace(REQUEST, break_lease=True))
        assert bench.findings() == set()
        assert [bench.data()["ca-cert.pem"]] * len(won) == won, "what was written once stays"
        left = bench.data(NEXT)  # the one that lost may leave what it had made, as a candidate
        assert left.get("ca-cert.pem") != bench.data()["ca-cert.pem"]
    assert moment > 12
    assert texts
    for text in texts:
        assert text.startswith("east: ")
        assert any(why in text for why in ("somebody else", "Somebody else", "another run", "not the run"))


def test_what_somebody_else_writes_right_after_us_is_seen(bench: Bench) -> None:
    apply = bench.cluster.apply

    def overwritten(resource: Any, body: Any, **options: Any) -> dict[str, Any]:
        answer = apply(resource, body, **options)
        if body["metadata"]["name"] == "cacerts" and body.get("data"):
            bench.plant(good(FOREIGN))
        return answer

    bench.cluster.apply = overwritten  # type: ignore[method-assign]
    with pytest.raises(MultimeshError, match=r"^east: Secret istio-system/cacerts was written by somebody else"):
        bench.issue()


def test_a_conflict_without_a_rival_is_passed_on(bench: Bench) -> None:
    def refusing(verb: str, subject: str) -> None:
        if (verb, subject) == ("apply", SECRET):
            causes = [{"reason": "FieldManagerConflict", "field": ".metadata.labels", "message": "owned by helm"}]
            raise refused(Call("east", "apply", subject), 409, {"details": {"causes": causes}})

    bench.cluster.put(SECRET, {"metadata": {"name": "cacerts"}})
    bench.cluster.before = refusing
    with pytest.raises(ConflictError, match="owned by helm"):
        bench.issue()


def test_what_another_field_manager_owns_is_taken_over_only_if_that_is_asked_for(bench: Bench) -> None:
    bench.issue()
    bench.plant(bench.data())
    bench.cluster.owned.clear()
    late = NOW + 61 * DAY
    bench.issue(now=late)
    with pytest.raises(ConflictError):
        bench.steps(replace(REQUEST, settle=timedelta(0), revocation=False), now=late).sign()
    assert bench.steps(replace(REQUEST, settle=timedelta(0), revocation=False, adopt=True), now=late).sign().changed


def test_a_repeated_request_whose_first_answer_was_lost_is_no_conflict(bench: Bench) -> None:
    apply = bench.cluster.apply

    def twice(resource: Any, body: Any, **options: Any) -> dict[str, Any]:
        answer = apply(resource, body, **options)
        return apply(resource, body, **options) if body.get("data") else answer

    bench.cluster.apply = twice  # type: ignore[method-assign]
    assert bench.issue().changed


# Nothing shows a key


@pytest.mark.parametrize("secret", ["cacerts", "multimesh-next-ca"])
@pytest.mark.parametrize("form", [lambda text: text, lambda text: base64.b64decode(text).decode()])
def test_an_answer_that_quotes_the_key_is_withheld(bench: Bench, form: Any, secret: str) -> None:
    apply, sent = bench.cluster.apply, {}

    def quoting(resource: Any, body: Any, **options: Any) -> dict[str, Any]:
        if not body.get("data") or body["metadata"]["name"] != secret:
            return apply(resource, body, **options)
        sent.update(body["data"])
        said = {"message": f"denied: {json.dumps(form(body['data']['ca-key.pem']))}"}
        raise refused(Call("east", "apply", secret), 422, said)

    bench.cluster.apply = quoting  # type: ignore[method-assign]
    with pytest.raises(MultimeshError, match=rf"istio-system/{secret} was refused.*admission webhooks") as caught:
        bench.issue()
    canary = Canary({"ca": base64.b64decode(sent["ca-key.pem"])})
    assert canary.find(str(caught.value).encode()) == set()
    assert caught.value.__cause__ is None


def test_another_refusal_is_passed_on(bench: Bench) -> None:
    def refusing(verb: str, subject: str) -> None:
        if (verb, subject) == ("apply", SECRET):
            raise refused(Call("east", "apply", subject), 422, {"message": "denied by policy x"})

    bench.cluster.before = refusing
    with pytest.raises(InvalidError, match="denied by policy x"):
        bench.issue()


def test_nothing_that_is_shown_holds_a_key(bench: Bench) -> None:
    steps = bench.steps()
    outcome = steps.issue()
    held = cacerts.read(bench.cluster)
    canary = Canary({"ca": bench.data()["ca-key.pem"]}, {"passphrase": PASSPHRASE})
    assert canary.find(repr([outcome, steps, bench.custody, held, cacerts.candidate(held)]).encode()) == set()
    assert canary.find(json.dumps([outcome.before, outcome.after]).encode()) == set()
    public = [body for body in bench.cluster.written if body["kind"] != "Secret"]
    assert canary.find(json.dumps([public, bench.cluster.objects[LEASE]]).encode()) == set()
    assert canary.find(b"\n".join(bench.store.blobs.values())) == set()
