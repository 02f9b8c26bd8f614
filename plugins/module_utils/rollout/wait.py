# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Look at every replica of istiod and every proxy of a cluster, again and again, until they hold what they have to."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.cluster import Applier, Getter, Lister
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import (
    CredentialsError,
    ForbiddenError,
    KubeError,
    MissingLibraryError,
    NotFoundError,
    UnauthorizedError,
)
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import PODS, SECRETS
from ansible_collections.multimesh.istio.plugins.module_utils.pki.describe import iso
from ansible_collections.multimesh.istio.plugins.module_utils.rollout import targets
from ansible_collections.multimesh.istio.plugins.module_utils.rollout.held import Held, Leaf
from ansible_collections.multimesh.istio.plugins.module_utils.rollout.targets import Target
from ansible_collections.multimesh.istio.plugins.module_utils.rollout.wanted import Wanted, lacking, lacking_replica

NAMESPACE = "istio-system"
SECRET = "cacerts"  # noqa: S105 - a name
ANNOTATION = "multimesh.istio/cacerts"
"""On pods of istiod: which version of Secret ``cacerts`` the kubelet was told to look for."""

STATES = ("ready", "waiting", "unreachable", "unsupported")
_FIELD_MANAGER = "multimesh.istio"
_CONCURRENCY = 16
_SHOWN = 10

_STOPPING = (CredentialsError, ForbiddenError, MissingLibraryError, UnauthorizedError)
"""What is no matter of one pod."""


class Cluster(Getter, Lister, Applier, Protocol):
    """What is needed of a cluster."""


class Asker(Protocol):
    """What is used of ``reader.Reader``."""

    def proxy(self, target: Target) -> Held: ...

    def replica(self, target: Target) -> Leaf: ...


@dataclass(frozen=True)
class Place:
    """A cluster, and who asks its pods."""

    cluster: Cluster
    asker: Asker


@dataclass(frozen=True)
class Settings:
    """How to look.

    timeout: seconds until everybody has to be ready; 0 looks once.
    poll_interval: seconds between two looks.
    namespaces: whose proxies are looked at; () for all.
    hurry: make the kubelets of istiod's pods look for the new Secret at once.
    proxies: look at proxies too.
    takes_roots: whoever does not take a changed trust bundle while it runs is not ready, and will not be.
    """

    timeout: float = 120
    poll_interval: float = 2
    namespaces: Sequence[str] = ()
    hurry: bool = False
    proxies: bool = True
    takes_roots: bool = False


@dataclass(frozen=True)
class Entry:
    """One replica or proxy.

    state: one of STATES. reason: why, empty for most that are ready. served: its cluster, if it is one of those served.
    """

    target: Target
    state: str
    reason: str = ""
    held: Held = field(default_factory=Held)
    served: str = ""

    @property
    def final(self) -> bool:
        """It has what it needs; one that is ready because it holds nothing may start to."""
        return self.state == "ready" and not self.held.empty

    def as_dict(self) -> dict[str, Any]:
        """As the module returns it."""
        leaf = self.held.leaves[0] if self.held.leaves else None
        crls = sorted({crl for trust in self.held.trusts for crl in trust.crls})
        return {
            "namespace": self.target.namespace,
            "name": self.target.name,
            "kind": self.target.kind,
            "state": self.state,
            "reason": self.reason,
            "roots": sorted({root for trust in self.held.trusts for root in trust.roots}),
            "issuer": leaf and leaf.issuer,
            "serial": leaf and leaf.serial,
            "not_before": leaf and iso(leaf.not_before),
            "not_after": leaf and iso(leaf.not_after),
            "crls": [{"issuer": crl.issuer, "number": crl.number} for crl in crls],
        }

    def __str__(self) -> str:
        where = f" of {self.served}" if self.served else ""
        return f"{self.target}{where}: {self.state}: {self.reason}"


