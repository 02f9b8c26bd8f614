# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an inventory says, once it has been read and found good.

Everything here is frozen and already validated: the federation never checks again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Network
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.model.addresses import pinned
from ansible_collections.multimesh.istio.plugins.module_utils.model.foreign import Foreign

CLUSTER_DOMAIN = "cluster.local"

# Protocols whose requests Istio sees: only these can be matched by method and path, routed and retried.
HTTP_PROTOCOLS = frozenset({"HTTP", "HTTP2", "GRPC"})


@dataclass(frozen=True, slots=True)
class Port:
    """One port of an exported Service.

    number: port of the Service, 1 to 65535, which consumers call.
    name: port name, unique in its Service.
    protocol: HTTP, HTTP2, GRPC, HTTPS, TLS or TCP.
    target_port: port of the pods, which authorization policies see.
    """

    number: int
    name: str
    protocol: str
    target_port: int

    @property
    def is_http(self) -> bool:
        """Whether Istio sees requests, and not only connections."""
        return self.protocol in HTTP_PROTOCOLS


@dataclass(frozen=True, slots=True)
class PortSpec:
    """A port as the inventory or the facts say it: what is None is to be found elsewhere.

    target_name: by which a live Service names the pods' port, if it does not number it.
    """

    number: int
    name: str | None
    protocol: str | None
    target_port: int | None
    target_name: str | None = None


@dataclass(frozen=True, slots=True)
class Consumer:
    """Who of a mesh may call an export: everyone, a namespace or one service account.

    methods, paths: narrow what the callers may do, None is everything. HTTP protocols only.
    ports: of the Service, None is every one that is exported.
    """

    namespace: str | None = None
    service_account: str | None = None
    methods: tuple[str, ...] | None = None
    paths: tuple[str, ...] | None = None
    ports: tuple[int, ...] | None = None

    @property
    def narrowed(self) -> bool:
        return self.methods is not None or self.paths is not None

    def may_call(self, port: Port) -> bool:
        """Whether it admits anything on this port of the Service."""
        return self.ports is None or port.number in self.ports


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """When an endpoint is left alone for a while; None is the default of this collection. Times in seconds."""

    consecutive_gateway_errors: int | None = None
    interval: float | None = None
    base_ejection_time: float | None = None


@dataclass(frozen=True, slots=True)
class ConnectionPool:
    """How much a caller's proxy may have under way to a host; None is no limit."""

    max_connections: int | None = None
    max_requests: int | None = None
    max_pending_requests: int | None = None


@dataclass(frozen=True, slots=True)
class Traffic:
    """How consumers call a host; None is the default of this collection. Times in seconds.

    order: meshes, the preferred one first. weights: mesh to its share of the calls. At most one of both is given; with
        neither the nearest locality comes first.
    timeout: of a request with all tries. per_try_timeout: of one try. retries: tries after the first.
    """

    order: tuple[str, ...] = ()
    weights: Mapping[str, int] = field(default_factory=dict)
    connect_timeout: float | None = None
    timeout: float | None = None
    per_try_timeout: float | None = None
    retries: int | None = None
    outlier_detection: OutlierDetection = OutlierDetection()
    connection_pool: ConnectionPool = ConnectionPool()


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """Requests that a route takes: those that fit one entry of each of these. What is empty or None fits every request.

    port: of the Service. headers: name to pattern; all of them have to fit.
    Patterns are exact, ``prefix*``, ``*suffix`` or ``*``.
    """

    port: int | None = None
    paths: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def anything(self) -> bool:
        """Whether every request of its ports fits."""
        return not (self.paths or self.methods or self.headers)


@dataclass(frozen=True, slots=True)
class Destination:
    """A Service that a route leads to, of the export's namespace.

    port: of that Service, None is the number that was called. weight: its share of the requests, of 100.
    """

    service: str
    port: int | None = None
    weight: int | None = None
    outlier_detection: OutlierDetection = OutlierDetection()
    connection_pool: ConnectionPool = ConnectionPool()


