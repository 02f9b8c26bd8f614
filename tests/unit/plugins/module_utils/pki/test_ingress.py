# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates of Ingresses: issued, kept, renewed, deleted, on one cluster in memory."""

from __future__ import annotations

import base64
import copy
import json
import ssl
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.kube import lease
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import Call, refused
from ansible_collections.multimesh.istio.plugins.module_utils.kube.lease import LeaseHeldError
from ansible_collections.multimesh.istio.plugins.module_utils.pki import bundle, cacerts, ingress, keys
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import sign_server
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import fingerprint
from ansible_collections.multimesh.istio.plugins.module_utils.pki.ingress import Request, Wanted
from ansible_collections.multimesh.istio.plugins.module_utils.pki.request import RefusedError
from ansible_collections.multimesh.istio.plugins.module_utils.pki.verify import certificates, leaf_rejection
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.canary import Canary
from tests.unit.plugins.module_utils.pki import forge
from tests.unit.plugins.module_utils.pki.custody.memory import Killed
from tests.unit.plugins.module_utils.pki.fakes import FakeCluster

NOW = forge.NOW
DAY = timedelta(days=1)
ROOT = forge.root()
EAST = forge.intermediate(ROOT)
REVIEWS = Wanted(
    "shop",
    "multimesh-ingress.reviews.shop",
    ("9080.reviews.shop.svc",),
    "spiffe://east.mesh/ns/shop/sa/ingress_controller",
)
CARTS = Wanted(
    "istio-system",
    "multimesh-ingress.carts.books",
    ("80.carts.global.svc", "81.carts.global.svc"),
    "spiffe://east.mesh/ns/books/sa/ingress_controller",
)
RECORD = f"ConfigMap istio-system/{ingress.RECORD}"


def put_ca(cluster, ca, root=ROOT):
    files = bundle.build(ca, root.certificate)
    data = {name: base64.b64encode(content).decode() for name, content in files.items()}
    cluster.put("Secret istio-system/cacerts", {"kind": "Secret", "metadata": {"name": "cacerts"}, "data": data})


@pytest.fixture
def cluster():
    found = FakeCluster(objects={f"Namespace {name}": {} for name in ("istio-system", "shop")})
    put_ca(found, EAST)
    return found


def ensure(cluster, *wanted, now=NOW, check=False, **request):
    listed = None if wanted == (None,) else wanted
    return ingress.ensure(cluster, Request(listed, run="the test", **request), now, check=check)


def done(outcome):
    return [(entry.wanted.place, entry.action) for entry in outcome.entries]


def secret(cluster, wanted):
    return cluster.objects.get(f"Secret {wanted.place}")


def files(cluster, wanted):
    return {name: base64.b64decode(content) for name, content in secret(cluster, wanted)["data"].items()}


def leaf(cluster, wanted=REVIEWS):
    return certificates(files(cluster, wanted)["tls.crt"])[0]


def recorded(cluster):
    return [entry["secret"] for entry in json.loads(cluster.objects[RECORD]["data"]["certificates.json"])]


def state(cluster):
    """All that a run may write, as it can be compared with that of another run."""
    fingerprints = {
        subject: [fingerprint(one) for one in certificates(base64.b64decode(body["data"]["tls.crt"]))]
        for subject, body in cluster.objects.items()
        if body.get("type") == ingress.TYPE
    }
    return fingerprints, recorded(cluster) if RECORD in cluster.objects else []


def test_a_certificate_has_the_names_of_the_ingress_and_the_identity_that_callers_check(cluster):
    outcome = ensure(cluster, REVIEWS, CARTS)
    assert outcome.changed
    assert done(outcome) == [(CARTS.place, "issued"), (REVIEWS.place, "issued")]
    made = leaf(cluster, CARTS)
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical, "the subject is empty"
    assert [name.value for name in names.value] == [CARTS.spiffe_id, *CARTS.hosts]
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH], "nobody can call with it"
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert made.not_valid_after_utc == NOW + 30 * DAY


