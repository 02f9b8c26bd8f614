# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What people have to do on the machine that keeps the root's key: commands of ``openssl``, and the files they read.

Pure: texts in, texts out. The commands are for a copy of the folder of an offline root, and for 1.1.1 and every later
version.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ansible_collections.multimesh.istio.plugins.module_utils.pki import crl
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import ISTIOD_DNS
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody import external
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import (
    IntermediateProfile,
    Revocation,
    Root,
    RootProfile,
)

with contextlib.suppress(ImportError):  # the modules report a missing library
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from ansible_collections.multimesh.istio.plugins.module_utils.pki.keys import PublicKey

REQUESTS, SIGNED = "requests", "signed"
"""Folders for what goes to that machine, and for the certificates that come back."""

NEW = "-new"
"""Marks what a root is made from, beside what its revocation lists are made from later."""

_DAY = timedelta(days=1)
_GENERATE = {
    "ecdsa-p256": "-algorithm EC -pkeyopt ec_paramgen_curve:P-256",
    "ecdsa-p384": "-algorithm EC -pkeyopt ec_paramgen_curve:P-384",
    "rsa-3072": "-algorithm RSA -pkeyopt rsa_keygen_bits:3072",
    "rsa-4096": "-algorithm RSA -pkeyopt rsa_keygen_bits:4096",
}


@dataclass(frozen=True)
class Task:
    """Something to do.

    name: stem of the file with the instructions.
    reason: a sentence.
    key: file that stands for the root's key.
    commands: lines for a shell, comments among them.
    results: files to bring back.
    files: what the commands read, by name in REQUESTS; the first one is the request itself.
    """

    name: str
    reason: str
    key: str
    commands: Sequence[str]
    results: Sequence[str]
    files: Mapping[str, bytes]

    def text(self, place: str) -> str:
        """The instructions. place: the folder."""
        steps = [
            f"{place}: {self.reason}",
            f"1. Copy {place} to the machine with the root's key. Nothing in it is secret. Go on in the copy, where",
            f"   {self.key} stands for the key.",
            "2. Run there:",
            *(f"     {line}" for line in self.commands),
            f"3. Bring {' and '.join(self.results)} back to {place}, never the key, and run the playbook again.",
        ]
        return "\n".join(steps)


def make_root(stem: str, profile: RootProfile, present: Mapping[str, bytes]) -> Task:
    """Make a root, its key, and its first revocation list.

    stem: of the root's files. present: what was asked for before; the subject of the root is chosen once.
    """
    new, digest, days = (
        f"{stem}{NEW}",
        "sha384" if profile.key_type == "ecdsa-p384" else "sha256",
        _days(profile.lifetime),
    )
    certificate = f"openssl req -new -x509 -config {REQUESTS}/{new}.cnf -key {stem}.key -{digest} -days {days}"
    return Task(
        name=new,
        reason="the root is to be made on the machine that is to keep its key.",
        key=f"{stem}.key",
        commands=[
            "# Make the key. You are asked for a passphrase to encrypt it with. It never leaves that machine.",
            f"openssl genpkey {_GENERATE[profile.key_type]} -aes-256-cbc -out {stem}.key",
            "# Make the certificate and the first, empty revocation list.",
            f"{certificate} -out {stem}.crt",
            _sign_list(stem, new, days + 1),
            "# Check: both lines have to end in OK.",
            f"openssl verify -x509_strict -CAfile {stem}.crt {stem}.crt",
            f"openssl crl -in {stem}.crl -noout -CAfile {stem}.crt",
        ],
        results=[f"{stem}.crt", f"{stem}.crl"],
        files={
            f"{new}.cnf": present.get(f"{new}.cnf") or _root_configuration(new, digest).encode("ascii"),
            f"{new}.index": b"",
            f"{new}.number": b"01\n",
        },
    )


