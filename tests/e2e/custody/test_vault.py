# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A root in a real Vault server: what it signs, what it refuses, what messages and documents tell people to type."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.pki import crl
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import Authority, issue_leaf, new_request
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody import external, vault_api
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import (
    CustodyError,
    IntermediateProfile,
    Revocation,
    Root,
    RootProfile,
)
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.store import FileStore
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.vault import Engine, VaultRoots
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.vault_api import Api, Login, Server
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import fingerprint
from ansible_collections.multimesh.istio.plugins.module_utils.pki.verify import (
    Expectation,
    candidate_findings,
    root_findings,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from tests.e2e.custody.server import Vault, as_policy, documented_policy, running
from tests.unit.plugins.module_utils.pki import forge

pytestmark = pytest.mark.long
"""The server takes minutes to build."""

EAST = IntermediateProfile("east", "east.mesh", ("svc", "mesh.example"))
Custodian = Callable[..., VaultRoots]


def now() -> datetime:
    return datetime.now(UTC)


def expectation(root: Root) -> Expectation:
    return Expectation(EAST.trust_domain, EAST.dns_domains, [root.certificate])


def printed(error: CustodyError) -> list[str]:
    """Commands in a message."""
    return [line.strip() for line in str(error).splitlines() if line.startswith("  vault ")]


class Older(Api):
    """A server that does not know some parameters yet."""

    unknown = frozenset({"permitted_uri_domains"})

    def write(self, path: str, content: Mapping[str, Any]) -> dict[str, Any]:
        return super().write(path, {name: value for name, value in content.items() if name not in self.unknown})


# Roots


@pytest.mark.parametrize("key_type", ["ecdsa-p256", "ecdsa-p384", "rsa-3072"])
def test_a_root_is_made_that_is_good(custody: Custodian, key_type: str) -> None:
    roots = custody(generate=True)
    assert roots.roots() == ()
    made = roots.make_root(RootProfile(400 * forge.DAY, key_type), now())
    assert root_findings(made.certificate, "root", now()) == ()
    remaining = made.certificate.not_valid_after_utc - now()
    assert timedelta(days=399) < remaining <= timedelta(days=400)
    assert made.crl is not None
    assert crl.findings(crl.pem([made.crl]), [made.certificate], now()) == ()
    assert made.crl.next_update_utc is not None
    assert made.crl.next_update_utc >= made.certificate.not_valid_after_utc
    assert roots.make_root(RootProfile(), now()).certificate == made.certificate
    assert [(entry.action, entry.fingerprint) for entry in roots.ledger()] == [
        ("root-made", fingerprint(made.certificate))
    ]


def test_two_runs_make_one_root(custody: Custodian) -> None:
    runs = [custody(generate=True) for _number in range(6)]
    with ThreadPoolExecutor(len(runs)) as pool:
        made = list(pool.map(lambda run: run.make_root(RootProfile(), now()), runs))
    assert len({root.certificate for root in made}) == 1
    assert len(runs[0].roots()) == 1


def test_nothing_is_made_unasked_and_the_printed_commands_do_it(custody: Custodian, vault: Vault) -> None:
    roots = custody()
    with pytest.raises(CustodyError, match="there is no root") as caught:
        roots.make_root(RootProfile(), now())
    assert roots.roots() == ()
    commands = printed(caught.value)
    assert len(commands) == 2
    for command in commands:
        done = vault.run(command)
        assert done.returncode == 0, (command, done.stderr)
    made = roots.make_root(RootProfile(), now())
    assert root_findings(made.certificate, "root", now()) == ()
    key, request = new_request("ecdsa-p256")
    certificate = roots.issue(fingerprint(made.certificate), EAST, request, now())
    assert candidate_findings(Authority(certificate, key), expectation(made), now()) == ()


def test_roots_are_chosen_by_name(custody: Custodian, vault: Vault, mount: str) -> None:
    other = custody(generate=True, issuer="another").make_root(RootProfile(), now())
    ours = custody(generate=True, issuer="ours").make_root(RootProfile(), now())
    assert other.certificate != ours.certificate
    assert [root.certificate for root in custody(issuer="ours").roots()] == [ours.certificate]
    assert [root.certificate for root in custody().roots()] == [other.certificate, ours.certificate]
    vault.admin.write_data(f"{mount}/root/generate/internal", data={"common_name": "third", "issuer_name": "third"})
    with pytest.raises(CustodyError, match=r"there are 3 roots.*vault_issuer"):
        custody().roots()


def test_issuers_that_are_no_roots_do_not_count(custody: Custodian, vault: Vault, mount: str) -> None:
    made = custody(generate=True).make_root(RootProfile(), now())
    request = vault.admin.write_data(f"{mount}/intermediate/generate/internal", data={"common_name": "below"})
    signed = vault.admin.write_data(
        f"{mount}/root/sign-intermediate", data={"csr": request["data"]["csr"], "common_name": "below"}
    )
    vault.admin.write_data(f"{mount}/intermediate/set-signed", data={"certificate": signed["data"]["certificate"]})
    foreign = forge.to_pem(forge.root().certificate).decode()
    vault.admin.write_data(f"{mount}/issuers/import/cert", data={"pem_bundle": foreign})
    assert len(vault.admin.list(f"{mount}/issuers")["data"]["keys"]) == 3
    assert [root.certificate for root in custody().roots()] == [made.certificate]


# CAs of meshes


@pytest.mark.parametrize("key_type", ["ecdsa-p256", "ecdsa-p384", "rsa-3072"])
def test_the_ca_of_a_mesh_is_bound_to_it(custody: Custodian, key_type: str) -> None:
    roots = custody(generate=True)
    root = roots.make_root(RootProfile(), now())
    key, request = new_request(key_type)
    certificate = roots.issue(fingerprint(root.certificate), EAST, request, now())
    assert candidate_findings(Authority(certificate, key), expectation(root), now()) == ()
    constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert constraints.value.excluded_subtrees is None
    life = certificate.not_valid_after_utc - now()
    assert timedelta(days=89) < life <= timedelta(days=90)  # the engine's own limit is 32 days
    authority = Authority(certificate, key)
    own, foreign = (
        issue_leaf(authority, f"spiffe://{domain}/ns/a/sa/b", now(), ["istiod.istio-system.svc"])
        for domain in ("east.mesh", "west.mesh")
    )
    chain = [certificate, root.certificate]
    assert forge.openssl_accepts(own, chain, now())
    assert not forge.openssl_accepts(foreign, chain, now())
    entry = roots.ledger()[-1]
    assert (entry.action, entry.mesh, entry.fingerprint) == ("ca-issued", "east", fingerprint(certificate))


def test_a_server_that_cannot_bind_it_is_refused(custody: Custodian, vault: Vault) -> None:
    roots = custody(Older(vault.server, Login(token=vault.token)), generate=True)
    root = roots.make_root(RootProfile(), now())
    _key, request = new_request("ecdsa-p256")
    with pytest.raises(CustodyError, match=r"(?s)permits DNS:mesh.example, DNS:svc, expected.*Vault 1\.19") as caught:
        roots.issue(fingerprint(root.certificate), EAST, request, now())
    assert [entry.action for entry in roots.ledger()] == ["root-made"]
    revoke = re.search(r"vault write \S+/revoke serial_number=\S+", str(caught.value))
    assert revoke is not None
    assert vault.run(revoke[0]).returncode == 0


def test_a_server_that_only_copies_from_requests_can_be_used(custody: Custodian, vault: Vault) -> None:
    roots = custody(Older(vault.server, Login(token=vault.token)), generate=True)
    root = roots.make_root(RootProfile(), now())
    key, _request = new_request("ecdsa-p256")
    certificate = roots.issue(fingerprint(root.certificate), EAST, external.request(key, EAST), now())
    assert candidate_findings(Authority(certificate, key), expectation(root), now()) == ()


def test_the_life_of_a_ca_ends_with_the_root(custody: Custodian) -> None:
    roots = custody(generate=True)
    root = roots.make_root(RootProfile(20 * forge.DAY), now())
    _key, request = new_request("ecdsa-p256")
    certificate = roots.issue(fingerprint(root.certificate), EAST, request, now())
    assert certificate.not_valid_after_utc == root.certificate.not_valid_after_utc


def test_lists_that_end_too_early_are_refused_and_the_printed_commands_help(
    custody: Custodian, vault: Vault, mount: str
) -> None:
    vault.admin.write_data(
        f"{mount}/root/generate/internal",
        data={"common_name": "Corporate root", "key_type": "ec", "key_bits": 384, "not_after": "2045-01-01T00:00:00Z"},
    )
    roots = custody()
    (root,) = roots.roots()
    key, request = new_request("ecdsa-p256")
    with pytest.raises(CustodyError, match=r"ends .*, before the CA that it is about") as caught:
        roots.issue(fingerprint(root.certificate), EAST, request, now())
    for command in printed(caught.value):
        done = vault.run(command)
        assert done.returncode == 0, (command, done.stderr)
    certificate = roots.issue(fingerprint(root.certificate), EAST, request, now())
    assert candidate_findings(Authority(certificate, key), expectation(root), now()) == ()
    assert [entry.action for entry in roots.ledger()] == ["root-taken-over", "ca-issued"]


# Revocation


@pytest.mark.parametrize("auto_rebuild", [False, True])
def test_a_revoked_ca_is_on_the_list(custody: Custodian, vault: Vault, mount: str, auto_rebuild: bool) -> None:
    roots = custody(generate=True)
    root = roots.make_root(RootProfile(), now())
    issuer = fingerprint(root.certificate)
    serials = [roots.issue(issuer, EAST, new_request("ecdsa-p256")[1], now()).serial_number for _number in range(2)]
    if auto_rebuild:
        vault.admin.write_data(f"{mount}/config/crl", data={"auto_rebuild": True, "expiry": "90000h"})
    assert roots.revoke(issuer, [], now()).crl is not None
    renewed = roots.revoke(issuer, [Revocation(serials[0], now())], now())
    assert renewed.crl is not None
    assert crl.revoked(renewed.crl) == {serials[0]}
    assert crl.findings(crl.pem([renewed.crl]), [root.certificate], now()) == ()
    again = roots.revoke(issuer, [Revocation(serials[0], now())], now())
    assert again.crl == renewed.crl
    assert roots.revoke(issuer, [Revocation(serials[1], now())], now()).crl != renewed.crl
    assert [entry.mesh for entry in roots.ledger() if entry.action == "ca-revoked"] == ["east", "east"]


def test_what_cannot_be_revoked_is_named(custody: Custodian, vault: Vault, mount: str) -> None:
    roots = custody(generate=True)
    issuer = fingerprint(roots.make_root(RootProfile(), now()).certificate)
    with pytest.raises(CustodyError, match=rf"update {mount}/revoke: .*0a:bc"):
        roots.revoke(issuer, [Revocation(0xABC, now())], now())
    serial = roots.issue(issuer, EAST, new_request("ecdsa-p256")[1], now()).serial_number
    vault.admin.write_data(f"{mount}/config/crl", data={"disable": True})
    with pytest.raises(CustodyError, match="disable=false"):
        roots.revoke(issuer, [Revocation(serial, now())], now())


# Rotation


def test_a_second_root_signs_beside_the_first_and_then_alone(custody: Custodian, vault: Vault, mount: str) -> None:
    roots = custody(generate=True)
    old = fingerprint(roots.make_root(RootProfile(), now()).certificate)
    second = roots.make_root(RootProfile(), now(), beside=old)
    new = fingerprint(second.certificate)
    assert new != old
    assert roots.make_root(RootProfile(), now(), beside=old).certificate == second.certificate
    assert {fingerprint(root.certificate) for root in roots.roots()} == {old, new}
    for issuer in (old, new):
        certificate = roots.issue(issuer, EAST, new_request("ecdsa-p256")[1], now())
        (signer,) = (root.certificate for root in roots.roots() if root.certificate.subject == certificate.issuer)
        assert fingerprint(signer) == issuer
    with pytest.raises(CustodyError, match="its key still is there") as caught:
        roots.retire(old, now())
    for command in printed(caught.value):
        done = vault.run(command)
        assert done.returncode == 0, (command, done.stderr)
    assert not roots.retire(old, now())
    assert [fingerprint(root.certificate) for root in roots.roots()] == [new]
    with pytest.raises(CustodyError, match="the only root"):
        roots.retire(new, now())
    assert len(vault.admin.list(f"{mount}/keys")["data"]["keys"]) == 1


def test_a_retired_root_is_destroyed_when_that_is_asked_for(custody: Custodian, vault: Vault, mount: str) -> None:
    roots = custody(generate=True, destroy=True)
    old = fingerprint(roots.make_root(RootProfile(), now()).certificate)
    roots.make_root(RootProfile(), now(), beside=old)
    assert roots.retire(old, now())
    assert not roots.retire(old, now())
    assert len(vault.admin.list(f"{mount}/keys")["data"]["keys"]) == 1
    assert len(vault.admin.list(f"{mount}/issuers")["data"]["keys"]) == 1
    assert [entry.action for entry in roots.ledger()] == ["root-made", "root-made", "root-retired"]


def test_a_retirement_that_was_killed_half_way_is_finished(custody: Custodian, vault: Vault, mount: str) -> None:
    class Killed(Api):
        def delete(self, path: str) -> None:
            if "/key/" in path:
                raise KeyboardInterrupt
            super().delete(path)

    whole = custody(generate=True, destroy=True)
    old = fingerprint(whole.make_root(RootProfile(), now()).certificate)
    whole.make_root(RootProfile(), now(), beside=old)
    with pytest.raises(KeyboardInterrupt):
        custody(Killed(vault.server, Login(token=vault.token)), destroy=True).retire(old, now())
    assert len(vault.admin.list(f"{mount}/keys")["data"]["keys"]) == 2
    assert not whole.retire(old, now())
    assert len(vault.admin.list(f"{mount}/keys")["data"]["keys"]) == 1


# Being let in


def use_all(roots: VaultRoots) -> None:
    """Everything that a custody does, once."""
    old = fingerprint(roots.make_root(RootProfile(), now()).certificate)
    certificate = roots.issue(old, EAST, new_request("ecdsa-p256")[1], now())
    roots.revoke(old, [Revocation(certificate.serial_number, now())], now())
    roots.make_root(RootProfile(), now(), beside=old)
    roots.retire(old, now())


def test_the_documented_policy_is_enough(custody: Custodian, vault: Vault, mount: str) -> None:
    rules = documented_policy(mount)
    use_all(custody(vault.api(Login(token=vault.token_for(as_policy(rules)))), generate=True, destroy=True))


def test_each_right_that_is_missing_is_named(vault: Vault, tmp_path: Path) -> None:
    for path in documented_policy("pki"):
        mount = vault.mount()
        rules = documented_policy(mount)
        missing = f"{mount}{path.removeprefix('pki')}"
        vault.admin.write_data(f"{mount}/config/crl", data={"auto_rebuild": True})  # so that crl/rotate is needed
        token = vault.token_for(as_policy({name: value for name, value in rules.items() if name != missing}))
        roots = VaultRoots(
            FileStore(tmp_path / mount),
            KeepsAutoRebuild(vault.server, Login(token=token)),
            Engine(mount, "", True, True),
        )
        expected = re.escape(missing).replace(r"\+", "[^ ]+")
        with pytest.raises(CustodyError, match=rf"this login may not \w+ {expected}[, ]"):
            use_all(roots)


class KeepsAutoRebuild(Api):
    def write(self, path: str, content: Mapping[str, Any]) -> dict[str, Any]:
        return super().write(path, {**content, "auto_rebuild": True} if path.endswith("config/crl") else content)


def signed_jwt(key: ec.EllipticCurvePrivateKey, claims: Mapping[str, Any]) -> str:
    import base64
    import json

    def part(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    body = ".".join(part(json.dumps(item).encode()) for item in ({"alg": "ES256", "typ": "JWT"}, claims))
    first, second = utils.decode_dss_signature(key.sign(body.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{body}.{part(first.to_bytes(32, 'big') + second.to_bytes(32, 'big'))}"


@pytest.mark.parametrize("method", ["jwt", "kubernetes"])
def test_logs_in_with_a_jwt(
    custody: Custodian, vault: Vault, mount: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    # Both methods take a role and a JWT in the same way; the JWT is verified by its key, as without a cluster.
    path = f"{method}-{mount}"
    vault.admin.sys.enable_auth_method("jwt", path=path)
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    vault.admin.write_data(f"auth/{path}/config", data={"jwt_validation_pubkeys": public.decode()})
    vault.admin.sys.create_or_update_policy(path, as_policy(documented_policy(mount)))
    role = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": "vault", "token_policies": path}
    vault.admin.write_data(f"auth/{path}/role/federation", data=role)
    claims = {"sub": "runner", "aud": "vault", "iat": int(time.time()), "exp": int(time.time()) + 600}
    token = signed_jwt(key, claims)
    login = Login(method, path, role="federation", jwt=token)
    if method == "kubernetes":
        (tmp_path / "token").write_text(f"{token}\n")
        monkeypatch.setattr(vault_api, "SERVICE_ACCOUNT_TOKEN", tmp_path / "token")
        login = Login(method, path, role="federation")
    custody(vault.api(login), generate=True).make_root(RootProfile(), now())
    forged = signed_jwt(ec.generate_private_key(ec.SECP256R1()), claims)
    with pytest.raises(CustodyError, match=f"auth/{path}/login") as caught:
        custody(vault.api(Login(method, path, role="federation", jwt=forged))).roots()
    assert forged not in str(caught.value)


def test_logs_in_with_an_approle(custody: Custodian, vault: Vault, mount: str) -> None:
    path = f"approle-{mount}"
    vault.admin.sys.enable_auth_method("approle", path=path)
    vault.admin.sys.create_or_update_policy(path, as_policy(documented_policy(mount)))
    vault.admin.write_data(f"auth/{path}/role/federation", data={"token_policies": path})
    role_id = vault.admin.read(f"auth/{path}/role/federation/role-id")["data"]["role_id"]
    secret_id = vault.admin.write_data(f"auth/{path}/role/federation/secret-id")["data"]["secret_id"]
    login = Login("approle", path, role_id=role_id, secret_id=secret_id)
    custody(vault.api(login), generate=True).make_root(RootProfile(), now())
    wrong = "00000000-0000-0000-0000-000000000000"
    with pytest.raises(CustodyError, match=f"auth/{path}/login") as caught:
        custody(vault.api(Login("approle", path, role_id=role_id, secret_id=wrong))).roots()
    assert not any(secret in str(caught.value) for secret in (role_id, wrong))
    assert secret_id not in repr(login)


def test_a_wrong_token_and_a_wrong_mount_are_named(custody: Custodian, vault: Vault) -> None:
    custody(generate=True).make_root(RootProfile(), now())
    with pytest.raises(CustodyError, match="or its token has ended") as caught:
        custody(vault.api(Login(token="hvs.not-a-token"))).roots()
    assert "not-a-token" not in str(caught.value)
    assert custody(mount="nowhere").roots() == ()
    with pytest.raises(CustodyError, match=r"there is no nowhere/config/crl\. Check the mount"):
        custody(mount="nowhere", generate=True).make_root(RootProfile(), now())


def test_the_environment_of_the_user_does_not_count(
    custody: Custodian, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", vault.token)
    monkeypatch.setenv("VAULT_ADDR", "https://127.0.0.1:1")
    with pytest.raises(CustodyError, match="the token is empty"):
        custody(vault.api(Login(token=""))).roots()
    assert custody().roots() == ()


def test_a_server_that_cannot_be_verified_or_reached_is_named(custody: Custodian, vault: Vault, tmp_path: Path) -> None:
    (tmp_path / "other.pem").write_bytes(forge.to_pem(forge.root().certificate))
    login = Login(token=vault.token)
    for server, message in (
        (Server(vault.url, ca_cert=str(tmp_path / "other.pem")), "cannot be verified.*vault_ca_cert"),
        (Server("https://127.0.0.1:1", ca_cert=vault.ca_cert), "cannot be reached.*vault_url"),
        (Server(vault.url, ca_cert=str(tmp_path / "missing.pem")), "missing.pem"),
        (Server("http://vault.example:8200"), "expected https://"),
    ):
        with pytest.raises(CustodyError, match=message) as caught:
            custody(Api(server, login)).roots()
        assert vault.token not in str(caught.value)


def test_a_sealed_server_is_named(tmp_path: Path) -> None:
    with running(tmp_path / "server") as sealed:
        sealed.admin.sys.seal()
        roots = VaultRoots(FileStore(tmp_path / "ledger"), sealed.api(), Engine())
        with pytest.raises(CustodyError, match="sealed or being maintained"):
            roots.roots()
