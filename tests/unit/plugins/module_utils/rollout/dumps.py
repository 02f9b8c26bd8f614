# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates of two generations of CAs, and what Envoy says about its secrets."""

from __future__ import annotations

import base64
import functools
import json
from datetime import timedelta

from ansible_collections.multimesh.istio.plugins.module_utils.pki import crl as crl_file
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import Authority, issue_leaf
from ansible_collections.multimesh.istio.plugins.module_utils.pki.bundle import certificate_pem
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import fingerprint
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.unit.plugins.module_utils.pki import forge

NOW = forge.NOW


@functools.cache
def root(_name: str) -> Authority:
    return forge.root()


@functools.cache
def ca(name: str) -> Authority:
    """The intermediate of this generation, under the root of the same name."""
    return forge.intermediate(root(name))


def root_id(name: str) -> str:
    return fingerprint(root(name).certificate)


def key_id(authority: Authority) -> str:
    return authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()


def leaf_pem(signer: Authority) -> bytes:
    return certificate_pem(issue_leaf(signer, "spiffe://east.mesh/ns/a/sa/b", NOW))


def leaf_der(signer: Authority) -> bytes:
    return issue_leaf(signer, "spiffe://east.mesh/ns/a/sa/b", NOW).public_bytes(Encoding.DER)


def bundle(*names: str) -> bytes:
    return b"".join(certificate_pem(root(name).certificate) for name in names)


def crls(*numbered: tuple[Authority, int]) -> bytes:
    return crl_file.pem(crl_file.sign(signer, [], number, NOW + timedelta(minutes=1)) for signer, number in numbered)


def inline(content: bytes) -> dict[str, str]:
    return {"inline_bytes": base64.b64encode(content).decode()}


def validation(roots: bytes, lists: bytes = b"") -> dict[str, object]:
    context = {"trusted_ca": inline(roots), **({"crl": inline(lists)} if lists else {})}
    return _entry("ROOTCA", validation_context=context)


def own(chain: bytes, name: str = "default") -> dict[str, object]:
    certificate = {"certificate_chain": inline(chain), "private_key": inline(b"[redacted]")}
    return _entry(name, tls_certificate=certificate)


def dump(*entries: dict[str, object]) -> bytes:
    return json.dumps({"configs": list(entries)} if entries else {}).encode()


def proxy(signer: str, *roots: str, lists: bytes = b"") -> bytes:
    """The dump of a proxy signed by this generation's CA, with these roots."""
    chain = leaf_pem(ca(signer)) + certificate_pem(ca(signer).certificate)
    return dump(own(chain), validation(bundle(*roots), lists))


def _entry(name: str, **secret: object) -> dict[str, object]:
    kind = "type.googleapis.com/envoy.admin.v3.SecretsConfigDump.DynamicSecret"
    return {"@type": kind, "name": name, "version_info": "7", "secret": {"name": name, **secret}}
