# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Secret in a management cluster as the place of a custody, for runners whose disk is thrown away.

Every write is bound to the resourceVersion that was read, and begins anew when somebody else was faster. That needs no
right but get, create and patch, and leaves nothing behind that others would have to wait for, as a Lease does when its
holder is killed. Writes are few and small, so beginning anew is cheap.

A Secret holds 1 MiB at most, so the ledger, which grows and is not secret, lies beside it in ConfigMaps
``<name>-ledger-0001`` and so on. A full one is made immutable before the next is begun.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ansible_collections.multimesh.istio.plugins.module_utils.kube.cluster import Applier, Getter
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import ConflictError, KubeError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import CONFIG_MAPS, SECRETS, Resource
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import CustodyError
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.store import LEDGER, Blobs, Changes, T

FIELD_MANAGER = "multimesh.istio"
_CLAIMING_MANAGER = "multimesh.istio-claim"

_WRITE = "multimesh.istio/write"
"""Annotation that tells one's own write from another one's of the same content."""

_CHUNK = 512 * 1024  # bytes of the ledger in one ConfigMap, which holds 1 MiB at most
_ATTEMPTS = 60
_LONGEST_PAUSE = 2.0  # seconds
_WINDOW = 24  # characters of a secret that are not to be seen in a message


class Cluster(Getter, Applier, Protocol):
    """What is needed of a cluster."""


@dataclass(frozen=True)
class _Seen:
    """What was read.

    secret, chunks: the objects; the Secret is None where it is missing.
    files: content of the Secret without the ledger.
    pasted: a ledger in the Secret, as from ``kubectl create secret --from-file`` with the directory of a FileStore.
    """

    secret: Mapping[str, Any] | None = field(repr=False)
    chunks: Sequence[Mapping[str, Any]]
    files: Mapping[str, bytes] = field(repr=False)
    pasted: bytes

    @property
    def texts(self) -> list[bytes]:
        return [str((chunk.get("data") or {}).get(LEDGER, "")).encode() for chunk in self.chunks]

    @property
    def blobs(self) -> dict[str, bytes]:
        kept = b"".join(self.texts)
        ledger = self.pasted if self.pasted.startswith(kept) else kept
        return {**self.files, LEDGER: ledger} if ledger else dict(self.files)