def test_the_secret_is_one_that_every_controller_reads(cluster):
    ensure(cluster, REVIEWS)
    held = secret(cluster, REVIEWS)
    assert held["type"] == "kubernetes.io/tls"
    assert held["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "multimesh.istio"}
    content = files(cluster, REVIEWS)
    assert set(content) == {"tls.crt", "tls.key"}
    assert certificates(content["tls.crt"])[1:] == [EAST.certificate], "the CA, and not the root"
    with tempfile.TemporaryDirectory() as folder:
        for name, part in content.items():
            Path(folder, name).write_bytes(part)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(Path(folder, "tls.crt"), Path(folder, "tls.key"))  # OpenSSL finds that they match


def test_callers_believe_it_and_openssl_agrees(cluster):
    ensure(cluster, REVIEWS)
    chain = [EAST.certificate, ROOT.certificate]
    assert leaf_rejection(leaf(cluster), chain, NOW) is None
    assert forge.openssl_accepts(leaf(cluster), chain)


@pytest.mark.parametrize("key_type", keys.KEY_TYPES)
def test_kinds_of_key(cluster, key_type):
    ensure(cluster, REVIEWS, key_type=key_type)
    assert ensure(cluster, REVIEWS).changed is False


@pytest.mark.parametrize("kind", ["URI", "DNS"])
def test_nobody_believes_the_ca_of_another_mesh(kind):
    """Who took west's CA can sign for every name under svc, and not for east's identity, which callers ask for."""
    west = forge.intermediate(ROOT, "west.mesh")
    key = keys.generate("ecdsa-p256")
    spiffe_id = REVIEWS.spiffe_id if kind == "URI" else REVIEWS.spiffe_id.replace("east", "west")
    forged = sign_server(west, key.public_key(), spiffe_id, REVIEWS.hosts, DAY, NOW)
    chain = [west.certificate, ROOT.certificate]
    assert (leaf_rejection(forged, chain, NOW) is None) is (kind == "DNS")
    assert forge.openssl_accepts(forged, chain) is (kind == "DNS")


def test_nothing_is_left_to_do_and_nothing_is_written(cluster):
    ensure(cluster, REVIEWS, CARTS)
    cluster.written.clear()
    outcome = ensure(cluster, REVIEWS, CARTS, check=False)
    assert not outcome.changed
    assert {entry.action for entry in outcome.entries} == {"kept"}
    assert cluster.written == []
    assert not ensure(cluster, None).changed


def test_without_any_ingress_one_request_is_sent_and_nothing_written(cluster):
    asked = []
    cluster.before = lambda *request: asked.append(request)
    assert ensure(cluster) == ingress.Outcome(changed=False, entries=())
    assert ensure(cluster, None) == ingress.Outcome(changed=False, entries=())
    assert asked == [("get", RECORD)] * 2
    assert cluster.written == []


def test_it_is_renewed_at_two_thirds_of_its_life_with_a_new_key(cluster):
    ensure(cluster, REVIEWS)
    before = leaf(cluster)
    assert not ensure(cluster, REVIEWS, now=NOW + 19 * DAY).changed
    outcome = ensure(cluster, REVIEWS, now=NOW + 20 * DAY)
    assert [(entry.action, entry.reason) for entry in outcome.entries] == [
        ("renewed", "two thirds of its life are over")
    ]
    assert leaf(cluster).public_key() != before.public_key()
    assert not ensure(cluster, REVIEWS, now=NOW + 20 * DAY).changed


def test_it_never_outlives_the_ca_of_the_mesh(cluster):
    put_ca(cluster, forge.intermediate(ROOT, lifetime=10 * DAY))
    ensure(cluster, REVIEWS)
    assert leaf(cluster).not_valid_after_utc == NOW + 10 * DAY


@pytest.mark.parametrize("wanted", [REVIEWS, None])
def test_another_ca_signs_it_anew(cluster, wanted):
    ensure(cluster, REVIEWS)
    successor = forge.intermediate(ROOT)
    put_ca(cluster, successor)
    outcome = ensure(cluster, wanted)
    assert [entry.reason for entry in outcome.entries] == ["it is not signed by the CA that signs for the mesh now"]
    assert certificates(files(cluster, REVIEWS)["tls.crt"])[1:] == [successor.certificate]
    assert [
        name.value for name in leaf(cluster).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    ] == [
        REVIEWS.spiffe_id,
        *REVIEWS.hosts,
    ]


def spoiled(cluster, **content):
    held = copy.deepcopy(secret(cluster, REVIEWS))
    held["data"] |= {name.replace("_", "."): base64.b64encode(one).decode() for name, one in content.items()}
    cluster.put(f"Secret {REVIEWS.place}", held)


def test_other_names(cluster):
    ensure(cluster, REVIEWS)
    more = replace(REVIEWS, hosts=("9080.reviews.shop.svc", "9090.reviews.shop.svc"))
    outcome = ensure(cluster, more)
    assert [(entry.action, entry.reason) for entry in outcome.entries] == [("renewed", "it is for other names")]
    assert not ensure(cluster, None).changed
    other = replace(more, spiffe_id="spiffe://east.mesh/ns/shop/sa/other")
    assert ensure(cluster, other).changed


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"tls_crt": b"no certificate"}, "it cannot be read"),
        ({"tls_crt": b""}, "it cannot be read"),
        ({"tls_key": b"no key"}, "its key is another one"),
        ({"tls_key": keys.private_pem(keys.generate("ecdsa-p256"), None)}, "its key is another one"),
        ({"tls_key": keys.private_pem(keys.generate("ecdsa-p256"), b"secret")}, "its key is another one"),
    ],
)
def test_whatever_is_wrong_with_it_is_put_right(cluster, content, reason):
    ensure(cluster, REVIEWS)
    spoiled(cluster, **content)
    assert [entry.reason for entry in ensure(cluster, REVIEWS).entries] == [reason]
    assert not ensure(cluster, REVIEWS).changed


