# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which revocation lists a mesh has to hold: those of all roots it trusts, and of every CA of the federation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from datetime import datetime

from ansible_collections.multimesh.istio.plugins.module_utils.pki import bundle, crl
from ansible_collections.multimesh.istio.plugins.module_utils.pki.authority import Authority
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import Root
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import signed_by
from ansible_collections.multimesh.istio.plugins.module_utils.pki.guards import is_revoked
from ansible_collections.multimesh.istio.plugins.module_utils.pki.transition import Files, State

with contextlib.suppress(ImportError):  # the modules report a missing library
    from cryptography import x509

    List = x509.CertificateRevocationList


def needed(
    files: Files,
    own: Sequence[Authority],
    roots: Sequence[Root],
    issued: Iterable[x509.Certificate],
    given: Sequence[List],
    now: datetime,
) -> tuple[List, ...]:
    """Every list that the proxies of this mesh need, () while it is not to hold any yet.

    A proxy that has some refuses every peer one of whose CAs it lacks the list of.
    files: what the mesh holds, with the roots that it goes on trusting. own: its CAs, the candidate included.
    roots: those of the custody that it shall trust. issued: roots and CAs of all meshes, as far as they are known.
    given: what those handed out.
    Lists of CAs under a root that it does not trust any more go, lists of CAs that nobody knows stay.
    Nothing is begun while the mesh's own CA is under a foreign root, of which there is no list, or where a root has
    none. Where that root was ours once and lists are held, they are kept and those of its successor added, or it could
    never sign. And what is held is never emptied: proxies would keep the old lists, and forget what is revoked when
    istiod restarts.
    """
    held = crl.read(files.get(bundle.CA_CRL, b""))
    signer, trusted = State.of(files).signer, State.of(files).roots
    ours = [root.certificate for root in roots]
    foreign = signer is None or not any(signed_by(signer, root) for root in ours)
    if signer is None or (foreign and not held):
        return tuple(held)
    of_roots = _of_roots(roots, held, signer)
    if len(of_roots) < len(roots):
        return tuple(held)
    known = [*ours, *issued, *(authority.certificate for authority in own)]
    issuers = [one for one in known if _is_under(one, ours)]
    left = [one for one in known if not _is_under(one, [*ours, *trusted])]
    from_meshes = [one for one in given if not any(crl.issued_by(one, root) for root in ours)]
    return crl.merge(
        [*from_meshes, *fresh(own, [*held, *given], now), *of_roots],
        issuers,
        now,
        held=[one for one in held if not any(crl.issued_by(one, gone) for gone in (*ours, *left))],
    )


def _is_under(certificate: x509.Certificate, roots: Sequence[x509.Certificate]) -> bool:
    return certificate in roots or any(signed_by(certificate, root) for root in roots)


def fresh(own: Iterable[Authority], known: Sequence[List], now: datetime) -> list[List]:
    """Lists of the mesh's own CAs that have none yet; empty, because a workload's certificate ends within a day."""
    missing = [one for one in own if not any(crl.issued_by(list_, one.certificate) for list_ in known)]
    return [crl.sign(one, (), 1, now) for one in missing]


def _of_roots(roots: Sequence[Root], held: Sequence[List], signer: x509.Certificate) -> list[List]:
    """The roots' own lists. A mesh that is to be believed again keeps the one that it has until it has its new CA."""
    found = []
    for root in roots:
        older = [one for one in held if crl.issued_by(one, root.certificate)]
        if older and is_revoked(signer, [root]):
            found.append(older[0])
        elif root.crl is not None:
            found.append(root.crl)
    return found
