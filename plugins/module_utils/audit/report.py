# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may call what in a cluster, by what is in it, and where that is not what the inventory says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.audit import objects
from ansible_collections.multimesh.istio.plugins.module_utils.audit.difference import Difference, Grant
from ansible_collections.multimesh.istio.plugins.module_utils.audit.exposure import Served, Service, exposed, served
from ansible_collections.multimesh.istio.plugins.module_utils.audit.patterns import contains, simplest
from ansible_collections.multimesh.istio.plugins.module_utils.audit.reading import (
    NO_PATHS,
    OTHER,
    Admitted,
    Paths,
    Policy,
    admitted,
    callers_named,
)

Body = Mapping[str, Any]

KINDS = ("AuthorizationPolicy", "Gateway", "ServiceEntry")
HTTP_PROTOCOLS = ("HTTP", "HTTP2", "GRPC")
ROOT = "istio-system"
_NOTHING = Admitted({})


@dataclass(frozen=True)
class State:
    """What was read of a cluster.

    trust_domains: those of other meshes that its control plane admits.
    policies, gateways, entries: objects as the API server gives them.
    services: as mesh_info.service_facts gives them. pods: labels of the pods behind each.
    gateway_pods: labels of the pods of the namespace of gateways and control planes.
    """

    trust_domains: Sequence[str]
    policies: Sequence[Body]
    gateways: Sequence[Body]
    entries: Sequence[Body]
    services: Mapping[Service, Body]
    pods: Mapping[Service, Sequence[Mapping[str, str]]]
    gateway_pods: Sequence[Mapping[str, str]] = ()
    root_namespace: str = ROOT


@dataclass(frozen=True)
class Report:
    """Sorted."""

    grants: tuple[Grant, ...]
    differences: tuple[Difference, ...]


def exposed_services(state: State, names: Iterable[Service]) -> dict[Service, set[str]]:
    """Services that other meshes can ask for, with the Gateways that lead there. names: all Services that there are."""
    return exposed(state.gateways, state.entries, names)


def audit(state: State, wanted: Sequence[Body], admissions: Sequence[Body]) -> Report:
    """The report on a cluster.

    wanted: objects of the federation; kinds other than the three that are read are left aside.
    admissions: as federation.admissions gives them. Both are what the inventory says.
    """
    grants: dict[Grant, None] = {}
    live = [*state.policies, *state.gateways, *state.entries]
    differences = set(objects.compare([item for item in wanted if item["kind"] in KINDS], live))
    policies = [policy for item in state.policies if (policy := Policy.read(item))]
    for place in (*_workloads(state, policies, admissions), *_gateways(state, policies, admissions)):
        grants.update(dict.fromkeys(place.grants()))
        differences |= set(place.differences())
    differences |= set(_ways(exposed_services(state, state.services), admissions, "passthrough"))
    by_gateway: dict[Service, set[str]] = {}
    for way in served(state.gateways):
        by_gateway.setdefault(way.service, set()).add(way.gateway)
    differences |= set(_ways(by_gateway, admissions, "gateway"))
    return Report(tuple(sorted(grants, key=_order)), tuple(sorted(differences)))


def _workloads(state: State, policies: Sequence[Policy], admissions: Iterable[Body]) -> Iterator[_Port]:
    """Ports of pods that other meshes reach themselves."""
    direct = [entry for entry in admissions if entry["via"] == "passthrough"]
    for service in sorted(exposed_services(state, state.services).keys() & state.services.keys()):
        facts = state.services[service]
        for labels in _distinct(state.pods[service], policies) or [facts["selector"]]:
            applying = [policy for policy in policies if policy.selects(service[0], labels, state.root_namespace)]
            for port in facts["ports"]:
                expected = _expected(direct, state, service, port)
                point = Point(applying, port["target_port"] or 0, port["protocol"] in HTTP_PROTOCOLS)
                yield _Port(service, port, point, expected, state.trust_domains)