def test_a_certificate_that_callers_refuse_for_another_reason(cluster):
    ensure(cluster, REVIEWS)
    key = keys.generate("ecdsa-p256")
    to_come = sign_server(EAST, key.public_key(), REVIEWS.spiffe_id, REVIEWS.hosts, 30 * DAY, NOW + DAY)
    chain = bundle.certificate_pem(to_come) + bundle.certificate_pem(EAST.certificate)
    spoiled(cluster, tls_crt=chain, tls_key=keys.private_pem(key, None))
    assert "is not valid now" in ensure(cluster, REVIEWS).entries[0].reason


def test_what_nobody_needs_is_deleted(cluster):
    ensure(cluster, REVIEWS, CARTS)
    outcome = ensure(cluster, CARTS)
    assert done(outcome) == [(CARTS.place, "kept"), (REVIEWS.place, "deleted")]
    assert secret(cluster, REVIEWS) is None
    assert recorded(cluster) == [CARTS.secret]
    assert done(ensure(cluster)) == [(CARTS.place, "deleted")]
    assert secret(cluster, CARTS) is None
    assert RECORD not in cluster.objects
    assert not ensure(cluster).changed


def test_deleting_needs_no_ca(cluster):
    ensure(cluster, REVIEWS)
    del cluster.objects["Secret istio-system/cacerts"]
    assert ensure(cluster).changed


def test_a_secret_that_has_become_somebody_elses_is_left_alone(cluster):
    ensure(cluster, REVIEWS)
    held = copy.deepcopy(secret(cluster, REVIEWS))
    held["metadata"]["labels"] = {}
    cluster.put(f"Secret {REVIEWS.place}", held)
    with pytest.raises(RefusedError, match=f"Secret {REVIEWS.place} is there and not of this collection"):
        ensure(cluster, REVIEWS)
    assert not ensure(cluster).changed
    assert secret(cluster, REVIEWS) is not None
    assert RECORD not in cluster.objects


