# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What modules and facts say of CAs: texts in, certificates out, and the other way round. Public parts only."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.pki import crl, ledger
from ansible_collections.multimesh.istio.plugins.module_utils.pki.bundle import certificate_pem
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import describe
from ansible_collections.multimesh.istio.plugins.module_utils.pki.verify import certificates

with contextlib.suppress(ImportError):  # the modules report a missing library
    from cryptography import x509

if TYPE_CHECKING:
    from ansible_collections.multimesh.istio.plugins.module_utils.pki.request import Outcome


def plain_fingerprint(shown: str) -> str:
    """Lower-case hexadecimal, however it was written."""
    return shown.replace(":", "").strip().lower()


def read_certificates(texts: Iterable[str]) -> tuple[x509.Certificate, ...]:
    """Raises MultimeshError for a text that is no PEM certificate."""
    found = []
    for index, text in enumerate(texts):
        read = certificates(text.encode("utf-8", "replace"))
        if not read:
            raise MultimeshError(
                f"certificates[{index}]: no certificate can be read. Pass on what the module returned."
            )
        found += read
    return tuple(found)


def read_crls(texts: Iterable[str]) -> tuple[x509.CertificateRevocationList, ...]:
    """Raises MultimeshError for a text that is no PEM revocation list."""
    found = []
    for index, text in enumerate(texts):
        read = crl.read(text.encode("utf-8", "replace"))
        if not read:
            raise MultimeshError(f"crls[{index}]: no revocation list can be read. Pass on what the module returned.")
        found += read
    return tuple(found)


def result(outcome: Outcome, now: datetime) -> dict[str, Any]:
    """The return values of module shared_root_ca."""
    shown: dict[str, Any] = {
        "changed": outcome.changed,
        "stage": outcome.stage,
        "roots": list(outcome.roots),
        "trusted_roots": list(outcome.trusted_roots),
        "renewal_due": outcome.renewal_due,
        "renewal_pending": outcome.renewal_pending,
        "share_of_life": round(outcome.share_of_life, 4),
        "certificates": [certificate_pem(one).decode("ascii") for one in outcome.certificates],
        "crls": [crl.pem([one]).decode("ascii") for one in outcome.crls],
        "held_crls": [crl.pem([one]).decode("ascii") for one in outcome.held_crls],
        "crl_numbers": [{"issuer": crl.issuer_key_id(one), "number": crl.number(one)} for one in outcome.held_crls],
    }
    for name, certificate in (
        ("root", outcome.root),
        ("intermediate", outcome.signer),
        ("candidate", outcome.candidate),
    ):
        if certificate is not None:
            shown[name] = describe(certificate, now)
    if outcome.ledger:
        shown["ledger"] = ledger.as_json(outcome.ledger)
        shown["ledger_table"] = ledger.table(outcome.ledger)
    return shown
