# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes a cluster hold exactly the wanted objects of a set.

The order of writes keeps the set whole when a run is cut short: the parent first declares old and new kinds and
namespaces, then come namespaces, definitions, policies and the rest, then the deletions the other way round, and the
parent is narrowed last. So whatever an interrupted run left behind is found by the next one, and nothing is ever there
without the policies that guard it.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from ansible_collections.multimesh.istio.plugins.module_utils.applyset.desired import (
    Desired,
    ObjectsError,
    read_objects,
)
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.fields import essence, owned_fields
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.identity import (
    PART_OF_LABEL,
    GroupKind,
    ObjectKey,
)
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.parent import Parent, read_parent
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.plan import (
    CRD,
    NAMESPACE,
    STAGES,
    Change,
    Live,
    Plan,
    foreign_members,
    make_plan,
    stage,
)
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.cluster import Applier, Deleter, Getter, Lister
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import (
    ConflictError,
    ForbiddenError,
    KubeError,
    UnauthorizedError,
    UnreachableError,
)
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import CONFIG_MAPS, NAMESPACES, Resource

_T = TypeVar("_T")
_PAGE = 1000  # members read at once, for the sake of the API server's memory
_POLL = 0.3  # seconds between looks for a kind that is not served yet


class Cluster(Getter, Lister, Applier, Deleter, Protocol):
    """What is needed of a cluster."""

    def find(self, group: str, kind: str, version: str | None = None) -> Resource | None: ...

    def forget_kinds(self) -> None: ...


@dataclass(frozen=True)
class Settings:
    """How a set is applied.

    manager: field manager of server-side apply.
    force_conflicts: take fields over from other managers.
    concurrency: requests under way at once, at most.
    crd_timeout: seconds to wait until a kind is served.
    assumed_namespaces: in a plan only, namespaces that will exist when it is carried out.
    """

    manager: str = "multimesh.istio"
    force_conflicts: bool = False
    concurrency: int = 16
    crd_timeout: float = 60
    assumed_namespaces: frozenset[str] = frozenset()


class MissingKindError(MultimeshError):
    """The API server does not serve a wanted kind."""


class MissingNamespaceError(MultimeshError):
    """Wanted objects belong to namespaces that do not exist."""


class ForeignMemberError(MultimeshError):
    """Wanted objects are members of another set."""


class ApplyError(MultimeshError):
    """Some objects could not be written; the others were. done: the part of the plan that was carried out."""

    def __init__(self, mesh: str, parent: ObjectKey, problems: Sequence[Exception], done: Plan, left: int) -> None:
        self.problems = tuple(problems)
        self.done = done
        head = f"{mesh}: the set of {parent} is not complete: {len(problems)} failed, {left} were not tried."
        super().__init__("\n".join([f"{head} Run again after this:", *(f"  - {problem}" for problem in problems)]))


@dataclass(frozen=True)
class Prepared:
    """A plan with what carrying it out needs.

    parent: what the parent object declares now, None when there is none.
    target: what it shall declare in the end, None when it shall go.
    plan: the members' plan; ``shown`` has the parent object too.
    """

    parent: Parent | None
    target: Parent | None
    plan: Plan
    shown: Plan
    resources: Mapping[GroupKind, Resource]