def test_a_secret_of_somebody_else_is_refused_before_anything_is_written(cluster):
    cluster.put(f"Secret {REVIEWS.place}", {"kind": "Secret", "metadata": {}, "data": {}})
    with pytest.raises(RefusedError) as caught:
        ensure(cluster, CARTS, REVIEWS)
    assert str(caught.value) == (
        "east: Secret shop/multimesh-ingress.reviews.shop is there and not of this collection: it lacks the label"
        " app.kubernetes.io/managed-by=multimesh.istio.\n"
        "Nothing was written. Delete or rename what is there."
    )
    assert cluster.written == []


def test_those_of_the_run_before_are_kept_up_and_no_others(cluster):
    ensure(cluster, REVIEWS, CARTS)
    del cluster.objects[f"Secret {REVIEWS.place}"]
    put_ca(cluster, forge.intermediate(ROOT))
    assert done(ensure(cluster, None)) == [(CARTS.place, "renewed")]
    assert recorded(cluster) == [CARTS.secret, REVIEWS.secret]
    assert done(ensure(cluster, REVIEWS, CARTS)) == [(CARTS.place, "kept"), (REVIEWS.place, "issued")]


def test_a_lost_record_is_written_again(cluster):
    ensure(cluster, REVIEWS)
    del cluster.objects[RECORD]
    assert not ensure(cluster, REVIEWS).changed
    assert recorded(cluster) == [REVIEWS.secret]


@pytest.mark.parametrize("text", ["{", "{}x", "[1]", '[{"namespace": "shop"}]', '{"a": 1}'])
def test_a_damaged_record(cluster, text):
    cluster.put(RECORD, {"kind": "ConfigMap", "metadata": {}, "data": {"certificates.json": text}})
    with pytest.raises(MultimeshError, match="east: ConfigMap istio-system/multimesh-ingress-certificates: cert"):
        ensure(cluster, REVIEWS)


def test_a_check_writes_nothing_and_tells_the_same(cluster):
    ensure(cluster, REVIEWS)
    put_ca(cluster, forge.intermediate(ROOT))
    cluster.written.clear()
    predicted = ensure(cluster, CARTS, REVIEWS, check=True)
    assert cluster.written == []
    assert done(predicted) == done(ensure(cluster, CARTS, REVIEWS))
    predicted = ensure(cluster, check=True)
    assert done(predicted) == done(ensure(cluster))


def test_a_check_before_there_is_a_ca(cluster):
    del cluster.objects["Secret istio-system/cacerts"]
    assert done(ensure(cluster, REVIEWS, check=True)) == [(REVIEWS.place, "issued")]
    with pytest.raises(RefusedError, match="east: Secret istio-system/cacerts has no CA that could sign"):
        ensure(cluster, REVIEWS)


def test_a_ca_that_may_not_sign_for_it(cluster):
    with pytest.raises(RefusedError) as caught:
        ensure(cluster, replace(REVIEWS, hosts=("reviews.example.com",)))
    assert "reviews.example.com is outside what" in str(caught.value)
    assert "svc is among shared_root_ca_permitted_dns_domains" in str(caught.value)
    with pytest.raises(RefusedError, match="sa/a is outside what"):
        ensure(cluster, replace(REVIEWS, spiffe_id="spiffe://west.mesh/ns/shop/sa/a"))
    assert secret(cluster, REVIEWS) is None


def test_another_run_that_changes_cas_keeps_it_away(cluster):
    lease.acquire(cluster, cacerts.LEASE, "another run", cacerts.LEASE_DURATION, NOW)
    with pytest.raises(LeaseHeldError):
        ensure(cluster, REVIEWS)
    assert secret(cluster, REVIEWS) is None
    assert ensure(cluster, REVIEWS, break_lease=True).warnings


def test_the_ca_is_the_one_that_signs_once_other_runs_are_kept_away(cluster):
    successor = forge.intermediate(ROOT)

    def changing(verb, subject):
        if (verb, subject) == ("get", f"Lease istio-system/{cacerts.LEASE}"):
            put_ca(cluster, successor)

    cluster.before = changing
    ensure(cluster, REVIEWS)
    assert certificates(files(cluster, REVIEWS)["tls.crt"])[1:] == [successor.certificate]