def _gateways(state: State, policies: Sequence[Policy], admissions: Iterable[Body]) -> Iterator[_Port]:
    """Ports that a gateway serves itself."""
    for way in served(state.gateways):
        pods = [labels for labels in state.gateway_pods if way.selector.items() <= labels.items()]
        expected = _expected_of(way, admissions)
        facts = state.services.get(way.service)
        for port in facts["ports"] if facts else ():
            for labels in _distinct(pods, policies) or [way.selector] if port["number"] == way.port else ():
                applying = [policy for policy in policies if policy.selects(ROOT, labels, state.root_namespace)]
                point = Point(applying, way.listens_on, port["protocol"] in HTTP_PROTOCOLS, way.server_name)
                yield _Port(way.service, port, point, expected, state.trust_domains)


def _expected_of(way: Served, admissions: Iterable[Body]) -> list[Body]:
    """Callers whom the inventory admits to what a gateway serves."""
    asked = (*way.service, way.port, "gateway")
    return [
        caller
        for entry in admissions
        if (entry["namespace"], entry["service"], entry["port"], entry["via"]) == asked
        for caller in entry["callers"]
    ]


def _order(grant: Grant) -> tuple[str, ...]:
    return tuple(
        map(
            str,
            (grant.namespace, grant.service, f"{grant.port:05}", grant.via, grant.caller, grant.methods, grant.paths),
        )
    )


def _ways(ways: Mapping[Service, set[str]], admissions: Iterable[Body], via: str) -> Iterator[Difference]:
    exports = {(entry["namespace"], entry["service"]) for entry in admissions if entry["via"] == via}
    for (namespace, service), gateways in ways.items():
        if (namespace, service) not in exports:
            text = (
                f"Gateway {', '.join(sorted(gateways))} leads other meshes there, and the inventory does not export it"
                f" via {via}"
            )
            yield Difference("exposed", f"{namespace}/{service}", text)
    for namespace, service in exports - ways.keys():
        text = f"the inventory exports it via {via}, and no Gateway leads there, or the Service does not exist"
        yield Difference("not_exposed", f"{namespace}/{service}", text)


def _distinct(pods: Iterable[Mapping[str, str]], policies: Iterable[Policy]) -> list[Mapping[str, str]]:
    """Labels of pods as far as any policy asks for them, each once."""
    asked = {key for policy in policies for key in policy.labels}
    found: list[Mapping[str, str]] = []
    for labels in pods:
        relevant = {key: value for key, value in labels.items() if key in asked}
        if relevant not in found:
            found.append(relevant)
    return found


def _expected(admissions: Iterable[Body], state: State, service: Service, port: Body) -> list[Body]:
    """Callers whom the inventory admits to this port of the pods, whichever export of the same pods says so."""
    selector = state.services[service]["selector"]
    found = []
    for entry in admissions:
        other = state.services.get((entry["namespace"], entry["service"]))
        same_pods = other is not None and entry["namespace"] == service[0] and other["selector"] == selector
        if same_pods and entry["target_port"] == port["target_port"]:
            found += entry["callers"]
    return found


@dataclass(frozen=True)
class Point:
    """Where it is decided who may call a port.

    policies: those of the pods. port: the one that they see. server_name: what is asked for, at a gateway only.
    """

    policies: Sequence[Policy]
    port: int
    http: bool
    server_name: str = ""


