# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""One case put before the verification: what it says, how long it takes, and what it must never do."""

from __future__ import annotations

import base64
import re
import time
import traceback
from dataclasses import dataclass

from ansible_collections.multimesh.istio.plugins.module_utils.pki import crl, pem
from ansible_collections.multimesh.istio.plugins.module_utils.pki.bundle import CA_CRL
from ansible_collections.multimesh.istio.plugins.module_utils.pki.finding import Finding
from ansible_collections.multimesh.istio.plugins.module_utils.pki.verify import (
    Expectation,
    certificates,
    root_findings,
    verify_bundle,
)

from tests.fuzz.draft import DNS_DOMAINS, TRUST_DOMAIN, Case
from tests.fuzz.verifiers import Bundle

LIMIT_SECONDS = 1.0
LONGEST_FINDING = 4000
_WINDOW = 24


@dataclass(frozen=True)
class Verdict:
    """findings: nothing if the bundle was accepted. faults: what went wrong with the verification itself."""

    findings: tuple[Finding, ...]
    seconds: float
    faults: tuple[str, ...]


def verify(case: Case) -> Verdict:
    """Run the verification. It waits for nothing: its processor time counts, whatever else the machine does."""
    roots = [root for content in case.federation for root in certificates(pem.write("CERTIFICATE", content))]
    expected = Expectation(TRUST_DOMAIN, DNS_DOMAINS, roots)
    started = time.thread_time()
    try:
        findings = verify_bundle(case.files, expected, case.now)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        # The library's parser ends in exceptions that are no Exception when it panics.
        where = traceback.extract_tb(error.__traceback__)[-1]
        return Verdict((), 0.0, (f"it raised {error!r} in {where.name}",))
    seconds = time.thread_time() - started
    faults = [f"it took {seconds:.1f} s"] if seconds >= LIMIT_SECONDS else []
    return Verdict(findings, seconds, (*faults, *_faults(case, findings)))


def bundle(case: Case) -> Bundle:
    """The case for the verifiers. Peers trust the roots that are fit to be one: the custody holds no others."""
    blocks = [pem.write("CERTIFICATE", content) for content in case.federation]
    fit = [block for block in blocks if any(not root_findings(root, "", case.now) for root in certificates(block))]
    return Bundle(case.files, b"".join(fit), int(case.now.timestamp()))


def ends_or_begins_near(case: Case, seconds: float) -> bool:
    """Whether a certificate or a list of the case begins or ends that many seconds before its moment or afterwards."""
    found = [root for content in case.federation for root in certificates(pem.write("CERTIFICATE", content))]
    found += [certificate for content in case.files.values() for certificate in certificates(content)]
    edges = [edge for one in found for edge in (one.not_valid_before_utc, one.not_valid_after_utc)]
    for listed in crl.read(case.files.get(CA_CRL, b"")):
        edges += [listed.last_update_utc, listed.next_update_utc or case.now]
    return any(abs((edge - case.now).total_seconds()) < seconds for edge in edges)


def _faults(case: Case, findings: tuple[Finding, ...]) -> list[str]:
    """Findings that cannot be shown, and such that show a private key."""
    faults = []
    secret = b"".join(
        base64.b64encode(block.der)
        for content in case.files.values()
        for block in pem.read(content).blocks
        if "PRIVATE KEY" in block.label
    ).decode()
    for finding in findings:
        text = str(finding)
        if len(text) > LONGEST_FINDING or not text.isprintable():
            faults.append(f"finding {finding.name} is too long or cannot be printed")
        for run in re.findall(rf"[A-Za-z0-9+/]{{{_WINDOW},}}", text):
            if any(run[at : at + _WINDOW] in secret for at in range(len(run) - _WINDOW + 1)):
                faults.append(f"finding {finding.name} shows a part of a key")
    return faults