def test_the_lease_is_given_back_unless_the_run_had_it_before(cluster):
    def holder():
        return cluster.objects[f"Lease istio-system/{cacerts.LEASE}"]["spec"]["holderIdentity"]

    ensure(cluster, REVIEWS)
    assert holder() == ""
    lease.acquire(cluster, cacerts.LEASE, "the test", cacerts.LEASE_DURATION, NOW)
    ensure(cluster)
    assert holder() == "the test"


def test_what_nobody_was_disturbed_in_is_reached_from_every_point_at_which_a_run_is_killed(cluster):
    """Then the next run ends where one run would have ended, and forgets no Secret."""
    ensure(cluster, CARTS)
    at = 0
    while True:
        at += 1
        tried = copy.deepcopy(cluster)
        count = 0

        def one_more(*_request, at=at):
            nonlocal count
            count += 1
            if count == at:
                raise Killed

        tried.before = one_more
        try:
            ensure(tried, REVIEWS)
        except Killed:
            held = {one.secret for one in (REVIEWS, CARTS) if secret(tried, one)}
            assert held <= set(recorded(tried))
            tried.before = lambda *_request: None
            ensure(tried, REVIEWS)
            fingerprints, names = state(tried)
            assert list(fingerprints) == [f"Secret {REVIEWS.place}"]
            assert names == [REVIEWS.secret]
        else:
            break
    assert at > 10


def test_an_answer_that_quotes_the_key_is_withheld(cluster):
    def quoting(verb, subject):
        if (verb, subject) == ("apply", f"Secret {REVIEWS.place}"):
            raise refused(Call("east", "apply", subject), 422, {"message": f"no: {quoted[0]}"})

    quoted = []
    private_pem = keys.private_pem

    def remembering(key, passphrase):
        quoted.append(private_pem(key, passphrase).decode().replace("\n", ""))
        return private_pem(key, passphrase)

    cluster.before = quoting
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingress.keys, "private_pem", remembering)
        with pytest.raises(MultimeshError, match="The answer quotes the private key and is withheld") as caught:
            ensure(cluster, REVIEWS)
    assert quoted[0][40:80] not in str(caught.value)


def test_nothing_that_is_shown_holds_a_key(cluster):
    outcome = ensure(cluster, REVIEWS)
    canary = Canary({"leaf": files(cluster, REVIEWS)["tls.key"], "ca": keys.private_pem(EAST.key, None)})
    shown = [ingress.shown(entry, NOW, after=side) for entry in outcome.entries for side in (False, True)]
    assert canary.find(json.dumps(shown).encode() + repr(outcome).encode()) == set()
    public = [body for body in cluster.written if body["kind"] != "Secret"]
    assert canary.find(json.dumps(public).encode()) == set()


def test_what_a_diff_shows(cluster):
    predicted = ensure(cluster, REVIEWS, check=True).entries[0]
    assert ingress.shown(predicted, NOW, after=False) == {}
    assert ingress.shown(predicted, NOW, after=True) == {
        "hosts": ["9080.reviews.shop.svc"],
        "spiffe_id": REVIEWS.spiffe_id,
        "fingerprint_sha256": "known after the run",
    }
    made = ensure(cluster, REVIEWS).entries[0]
    assert ingress.shown(made, NOW, after=True) == {
        "hosts": ["9080.reviews.shop.svc"],
        "spiffe_id": REVIEWS.spiffe_id,
        "signed_by": EAST.certificate.subject.rfc4514_string(),
        "fingerprint_sha256": fingerprint(leaf(cluster)),
        "not_before": (NOW - timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "not_after": (NOW + 30 * DAY).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "days_left": 30,
    }
    gone = ensure(cluster).entries[0]
    assert ingress.shown(gone, NOW, after=False)["fingerprint_sha256"] == fingerprint(made.after)
    assert ingress.shown(gone, NOW, after=True) == {}


def test_the_key_in_the_secret_is_read_by_anybody(cluster):
    ensure(cluster, REVIEWS)
    key = serialization.load_pem_private_key(files(cluster, REVIEWS)["tls.key"], None)
    assert key.public_key() == leaf(cluster).public_key()