class _Port:
    """One port of a Service with the policies that decide who may call it."""

    def __init__(
        self,
        service: Service,
        port: Body,
        point: Point,
        expected: Sequence[Body],
        trust_domains: Iterable[str],
    ) -> None:
        self.service, self.port, self.point = service, port, point
        self.where = f"{service[0]}/{service[1]}:{port['number']}"
        self.let_in = {f"{domain}/*" for domain in trust_domains}
        domains = self.let_in | {f"{entry['trust_domain']}/*" for entry in expected}
        named = callers_named(point.policies) | {_pattern(entry) for entry in expected}
        remote = [caller for caller in named if any(contains(domain, caller) for domain in domains)]
        self.callers = sorted({*domains, *remote})
        self.live = {caller: self._live(caller) for caller in self.callers}
        self.wanted = {caller: self._wanted(caller, expected) for caller in self.callers}

    def _live(self, caller: str) -> Admitted:
        if not any(contains(domain, caller) for domain in self.let_in):
            return _NOTHING  # the handshake fails
        point = self.point
        return admitted(point.policies, caller, point.port, point.http, point.server_name) or _NOTHING

    def _wanted(self, caller: str, expected: Iterable[Body]) -> Admitted:
        entries = [entry for entry in expected if contains(_pattern(entry), caller)]
        if not entries:
            return _NOTHING
        methods = {OTHER, *(method for entry in entries for method in entry["methods"] or ())}
        found = {}
        for method in methods:
            paths = [entry["paths"] for entry in entries if entry["methods"] is None or method in entry["methods"]]
            if paths:
                every = any(one is None for one in paths)
                found[method] = Paths(None if every else simplest(pattern for one in paths for pattern in one))
        return Admitted(found)

    # What the cluster does

    def grants(self) -> Iterator[Grant]:
        for caller in self.callers:
            outer = self._outer(caller)
            if outer and self._alike(self.live[outer], self.live[caller]):
                continue
            inner = [other for other in self.callers if self._outer(other) == caller]
            others = tuple(other for other in inner if not self._alike(self.live[other], self.live[caller]))
            yield from self._grants(caller, others, self.live[caller])

    def _grants(self, caller: str, others: tuple[str, ...], found: Admitted) -> Iterator[Grant]:
        by_paths: dict[Paths, list[str]] = {}
        for method, paths in found.methods.items():
            if paths != NO_PATHS:
                by_paths.setdefault(paths, []).append(method)
        for paths, methods in by_paths.items():
            every = OTHER in methods
            yield Grant(
                namespace=self.service[0],
                service=self.service[1],
                port=self.port["number"],
                protocol=self.port["protocol"],
                via="gateway" if self.point.server_name else "passthrough",
                caller=caller,
                except_callers=others,
                methods=None if every else tuple(sorted(methods)),
                except_methods=tuple(sorted(found.methods.keys() - {OTHER} - set(methods))) if every else (),
                paths=paths.within,
                except_paths=paths.without,
                limited_by=found.limited_by,
            )

    def _outer(self, caller: str) -> str | None:
        """The narrowest of the callers that contains this one."""
        around = [other for other in self.callers if other != caller and contains(other, caller)]
        return max(around, key=len, default=None)

    def _alike(self, one: Admitted, other: Admitted) -> bool:
        return one.limited_by == other.limited_by and not any(
            one.paths(method) != other.paths(method) for method in {OTHER, *one.methods, *other.methods}
        )

    # Against the inventory

    def differences(self) -> Iterator[Difference]:
        if not any(policy.action == "DENY" for policy in self.point.policies):
            # One line says it better than what each of the callers could do.
            text = "no policy refuses anybody, so that every identity of an admitted trust domain may call it"
            yield Difference("no_policy", self.where, text)
            return
        for caller in self.callers:
            wanted, live = self.wanted[caller], self.live[caller]
            methods = sorted({OTHER, *wanted.methods, *live.methods})
            more = [method for method in methods if not wanted.paths(method).contains(live.paths(method))]
            less = [method for method in methods if not live.paths(method).contains(wanted.paths(method))]
            if more:
                text = f"{caller} may {self._calls(more, live)}, and the inventory does not say so"
                yield Difference("open", self.where, text)
            if less:
                text = f"{caller} may {self._calls(less, wanted)} by the inventory, and the cluster refuses some of it"
                yield Difference("refused", self.where, text)

    def _calls(self, methods: list[str], found: Admitted) -> str:
        if not self.point.http:
            return "call it"
        calls: dict[Paths, list[str]] = {}
        for method in sorted(methods, reverse=True):
            name = method or ("other methods" if len(methods) > 1 else "all methods")
            calls.setdefault(found.paths(method), []).append(name)
        return "; ".join(f"use {', '.join(named)} on {_shown(paths)}" for paths, named in calls.items())


def _shown(paths: Paths) -> str:
    shown = "all paths" if paths.within is None else ", ".join(paths.within)
    return f"{shown} but {', '.join(paths.without)}" if paths.without else shown


def _pattern(entry: Body) -> str:
    """A caller of the inventory as policies write principals."""
    domain, namespace, account = entry["trust_domain"], entry["namespace"], entry["service_account"]
    if not namespace:
        return f"{domain}/*"
    return f"{domain}/ns/{namespace}/sa/{account}" if account else f"{domain}/ns/{namespace}/*"