@dataclass(frozen=True)
class Report:
    """What one look found. hurried: pods of istiod that were annotated in it or in a look before."""

    mesh: str
    replicas: tuple[Entry, ...]
    proxies: tuple[Entry, ...]
    hurried: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def behind(self) -> list[Entry]:
        """Who is not ready, those first who hold the others up."""
        return [entry for entry in (*self.replicas, *self.proxies) if entry.state != "ready"]

    @property
    def ready(self) -> bool:
        return not self.behind

    @property
    def hopeless(self) -> bool:
        """Somebody will never be ready."""
        return any(entry.state == "unsupported" for entry in self.behind)

    @property
    def late_renewal(self) -> bool:
        """Every replica is ready and proxies wait: those that renewed at one that was not keep what they got."""
        waiting = any(entry.state == "waiting" for entry in self.proxies)
        return waiting and all(entry.state == "ready" for entry in self.replicas)

    @property
    def line(self) -> str:
        """All of it in a line for people."""
        first = "; ".join(map(str, self.behind[:1]))
        more = f" (and {len(self.behind) - 1} more)" if len(self.behind) > 1 else ""
        return f"{self.mesh}: {self._tally}{f'; {first}{more}' if first else ''}"

    @property
    def _tally(self) -> str:
        sorts = (("istiod", self.replicas), ("proxies", self.proxies))
        return ", ".join(f"{name} {_count(entries)['ready']}/{len(entries)}" for name, entries in sorts)

    @property
    def failure(self) -> str:
        """What to tell when waiting is over."""
        more = len(self.behind) - _SHOWN
        return "\n".join(
            [
                f"{self.mesh}: not everybody holds what is wanted, ready are {self._tally}:",
                *(f"  - {entry}" for entry in self.behind[:_SHOWN]),
                *([f"  - and {more} more"] if more > 0 else []),
                *self._ways_out(),
            ]
        )

    def _ways_out(self) -> Iterable[str]:
        states = {entry.state for entry in self.behind}
        if any(entry.state == "waiting" for entry in self.replicas):
            yield (
                "Nothing is lost by waiting: run again to go on. A replica of istiod that stays behind tells the "
                "reason in its log (lines about cacerts and ROOT-CA)."
            )
        elif "waiting" in states:
            yield (
                "Nothing is lost by waiting: run again to go on. A proxy that renewed its certificate at a replica of "
                "istiod that was not ready yet keeps it for up to half a day; it takes everything anew when the bytes "
                "of root-cert.pem change again, or when its pod is deleted."
            )
        if "unreachable" in states:
            yield (
                "For a pod that cannot be asked, look at its state and at the kubelet of its node, and delete it if it "
                "is broken."
            )
        if "unsupported" in states:
            yield (
                "What has no Envoy to ask has to leave the mesh first. What takes no other root needs a variable "
                f"of its environment: istiod {targets.ISTIOD_TAKES_ROOTS} (env in the values of its chart), a proxy "
                f"{targets.PROXY_TAKES_ROOTS} (meshConfig.defaultConfig.proxyMetadata, then restart the pods)."
            )

    def as_dict(self) -> dict[str, Any]:
        """As the module returns it."""
        return {
            "ready": self.ready,
            "pending": not self.ready and not self.hopeless,
            "late_renewal": self.late_renewal,
            "replicas": [entry.as_dict() for entry in self.replicas],
            "proxies": [entry.as_dict() for entry in self.proxies],
            "counts": {"replicas": _count(self.replicas), "proxies": _count(self.proxies)},
            "hurried": list(self.hurried),
            "line": self.line,
        }


