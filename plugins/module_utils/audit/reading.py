# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the AuthorizationPolicies that a cluster has let remote callers do, whoever wrote them.

This reads policies and knows nothing of how the collection writes them, so that a mistake there shows here.
Semantics: https://istio.io/latest/docs/reference/config/security/authorization-policy/. What cannot be decided from
principals, ports, methods and paths alone (conditions, addresses, tokens, other filters) is named as a further limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.audit.patterns import (
    ANY,
    contains,
    overlap,
    simplest,
)

Body = Mapping[str, Any]

OTHER = ""
"""The method that stands for all those that no policy names."""

_JUDGED_SOURCES = {"principals", "notPrincipals"}
_JUDGED_OPERATIONS = {"ports", "notPorts", "methods", "notMethods", "paths", "notPaths"}
_HTTP_ONLY = ("methods", "notMethods", "paths", "notPaths", "hosts", "notHosts")
DRY_RUN = "istio.io/dry-run"


@dataclass(frozen=True, slots=True)
class Paths:
    """Paths of requests: those of ``within`` (None is all) without those of ``without``."""

    within: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()

    def contains(self, other: Paths) -> bool:
        """Whether every path of the other one is in this one; in doubt it is not."""
        if self.within is not None:
            if other.within is None:
                return False
            if not all(any(contains(outer, inner) for outer in self.within) for inner in other.within):
                return False
        kept_out = [
            any(contains(outer, inner) for outer in other.without)
            or (other.within is not None and not any(overlap(inner, pattern) for pattern in other.within))
            for inner in self.without
        ]
        return all(kept_out)

    def narrowed(self, patterns: Iterable[str]) -> Paths | None:
        """Those that are also among these patterns, None if there are none left."""
        wanted = simplest(patterns)
        if self.within is not None:
            # Two patterns of which neither contains the other are kept as the second: rather too much than too little.
            wanted = simplest(
                one if contains(other, one) else other for one in self.within for other in wanted if overlap(one, other)
            )
        return Paths(wanted, self.without)._without_empty()

    def but_not(self, patterns: Iterable[str]) -> Paths | None:
        """Those that are not among these patterns, None if there are none left."""
        return Paths(self.within, simplest([*self.without, *patterns]))._without_empty()

    def _without_empty(self) -> Paths | None:
        if self.within is None:
            return None if ANY in self.without else self
        left = tuple(one for one in self.within if not any(contains(other, one) for other in self.without))
        cut = tuple(one for one in self.without if any(overlap(one, other) for other in left))
        return Paths(left, cut) if left else None


NO_PATHS = Paths(())


@dataclass(frozen=True, slots=True)
class Admitted:
    """What a caller may do on a port.

    methods: to the paths that it may ask for with them; ``OTHER`` is all methods that are not named. For a port that is
        not HTTP only that.
    limited_by: policies, ``namespace/name``, that may refuse more than this says.
    """

    methods: Mapping[str, Paths]
    limited_by: tuple[str, ...] = ()

    def paths(self, method: str) -> Paths:
        """What may be asked for with a method."""
        return self.methods.get(method) or self.methods.get(OTHER) or NO_PATHS


@dataclass(frozen=True)
class Policy:
    """One AuthorizationPolicy."""

    namespace: str
    name: str
    action: str
    labels: Mapping[str, str]
    rules: tuple[Body, ...]

    @classmethod
    def read(cls, item: Body) -> Policy | None:
        """None for one that no sidecar enforces: a trial, or one for gateways and waypoints."""
        metadata, spec = item["metadata"], item.get("spec") or {}
        trial = str((metadata.get("annotations") or {}).get(DRY_RUN, "")).lower() in ("true", "1", "t")
        if trial or spec.get("targetRef") or spec.get("targetRefs"):
            return None
        labels = (spec.get("selector") or {}).get("matchLabels") or {}
        rules = tuple(rule or {} for rule in spec.get("rules") or ())
        return cls(metadata["namespace"], metadata["name"], spec.get("action") or "ALLOW", labels, rules)

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    def selects(self, namespace: str, labels: Mapping[str, str], root_namespace: str) -> bool:
        """Whether it holds for a pod."""
        return self.namespace in (namespace, root_namespace) and self.labels.items() <= labels.items()


def callers_named(policies: Iterable[Policy]) -> set[str]:
    """Principals of policies that stand for whole trust domains, namespaces or service accounts."""
    found = {
        principal
        for policy in policies
        for rule in policy.rules
        for entry in rule.get("from") or ()
        for key in _JUDGED_SOURCES
        for principal in (entry.get("source") or {}).get(key) or ()
    }
    return {principal for principal in found if _is_caller(principal)}


def _is_caller(principal: str) -> bool:
    parts = principal.split("/")
    shapes = {2: ("", ANY), 4: ("", "ns", "", ANY), 5: ("", "ns", "", "sa", "")}
    shape = shapes.get(len(parts))
    return bool(shape) and all(
        part == wanted if wanted else part and ANY not in part for part, wanted in zip(parts, shape or (), strict=True)
    )


def admitted(policies: Iterable[Policy], caller: str, port: int, http: bool, server_name: str = "") -> Admitted | None:
    """What policies of one pod let a caller do on one of its ports; None is nothing.

    caller: a pattern as ``callers_named`` gives them. Meant is whoever it contains and no narrower one of these does.
    server_name: what is asked for, at a gateway, which serves nothing else under it. Workloads can be told any name.
    """
    policies = list(policies)
    reading = _Reading(policies, caller, str(port), http, server_name)
    for policy in policies:
        if policy.action == "DENY":
            reading.deny(policy)
        elif policy.action == "CUSTOM":
            reading.limit(policy)
    allowing = [policy for policy in policies if policy.action == "ALLOW"]
    if allowing:
        reading.allow(allowing)
    methods = reading.result()
    return Admitted(methods, tuple(sorted(reading.limited_by))) if methods else None