@dataclass(frozen=True, slots=True)
class Route:
    """Where the exporter's gateway sends requests; None is the default of this collection. Times in seconds."""

    match: RouteMatch
    destinations: tuple[Destination, ...]
    timeout: float | None = None
    per_try_timeout: float | None = None
    retries: int | None = None


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """A live Service, as ``mesh_info`` read it or as a consumer remembers it.

    cluster_ip: None if it has none (headless), or if nobody knows.
    same_pods: Services of its namespace that select all of its pods too.
    """

    namespace: str
    name: str
    ports: tuple[PortSpec, ...]
    selector: Mapping[str, str] | None
    service_accounts: tuple[str, ...]
    cluster_ip: str | None
    same_pods: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PeerFacts:
    """What is known of one cluster apart from the inventory."""

    gateway_addresses: tuple[str, ...]
    ingress_addresses: tuple[str, ...]
    services: Mapping[tuple[str, str], ServiceFacts]

    def addresses(self, via: str) -> tuple[str, ...]:
        """Where calls for exports of this way enter."""
        return self.ingress_addresses if via == "ingress" else self.gateway_addresses


@dataclass(frozen=True, slots=True)
class Facts(PeerFacts):
    """Facts of one cluster, with what it remembers of its peers by their host names.

    foreign: what others keep there that could collide; None if nobody looked.
    """

    remembered: Mapping[str, PeerFacts]
    foreign: Foreign | None = None


@dataclass(frozen=True, slots=True)
class ConsumerSpec:
    """One entry of ``consumers`` as written.

    source: a mesh, a group or ``all``. select: JMESPath over the meshes that this stands for, None is all of them.
    """

    source: str
    select: str | None
    consumer: Consumer


@dataclass(frozen=True, slots=True)
class ExportRule:
    """One entry of ``mesh_export_rules`` as written. select: JMESPath over the exports of the cluster."""

    index: int
    select: str
    consumers: tuple[ConsumerSpec, ...]

    @property
    def variable(self) -> str:
        return f"mesh_export_rules[{self.index}]"


@dataclass(frozen=True, slots=True)
class ExportSpec:
    """One entry of ``mesh_exports`` as written.

    aliases: more hosts by which consumers know it.
    traffic: None if left out.
    consumers: None if left out.
    raw: what ``select`` expressions see.
    routes: in their order; empty if left out.
    """

    index: int
    namespace: str
    service: str
    host: str | None
    aliases: tuple[str, ...]
    via: str
    ports: tuple[PortSpec, ...] | None
    service_accounts: tuple[str, ...] | None
    selector: Mapping[str, str] | None
    cluster_ip: str | None
    attributes: Mapping[str, Any]
    traffic: Traffic | None
    consumers: tuple[ConsumerSpec, ...] | None
    raw: Mapping[str, Any]
    routes: tuple[Route, ...] = ()

    @property
    def variable(self) -> str:
        return f"mesh_exports[{self.index}]"


@dataclass(frozen=True, slots=True)
class Import:
    """One entry of ``mesh_imports`` as written.

    short_names_in: namespaces in which the Service's name alone means the import.
    """

    index: int
    source: str
    select: str | None
    host: str | None
    export_to: tuple[str, ...]
    short_names_in: tuple[str, ...]

    @property
    def variable(self) -> str:
        return f"mesh_imports[{self.index}]"


@dataclass(frozen=True, slots=True)
class ExternalTls:
    """TLS that callers' proxies make towards an external service, on ports that are not TLS already.

    mode: none, simple or mutual. sni: None is the name that is called.
    credential: a Secret in the callers' namespace with the server's CA, for mutual also with certificate and key.
    """

    mode: str
    sni: str | None
    credential: str | None

    @property
    def originates(self) -> bool:
        return self.mode != "none"


@dataclass(frozen=True, slots=True)
class ExternalService:
    """One entry of ``mesh_external_services``.

    declared_by: hosts of the inventory that say the same; index is the first one's.
    hosts: names, perhaps ``*.`` and a name. addresses: of the hosts, or, without hosts, IP addresses and CIDR ranges.
    timeout: seconds, None is none. consumers: mesh names.
    """

    declared_by: tuple[str, ...]
    index: int
    hosts: tuple[str, ...]
    addresses: tuple[str, ...]
    ports: tuple[Port, ...]
    tls: ExternalTls
    timeout: float | None
    retries: int | None
    consumers: tuple[str, ...]
    export_to: tuple[str, ...]

    @property
    def variable(self) -> str:
        return f"mesh_external_services[{self.index}]"