class Rollout:
    """The looks of one wait. Who was ready once is not asked again while it and the Secret stay the same."""

    def __init__(self, place: Place, wanted: Wanted, settings: Settings, served: Sequence[Place] = ()) -> None:
        """served: clusters that the control plane of the first one serves; they have proxies and no istiod."""
        self._cluster = place.cluster
        self._asker = place.asker
        self._places = (place, *served)
        self._wanted = wanted
        self._settings = settings
        self._settled: dict[tuple[str, int], Entry] = {}
        self._version = ""
        self._hurried: dict[str, None] = {}

    def look(self) -> Report:
        """Ask everybody. Replicas come first: a proxy that starts or renews afterwards gets what they have.

        Raises KubeError for what is no matter of one pod.
        """
        secret = self._cluster.get(SECRETS, NAMESPACE, SECRET, metadata_only=True)
        version = str(((secret or {}).get("metadata") or {}).get("resourceVersion") or "")
        if version != self._version:
            self._version, self._settled = version, {}
        pods = self._cluster.list_objects(PODS, NAMESPACE, label_selector="app=istiod")
        moment = written(secret)
        replicas = self._ask(pods, targets.replica, lambda target: self._replica(target, moment), settle=True)
        if self._settings.hurry and version:
            self._hurry(pods, [entry.target for entry in replicas if entry.state == "waiting"])
        settle = all(entry.state == "ready" for entry in replicas)
        proxies = tuple(proxy for place in self._places for proxy in self._proxies(place, settle))
        return Report(self._cluster.mesh, replicas, proxies, tuple(self._hurried), tuple(self._warnings(proxies)))

    def _warnings(self, proxies: Iterable[Entry]) -> Iterator[str]:
        without = [str(entry.target) for entry in proxies if not (entry.target.takes_lists or entry.held.empty)]
        if self._wanted.crls and without:
            shown = ", ".join(without[:_SHOWN]) + (f" and {len(without) - _SHOWN} more" if without[_SHOWN:] else "")
            yield (
                f"{self._cluster.mesh}: revocation lists do not reach {shown}: where these check peers, revoked ones "
                f"are believed. Mount ConfigMap istio-ca-crl at {targets.LISTS} of their container istio-proxy."
            )

    def _proxies(self, place: Place, settle: bool) -> tuple[Entry, ...]:
        if not self._settings.proxies:
            return ()
        namespaces: Sequence[str | None] = self._settings.namespaces or (None,)
        pods = [pod for namespace in namespaces for pod in place.cluster.list_objects(PODS, namespace)]
        found = self._ask(pods, targets.proxy, lambda target: self._proxy(place.asker, target), settle=settle)
        served = "" if place is self._places[0] else place.cluster.mesh
        return tuple(replace(entry, served=served) for entry in found)

    def _ask(
        self,
        pods: Iterable[Mapping[str, Any]],
        recognize: Callable[[Mapping[str, Any]], Target | None],
        ask: Callable[[Target], Entry | None],
        *,
        settle: bool,
    ) -> tuple[Entry, ...]:
        found = sorted(filter(None, map(recognize, pods)), key=lambda target: (target.namespace, target.name))
        open_ = [target for target in found if target.incarnation not in self._settled]
        with ThreadPoolExecutor(_CONCURRENCY) as pool:
            asked = {entry.target.incarnation: entry for entry in pool.map(ask, open_) if entry}
        if settle:
            self._settled.update({key: entry for key, entry in asked.items() if entry.final})
        entries = (asked.get(target.incarnation) or self._settled.get(target.incarnation) for target in found)
        return tuple(filter(None, entries))

    def _unsupported(self, target: Target) -> str:
        if target.unsupported or target.takes_roots or not self._settings.takes_roots:
            return target.unsupported
        if target.kind == "istiod":
            return f"it refuses another root without {targets.ISTIOD_TAKES_ROOTS}=true"
        return f"it takes no other root while it runs without {targets.PROXY_TAKES_ROOTS}=true"

    def _replica(self, target: Target, moment: datetime | None) -> Entry | None:
        if reason := self._unsupported(target):
            return Entry(target, "unsupported", reason)
        try:
            leaf = self._asker.replica(target)
        except _STOPPING:
            raise
        except MultimeshError as error:
            if _gone(target, error):
                return None
            return Entry(target, "unreachable" if target.running else "waiting", _reason(error))
        reason = "; ".join(lacking_replica(self._wanted, leaf, moment))
        return Entry(target, "waiting" if reason else "ready", reason, Held(leaves=(leaf,)))

    def _proxy(self, asker: Asker, target: Target) -> Entry | None:
        if reason := self._unsupported(target):
            return Entry(target, "unsupported", reason)
        not_started = Entry(target, "ready", "it does not run; when it starts it takes what istiod has")
        if not target.placed:
            return not_started
        try:
            held = asker.proxy(target)
        except _STOPPING:
            raise
        except MultimeshError as error:
            if _gone(target, error):
                return None
            return Entry(target, "unreachable", _reason(error)) if target.running else not_started
        if held.empty:
            return Entry(target, "ready", "it uses no certificate of the mesh, it only passes connections through")
        wanted = self._wanted if target.takes_lists else replace(self._wanted, crls={})
        reason = "; ".join(lacking(wanted, held))
        return Entry(target, "waiting" if reason else "ready", reason, held)

    def _hurry(self, pods: Iterable[Mapping[str, Any]], late: Iterable[Target]) -> None:
        """A changed pod is synced by its kubelet at once, its Secrets included; otherwise that takes a minute."""
        uids = {target.incarnation[0] for target in late}
        for pod in pods:
            metadata = pod["metadata"]
            if metadata["uid"] not in uids or (metadata.get("annotations") or {}).get(ANNOTATION) == self._version:
                continue
            own = {key: metadata[key] for key in ("name", "namespace", "uid")}
            body = {"apiVersion": "v1", "kind": "Pod", "metadata": {**own, "annotations": {ANNOTATION: self._version}}}
            try:
                self._cluster.apply(PODS, body, manager=_FIELD_MANAGER)
            except _STOPPING:
                raise
            except KubeError:
                continue  # it has gone, or is tried again at the next look
            self._hurried[metadata["name"]] = None


def wait(
    rollout: Rollout,
    settings: Settings,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Report, float]:
    """Look until everybody is ready, somebody cannot become so, or time is over; the last report and the seconds."""
    begin = clock()
    while True:
        report = rollout.look()
        passed = clock() - begin
        left = settings.timeout - passed
        if report.ready or report.hopeless or left <= 0:
            return report, passed
        sleep(min(settings.poll_interval, left))


def written(secret: Mapping[str, Any] | None) -> datetime | None:
    """When a Secret got the data it has, by the API server's clock; None for no Secret."""
    if secret is None:
        return None
    metadata = secret["metadata"]
    times = [
        str(entry["time"])
        for entry in metadata.get("managedFields") or []
        if "f:data" in (entry.get("fieldsV1") or {}) and entry.get("time")
    ]
    return datetime.fromisoformat(max(times, default=str(metadata["creationTimestamp"])))


def _gone(target: Target, error: MultimeshError) -> bool:
    return target.leaving or isinstance(error, NotFoundError)


def _reason(error: MultimeshError) -> str:
    return str(error).rstrip(".")


def _count(entries: Iterable[Entry]) -> dict[str, int]:
    counted = Counter(entry.state for entry in entries)
    return {state: counted[state] for state in STATES}
