# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.pki import crl
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import Authority, new_request
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody import external
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import (
    CustodyError,
    IntermediateProfile,
    Revocation,
    RootProfile,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.store import FileStore
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.vault import Engine, VaultRoots
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import fingerprint
from ansible_collections.multimesh.istio.plugins.module_utils.pki.verify import Expectation, candidate_findings
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.unit.plugins.module_utils.pki import forge
from tests.unit.plugins.module_utils.pki.custody.engine import FakeEngine
from tests.unit.plugins.module_utils.pki.forge import DAY, NOW

EAST = IntermediateProfile("east", "east.mesh", ("svc",))
KEY, REQUEST = new_request("ecdsa-p256")
LONG = {"expiry": "99999h", "auto_rebuild": False}

Custodian = Callable[..., VaultRoots]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(configuration=dict(LONG))


@pytest.fixture
def custody(engine: FakeEngine, tmp_path: Path) -> Custodian:
    def make(**options: Any) -> VaultRoots:
        return VaultRoots(FileStore(tmp_path / "ledger"), engine, Engine(**options))  # type: ignore[arg-type]

    return make


def print_of(authority: Authority) -> str:
    return fingerprint(authority.certificate)


def written(engine: FakeEngine) -> list[str]:
    return [path for verb, path, _content in engine.asked if verb == "write"]


def asking(critical: bool = True) -> x509.CertificateSigningRequest:
    """A request with a name constraint that is critical, or not."""
    assert isinstance(KEY, ec.EllipticCurvePrivateKey)
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.add_extension(external.name_constraints(EAST), critical).sign(KEY, hashes.SHA256())


# Roots


def test_every_root_of_the_mount_counts_oldest_first(custody: Custodian, engine: FakeEngine) -> None:
    new, old = forge.root(now=NOW), forge.root(now=NOW - DAY)
    engine.add(new)
    engine.add(old, "any")
    roots = custody().roots()
    assert [root.certificate for root in roots] == [old.certificate, new.certificate]
    assert all(root.crl is not None and crl.issued_by(root.crl, root.certificate) for root in roots)


NO_ROOTS: dict[str, Callable[[FakeEngine, Authority], object]] = {
    "an intermediate": lambda engine, root: engine.add(forge.intermediate(root)),
    "without its key": lambda engine, root: engine.add(root, has_key=False),
    "revoked": lambda engine, root: engine.add(root, revoked=True),
    "not for issuing": lambda engine, root: engine.add(root, usage="read-only,crl-signing"),
    "another name": lambda engine, root: engine.add(root, "other"),
    "a similar name": lambda engine, root: engine.add(root, "ours-too"),
}


@pytest.mark.parametrize("case", NO_ROOTS)
def test_other_issuers_do_not_count(custody: Custodian, engine: FakeEngine, case: str) -> None:
    own = forge.root()
    engine.add(own, "ours")
    NO_ROOTS[case](engine, forge.root())
    assert [root.certificate for root in custody(issuer="ours").roots()] == [own.certificate]


def test_an_issuer_may_be_named_by_its_id(custody: Custodian, engine: FakeEngine) -> None:
    engine.add(forge.root())
    wanted = forge.root()
    identity = engine.add(wanted)
    assert [root.certificate for root in custody(issuer=identity).roots()] == [wanted.certificate]


def test_three_roots_are_refused(custody: Custodian, engine: FakeEngine) -> None:
    for _number in range(3):
        engine.add(forge.root())
    with pytest.raises(CustodyError, match=r"there are 3 roots .*vault_issuer"):
        custody().roots()


def test_the_first_root_and_its_successor(custody: Custodian, engine: FakeEngine) -> None:
    roots = custody(generate=True)
    first = roots.make_root(RootProfile(400 * DAY), NOW)
    assert roots.make_root(RootProfile(), NOW) == first
    old = fingerprint(first.certificate)
    second = roots.make_root(RootProfile(), NOW, beside=old)
    assert roots.make_root(RootProfile(), NOW, beside=old) == second
    names = [issuer.name for issuer in engine.issuers.values()]
    assert names == ["mesh-federation-root", f"mesh-federation-root-after-{old[:8]}"]
    assert [path for path in written(engine) if "root/" in path] == [
        "pki/root/generate/internal",
        "pki/root/rotate/internal",
    ]
    assert [entry.action for entry in roots.ledger()] == ["root-made", "root-made"]


def test_a_root_that_somebody_else_just_made_is_taken(custody: Custodian, engine: FakeEngine) -> None:
    made = forge.root()

    def be_faster(verb: str, path: str) -> None:
        if verb == "write" and path.endswith("/internal") and not engine.issuers:
            engine.add(made, "mesh-federation-root")

    engine.before = be_faster
    assert custody(generate=True).make_root(RootProfile(), NOW).certificate == made.certificate
    assert len(engine.issuers) == 1


def test_nothing_is_made_unasked(custody: Custodian, engine: FakeEngine) -> None:
    with pytest.raises(CustodyError, match=r"(?s)there is no root.*vault_generate=true.*vault write pki/root/generate"):
        custody().make_root(RootProfile(), NOW)
    engine.add(old := forge.root())
    with pytest.raises(CustodyError, match=r"(?s)there is no other root.*vault write pki/root/rotate/internal"):
        custody().make_root(RootProfile(), NOW, beside=print_of(old))
    assert written(engine) == []


# CAs of meshes


def test_the_ca_of_a_mesh_is_asked_for_by_its_profile(custody: Custodian, engine: FakeEngine) -> None:
    engine.add(root := forge.root())
    roots = custody()
    certificate = roots.issue(print_of(root), EAST, REQUEST, NOW)
    expected = Expectation("east.mesh", ["svc"], [root.certificate])
    assert candidate_findings(Authority(certificate, KEY), expected, NOW) == ()
    _verb, path, content = engine.asked[-1]
    assert path == "pki/issuer/issuer-1/sign-intermediate"
    assert content["use_csr_values"] is False
    assert content["permitted_uri_domains"] == "east.mesh"
    assert content["max_path_length"] == 0
    assert [(entry.action, entry.mesh) for entry in roots.ledger()] == [("root-taken-over", ""), ("ca-issued", "east")]


def test_a_server_without_uri_constraints_is_refused(custody: Custodian, engine: FakeEngine) -> None:
    engine.add(root := forge.root())
    engine.unknown = frozenset({"permitted_uri_domains"})
    roots = custody()
    with pytest.raises(CustodyError, match=r"(?s)permits DNS:svc, expected DNS:svc, URI:east\.mesh.*Vault 1\.19"):
        roots.issue(print_of(root), EAST, REQUEST, NOW)
    assert roots.ledger() == ()
    certificate = roots.issue(print_of(root), EAST, external.request(KEY, EAST), NOW)
    expected = Expectation("east.mesh", ["svc"], [root.certificate])
    assert candidate_findings(Authority(certificate, KEY), expected, NOW) == ()
    assert engine.asked[-1][2]["use_csr_values"] is True


@pytest.mark.parametrize(
    "request_",
    [REQUEST, asking(critical=False), external.request(KEY, replace(EAST, trust_domain="west.mesh"))],
    ids=["nothing", "not critical", "another mesh"],
)
def test_only_a_request_that_asks_for_the_right_thing_is_copied_from(
    custody: Custodian, engine: FakeEngine, request_: x509.CertificateSigningRequest
) -> None:
    engine.add(root := forge.root())
    custody().issue(print_of(root), EAST, request_, NOW)
    assert engine.asked[-1][2]["use_csr_values"] is False


def test_a_ca_begins_and_ends_within_its_root(custody: Custodian, engine: FakeEngine) -> None:
    engine.add(root := forge.root(20 * DAY, now=NOW))
    certificate = custody().issue(print_of(root), EAST, REQUEST, NOW)
    assert certificate.not_valid_before_utc >= root.certificate.not_valid_before_utc
    assert certificate.not_valid_after_utc == root.certificate.not_valid_after_utc


@pytest.mark.parametrize("expiry", ["72h", "2000h"])
def test_a_list_that_ends_before_the_ca_is_refused(custody: Custodian, engine: FakeEngine, expiry: str) -> None:
    engine.configuration["expiry"] = expiry
    engine.add(root := forge.root(lifetime=100 * DAY))
    message = r"(?s)ends .*before the CA.*vault write pki/config/crl expiry=2424h.*vault read pki/crl/rotate"
    with pytest.raises(CustodyError, match=message):
        custody().issue(print_of(root), EAST, REQUEST, NOW)
    engine.lists.clear()
    with pytest.raises(CustodyError, match="is missing"):
        custody().issue(print_of(root), EAST, REQUEST, NOW)
    assert written(engine) == []
    short = replace(EAST, lifetime=timedelta(days=2))
    engine.rotate()
    assert custody().issue(print_of(root), short, REQUEST, NOW) is not None


def test_an_answer_without_a_certificate_is_named(custody: Custodian, engine: FakeEngine) -> None:
    engine.add(root := forge.root())
    engine.write = lambda _path, _content: {}  # type: ignore[method-assign]
    with pytest.raises(CustodyError, match="no certificate that can be read"):
        custody().issue(print_of(root), EAST, REQUEST, NOW)


# Revocation


@pytest.mark.parametrize("auto_rebuild", [False, True])
def test_revocations_are_on_the_list(custody: Custodian, engine: FakeEngine, auto_rebuild: bool) -> None:
    engine.configuration["auto_rebuild"] = auto_rebuild
    engine.add(root := forge.root())
    roots = custody()
    serial = roots.issue(print_of(root), EAST, REQUEST, NOW).serial_number
    renewed = roots.revoke(print_of(root), [Revocation(serial, NOW)], NOW)
    assert renewed.crl is not None
    assert crl.revoked(renewed.crl) == {serial}
    before = len(written(engine))
    assert roots.revoke(print_of(root), [Revocation(serial, NOW)], NOW).crl == renewed.crl
    assert len(written(engine)) == before
    assert [entry.mesh for entry in roots.ledger() if entry.action == "ca-revoked"] == ["east"]


def test_what_the_engine_forgot_is_revoked_by_the_ledger(custody: Custodian, engine: FakeEngine) -> None:
    engine.add(root := forge.root())
    roots = custody()
    serial = roots.issue(print_of(root), EAST, REQUEST, NOW).serial_number
    engine.stored.clear()
    renewed = roots.revoke(print_of(root), [Revocation(serial, NOW)], NOW)
    assert renewed.crl is not None
    assert crl.revoked(renewed.crl) == {serial}
    with pytest.raises(CustodyError, match=r"0a:bc not found"):
        roots.revoke(print_of(root), [Revocation(0xABC, NOW)], NOW)


def test_lists_that_are_turned_off_are_named(custody: Custodian, engine: FakeEngine) -> None:
    engine.configuration["disable"] = True
    engine.add(root := forge.root())
    engine.stored.add(0xABC)
    with pytest.raises(CustodyError, match=r"0a:bc is revoked, but not on the list.*disable=false"):
        custody().revoke(print_of(root), [Revocation(0xABC, NOW)], NOW)


# Retirement


def test_the_last_root_and_one_that_may_not_be_destroyed_stay(custody: Custodian, engine: FakeEngine) -> None:
    engine.add(old := forge.root(now=NOW - DAY))
    with pytest.raises(CustodyError, match="the only root"):
        custody(destroy=True).retire(print_of(old), NOW)
    engine.add(forge.root())
    with pytest.raises(CustodyError, match=r"(?s)vault delete pki/issuer/issuer-1\n  vault delete pki/key/key-1$"):
        custody().retire(print_of(old), NOW)
    assert len(engine.issuers) == len(engine.keys) == 2


@pytest.mark.parametrize("dies", ["issuer", "key", None])
def test_a_retired_root_is_destroyed(custody: Custodian, engine: FakeEngine, dies: str | None) -> None:
    engine.add(old := forge.root(now=NOW - DAY))
    engine.number = 10
    engine.add(forge.root())

    def die(verb: str, path: str) -> None:
        if dies is not None and verb == "delete" and f"/{dies}/" in path:
            raise KeyboardInterrupt

    engine.before = die
    if dies is not None:
        with pytest.raises(KeyboardInterrupt):
            custody(destroy=True).retire(print_of(old), NOW)
        engine.before = lambda _verb, _path: None
    custody(destroy=True).retire(print_of(old), NOW)
    assert not custody(destroy=True).retire(print_of(old), NOW)
    assert len(engine.issuers) == len(engine.keys) == 1
    retired = [entry for entry in custody().ledger() if entry.action == "root-retired"]
    assert [entry.fingerprint for entry in retired] == [print_of(old)]


@pytest.mark.parametrize("act", ["issue", "revoke", "make_root"])
def test_a_root_that_is_not_there_is_named(custody: Custodian, engine: FakeEngine, act: str) -> None:
    engine.add(known := forge.root())
    absent = "0" * 64
    calls: dict[str, Callable[[], object]] = {
        "issue": lambda: custody().issue(absent, EAST, REQUEST, NOW),
        "revoke": lambda: custody().revoke(absent, [], NOW),
        "make_root": lambda: custody().make_root(RootProfile(), NOW, beside=absent),
    }
    with pytest.raises(CustodyError, match=f"{absent} is not there.*{print_of(known)}"):
        calls[act]()
    assert not custody().retire(absent, NOW)