class ApplySet:
    """One set in one cluster."""

    def __init__(
        self,
        cluster: Cluster,
        key: ObjectKey,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        written: Callable[[int, int], None] = lambda _done, _all: None,
    ) -> None:
        """written: told after every write how many are done, and of how many; one call at a time."""
        self._cluster = cluster
        self._mesh = cluster.mesh
        self._key = key
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        self._written = written
        self._empty = Parent(key)

    def prepare(self, objects: Sequence[Any] | None, *, check_mode: bool = False, whole: bool = False) -> Prepared:
        """The plan that makes the set hold exactly these objects; None removes the set and its parent.

        Writes nothing.
        check_mode: do not wait for kinds, and let assumed namespaces pass.
        whole: read adopted objects whole, as a diff needs them.
        Raises MultimeshError for everything that is known to fail.
        """
        desired = read_objects(self._mesh, objects or [], self._empty.set_id, self._key)
        live_parent = self._cluster.get(CONFIG_MAPS, self._key.namespace, self._key.name)
        parent = read_parent(self._mesh, self._key, live_parent) if live_parent else None
        resources = self._resolve(desired, parent or self._empty, wait=not check_mode)
        members, others = self._scan(desired, parent or self._empty, resources)
        foreign = foreign_members(others.values(), self._empty.set_id)
        if foreign:
            raise ForeignMemberError(self._foreign(foreign))
        if whole:
            others = {key: self._read_whole(resources[key.group_kind], live) for key, live in others.items()}
        plan = make_plan(
            desired,
            members,
            others,
            self._settings.manager,
            lambda wanted, live: self._is_same(resources, wanted, live),
        )
        target = None if objects is None else (parent or self._empty).declaring(wanted.key for wanted in desired)
        shown = self._with_parent(plan, parent, target, live_parent)
        self._check_namespaces(shown, members, others, desired, check_mode)
        return Prepared(parent, target, plan, shown, resources)

    def carry_out(self, prepared: Prepared) -> Plan:
        """Write what the plan says; gives the plan as it was carried out. Raises ApplyError, KubeError."""
        if prepared.shown.empty:
            return prepared.shown
        declared = prepared.parent
        if prepared.target is not None:
            wide = prepared.target if declared is None else declared.joined(prepared.target)
            if wide != declared:
                self._write_parent(wide)
            declared = wide
        run = _Run(self, prepared)
        try:
            for number in STAGES:
                run.apply_stage(number)
            for number in reversed(STAGES):
                run.delete_stage(number)
            if prepared.target is None:
                run.delete_parent()
            elif declared != prepared.target:
                self._write_parent(prepared.target)
        except (KubeError, MissingKindError) as error:  # between or after the members
            raise run.incomplete([error]) from None
        return prepared.shown.without_changes(run.untouched)

    # Reading

    def _resolve(self, desired: Sequence[Desired], parent: Parent, *, wait: bool) -> dict[GroupKind, Resource]:
        """How the server serves each kind; kinds to come are left out."""
        versions = {item.key.group_kind: item.version for item in desired}
        defined = {_defined_kind(item.body): item.body for item in wanted_of(desired, CRD)}
        resources = self._find(versions)
        missing = {kind: version for kind, version in versions.items() if kind not in resources and kind not in defined}
        if missing and wait:
            resources.update(self.wait_for_kinds(missing))
        problems = []
        for item in desired:
            kind = item.key.group_kind
            if item.version != versions[kind]:
                problems.append(f"{item.key}: {kind} is wanted in two versions. Use one of them.")
            namespaced = resources[kind].namespaced if kind in resources else _namespaced(defined.get(kind))
            if namespaced is not None and namespaced != bool(item.key.namespace):
                fault = "needs metadata.namespace" if namespaced else "is cluster-scoped: remove metadata.namespace"
                problems.append(f"{item.key}: {kind} {fault}.")
        if problems:
            raise ObjectsError(self._mesh, problems)
        # a kind that only the parent knows and nobody serves has lost its definition, and with it every object
        return {**self._find(dict.fromkeys(parent.kinds - set(versions))), **resources}

    def _find(self, versions: Mapping[GroupKind, str | None]) -> dict[GroupKind, Resource]:
        found = {kind: self._cluster.find(kind.group, kind.kind, version) for kind, version in versions.items()}
        return {kind: resource for kind, resource in found.items() if resource is not None}

    def wait_for_kinds(self, versions: Mapping[GroupKind, str | None]) -> dict[GroupKind, Resource]:
        """Wait until these kinds are served; a version of None is any. Raises MissingKindError."""
        deadline = self._clock() + self._settings.crd_timeout
        while True:
            self._cluster.forget_kinds()
            found = self._find(versions)
            missing = sorted(set(versions) - set(found))
            if not missing:
                return found
            if self._clock() >= deadline:
                named = ", ".join(f"{kind} {versions[kind] or ''}".rstrip() for kind in missing)
                raise MissingKindError(
                    f"{self._mesh}: the API server does not serve: {named}. Their CustomResourceDefinitions are "
                    f"missing or were not established within {self._settings.crd_timeout:g} s. Install them (Istio's "
                    "are in its chart base), or correct apiVersion and kind."
                )
            self._sleep(_POLL)

    def _scan(
        self, desired: Sequence[Desired], parent: Parent, resources: Mapping[GroupKind, Resource]
    ) -> tuple[list[Live], dict[ObjectKey, Live]]:
        """Members, whole; and wanted objects that exist without our label, metadata only."""
        scope = sorted(parent.scope | {item.key.namespace for item in desired if item.key.namespace})
        selector = f"{PART_OF_LABEL}={self._empty.set_id}"
        found = self._parallel(
            sorted(resources.values()), lambda resource: self._list_members(resource, scope, selector)
        )
        members = [live for batch in found for live in batch]
        present = {live.key for live in members}
        missing: dict[tuple[Resource, str], set[ObjectKey]] = defaultdict(set)
        for item in desired:
            if item.key not in present and item.key.group_kind in resources:
                missing[resources[item.key.group_kind], item.key.namespace].add(item.key)
        batches = self._parallel(
            sorted(missing), lambda place: self._list_live(place[0], place[1] or None, metadata_only=True, page=_PAGE)
        )
        sought = {key for keys in missing.values() for key in keys}
        others = {live.key: live for batch in batches for live in batch if live.key in sought}
        # one that appeared between the two looks is a member after all, but only its metadata is known
        return members, others

    def _list_members(self, resource: Resource, scope: Sequence[str], selector: str) -> list[Live]:
        if not resource.namespaced:
            return self._list_live(resource, None, label_selector=selector, page=_PAGE)
        if len(scope) > 1:
            try:
                everywhere = self._list_live(resource, None, label_selector=selector, page=_PAGE)
                return [live for live in everywhere if live.key.namespace in scope]
            except ForbiddenError:
                pass  # rights in these namespaces only
        batches = [self._list_live(resource, namespace, label_selector=selector, page=_PAGE) for namespace in scope]
        return [live for batch in batches for live in batch]

    def _list_live(self, resource: Resource, namespace: str | None, **query: Any) -> list[Live]:
        kind = GroupKind(resource.group, resource.kind)
        found = []
        for body in self._cluster.list_objects(resource, namespace, **query):
            metadata = body["metadata"]
            found.append(Live(ObjectKey(kind, metadata.get("namespace", ""), metadata["name"]), body))
        return found

    def _read_whole(self, resource: Resource, live: Live) -> Live:
        body = self._cluster.get(resource, live.key.namespace or None, live.key.name)
        return live if body is None else replace(live, body=body)

    def _is_same(self, resources: Mapping[GroupKind, Resource], wanted: Desired, live: Live) -> bool:
        manager = self._settings.manager
        try:
            after = self._cluster.apply(
                resources[wanted.key.group_kind],
                wanted.body,
                manager=manager,
                force=self._settings.force_conflicts,
                dry_run=True,
            )
        except ConflictError:
            return False
        return essence(after) == essence(live.body) and owned_fields(after, manager) == owned_fields(live.body, manager)

    def _foreign(self, foreign: Iterable[Live]) -> str:
        named = "; ".join(f"{live.key} is a member of {live.part_of}" for live in foreign)
        return (
            f"{self._mesh}: objects belong to another ApplySet: {named}. Remove them from that set, or from this one."
        )

    def _check_namespaces(
        self,
        plan: Plan,
        members: Iterable[Live],
        others: Mapping[ObjectKey, Live],
        desired: Iterable[Desired],
        check_mode: bool,
    ) -> None:
        needed: dict[str, ObjectKey] = {}
        for item in plan.create:
            if item.key.namespace:
                needed.setdefault(item.key.namespace, item.key)
        known = {live.key.namespace for live in [*members, *others.values()]}
        known |= {item.key.name for item in wanted_of(desired, NAMESPACE)}
        if check_mode:
            known |= self._settings.assumed_namespaces
        if set(needed) <= known:
            return
        try:
            listed = self._cluster.list_objects(NAMESPACES, metadata_only=True)
        except ForbiddenError:
            return  # then the API server names it when the object is applied
        known |= {item["metadata"]["name"] for item in listed}
        missing = sorted(set(needed) - known)
        if missing:
            named = ", ".join(f"{namespace} (needed by {needed[namespace]})" for namespace in missing)
            raise MissingNamespaceError(
                f"{self._mesh}: namespaces do not exist: {named}. Create them first, or correct metadata.namespace."
            )

    def _with_parent(
        self, plan: Plan, parent: Parent | None, target: Parent | None, live_parent: Mapping[str, Any] | None
    ) -> Plan:
        """The plan with the parent object in it, as it is shown to the user."""
        live = Live(self._key, dict(live_parent)) if live_parent else None
        if target is None:
            return replace(plan, delete=(*plan.delete, live)) if live else plan
        wanted = Desired(self._key, "v1", target.body())
        if live is None:
            return replace(plan, create=tuple(sorted((*plan.create, wanted), key=lambda item: item.key)))
        if parent != target:
            change = (*plan.change, Change(wanted, live))
            return replace(plan, change=tuple(sorted(change, key=lambda item: item.desired.key)))
        return plan

    def _write_parent(self, parent: Parent) -> None:
        # forced, as kubectl does: these annotations belong to whoever applies the set
        self._cluster.apply(CONFIG_MAPS, parent.body(), manager=self._settings.manager, force=True)

    def _parallel(self, items: Iterable[Any], task: Callable[[Any], _T]) -> list[_T]:
        work = list(items)
        threads = min(self._settings.concurrency, len(work))
        if threads <= 1:
            return [task(item) for item in work]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(task, work))


