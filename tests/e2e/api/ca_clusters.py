# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""API servers without nodes that can be emptied in a moment, and what has to be true of the CAs in them at any time."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ansible_collections.multimesh.istio.plugins.module_utils import run_identity
from ansible_collections.multimesh.istio.plugins.module_utils.pki.verify import Expectation, verify_bundle
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.e2e.api.ca_run import CaRun
from tests.e2e.api.cluster import ApiCluster
from tests.e2e.api.proxy import ApiProxy
from tests.lab.api import Lab
from tests.lab.kubeapi import ApiError

MESHES = ("east", "west", "north")
_CORE = "/api/v1/namespaces/istio-system"
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/istio-system/leases"
_END_OF_LIST = b"-----END X509 CRL-----\n"


@dataclass(frozen=True)
class Bundle:
    """What Secret cacerts of a mesh holds."""

    mesh: str
    files: Mapping[str, bytes]

    @property
    def signer(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.files["ca-cert.pem"])

    @property
    def roots(self) -> set[x509.Certificate]:
        return set(x509.load_pem_x509_certificates(self.files["root-cert.pem"]))

    @property
    def lists(self) -> list[x509.CertificateRevocationList]:
        texts = self.files.get("ca-crl.pem", b"").split(_END_OF_LIST)
        return [x509.load_pem_x509_crl(text + _END_OF_LIST) for text in texts if text.strip()]


class CaClusters:
    """What is under test has `clusters` and goes through the proxy, the tests go around it."""

    def __init__(self, lab: Lab, proxy: ApiProxy, folder: Path) -> None:
        self.proxy = proxy
        self.folder = folder
        self.clusters = [ApiCluster(lab, mesh) for mesh in MESHES]
        self._apis = {mesh: lab.cluster(mesh).api() for mesh in MESHES}
        for cluster in self.clusters:
            cluster.kubeconfig = proxy.kubeconfig(cluster.mesh)

    def emptied(self, request_timeout: int = 30) -> CaRun:
        """A run that has everything before it: no namespace istio-system anywhere, no directory of the root."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._empty, MESHES))
        directory = self.folder / "ca"
        shutil.rmtree(directory, ignore_errors=True)
        return CaRun(self.clusters, directory, request_timeout)

    def _empty(self, mesh: str) -> None:
        # Nothing but the API server runs, so nobody else empties a namespace that is deleted.
        api = self._apis[mesh]
        for collection in (f"{_CORE}/secrets", f"{_CORE}/configmaps", _LEASES):
            api.request("DELETE", collection)
        try:
            api.request("DELETE", _CORE)
            namespace = api.request("GET", _CORE)
        except ApiError as error:
            if error.status == 404:
                return
            raise
        namespace["spec"]["finalizers"] = []
        api.request("PUT", f"{_CORE}/finalize", namespace)

    def bundles(self) -> list[Bundle]:
        """Of the meshes whose Secret cacerts holds something."""
        found = {mesh: self._secrets(mesh).get("cacerts") for mesh in MESHES}
        return [Bundle(mesh, files) for mesh, files in found.items() if files]

    def leftovers(self) -> list[str]:
        """What a run has left that should be gone: Secrets with content other than cacerts, and Leases in the way.

        A run that finds nothing to do writes nothing, and so leaves the Lease of one that was killed at the very end.
        """
        secrets = [f"{mesh}: Secret {name}" for mesh in MESHES for name in self._secrets(mesh) if name != "cacerts"]
        leases = [(mesh, lease) for mesh, api in self._apis.items() for lease in api.request("GET", _LEASES)["items"]]
        held = [(mesh, lease["spec"].get("holderIdentity")) for mesh, lease in leases]
        return secrets + [f"{mesh}: Lease of {who}" for mesh, who in held if who and not run_identity.has_ended(who)]

    def _secrets(self, mesh: str) -> dict[str, dict[str, bytes]]:
        """By name what Secrets of istio-system hold; those without content are left out."""
        items = self._apis[mesh].request("GET", f"{_CORE}/secrets")["items"]
        return {
            item["metadata"]["name"]: {file: base64.b64decode(value) for file, value in item["data"].items()}
            for item in items
            if item.get("data")
        }


@contextmanager
def ca_clusters(folder: Path) -> Iterator[CaClusters]:
    """Three fresh API servers behind a proxy."""
    lab = Lab(os.environ.get("MULTIMESH_CA_LAB", "ca-test"))
    lab.down()
    try:
        lab.up(MESHES, api_only=True)
        with ApiProxy({mesh: lab.kubeconfig(mesh) for mesh in MESHES}, folder / "proxy") as proxy:
            yield CaClusters(lab, proxy, folder)
    finally:
        lab.down()


def assert_in_order(bundles: Iterable[Bundle]) -> None:
    """No mesh has half a CA, and every mesh believes every other.

    A mesh without revocation lists believes whatever is under its roots; one that has some refuses every peer one of
    whose CAs it lacks the list of.
    """
    bundles = list(bundles)
    every_root = set().union(*(bundle.roots for bundle in bundles))
    for bundle in bundles:
        expected = Expectation(f"{bundle.mesh}.mesh", ("svc",), list(every_root))
        findings = verify_bundle(bundle.files, expected, datetime.now(UTC))
        assert not findings, f"{bundle.mesh}: {'; '.join(map(str, findings))}"
        for peer in bundles:
            believed = any(_is_issuer(root, peer.signer) for root in bundle.roots)
            assert believed, f"{bundle.mesh} does not trust the root of {peer.mesh}"
        for authority in (*bundle.roots, *(peer.signer for peer in bundles)):
            count = [_signed(authority, one) for one in bundle.lists].count(True)
            assert count == (1 if bundle.lists else 0), f"{bundle.mesh} has {count} lists of {authority.subject}"
    keys = {bundle.files["ca-key.pem"] for bundle in bundles}
    assert len(keys) == len(bundles), "two meshes have one key"


def the_root(bundles: Iterable[Bundle]) -> str:
    """Fingerprint of the one root of these meshes."""
    (root,) = set().union(*(bundle.roots for bundle in bundles))
    return fingerprint(root)


def fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def _is_issuer(root: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _signed(authority: x509.Certificate, revoked: x509.CertificateRevocationList) -> bool:
    key = authority.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return revoked.issuer == authority.subject and revoked.is_signature_valid(key)
