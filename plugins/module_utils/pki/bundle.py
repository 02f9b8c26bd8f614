# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The content of Secret ``cacerts``, as istiod reads it (istio/istio, security/pkg/pki/ca/ca.go)."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from ansible_collections.multimesh.istio.plugins.module_utils.pki import keys
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import Authority

with contextlib.suppress(ImportError):  # the modules report a missing library
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

CA_CERT = "ca-cert.pem"
CA_KEY = "ca-key.pem"
CERT_CHAIN = "cert-chain.pem"
ROOT_CERT = "root-cert.pem"
CA_CRL = "ca-crl.pem"
FILES = (CA_CERT, CA_KEY, CERT_CHAIN, ROOT_CERT)
"""What has to be there; CA_CRL may."""

ISTIO_GENERATED = "istio-generated"
"""Marks a Secret that istiod wrote itself; never written here."""


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """One PEM block, ending in a line feed."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def build(intermediate: Authority, root: x509.Certificate) -> dict[str, bytes]:
    """The four files of the Secret.

    The chain begins with the intermediate: istiod limits what it issues by the lifetime of the first certificate.
    """
    ca, trust = certificate_pem(intermediate.certificate), certificate_pem(root)
    return {
        CA_CERT: ca,
        CA_KEY: keys.private_pem(intermediate.key, passphrase=None),
        CERT_CHAIN: ca + trust,
        ROOT_CERT: trust,
    }


def plugged_in(own: Mapping[str, bytes]) -> dict[str, bytes]:
    """The four files for a CA that istiod has made for itself, so that it goes on with that one.

    own: content of Secret ``istio-ca-secret``, or of ``cacerts`` with ISTIO_GENERATED; there the last two may be empty
    (istio/istio, security/pkg/pki/ca/ca.go, BuildSecret).
    """
    ca = own.get(CA_CERT, b"")
    return {
        CA_CERT: ca,
        CA_KEY: own.get(CA_KEY, b""),
        CERT_CHAIN: own.get(CERT_CHAIN) or ca,
        ROOT_CERT: own.get(ROOT_CERT) or ca,
    }