@dataclass(frozen=True, slots=True)
class IngressController:
    """What a cluster's exports ``via: ingress`` need to know of its ingress controller.

    class_name: of the IngressClass; None is the cluster's default one.
    annotations: of every Ingress, which is how controllers take settings.
    addresses: None if they are read from the Service.
    service_namespace, service_name: the Service that the controller is reached by.
    secret_namespace: where it reads certificates; None is the namespace of the Ingress, as Kubernetes means it.
    """

    class_name: str | None
    annotations: Mapping[str, str]
    addresses: tuple[str, ...] | None
    service_namespace: str
    service_name: str
    secret_namespace: str | None


@dataclass(frozen=True, slots=True)
class Site:
    """One cluster as the inventory declares it."""

    host: str
    mesh: str
    groups: frozenset[str]
    trust_domain: str
    network: str
    locality: str | None
    domain: str
    address_range: IPv4Network | None
    gateway_addresses: tuple[str, ...] | None
    ingress: IngressController
    control_plane: str
    attributes: Mapping[str, Any]
    endpoint_discovery: bool
    exports: tuple[ExportSpec, ...]
    export_rules: tuple[ExportRule, ...]
    telemetry_attributes: tuple[str, ...]
    imports: tuple[Import, ...] | None
    external_services: tuple[ExternalService, ...]
    facts: Facts | None

    def addresses(self, via: str) -> tuple[str, ...] | None:
        """Where calls for exports of this way enter, as far as the inventory says it."""
        return self.ingress.addresses if via == "ingress" else self.gateway_addresses


@dataclass(frozen=True, slots=True)
class Export:
    """An export with everything known of it.

    offers: consumer mesh to the entries that admit it; never the exporter itself.
    cluster_ip: address of the Service in its own cluster, None if unknown or headless.
    traffic: that of its host, which all exporters of the host share.
    common_host: the exporters of ``host`` call their Service differently, so consumers ask the gateways for the host.
    routes: of the exporter's gateway, ``via: gateway`` only.
    community: exports of ``host`` with the same one back each other up; others of that host are another team's.
    """

    cluster: str
    mesh: str
    index: int
    namespace: str
    service: str
    host: str | None
    aliases: tuple[str, ...]
    via: str
    ports: tuple[Port, ...]
    service_accounts: tuple[str, ...]
    selector: Mapping[str, str]
    cluster_ip: str | None
    attributes: Mapping[str, Any]
    offers: Mapping[str, tuple[Consumer, ...]]
    trust_domain: str
    traffic: Traffic = Traffic()
    common_host: bool = False
    routes: tuple[Route, ...] = ()
    community: str = ""

    @property
    def fqdn(self) -> str:
        """Name of the Service in its own cluster, which its gateway knows."""
        return f"{self.service}.{self.namespace}.svc.{CLUSTER_DOMAIN}"

    @property
    def qualified_name(self) -> str:
        """Name in the meshes of its consumers, short of their domain."""
        return f"{self.service}.{self.namespace}.svc.{self.mesh}"

    @property
    def direct_offers(self) -> Mapping[str, tuple[Consumer, ...]]:
        """Those whose callers reach the pods themselves: otherwise only a gateway does, a local caller."""
        return self.offers if self.via == "passthrough" else {}

    @property
    def takes_over(self) -> bool:
        """Whether consumers know it by the very name of the Service."""
        return self.host == self.fqdn

    @property
    def sni_host(self) -> str:
        """Host by which consumers ask the exporter's gateway for this Service."""
        return self.host if self.common_host and self.host else self.fqdn

    @property
    def origin(self) -> str:
        """Which export this is, over all clusters of its mesh."""
        return f"{self.mesh}/{self.namespace}/{self.service}"

    @property
    def identities(self) -> tuple[str, ...]:
        """SPIFFE IDs that may serve it (https://spiffe.io, as Istio writes them)."""
        return tuple(
            f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{account}" for account in self.service_accounts
        )