def sign_intermediate(
    stem: str, root: Root, profile: IntermediateProfile, public_key: PublicKey, request: bytes, now: datetime
) -> Task:
    """Sign the CA of a mesh. request: PEM, of this key."""
    mesh, target = profile.mesh, f"{SIGNED}/{profile.mesh}-{external.key_id(public_key)}.crt"
    days = min(_days(profile.lifetime), (root.certificate.not_valid_after_utc - now) // _DAY)
    subject = shlex.quote(f"/O={external.ORGANIZATION}/CN={external.common_name(profile, public_key)}")
    sign = (
        f"openssl x509 -req -in {REQUESTS}/{mesh}.csr -CA {stem}.crt -CAkey {stem}.key -{_digest(root)} -days {days}"
        f' -set_serial "0x$(openssl rand -hex 16)" -subj {subject} -extfile {REQUESTS}/{mesh}.cnf -out {target}'
    )
    return Task(
        name=mesh,
        reason=f"the CA of mesh {mesh} waits for the signature of the root, whose key is on another machine.",
        key=f"{stem}.key",
        commands=[
            "# Check the request: it has to be signed by its own key, and the SHA-256 of that key has to be",
            f"# {_key_digest(public_key)}",
            f"openssl req -in {REQUESTS}/{mesh}.csr -noout -verify",
            f"openssl req -in {REQUESTS}/{mesh}.csr -noout -pubkey | openssl sha256",
            "# Sign it.",
            sign,
            "# Check: the first line has to end in OK, the name constraints have to be critical and to permit",
            f"# {_permitted(profile)}",
            f"openssl verify -x509_strict -CAfile {stem}.crt {target}",
            f"openssl x509 -in {target} -noout -subject -dates -ext basicConstraints,keyUsage,nameConstraints",
        ],
        results=[target],
        files={f"{mesh}.csr": request, f"{mesh}.cnf": _intermediate_extensions(profile).encode("ascii")},
    )


def sign_list(stem: str, root: Root, revocations: Sequence[Revocation], now: datetime, why: str) -> Task:
    """Sign a revocation list of the root. revocations: to be on it beside those that are. why: what is asked for."""
    dates = {one.serial: one.date for one in revocations}
    dates |= {} if root.crl is None else {entry.serial_number: entry.revocation_date_utc for entry in root.crl}
    ends = root.certificate.not_valid_after_utc
    # The database of openssl ca: state, expiry, revocation, serial number, file, subject (all different).
    index = [
        f"R\t{_asn1(ends)}\t{_asn1(date)}\t{_hex(serial)}\tunknown\t/CN={_hex(serial)}\n"
        for serial, date in sorted(dates.items())
    ]
    number = 1 if root.crl is None else crl.number(root.crl) + 1
    return Task(
        name=stem,
        reason=f"the root, whose key is on another machine, has to sign {why}.",
        key=f"{stem}.key",
        commands=[
            f"# Sign the list. It has to revoke {', '.join(map(_hex, sorted(dates))) or 'nothing'}.",
            _sign_list(stem, stem, _days(ends - now) + 1),
            "# Check: the first line has to be 'verify OK'.",
            f"openssl crl -in {stem}.crl -noout -CAfile {stem}.crt",
            f"openssl crl -in {stem}.crl -noout -text",
        ],
        results=[f"{stem}.crl"],
        files={
            f"{stem}.index": "".join(index).encode("ascii"),
            f"{stem}.number": f"{_hex(number)}\n".encode("ascii"),
            f"{stem}.cnf": _list_configuration(stem, _digest(root)).encode("ascii"),
        },
    )


def both(first: Task, second: Task) -> Task:
    """Two tasks with the same key in one go."""
    return Task(
        name=first.name,
        reason=first.reason,
        key=first.key,
        commands=[*first.commands, *second.commands],
        results=[*first.results, *second.results],
        files={**first.files, **second.files},
    )


def _sign_list(stem: str, configuration: str, days: int) -> str:
    files = f"-config {REQUESTS}/{configuration}.cnf -cert {stem}.crt -keyfile {stem}.key"
    return f"openssl ca -gencrl {files} -crldays {days} -out {stem}.crl"


def _list_configuration(stem: str, digest: str) -> str:
    return f"""[ca]
default_ca = lists

[lists]
database = {REQUESTS}/{stem}.index
crlnumber = {REQUESTS}/{stem}.number
default_md = {digest}
crl_extensions = list

[list]
authorityKeyIdentifier = keyid:always
"""


def _root_configuration(stem: str, digest: str) -> str:
    return f"""[req]
prompt = no
string_mask = utf8only
distinguished_name = subject
x509_extensions = root

[subject]
O = {external.ORGANIZATION}
CN = Mesh federation root {os.urandom(4).hex()}

[root]
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign

{_list_configuration(stem, digest)}"""


def _intermediate_extensions(profile: IntermediateProfile) -> str:
    return f"""subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
nameConstraints = critical, {", ".join(f"permitted;{name}" for name in _permitted(profile).split(", "))}
subjectAltName = DNS:{ISTIOD_DNS}, URI:{external.uri(profile)}
"""


def _permitted(profile: IntermediateProfile) -> str:
    return ", ".join([f"URI:{profile.trust_domain}", *(f"DNS:{domain}" for domain in profile.dns_domains)])


def _digest(root: Root) -> str:
    """The hash that is as strong as the root's key."""
    key = root.certificate.public_key()
    return "sha384" if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.key_size > 256 else "sha256"


def _key_digest(public_key: PublicKey) -> str:
    """As ``openssl req -pubkey | openssl sha256`` prints it."""
    content = public_key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(content).hexdigest()


def _days(duration: timedelta) -> int:
    """Whole days, rounded up."""
    return -(-duration // _DAY)


def _hex(number: int) -> str:
    """As ``openssl ca`` keeps numbers in its files: pairs of upper-case digits."""
    digits = f"{number:X}"
    return digits if len(digits) % 2 == 0 else f"0{digits}"


def _asn1(moment: datetime) -> str:
    """UTCTime, which X.509 uses before 2050, then GeneralizedTime (RFC 5280, 4.1.2.5)."""
    utc = moment.astimezone(UTC)
    return utc.strftime("%y%m%d%H%M%SZ" if utc.year < 2050 else "%Y%m%d%H%M%SZ")