class _Reading:
    """What is left of everything while policies are read."""

    def __init__(self, policies: Iterable[Policy], caller: str, port: str, http: bool, server_name: str) -> None:
        self.caller = caller
        self.port = port
        self.http = http
        self.server_name = server_name
        named = _methods_named(policies) if http else set()
        self.left: dict[str, Paths | None] = dict.fromkeys([OTHER, *sorted(named)], Paths())
        self.limited_by: set[str] = set()

    def result(self) -> dict[str, Paths]:
        """By method, without those that are treated as all the others."""
        other = self.left[OTHER]
        shown = {method: paths for method, paths in self.left.items() if method == OTHER or paths != other}
        if other is None:
            return {method: paths for method, paths in shown.items() if paths is not None}
        return {method: NO_PATHS if paths is None else paths for method, paths in shown.items()}

    def limit(self, policy: Policy) -> None:
        """A policy of which only somebody else knows what it refuses."""
        if any(True for _operation in self._operations(policy)):
            self.limited_by.add(policy.key)

    def deny(self, policy: Policy) -> None:
        for operation, certain in self._operations(policy):
            if not certain or {"paths", "notPaths"} <= set(operation):
                self.limited_by.add(policy.key)
                continue
            for method in self._methods(operation):
                paths = self.left[method]
                if paths is None:
                    continue
                # On a port that is not HTTP, a DENY loses what needs HTTP and refuses all the more.
                if self.http and operation.get("notPaths"):
                    self.left[method] = paths.narrowed(operation["notPaths"])
                elif self.http and operation.get("paths"):
                    self.left[method] = paths.but_not(operation["paths"])
                else:
                    self.left[method] = None

    def allow(self, policies: Iterable[Policy]) -> None:
        granted: dict[str, list[str]] = {}
        for policy in policies:
            for operation, certain in self._operations(policy):
                if not self.http and any(key in operation for key in _HTTP_ONLY):
                    continue  # on a port that is not HTTP, such an ALLOW grants nothing
                if not certain or operation.get("notPaths"):
                    self.limited_by.add(policy.key)
                for method in self._methods(operation):
                    granted.setdefault(method, []).extend(operation.get("paths") or [ANY])
        for method, paths in self.left.items():
            patterns = granted.get(method)
            if paths is None or not patterns:
                self.left[method] = None
            elif ANY not in patterns:
                self.left[method] = paths.narrowed(patterns)

    def _operations(self, policy: Policy) -> Iterator[tuple[Body, bool]]:
        """What a policy says of this caller on this port, and whether it says it for certain."""
        for rule in policy.rules:
            sources = [entry.get("source") or {} for entry in rule.get("from") or ()] or [{}]
            known = [certain for source in sources if (certain := self._is_about(source)) is not None]
            conditions = [self._holds(condition) for condition in rule.get("when") or ()]
            if not known or False in conditions:
                continue
            certain = any(known) and None not in conditions
            for entry in rule.get("to") or [{}]:
                operation = entry.get("operation") or {}
                if self._has_port(operation):
                    judged = set(operation) <= _JUDGED_OPERATIONS and not any("{" in path for path in _texts(operation))
                    yield operation, certain and judged

    def _is_about(self, source: Body) -> bool | None:
        """Whether it is about all these callers; None if about none of them."""
        wanted, unwanted = source.get("principals"), source.get("notPrincipals") or ()
        if any(contains(pattern, self.caller) for pattern in unwanted):
            return None
        certain = set(source) <= _JUDGED_SOURCES and not any(self._is_vague(pattern) for pattern in unwanted)
        if not wanted or any(contains(pattern, self.caller) for pattern in wanted):
            return certain
        return False if any(self._is_vague(pattern) for pattern in wanted) else None

    def _holds(self, condition: Body) -> bool | None:
        """Whether a condition holds; None if nobody can tell."""
        if condition.get("key") != "connection.sni" or not self.server_name:
            return None
        unwanted = condition.get("notValues") or ()
        return _field(condition, "values", self.server_name) and not any(
            contains(str(pattern), self.server_name) for pattern in unwanted
        )

    def _is_vague(self, principal: str) -> bool:
        """Whether it may mean some of these callers. Those that a shape of caller means are callers of their own."""
        return not _is_caller(principal) and overlap(principal, self.caller)

    def _has_port(self, operation: Body) -> bool:
        return _field(operation, "ports", self.port) and not (
            any(contains(str(pattern), self.port) for pattern in operation.get("notPorts") or ())
        )

    def _methods(self, operation: Body) -> list[str]:
        return [method for method in self.left if not self.http or _is_method(operation, method)]


def _methods_named(policies: Iterable[Policy]) -> set[str]:
    operations = [
        entry.get("operation") or {} for policy in policies for rule in policy.rules for entry in rule.get("to") or ()
    ]
    named = {method for one in operations for key in ("methods", "notMethods") for method in one.get(key) or ()}
    return {method for method in named if ANY not in method}


def _is_method(operation: Body, method: str) -> bool:
    value = method or "\0"  # which only the pattern for everything matches
    return _field(operation, "methods", value) and not (
        any(contains(pattern, value) for pattern in operation.get("notMethods") or ())
    )


def _field(item: Body, name: str, value: str) -> bool:
    wanted = item.get(name)
    return not wanted or any(contains(str(pattern), value) for pattern in wanted)


def _texts(operation: Body) -> Iterator[str]:
    for key in ("paths", "notPaths"):
        yield from operation.get(key) or ()