@dataclass(frozen=True, slots=True)
class Source:
    """An export as one consumer reaches it: through the exporter's gateway or ingress controller."""

    export: Export
    addresses: tuple[str, ...]
    network: str
    locality: str | None
    pending: bool = False


@dataclass(frozen=True, slots=True)
class OwnService:
    """A Service of the cluster that is to have endpoints in other meshes, and how it knows them for its own.

    selector: labels that they must have.
    port_names: names by which they say their port, which is not that of the pods.
    """

    selector: Mapping[str, str]
    port_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Imported:
    """One host that a cluster must know, with everything behind it.

    sources: exports of other meshes, sorted by mesh and cluster.
    local: the cluster's own export of the same host, or None.
    own_service: the host is the name of that export's Service, so the Service itself gets the sources as endpoints.
    """

    host: str
    ports: tuple[Port, ...]
    sources: tuple[Source, ...]
    local: Export | None
    export_to: tuple[str, ...]
    own_service: OwnService | None = None

    @property
    def exports(self) -> tuple[Export, ...]:
        own = (self.local,) if self.local else ()
        return own + tuple(source.export for source in self.sources)

    @property
    def via(self) -> str:
        return self._first.via

    @property
    def traffic(self) -> Traffic:
        return self._first.traffic

    @property
    def _first(self) -> Export:
        return self.local or self.sources[0].export


@dataclass(frozen=True)
class Cluster:
    """One cluster with all that the federation needs of it.

    served: hosts that its control plane serves, itself included; none if it has no control plane of its own.
    known: hosts whose Services its control plane knows, those served included.
    exports: of the clusters served, each Service once: what its gateway lets callers of other meshes in to.
    reachable_exports: of the clusters known: what its control plane has to guard.
    other_exports: of the clusters known without this one.
    own_exports: as written for this host.
    external_services: those that it must know, whoever declares them.
    address_range: where imported hosts have their addresses, None leaves that to istiod.
    """

    host: str
    mesh: str
    trust_domain: str
    network: str
    locality: str | None
    domain: str
    address_range: IPv4Network | None
    ingress: IngressController
    control_plane: str
    served: tuple[str, ...]
    known: tuple[str, ...]
    exports: tuple[Export, ...]
    reachable_exports: tuple[Export, ...]
    other_exports: tuple[Export, ...]
    own_exports: tuple[Export, ...]
    telemetry_attributes: tuple[str, ...]
    external_services: tuple[ExternalService, ...]
    resolve: Callable[[], tuple[tuple[Imported, ...], tuple[str, ...]]] = field(repr=False, compare=False)
    short_names_in: frozenset[str] = frozenset()

    @cached_property
    def _resolved(self) -> tuple[tuple[Imported, ...], tuple[str, ...]]:
        # Imports of one cluster are a small part of all edges, and mostly only one cluster's are asked for.
        return self.resolve()

    @property
    def remote_clusters(self) -> tuple[str, ...]:
        """Hosts whose API its control plane reads."""
        return tuple(host for host in self.known if host != self.host)

    @property
    def imports(self) -> tuple[Imported, ...]:
        """Hosts that the cluster must know, sorted."""
        return self._resolved[0]

    @cached_property
    def addresses(self) -> Mapping[str, str]:
        """The address of every host that a ServiceEntry makes known; none if that is left to istiod."""
        hosts = (entry.host for entry in self.imports if not entry.own_service)
        return pinned(hosts, self.address_range) if self.address_range else {}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was left out of the imports, and why."""
        return self._resolved[1]


@dataclass(frozen=True, slots=True)
class Inventory:
    """A whole inventory, validated.

    clusters: by host name. meshes: mesh name to its hosts, sorted.
    """

    clusters: Mapping[str, Cluster]
    meshes: Mapping[str, tuple[str, ...]]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Those of all clusters."""
        return tuple(warning for cluster in self.clusters.values() for warning in cluster.warnings)