class _Run:
    """The writing of one plan: what was done, what failed, what was left."""

    def __init__(self, owner: ApplySet, prepared: Prepared) -> None:
        self._owner = owner
        self._cluster = owner._cluster
        self._settings = owner._settings
        self._prepared = prepared
        self._resources = dict(prepared.resources)
        self._lock = threading.Lock()
        self._stopped = False
        self._done: set[ObjectKey] = set()
        self.untouched: set[ObjectKey] = set()

    def apply_stage(self, number: int) -> None:
        plan = self._prepared.plan
        creates = [(item, None) for item in plan.create if stage(item.key.group_kind) == number]
        changes = [(item.desired, item.live) for item in plan.change if stage(item.desired.key.group_kind) == number]
        batch: list[tuple[Desired, Live | None]] = [*creates, *changes]
        self._await({item.key.group_kind: item.version for item, _live in batch})
        self._all(batch, self._apply)
        self._await({_defined_kind(item.body): None for item, _live in batch if item.key.group_kind == CRD})

    def _await(self, versions: Mapping[GroupKind, str | None]) -> None:
        missing = {kind: version for kind, version in versions.items() if kind not in self._resources}
        if missing:
            self._resources.update(self._owner.wait_for_kinds(missing))

    def delete_stage(self, number: int) -> None:
        batch = [live for live in self._prepared.plan.delete if stage(live.key.group_kind) == number]
        self._all(batch, self._delete)

    def delete_parent(self) -> None:
        parents = [live for live in self._prepared.shown.delete if live.key == self._owner._key]
        for live in parents:
            self._cluster.delete(CONFIG_MAPS, live.key.namespace, live.key.name, live.uid)

    def _apply(self, pair: tuple[Desired, Live | None]) -> None:
        item, live = pair
        try:
            after = self._cluster.apply(
                self._resources[item.key.group_kind],
                item.body,
                manager=self._settings.manager,
                force=self._settings.force_conflicts,
            )
        except KubeError as error:
            raise _redacted(error, item.body) from None
        with self._lock:
            self._count(item.key)
            if live and after["metadata"].get("resourceVersion") == live.body["metadata"].get("resourceVersion"):
                self.untouched.add(item.key)

    def _delete(self, live: Live) -> None:
        resource = self._resources[live.key.group_kind]
        self._cluster.delete(resource, live.key.namespace or None, live.key.name, live.uid)
        with self._lock:
            self._count(live.key)

    def _count(self, key: ObjectKey) -> None:
        plan = self._prepared.plan
        self._done.add(key)
        self._owner._written(len(self._done), len(plan.create) + len(plan.change) + len(plan.delete))

    def _all(self, batch: Sequence[_T], task: Callable[[_T], None]) -> None:
        """Every task of a batch, then the errors of all of them as one ApplyError."""

        def attempt(item: _T) -> Exception | None:
            if self._stopped:
                return None
            try:
                task(item)
            except (UnreachableError, UnauthorizedError) as error:
                self._stopped = True  # the others would fail the same way, each after its whole timeout
                return error
            except MultimeshError as error:
                return error
            return None

        problems = [error for error in self._owner._parallel(batch, attempt) if error is not None]
        if problems:
            raise self.incomplete(problems, len(problems))

    def incomplete(self, problems: Sequence[Exception], members: int = 0) -> ApplyError:
        """What was done up to these problems. members: how many of them are about members of the set."""
        plan = self._prepared.plan
        done = Plan(
            tuple(item for item in plan.create if item.key in self._done),
            tuple(item for item in plan.change if item.desired.key in self._done),
            tuple(item for item in plan.delete if item.key in self._done),
            plan.unchanged,
        )
        total = len(plan.create) + len(plan.change) + len(plan.delete)
        return ApplyError(self._owner._mesh, self._owner._key, problems, done, total - len(self._done) - members)


def wanted_of(desired: Iterable[Desired], kind: GroupKind) -> list[Desired]:
    """Those of one kind."""
    return [item for item in desired if item.key.group_kind == kind]


def _defined_kind(definition: Mapping[str, Any]) -> GroupKind:
    spec = definition.get("spec") or {}
    return GroupKind(str(spec.get("group")), str((spec.get("names") or {}).get("kind")))


def _namespaced(definition: Mapping[str, Any] | None) -> bool | None:
    return None if definition is None else (definition.get("spec") or {}).get("scope") == "Namespaced"


def _redacted(error: KubeError, body: Mapping[str, Any]) -> KubeError:
    """The error without the values of a Secret: some answers quote what they refuse."""
    if body.get("kind") != "Secret":
        return error
    text = str(error)
    for value in texts(body.get("data")):
        if len(value) > 3:  # a shorter one would blot out the whole message
            text = text.replace(value, "(hidden)")
    return type(error)(text, error.status)


def texts(value: Any) -> list[str]:
    """All texts in a value, however deep."""
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    return [value] if isinstance(value, str) else []
