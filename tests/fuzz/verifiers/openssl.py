# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""OpenSSL, the program of the host."""

from __future__ import annotations

import functools
import re
import subprocess
import tempfile
from pathlib import Path

from ansible_collections.multimesh.istio.plugins.module_utils.pki.bundle import (
    CA_CERT,
    CA_CRL,
    CA_KEY,
    CERT_CHAIN,
    ROOT_CERT,
)

from tests.fuzz.verifiers import LEAVES, Bundle, complaint

_VERIFY = ["openssl", "verify", "-x509_strict", "-no-CApath", "-no-CAstore"]


def judge(bundle: Bundle) -> list[str]:
    """What is wrong with a bundle: as a server's and as a client's, for peers of its own mesh and of others."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        for file, content in (*bundle.files.items(), ("federation.pem", bundle.federation)):
            if file in (CA_CERT, CA_CRL, CERT_CHAIN, ROOT_CERT, "federation.pem"):
                (folder / file).write_bytes(content)
        for number, leaf in enumerate(bundle.leaves):
            (folder / f"leaf{number}.pem").write_bytes(leaf)
        moment = ["-attime", str(bundle.now)]
        chain = ["-untrusted", CERT_CHAIN]
        own = ["-purpose", "sslserver", "-CAfile", ROOT_CERT, *chain, "-untrusted", CA_CERT]
        if CA_CRL in bundle.files:
            own += ["-crl_check_all", "-CRLfile", CA_CRL]
        other = ["-purpose", "sslclient", "-CAfile", "federation.pem", *chain]
        asked = {"a peer of its mesh": own, "another mesh": other}
        complaints = [
            f"{problem} (for {peer})"
            for peer, options in asked.items()
            for problem in _leaves(folder, [*moment, *options], bundle)
        ]
    if not _reads_key(bundle.files.get(CA_KEY, b"")):
        complaints.append("OpenSSL cannot read the key")
    return complaints


def _leaves(folder: Path, options: list[str], bundle: Bundle) -> list[str]:
    names = [f"leaf{number}.pem" for number in range(len(bundle.leaves))]
    done = subprocess.run([*_VERIFY, *options, *names], cwd=folder, capture_output=True, text=True, check=False)
    accepted, said = set(done.stdout.splitlines()), done.stderr
    complaints = []
    for leaf, name in zip(LEAVES, names, strict=True):
        refusal = None
        if f"{name}: OK" not in accepted:
            about, _separator, said = said.partition(f"error {name}: verification failed\n")
            refusal = "; ".join(re.findall(r"error \d+ at \d+ depth lookup: (.*)", about)) or about[:300] or "no word"
        complaints += complaint("OpenSSL", leaf, refusal)
    return complaints


@functools.lru_cache(maxsize=4096)
def _reads_key(content: bytes) -> bool:
    """Whether the key can be read, without a passphrase; most bundles have one of a few keys."""
    command = ["openssl", "pkey", "-noout", "-passin", "pass:"]
    return subprocess.run(command, input=content, capture_output=True, check=False).returncode == 0