@dataclass(frozen=True)
class SecretStore:
    """Blobs as keys of one Secret, the ledger in ConfigMaps beside it. The namespace has to be there.

    What is removed stays as an empty key: a key that somebody else has written, for example with kubectl, goes with
    server-side apply only by giving it another value. Empty keys are no blobs.
    """

    cluster: Cluster
    namespace: str
    name: str
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    @property
    def place(self) -> str:
        return f"Secret {self.namespace}/{self.name} of {self.cluster.mesh}"

    def read(self) -> dict[str, bytes]:
        try:
            return self._see().blobs
        except KubeError as error:
            raise CustodyError(str(error)) from None

    def update(self, change: Callable[[Blobs], tuple[Changes, T]]) -> T:
        try:
            for attempt in range(_ATTEMPTS):
                seen = self._see()
                changes, result = change(seen.blobs)
                try:
                    self._write(seen, changes)
                except ConflictError:  # somebody was faster
                    self.sleep(secrets.SystemRandom().uniform(0, min(_LONGEST_PAUSE, 0.05 * 2**attempt)))
                else:
                    return result
        except KubeError as error:
            raise CustodyError(str(error)) from None
        raise CustodyError(
            f"{self.place}: others wrote to it at each of {_ATTEMPTS} attempts. Find out who does, and run again."
        )

    def _see(self) -> _Seen:
        """The ledger is read first and written last: it never tells of a root that the Secret read with it lacks."""
        chunks = list(self._chunks())
        secret = self.cluster.get(SECRETS, self.namespace, self.name)
        try:
            data = {
                name: base64.b64decode(value, validate=True)
                for name, value in ((secret or {}).get("data") or {}).items()
            }
        except (TypeError, binascii.Error):
            raise CustodyError(
                f"{self.place}: it came with data that is not base64. Check what stands between this machine and the "
                "API server."
            ) from None
        pasted = data.pop(LEDGER, b"")
        seen = _Seen(secret, chunks, {name: content for name, content in data.items() if content}, pasted)
        kept = b"".join(seen.texts)
        if not pasted.startswith(kept) and not kept.startswith(pasted):
            raise CustodyError(
                f"{self.place}: it holds {LEDGER}, and ConfigMaps {self._chunk_name(0)} and following hold another "
                "ledger. Keep both elsewhere, find out which one is true, and remove the other."
            )
        return seen

    def _chunks(self) -> Iterator[dict[str, Any]]:
        for index in itertools.count():
            chunk = self.cluster.get(CONFIG_MAPS, self.namespace, self._chunk_name(index))
            if chunk is None:
                return
            yield chunk

    def _chunk_name(self, index: int) -> str:
        return f"{self.name}-ledger-{index + 1:04d}"

    def _write(self, seen: _Seen, changes: Changes) -> None:
        """The Secret, which holds all blobs but the ledger, is written at once."""
        changed = {**seen.files, **{name: content for name, content in changes.items() if name != LEDGER}}
        files = {name: content for name, content in changed.items() if content}
        secret = seen.secret if files == seen.files else self._put_secret(seen.secret, files, seen.pasted)
        ledger = changes.get(LEDGER)
        if ledger is not None:
            self._put_ledger(seen, ledger)
            if seen.pasted:
                self._put_secret(secret, files, b"")

    def _put_secret(self, seen: Mapping[str, Any] | None, files: Blobs, pasted: bytes) -> Mapping[str, Any]:
        given = {**dict.fromkeys(((seen or {}).get("data") or {}), b""), **files}
        if LEDGER in given:
            given[LEDGER] = pasted
        data = {name: base64.b64encode(content).decode("ascii") for name, content in given.items()}
        content = {"type": (seen or {}).get("type") or "Opaque", "data": data}
        return self._put(SECRETS, self.name, seen, content)

    def _put_ledger(self, seen: _Seen, ledger: bytes) -> None:
        """Only the last ConfigMap grows. Whoever begins another closes it first, so that nobody else can add to it."""
        closed = [chunk.get("immutable") is True for chunk in seen.chunks]
        pieces = _pieces(ledger, seen.texts, closed)
        if pieces is None:
            raise CustodyError(
                f"{self.place}: the ledger in ConfigMaps {self._chunk_name(0)} and following was changed by somebody "
                "else. Find out by whom, and restore them from the backup."
            )
        for index, piece in enumerate(pieces):
            last = index == len(pieces) - 1
            held = seen.chunks[index] if index < len(seen.chunks) else None
            if held is not None and (closed[index] or (last and seen.texts[index] == piece)):
                continue
            content = {"data": {LEDGER: piece.decode("ascii")}, **({} if last else {"immutable": True})}
            self._put(CONFIG_MAPS, self._chunk_name(index), held, content)

    def _put(
        self, resource: Resource, name: str, seen: Mapping[str, Any] | None, content: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Write the object if it is still as it was seen. Raises ConflictError if not.

        Server-side apply cannot say "only if it is absent". So all who find none make the same empty one, and then only
        one of them has the right resourceVersion. Forced, because that is what counts, not who wrote which key before.
        """
        identity = {"name": name, "namespace": self.namespace}
        body: dict[str, Any] = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": identity}
        if seen is None:
            empty = {**body, "type": content["type"]} if "type" in content else body
            seen = self.cluster.apply(resource, empty, manager=_CLAIMING_MANAGER)
            if seen.get("data"):
                raise ConflictError(f"{name} was made by somebody else at the same moment", 409)
        token = secrets.token_hex(16)
        metadata = {
            **identity,
            "labels": {"app.kubernetes.io/managed-by": FIELD_MANAGER},
            "annotations": {_WRITE: token},
            "resourceVersion": seen["metadata"]["resourceVersion"],
        }
        try:
            return self.cluster.apply(
                resource, {**body, "metadata": metadata, **content}, manager=FIELD_MANAGER, force=True
            )
        except ConflictError:
            found = self.cluster.get(resource, self.namespace, name) or {"metadata": {}}
            if (found["metadata"].get("annotations") or {}).get(_WRITE) != token:
                raise
            return found  # written by us: the first answer was lost, and the request was repeated
        except KubeError as error:
            self._withhold(error, resource, content["data"].values())
            raise

    def _withhold(self, error: KubeError, resource: Resource, values: Iterable[str]) -> None:
        """An admission webhook may quote what it refuses."""
        if resource == SECRETS and any(_quotes(str(error), value) for value in values):
            raise CustodyError(
                f"{self.place}: it was refused, HTTP {error.status}. The answer quotes its content and is withheld: "
                "look at the admission webhooks of the cluster."
            ) from None


def _pieces(ledger: bytes, texts: Sequence[bytes], closed: Sequence[bool]) -> list[bytes] | None:
    """What each ConfigMap is to hold, in whole lines; None where they hold more, or something else."""
    pieces: list[bytes] = []
    for text, full in zip(texts, closed, strict=True):
        if not full:
            break
        if not ledger.startswith(text):
            return None
        pieces.append(text)
        ledger = ledger[len(text) :]
    piece = b""
    for line in ledger.splitlines(keepends=True):
        if piece and len(piece) + len(line) > _CHUNK:
            pieces.append(piece)
            piece = b""
        piece += line
    pieces += [piece] if piece else []
    return pieces if len(pieces) >= len([text for text in texts if text]) else None


def _quotes(message: str, value: str) -> bool:
    """Whether a message holds a part of a value of a Secret, decoded or not."""
    decoded = base64.b64decode(value).decode("ascii", "replace").replace("\n", "")
    windows = {message[start : start + _WINDOW] for start in range(len(message) - _WINDOW + 1)}
    return any(
        text[start : start + _WINDOW] in windows
        for text in (value, decoded)
        for start in range(len(text) - _WINDOW + 1)
    )
