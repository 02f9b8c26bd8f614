# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible_collections.multimesh.istio.plugins.module_utils.kube.client import Client
from ansible_collections.multimesh.istio.plugins.module_utils.pki import bundle, keys
from ansible_collections.multimesh.istio.plugins.modules import ingress_certificates

from tests.canary import Canary
from tests.unit.plugins.module_utils.pki import forge
from tests.unit.plugins.module_utils.pki.fakes import FakeCluster

ROOT = forge.root()
EAST = forge.intermediate(ROOT)
WANTED = {
    "namespace": "istio-system",
    "secret": "multimesh-ingress.reviews.shop",
    "hosts": ["9080.reviews.shop.svc"],
    "spiffe_id": "spiffe://east.mesh/ns/shop/sa/ingress_controller",
}
SECRET = "Secret istio-system/multimesh-ingress.reviews.shop"

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    fake = FakeCluster()
    files = bundle.build(EAST, ROOT.certificate)
    data = {name: base64.b64encode(content).decode() for name, content in files.items()}
    fake.put("Secret istio-system/cacerts", {"kind": "Secret", "metadata": {"name": "cacerts"}, "data": data})
    monkeypatch.setattr(Client, "connect", lambda _connection: fake)
    return fake


@pytest.fixture
def call(
    cluster: FakeCluster,  # noqa: ARG001 - has to be there first
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Call:
    """Run the module with these arguments; the result, with the output as ``printed``."""

    def run(**arguments: Any) -> dict[str, Any]:
        given = {"mesh": "east", "certificates": [WANTED], **arguments}
        given = {key: value for key, value in given.items() if value is not None}
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": given}).encode())
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        with pytest.raises(SystemExit):
            ingress_certificates.main()
        printed = capsys.readouterr().out
        return {**json.loads(printed), "printed": printed}

    return run


def test_makes_keeps_and_deletes(call: Call, cluster: FakeCluster) -> None:
    predicted = call(_ansible_check_mode=True, _ansible_diff=True)
    assert predicted["changed"]
    assert SECRET not in cluster.objects
    assert predicted["certificates"] == [{**WANTED, "action": "issued", "reason": "there is none"}]

    made = call(_ansible_diff=True)
    [certificate] = made["certificates"]
    assert made["changed"]
    assert certificate["action"] == "issued"
    assert certificate["spiffe_id"] == WANTED["spiffe_id"]
    assert certificate["days_left"] == 29
    place = "istio-system/multimesh-ingress.reviews.shop"
    assert made["diff"]["before"] == {place: {}}
    assert made["diff"]["after"][place]["fingerprint_sha256"] == certificate["fingerprint_sha256"]
    assert made["diff"]["after_header"] == "east: certificates of Ingresses"

    for certificates in ([WANTED], None):
        kept = call(certificates=certificates)
        assert not kept["changed"]
        assert [one["action"] for one in kept["certificates"]] == ["kept"]
    gone = call(certificates=[])
    assert [one["action"] for one in gone["certificates"]] == ["deleted"]
    assert SECRET not in cluster.objects
    assert not call(certificates=[])["changed"]


def test_lifetime_and_key_are_as_asked_for(call: Call, cluster: FakeCluster) -> None:
    assert call(lifetime_days=2.5, key_type="rsa-3072")["certificates"][0]["days_left"] == 2
    key = base64.b64decode(cluster.objects[SECRET]["data"]["tls.key"])
    assert len(key) > 2000


@pytest.mark.parametrize("days", [0, -1])
def test_a_lifetime_that_is_none(call: Call, days: int) -> None:
    message = f"east: lifetime_days: {days} cannot be used, expected more than 0."
    assert call(lifetime_days=days)["msg"] == message


def test_a_refusal_is_a_failure(call: Call, cluster: FakeCluster) -> None:
    cluster.put(SECRET, {"kind": "Secret", "metadata": {}, "data": {}})
    assert call()["msg"].startswith("east: Secret istio-system/multimesh-ingress.reviews.shop is there and not of this")


def test_shows_no_secret(call: Call, cluster: FakeCluster) -> None:
    printed = call(_ansible_diff=True, _ansible_verbosity=4)["printed"]
    printed += call(_ansible_diff=True, _ansible_verbosity=4)["printed"]
    own = base64.b64decode(cluster.objects[SECRET]["data"]["tls.key"])
    printed += call(certificates=[], _ansible_diff=True, _ansible_verbosity=4)["printed"]
    secrets = {"leaf": own, "ca": keys.private_pem(EAST.key, None)}
    assert Canary(secrets).find(printed.encode()) == set()


def test_warns_of_what_the_api_server_warns_of(
    call: Call, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[str] = []
    monkeypatch.setattr(basic.AnsibleModule, "warn", lambda _module, text: warned.append(text))
    cluster.warnings["deprecated"] = None
    call()
    assert warned == ["east: deprecated"]
