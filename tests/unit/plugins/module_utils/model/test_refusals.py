# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bad inventories, each with the exact message that refuses it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.errors import InventoryError
from ansible_collections.multimesh.istio.plugins.module_utils.model.inventory import parse

DROP = object()

GOOD: dict[str, Any] = {
    "east": {
        "mesh_gateway_addresses": ["192.0.2.1"],
        "mesh_exports": [
            {
                "service": "reviews",
                "namespace": "books",
                "ports": [{"number": 9080, "name": "http", "protocol": "HTTP"}],
                "service_accounts": ["reviews"],
                "consumers": ["west"],
            }
        ],
    },
    "west": {"mesh_gateway_addresses": ["192.0.2.2"]},
}


def export(service: str = "ratings", **changes: Any) -> dict[str, Any]:
    return {**GOOD["east"]["mesh_exports"][0], "service": service, **changes}


def ports(**changes: Any) -> list[Any]:
    return [{"number": 9080, "name": "http", "protocol": "HTTP", **changes}]


def live(**changes: Any) -> dict[str, Any]:
    """Facts of a cluster with the exported Service."""
    service = {
        "namespace": "books",
        "name": "reviews",
        "ports": [{"number": 9080, "name": "http", "protocol": "HTTP", "target_port": 9080}],
        "selector": {"app": "reviews"},
        "service_accounts": ["reviews"],
        **changes,
    }
    return {"gateway_addresses": ["192.0.2.1"], "services": [service]}


def inventory(changes: dict[str, Any]) -> dict[str, Any]:
    """The good inventory with values changed by path; ``facts:`` and ``group:`` reach what is not a variable."""
    hosts: dict[str, Any] = {
        host: {"vars": copy.deepcopy(variables), "groups": ["meshes"]} for host, variables in GOOD.items()
    }
    for path, value in changes.items():
        host, *keys = path.split(".")
        if host.startswith("group:"):
            hosts[value]["groups"].append(host.removeprefix("group:"))
        elif host.startswith("facts:"):
            hosts[host.removeprefix("facts:")]["facts"] = value
        elif not keys:
            hosts[host] = {"vars": value, "groups": ["meshes"]}
        else:
            assign(hosts[host]["vars"], keys, value)
    return {"hosts": hosts}


def assign(target: Any, keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        target = target[int(key)] if isinstance(target, list) else target[key]
    if isinstance(target, list):
        target[int(keys[-1]) :] = [value]
    elif value is DROP:
        target.pop(keys[-1])
    else:
        target[keys[-1]] = value


REFUSALS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown variable": (
        {"east.mesh_export": []},
        [
            "east: mesh_export: unknown key. Did you mean 'mesh_exports'.",
        ],
    ),
    "unknown variable far from all": (
        {"east.mesh_quux_zzz": 1},
        [
            (
                "east: mesh_quux_zzz: unknown key. Use one of mesh_address_range, mesh_attributes, "
                "mesh_context, mesh_control_plane, mesh_domain, mesh_endpoint_discovery, mesh_export_rules, "
                "mesh_exports, mesh_external_services, mesh_gateway_addresses, mesh_imports, mesh_ingress_addresses, "
                "mesh_ingress_annotations, mesh_ingress_class, mesh_ingress_secret_namespace, "
                "mesh_ingress_service, mesh_kubeconfig, mesh_locality, mesh_name, mesh_network, "
                "mesh_telemetry_attributes, mesh_trust_domain."
            ),
        ],
    ),
    "mesh name no label": (
        {"east.mesh_name": "East_1"},
        [
            (
                "east: mesh_name: expected a DNS label (lower case letters, digits and '-', at most 63 "
                "characters), found 'East_1'. Give the mesh a name such as 'east'."
            ),
        ],
    ),
    "mesh name a number": (
        {"east.mesh_name": 7},
        [
            ("east: mesh_name: expected a string, found 7 (a number). Give the mesh a name such as 'east'."),
        ],
    ),
    "mesh name all": (
        {"west.mesh_name": "all", "east.mesh_exports.0.consumers": []},
        [
            "west: mesh_name: 'all' means every mesh. Choose another name.",
        ],
    ),
    "mesh name of another host": (
        {"east.mesh_name": "west", "west.mesh_name": "east", "east.mesh_exports.0.consumers": []},
        [
            (
                "east: mesh_name: 'west' is also a host, whose mesh is 'east'. Rename the mesh or the "
                "host, so that the name means one thing."
            ),
            (
                "west: mesh_name: 'east' is also a host, whose mesh is 'west'. Rename the mesh or the "
                "host, so that the name means one thing."
            ),
        ],
    ),
    "host name no label": (
        {"east_1": {}},
        [
            (
                "east_1: mesh_name: expected a DNS label (lower case letters, digits and '-', at most 63 "
                "characters), found 'east_1', the host's name. Set mesh_name for this host."
            ),
        ],
    ),
    "kubeconfig inline": (
        {"east.mesh_kubeconfig": {"clusters": []}},
        [
            ("east: mesh_kubeconfig: expected a string, found a mapping. Give the path of a kubeconfig file."),
        ],
    ),
    "context empty": (
        {"east.mesh_context": ""},
        [
            (
                "east: mesh_context: expected a text that is not empty, found ''. Give the name of a "
                "context in the kubeconfig file."
            ),
        ],
    ),
    "trust domain with scheme": (
        {"east.mesh_trust_domain": "spiffe://east.mesh"},
        [
            (
                "east: mesh_trust_domain: expected a bare trust domain without scheme, found "
                "'spiffe://east.mesh'. Choose one such as 'east.mesh', or leave it out."
            ),
        ],
    ),
    "trust domain upper case": (
        {"east.mesh_trust_domain": "East.mesh"},
        [
            (
                "east: mesh_trust_domain: expected a trust domain of lower case DNS labels, found "
                "'East.mesh'. Choose one such as 'east.mesh', or leave it out."
            ),
        ],
    ),
    "trust domain cluster.local": (
        {"east.mesh_trust_domain": "cluster.local"},
        [
            (
                "east: mesh_trust_domain: expected a trust domain of the mesh's own, because every mesh "
                "calls itself 'cluster.local' in policies, found 'cluster.local'. Choose one such as "
                "'east.mesh', or leave it out."
            ),
        ],
    ),
    "trust domain nested": (
        {"east.mesh_trust_domain": "east.west.mesh"},
        [
            (
                "east: mesh_trust_domain: 'east.west.mesh' is nested in 'west.mesh' of mesh west, whose "
                "CA could then speak for it. Choose siblings, such as 'east.mesh' and 'west.mesh'."
            ),
        ],
    ),
    "trust domain duplicate": (
        {"east.mesh_trust_domain": "west.mesh"},
        [
            (
                "west: mesh_trust_domain: 'west.mesh' is already the trust domain of mesh east. Give "
                "each mesh one of its own, such as '<mesh>.mesh'."
            ),
        ],
    ),
    "trust domains within a mesh": (
        {"east-2": {"mesh_name": "east", "mesh_trust_domain": "other.mesh"}},
        [
            (
                "east-2: mesh_trust_domain: expected 'east.mesh' as on east, because a mesh has one "
                "trust domain, found 'other.mesh'. Set the same on every cluster of the mesh."
            ),
        ],
    ),
    "network no label value": (
        {"east.mesh_network": "a b"},
        [
            (
                "east: mesh_network: expected a label value (letters, digits, '-', '_' and '.', at most "
                "63 characters), found 'a b'. Name the network of the cluster's pods, or leave it out."
            ),
        ],
    ),
    "network of another mesh": (
        {"east.mesh_network": "west"},
        [
            (
                "west: mesh_network: 'west' is already the network of mesh east, whose pods would be "
                "called directly. Choose a network of its own, or leave it out."
            ),
        ],
    ),
    "locality": (
        {"east.mesh_locality": "eu/fra/1/x"},
        [
            (
                "east: mesh_locality: expected a locality 'region', 'region/zone' or "
                "'region/zone/subzone', found 'eu/fra/1/x'. Write for example 'eu-central/fra-1'."
            ),
        ],
    ),
    "domain": (
        {"east.mesh_domain": "Global"},
        [
            (
                "east: mesh_domain: expected a DNS name (lower case labels joined by '.', at most 253 "
                "characters), found 'Global'. Choose a suffix such as 'global'."
            ),
        ],
    ),
    "domain cluster.local": (
        {"east.mesh_domain": "svc.cluster.local"},
        [
            (
                "east: mesh_domain: expected a suffix outside 'cluster.local', whose names belong to "
                "each cluster's own Services, found 'svc.cluster.local'. Choose a suffix such as "
                "'global'."
            ),
        ],
    ),
    "addresses no list": (
        {"east.mesh_gateway_addresses": "192.0.2.1"},
        [
            (
                "east: mesh_gateway_addresses: expected a list, found '192.0.2.1'. Give what other "
                "clusters can reach, for example '192.0.2.10'."
            ),
        ],
    ),
    "addresses empty": (
        {"east.mesh_gateway_addresses": []},
        [
            (
                "east: mesh_gateway_addresses: expected at least one entry, found an empty list. Give "
                "what other clusters can reach, for example '192.0.2.10'."
            ),
        ],
    ),
    "address with port": (
        {"east.mesh_gateway_addresses": ["192.0.2.1:15443"]},
        [
            (
                "east: mesh_gateway_addresses[0]: expected a bare IP address or a DNS name, without "
                "scheme, port or brackets, found '192.0.2.1:15443'. Give what other clusters can reach, "
                "for example '192.0.2.10'."
            ),
        ],
    ),
    "address with brackets": (
        {"east.mesh_gateway_addresses": ["[2001:db8::1]"]},
        [
            (
                "east: mesh_gateway_addresses[0]: expected a bare IP address or a DNS name, without "
                "scheme, port or brackets, found '[2001:db8::1]'. Give what other clusters can reach, "
                "for example '192.0.2.10'."
            ),
        ],
    ),
    "address out of range": (
        {"east.mesh_gateway_addresses": ["192.0.2.300"]},
        [
            (
                "east: mesh_gateway_addresses[0]: expected a bare IP address or a DNS name, without "
                "scheme, port or brackets, found '192.0.2.300'. Give what other clusters can reach, for "
                "example '192.0.2.10'."
            ),
        ],
    ),
    "address unspecified": (
        {"east.mesh_gateway_addresses": ["0.0.0.0"]},
        [
            (
                "east: mesh_gateway_addresses[0]: expected an address that other clusters can reach, "
                "found '0.0.0.0'. Give what other clusters can reach, for example '192.0.2.10'."
            ),
        ],
    ),
    "address a number": (
        {"east.mesh_gateway_addresses": [192.0]},
        [
            (
                "east: mesh_gateway_addresses[0]: expected a string, found 192.0 (a number). Give what "
                "other clusters can reach, for example '192.0.2.10'."
            ),
        ],
    ),
    "address of another mesh": (
        {"west.mesh_gateway_addresses": ["192.0.2.3", "192.0.2.1"]},
        [
            (
                "west: mesh_gateway_addresses[1]: '192.0.2.1' is already the gateway of east, where its "
                "callers would end up. Give each mesh the address of its own gateway."
            ),
        ],
    ),
    "addresses missing": (
        {"east.mesh_gateway_addresses": DROP},
        [
            (
                "east: mesh_gateway_addresses: expected the addresses of the gateway, found nothing, and "
                "no cluster was asked. Add mesh_gateway_addresses, because other meshes import from here."
            ),
        ],
    ),
    "control plane unknown": (
        {"east.mesh_control_plane": "wset"},
        [
            ("east: mesh_control_plane: expected a host of group 'meshes', found 'wset'. Did you mean 'west'."),
        ],
    ),
    "control plane of another mesh": (
        {"east.mesh_control_plane": "west"},
        [
            (
                "east: mesh_control_plane: expected a cluster of mesh east, found 'west' of mesh west. "
                "Give both the same mesh_name, or leave it out."
            ),
        ],
    ),
    "control plane in a row": (
        {
            "east-2": {"mesh_name": "east", "mesh_control_plane": "east-3"},
            "east-3": {"mesh_name": "east", "mesh_control_plane": "east"},
        },
        [
            (
                "east-2: mesh_control_plane: expected a cluster with its own control plane, found "
                "'east-3', which is served by 'east'. Name 'east'."
            ),
        ],
    ),
    "exports no list": (
        {"east.mesh_exports": {"service": "reviews"}},
        [
            (
                "east: mesh_exports: expected a list, found a mapping. Write a list of exports, each "
                "with service and namespace."
            ),
        ],
    ),
    "export no mapping": (
        {"east.mesh_exports.0": "reviews"},
        [
            (
                "east: mesh_exports[0]: expected a mapping, found 'reviews'. Write a list of exports, "
                "each with service and namespace."
            ),
        ],
    ),
    "export without service": (
        {"east.mesh_exports.0.service": DROP},
        [
            ("east: mesh_exports[0].service: expected a value, found nothing. Give the name of a Kubernetes Service."),
        ],
    ),
    "export without namespace": (
        {"east.mesh_exports.0.namespace": DROP},
        [
            ("east: mesh_exports[0].namespace: expected a value, found nothing. Give the namespace of the Service."),
        ],
    ),
    "service name": (
        {"east.mesh_exports.0.service": "Reviews"},
        [
            (
                "east: mesh_exports[0].service: expected a DNS label (lower case letters, digits and "
                "'-', at most 63 characters), found 'Reviews'. Give the name of a Kubernetes Service."
            ),
        ],
    ),
    "namespace name": (
        {"east.mesh_exports.0.namespace": "books/reviews"},
        [
            (
                "east: mesh_exports[0].namespace: expected a DNS label (lower case letters, digits and "
                "'-', at most 63 characters), found 'books/reviews'. Give the namespace of the Service."
            ),
        ],
    ),
    "unknown key in export": (
        {"east.mesh_exports.0.servce_accounts": ["a"]},
        [
            "east: mesh_exports[0].servce_accounts: unknown key. Did you mean 'service_accounts'.",
        ],
    ),
    "service exported twice": (
        {"east.mesh_exports.1": export("reviews")},
        [
            (
                "east: mesh_exports[1].service: Service books/reviews is already exported by "
                "mesh_exports[0]. Make one export of the two."
            ),
        ],
    ),
    "ports no list": (
        {"east.mesh_exports.0.ports": 9080},
        [
            (
                "east: mesh_exports[0].ports: expected a list, found 9080 (a number). Write a list such "
                "as [{number: 9080, name: http, protocol: HTTP}]."
            ),
        ],
    ),
    "ports empty": (
        {"east.mesh_exports.0.ports": []},
        [
            (
                "east: mesh_exports[0].ports: expected at least one port, found an empty list. Leave it "
                "out to read the live Service."
            ),
        ],
    ),
    "ports missing": (
        {"east.mesh_exports.0.ports": DROP},
        [
            (
                "east: mesh_exports[0].ports: expected ports, found nothing, and no cluster was asked. "
                "Add ports, for example [{number: 9080, name: http, protocol: HTTP}]."
            ),
        ],
    ),
    "port no mapping": (
        {"east.mesh_exports.0.ports": [9080]},
        [
            (
                "east: mesh_exports[0].ports[0]: expected a mapping, found 9080 (a number). Write a list "
                "such as [{number: 9080, name: http, protocol: HTTP}]."
            ),
        ],
    ),
    "port number in a string": (
        {"east.mesh_exports.0.ports": ports(number="9080")},
        [
            (
                "east: mesh_exports[0].ports[0].number: expected a number from 1 to 65535, found '9080'. "
                "Write the Service's port as a number without quotes."
            ),
        ],
    ),
    "port number a boolean": (
        {"east.mesh_exports.0.ports": ports(number=True)},
        [
            (
                "east: mesh_exports[0].ports[0].number: expected a number from 1 to 65535, found True (a "
                "boolean). Write the Service's port as a number without quotes."
            ),
        ],
    ),
    "port number too high": (
        {"east.mesh_exports.0.ports": ports(number=65536)},
        [
            (
                "east: mesh_exports[0].ports[0].number: expected a number from 1 to 65535, found 65536 "
                "(a number). Write the Service's port as a number without quotes."
            ),
        ],
    ),
    "port number missing": (
        {"east.mesh_exports.0.ports": [{"name": "http", "protocol": "HTTP"}]},
        [
            (
                "east: mesh_exports[0].ports[0].number: expected a number from 1 to 65535, found "
                "nothing. Write the Service's port as a number without quotes."
            ),
        ],
    ),
    "port numbers twice": (
        {
            "east.mesh_exports.0.ports": [
                {"number": 9080, "name": "http", "protocol": "HTTP"},
                {"number": 9080, "name": "other", "protocol": "HTTP"},
            ]
        },
        [
            "east: mesh_exports[0].ports[1].number: port 9080 is given twice. Remove one of them.",
        ],
    ),
    "port names twice": (
        {
            "east.mesh_exports.0.ports": [
                {"number": 9080, "name": "http", "protocol": "HTTP"},
                {"number": 80, "name": "http", "protocol": "HTTP"},
            ]
        },
        [
            ("east: mesh_exports[0].ports[1].name: port name 'http' is given twice. Rename one of them."),
        ],
    ),
    "port name": (
        {"east.mesh_exports.0.ports": ports(name="HTTP port")},
        [
            (
                "east: mesh_exports[0].ports[0].name: expected a DNS label (lower case letters, digits "
                "and '-', at most 63 characters), found 'HTTP port'. Give the port's name in the Service."
            ),
        ],
    ),
    "protocol lower case": (
        {"east.mesh_exports.0.ports": ports(protocol="http")},
        [
            (
                "east: mesh_exports[0].ports[0].protocol: expected one of GRPC, HTTP, HTTP2, HTTPS, "
                "MONGO, MYSQL, REDIS, TCP, TLS, found 'http'. Did you mean 'HTTP'."
            ),
        ],
    ),
    "protocol UDP": (
        {"east.mesh_exports.0.ports": ports(protocol="UDP")},
        [
            (
                "east: mesh_exports[0].ports[0].protocol: expected one of GRPC, HTTP, HTTP2, HTTPS, "
                "MONGO, MYSQL, REDIS, TCP, TLS, found 'UDP'. Use one of GRPC, HTTP, HTTP2, HTTPS, MONGO, "
                "MYSQL, REDIS, TCP, TLS."
            ),
        ],
    ),
    "protocol missing": (
        {"east.mesh_exports.0.ports": [{"number": 9080, "name": "http"}]},
        [
            (
                "east: mesh_exports[0].ports[0].protocol: expected a protocol, found nothing, and no "
                "cluster was asked. Use one of GRPC, HTTP, HTTP2, HTTPS, MONGO, MYSQL, REDIS, TCP, TLS."
            ),
        ],
    ),
    "target port": (
        {"east.mesh_exports.0.ports": ports(target_port="http")},
        [
            (
                "east: mesh_exports[0].ports[0].target_port: expected a number from 1 to 65535, found "
                "'http'. Write the pods' port as a number without quotes."
            ),
        ],
    ),
    "unknown key in port": (
        {"east.mesh_exports.0.ports": ports(targetPort=8080)},
        [
            "east: mesh_exports[0].ports[0].targetPort: unknown key. Did you mean 'target_port'.",
        ],
    ),
    "accounts missing": (
        {"east.mesh_exports.0.service_accounts": DROP},
        [
            (
                "east: mesh_exports[0].service_accounts: expected service accounts, found nothing, and "
                "no cluster was asked. Name the service accounts of the pods behind the Service."
            ),
        ],
    ),
    "accounts empty": (
        {"east.mesh_exports.0.service_accounts": []},
        [
            (
                "east: mesh_exports[0].service_accounts: expected at least one entry, found an empty "
                "list. Name the service accounts of the pods that serve it."
            ),
        ],
    ),
    "account name": (
        {"east.mesh_exports.0.service_accounts": ["reviews", "spiffe://x"]},
        [
            (
                "east: mesh_exports[0].service_accounts[1]: expected a DNS name (lower case labels "
                "joined by '.', at most 253 characters), found 'spiffe://x'. Name the service accounts "
                "of the pods that serve it."
            ),
        ],
    ),
    "selector no mapping": (
        {"east.mesh_exports.0.selector": "app=reviews"},
        [
            (
                "east: mesh_exports[0].selector: expected a mapping, found 'app=reviews'. Write the "
                "labels of the pods, for example {app: reviews}."
            ),
        ],
    ),
    "selector empty": (
        {"east.mesh_exports.0.selector": {}},
        [
            (
                "east: mesh_exports[0].selector: expected at least one label, found an empty mapping, "
                "which is every pod. Write the labels of the pods, for example {app: reviews}."
            ),
        ],
    ),
    "selector value": (
        {"east.mesh_exports.0.selector": {"version": 1}},
        [
            ("east: mesh_exports[0].selector.version: expected a string, found 1 (a number). Put the value in quotes."),
        ],
    ),
    "selector key": (
        {"east.mesh_exports.0.selector": {"app name": "reviews"}},
        [
            (
                "east: mesh_exports[0].selector.app name: expected a label key (an optional DNS name and "
                "'/', then at most 63 letters, digits, '-', '_' and '.'). Write the labels of the pods, "
                "for example {app: reviews}."
            ),
        ],
    ),
    "selector value syntax": (
        {"east.mesh_exports.0.selector": {"app": "re views"}},
        [
            (
                "east: mesh_exports[0].selector.app: expected a label value (letters, digits, '-', '_' "
                "and '.', at most 63 characters), found 're views'. Write the labels of the pods, for "
                "example {app: reviews}."
            ),
        ],
    ),
    "selectors overlap": (
        {
            "east.mesh_exports.0.selector": {"app": "r"},
            "east.mesh_exports.1": export(consumers=["all", {"mesh": "west"}], selector={"app": "r", "version": "v1"}),
            "north": {},
        },
        [
            (
                "east: mesh_exports[1].selector: its pods are among those of mesh_exports[0], which has "
                "other consumers or ports, and policies select pods. Give both the same consumers and "
                "ports, or selectors that no pod matches both of."
            ),
        ],
    ),
    "pods with two protocols": (
        {
            "east.mesh_exports.0.selector": {"app": "r"},
            "east.mesh_exports.1": export(ports=ports(name="tcp", protocol="TCP"), selector={"app": "r"}),
        },
        [
            (
                "east: mesh_exports[1].ports: port 9080 of the pods is TCP here and HTTP in "
                "mesh_exports[0]. Give a port of the same pods the same protocol in both."
            ),
        ],
    ),
    "host with wildcard": (
        {"east.mesh_exports.0.host": "*.shop.global"},
        [
            (
                "east: mesh_exports[0].host: expected one host without wildcards, found '*.shop.global'. "
                "Write for example 'reviews.shop.global'."
            ),
        ],
    ),
    "host no FQDN": (
        {"east.mesh_exports.0.host": "reviews"},
        [
            (
                "east: mesh_exports[0].host: expected a fully qualified DNS name in lower case with at "
                "least one '.', found 'reviews'. Write for example 'reviews.shop.global'."
            ),
        ],
    ),
    "host an address": (
        {"east.mesh_exports.0.host": "192.0.2.7"},
        [
            (
                "east: mesh_exports[0].host: expected a fully qualified DNS name in lower case with at "
                "least one '.', found '192.0.2.7'. Write for example 'reviews.shop.global'."
            ),
        ],
    ),
    "host in the cluster": (
        {"east.mesh_exports.0.host": "ratings.books.svc.cluster.local"},
        [
            (
                "east: mesh_exports[0].host: expected a host outside 'cluster.local', whose names belong "
                "to each cluster's own Services, found 'ratings.books.svc.cluster.local'. Write for "
                "example 'reviews.shop.global'."
            ),
        ],
    ),
    "host twice in a cluster": (
        {"east.mesh_exports.0.host": "reviews.shop.global", "east.mesh_exports.1": export(host="reviews.shop.global")},
        [
            (
                "east: mesh_exports[1].host: host 'reviews.shop.global' is already that of "
                "mesh_exports[0] in the same cluster. Give each export its own host; one host is shared "
                "by exports of different clusters."
            ),
        ],
    ),
    "host with other ports": (
        {
            "east.mesh_exports.0.host": "reviews.shop.global",
            "west.mesh_exports": [export(ports=ports(number=9081), consumers=["east"], host="reviews.shop.global")],
        },
        [
            (
                "west: mesh_exports[0].ports: expected the ports that east gives for "
                "'reviews.shop.global' (9080 HTTP), found 9081 HTTP. Export the same port numbers and "
                "protocols everywhere, or use another host."
            ),
        ],
    ),
    "host with other protocols": (
        {
            "east.mesh_exports.0.host": "reviews.shop.global",
            "west.mesh_exports": [export(ports=ports(protocol="TCP"), consumers=["east"], host="reviews.shop.global")],
        },
        [
            (
                "west: mesh_exports[0].ports: expected the ports that east gives for "
                "'reviews.shop.global' (9080 HTTP), found 9080 TCP. Export the same port numbers and "
                "protocols everywhere, or use another host."
            ),
        ],
    ),
    "host is a default name": (
        {"east.mesh_exports.1": export(host="reviews.books.svc.east.global")},
        [
            (
                "east: mesh_exports[1].host: 'reviews.books.svc.east.global' is the name of "
                "east/books/reviews in consumer meshes. Choose another host."
            ),
        ],
    ),
    "host is a short name": (
        {"east.mesh_exports.0.host": "ratings.books", "west.mesh_exports": [export(consumers=[])]},
        [
            (
                "east: mesh_exports[0].host: 'ratings.books' is a short name of Service books/ratings of "
                "west, which it would hide. Choose a host of its own, such as 'reviews.shop.global'."
            ),
        ],
    ),
    "clusters of a mesh with other ports": (
        {
            "east-2": {
                "mesh_name": "east",
                "mesh_gateway_addresses": ["192.0.2.3"],
                "mesh_exports": [export("reviews", ports=ports(number=80))],
            }
        },
        [
            (
                "east-2: mesh_exports[0].ports: expected the ports that east gives for "
                "'east/books/reviews' (9080 HTTP), found 80 HTTP. Export the same port numbers and "
                "protocols everywhere, or use another host."
            ),
        ],
    ),
    "via unknown": (
        {"east.mesh_exports.0.via": "passthru"},
        [
            (
                "east: mesh_exports[0].via: expected one of gateway, ingress, passthrough, found "
                "'passthru'. Did you mean 'passthrough'."
            ),
        ],
    ),
    "attributes": (
        {"east.mesh_exports.0.attributes": ["gold"]},
        [
            (
                "east: mesh_exports[0].attributes: expected a mapping, found a list. Write names and "
                "values, for example {tier: gold}."
            ),
        ],
    ),
    "consumers missing": (
        {"east.mesh_exports.0.consumers": DROP},
        [
            (
                "east: mesh_exports[0].consumers: expected a list, found nothing. List meshes, groups or "
                "'all'; an empty list offers the Service to nobody."
            ),
        ],
    ),
    "consumers no list": (
        {"east.mesh_exports.0.consumers": "west"},
        [
            (
                "east: mesh_exports[0].consumers: expected a list, found 'west'. List meshes, groups or "
                "'all'; an empty list offers the Service to nobody."
            ),
        ],
    ),
    "consumer a number": (
        {"east.mesh_exports.0.consumers": [1]},
        [
            (
                "east: mesh_exports[0].consumers[0]: expected a name or a mapping with mesh, found 1 (a "
                "number). List meshes, groups or 'all'; an empty list offers the Service to nobody."
            ),
        ],
    ),
    "consumer unknown": (
        {"east.mesh_exports.0.consumers": ["wset"]},
        [
            (
                "east: mesh_exports[0].consumers[0]: expected a mesh, a group of meshes or 'all', found "
                "'wset', which this run's inventory lacks. Did you mean 'west'; job slicing takes hosts "
                "out of an inventory."
            ),
        ],
    ),
    "consumer unknown and like none": (
        {"east.mesh_exports.0.consumers": ["production"]},
        [
            (
                "east: mesh_exports[0].consumers[0]: expected a mesh, a group of meshes or 'all', found "
                "'production', which this run's inventory lacks. Use one of all, east, meshes, west; job "
                "slicing takes hosts out of an inventory."
            ),
        ],
    ),
    "consumer a host": (
        {"west.mesh_name": "occident"},
        [
            (
                "east: mesh_exports[0].consumers[0]: expected a mesh, a group or 'all', found the host "
                "'west'. Name its mesh, 'occident'."
            ),
        ],
    ),
    "consumer ambiguous": (
        {"group:west": "east"},
        [
            (
                "east (west): mesh_exports[0].consumers[0]: 'west' is a mesh and also a group with other "
                "meshes. Rename the group."
            ),
        ],
    ),
    "consumer without mesh": (
        {"east.mesh_exports.0.consumers": [{"namespace": "shop"}]},
        [
            (
                "east: mesh_exports[0].consumers[0].mesh: expected a value, found nothing. Name a mesh, "
                "a group or 'all'."
            ),
        ],
    ),
    "consumer with unknown key": (
        {"east.mesh_exports.0.consumers": [{"mesh": "west", "serviceAccount": "cart"}]},
        [
            ("east: mesh_exports[0].consumers[0].serviceAccount: unknown key. Did you mean 'service_account'."),
        ],
    ),
    "consumer namespace": (
        {"east.mesh_exports.0.consumers": [{"mesh": "west", "namespace": "*"}]},
        [
            (
                "east: mesh_exports[0].consumers[0].namespace: expected a DNS label (lower case letters, "
                "digits and '-', at most 63 characters), found '*'. Name a namespace of the consumer "
                "mesh."
            ),
        ],
    ),
    "account without namespace": (
        {"east.mesh_exports.0.consumers": [{"mesh": "west", "service_account": "cart"}]},
        [
            (
                "east: mesh_exports[0].consumers[0].namespace: expected the namespace of the service "
                "account, found nothing. Add namespace, or remove service_account."
            ),
        ],
    ),
    "consumer account": (
        {"east.mesh_exports.0.consumers": [{"mesh": "west", "namespace": "shop", "service_account": "Cart"}]},
        [
            (
                "east: mesh_exports[0].consumers[0].service_account: expected a DNS name (lower case "
                "labels joined by '.', at most 253 characters), found 'Cart'. Name a service account of "
                "the consumer mesh."
            ),
        ],
    ),
    "methods empty": (
        {"east.mesh_exports.0.consumers": [{"mesh": "west", "methods": []}]},
        [
            (
                "east: mesh_exports[0].consumers[0].methods: expected at least one entry, found an empty "
                "list. List HTTP methods, or leave it out to allow all of them."
            ),
        ],
    ),
    "methods no list": (
        {"east.mesh_exports.0.consumers": [{"mesh": "west", "methods": "GET"}]},
        [
            (
                "east: mesh_exports[0].consumers[0].methods: expected a list, found 'GET'. List HTTP "
                "methods, or leave it out to allow all of them."
            ),
        ],
    ),
    "method": (
        {"east.mesh_exports.0.consumers": [{"mesh": "west", "methods": ["get"]}]},
        [
            (
                "east: mesh_exports[0].consumers[0].methods[0]: expected one of CONNECT, DELETE, GET, "
                "HEAD, OPTIONS, PATCH, POST, PUT, TRACE, found 'get'. List HTTP methods, or leave it out "
                "to allow all of them."
            ),
        ],
    ),
    "path relative": (
        {"east.mesh_exports.0.consumers": [{"mesh": "west", "paths": ["reviews"]}]},
        [
            (
                "east: mesh_exports[0].consumers[0].paths[0]: expected a path pattern: '/exact', "
                "'/prefix/*', '*/suffix' or '*', found 'reviews'. List path patterns, or leave it out to "
                "allow all paths."
            ),
        ],
    ),
    "path with two stars": (
        {"east.mesh_exports.0.consumers": [{"mesh": "west", "paths": ["/a/*/b"]}]},
        [
            (
                "east: mesh_exports[0].consumers[0].paths[0]: expected a path pattern: '/exact', "
                "'/prefix/*', '*/suffix' or '*', found '/a/*/b'. List path patterns, or leave it out to "
                "allow all paths."
            ),
        ],
    ),
    "path template": (
        {"east.mesh_exports.0.consumers": [{"mesh": "west", "paths": ["/a/{*}"]}]},
        [
            (
                "east: mesh_exports[0].consumers[0].paths[0]: expected a path pattern: '/exact', "
                "'/prefix/*', '*/suffix' or '*', found '/a/{*}'. List path patterns, or leave it out to "
                "allow all paths."
            ),
        ],
    ),
    "path with query": (
        {"east.mesh_exports.0.consumers": [{"mesh": "west", "paths": ["/a?b=c"]}]},
        [
            (
                "east: mesh_exports[0].consumers[0].paths[0]: expected a path pattern: '/exact', "
                "'/prefix/*', '*/suffix' or '*', found '/a?b=c'. List path patterns, or leave it out to "
                "allow all paths."
            ),
        ],
    ),
    "methods on TCP": (
        {
            "east.mesh_exports.0.ports": ports(protocol="TCP"),
            "east.mesh_exports.0.consumers": [{"mesh": "west", "methods": ["GET"]}],
        },
        [
            (
                "east: mesh_exports[0].consumers: methods and paths need HTTP, and port 9080 is TCP. "
                "Give the consumer ports that are HTTP, or admit it without methods and paths."
            ),
        ],
    ),
    "paths on MONGO": (
        {
            "east.mesh_exports.0.ports": ports(number=27017, protocol="MONGO"),
            "east.mesh_exports.0.consumers": [{"mesh": "west", "paths": ["/a"]}],
        },
        [
            (
                "east: mesh_exports[0].consumers: methods and paths need HTTP, and port 27017 is TCP. "
                "Give the consumer ports that are HTTP, or admit it without methods and paths."
            ),
        ],
    ),
    "imports no list": (
        {"west.mesh_imports": "east"},
        [
            ("west: mesh_imports: expected a list, found 'east'. Write a list of imports, each with from."),
        ],
    ),
    "import without from": (
        {"west.mesh_imports": [{"select": "[*]"}]},
        [
            ("west: mesh_imports[0].from: expected a value, found nothing. Name a mesh, a group or 'all'."),
        ],
    ),
    "import from unknown": (
        {"west.mesh_imports": [{"from": "eats"}]},
        [
            (
                "west: mesh_imports[0].from: expected a mesh, a group of meshes or 'all', found 'eats', "
                "which this run's inventory lacks. Did you mean 'east'; job slicing takes hosts out of "
                "an inventory."
            ),
        ],
    ),
    "import unknown key": (
        {"west.mesh_imports": [{"from": "east", "exportTo": ["shop"]}]},
        [
            "west: mesh_imports[0].exportTo: unknown key. Did you mean 'export_to'.",
        ],
    ),
    "select no expression": (
        {"west.mesh_imports": [{"from": "east", "select": "[?service=="}]},
        [
            (
                "west: mesh_imports[0].select: expected a JMESPath expression over exports: Invalid "
                "jmespath expression: Incomplete expression. See https://jmespath.org."
            ),
        ],
    ),
    "select gives no list": (
        {"west.mesh_imports": [{"from": "east", "select": "[0]"}]},
        [
            (
                "west: mesh_imports[0].select: expected a list of exports of east, found a mapping. "
                "Select whole exports, for example [?attributes.tier=='gold']."
            ),
        ],
    ),
    "select gives something else": (
        {"west.mesh_imports": [{"from": "east", "select": "[*].service"}]},
        [
            (
                "west: mesh_imports[0].select: expected a list of exports of east, found a list with "
                "'reviews'. Select whole exports, for example [?attributes.tier=='gold']."
            ),
        ],
    ),
    "select fails": (
        {"west.mesh_imports": [{"from": "east", "select": "sort_by(@, &ports)"}]},
        [
            (
                "west: mesh_imports[0].select: expected a JMESPath expression over exports: In function "
                "sort_by(), invalid type for value: {'service': 'reviews', 'namespace': 'books', "
                "'ports': [{'number': 9080.... See https://jmespath.org."
            ),
        ],
    ),
    "import host for several": (
        {"east.mesh_exports.1": export(), "west.mesh_imports": [{"from": "east", "host": "all.shop.global"}]},
        [
            (
                "west: mesh_imports[0].host: one host cannot stand for 2 selected exports: "
                "ratings.books.svc.east.global, reviews.books.svc.east.global. Narrow from and select to "
                "one export, or leave out host."
            ),
        ],
    ),
    "import host no FQDN": (
        {"west.mesh_imports": [{"from": "east", "host": "reviews"}]},
        [
            (
                "west: mesh_imports[0].host: expected a fully qualified DNS name in lower case with at "
                "least one '.', found 'reviews'. Write for example 'reviews.shop.global'."
            ),
        ],
    ),
    "import host taken": (
        {
            "east.mesh_exports.1": export(),
            "west.mesh_imports": [
                {"from": "east", "select": "[?service=='reviews']", "host": "one.shop.global"},
                {"from": "east", "select": "[?service=='ratings']", "host": "one.shop.global"},
            ],
        },
        [
            (
                "west: mesh_imports[1].host: host 'one.shop.global' would stand for east/books/ratings "
                "and east/books/reviews. Choose another host; exports that back each other up say so "
                "with a host of their own."
            ),
        ],
    ),
    "import host is a default name": (
        {"west.mesh_imports": [{"from": "east", "host": "reviews.books.svc.east.global"}]},
        [
            (
                "west: mesh_imports[0].host: 'reviews.books.svc.east.global' is the name of "
                "east/books/reviews in consumer meshes. Choose another host."
            ),
        ],
    ),
    "export_to": (
        {"west.mesh_imports": [{"from": "east", "export_to": ["Shop"]}]},
        [
            (
                "west: mesh_imports[0].export_to[0]: expected a namespace, '.' or '*', found 'Shop'. "
                "Name the namespaces that may see the host, or leave it out."
            ),
        ],
    ),
    "export_to everyone and some": (
        {"west.mesh_imports": [{"from": "east", "export_to": ["*", "shop"]}]},
        [
            (
                "west: mesh_imports[0].export_to: expected '*' alone or namespaces, found both. Remove "
                "'*' or the namespaces."
            ),
        ],
    ),
    "facts without ports": (
        {"east.mesh_exports.0.ports": DROP, "facts:east": {"gateway_addresses": [], "services": []}},
        [
            (
                "east: mesh_exports[0].ports: expected ports, found nothing, and Service books/reviews "
                "has none in the cluster. Add ports, for example [{number: 9080, name: http, protocol: "
                "HTTP}]."
            ),
        ],
    ),
    "facts without accounts and selector": (
        {
            "east.mesh_exports.0.service_accounts": DROP,
            "facts:east": live(ports=[], selector=None, service_accounts=[]),
        },
        [
            (
                "east: mesh_exports[0].selector: expected a selector, found nothing, and Service "
                "books/reviews has none in the cluster. Add selector with the labels of the pods, "
                "because policies select pods."
            ),
            (
                "east: mesh_exports[0].service_accounts: expected service accounts, found nothing, and "
                "Service books/reviews has none in the cluster. Name the service accounts of the pods "
                "behind the Service."
            ),
        ],
    ),
    "facts with UDP": (
        {
            "east.mesh_exports.0.ports": DROP,
            "facts:east": live(
                ports=[{"number": 53, "name": "dns", "protocol": "UDP", "target_port": 53}],
                selector={"app": "dns"},
                service_accounts=["dns"],
            ),
        },
        [
            (
                "east: mesh_exports[0].ports: port 53 of Service books/reviews has protocol 'UDP', which "
                "no gateway passes on. List in ports only those to be exported."
            ),
        ],
    ),
    "facts without gateway": (
        {"east.mesh_gateway_addresses": DROP, "facts:east": {"gateway_addresses": [], "services": []}},
        [
            (
                "east: mesh_gateway_addresses: expected the addresses of the gateway, found nothing, and "
                "its gateway has none in the cluster. Add mesh_gateway_addresses, because other meshes "
                "import from here."
            ),
        ],
    ),
    "facts no mapping": (
        {"facts:east": "none"},
        [
            "east: facts: expected a mapping, found 'none'. Read them with multimesh.istio.mesh_info.",
        ],
    ),
    "host hides a live Service": (
        {
            "east.mesh_exports.0.host": "cart.shop",
            "facts:west": {
                "services": [
                    {
                        "namespace": "shop",
                        "name": "cart",
                        "ports": [],
                        "selector": {"app": "cart"},
                        "service_accounts": [],
                    }
                ]
            },
        },
        [
            (
                "east: mesh_exports[0].host: 'cart.shop' is a short name of Service shop/cart of west, "
                "which it would hide. Choose a host of its own, such as 'reviews.shop.global'."
            ),
        ],
    ),
    "several problems at once": (
        {
            "east.mesh_trust_domain": "cluster.local",
            "east.mesh_exports.0.ports": ports(number=0),
            "west.mesh_domain": 1,
        },
        [
            (
                "east: mesh_exports[0].ports[0].number: expected a number from 1 to 65535, found 0 (a "
                "number). Write the Service's port as a number without quotes."
            ),
            (
                "east: mesh_trust_domain: expected a trust domain of the mesh's own, because every mesh "
                "calls itself 'cluster.local' in policies, found 'cluster.local'. Choose one such as "
                "'east.mesh', or leave it out."
            ),
            ("west: mesh_domain: expected a string, found 1 (a number). Choose a suffix such as 'global'."),
        ],
    ),
    "imported name too long": (
        {
            "west.mesh_domain": ".".join(["a" * 60] * 4),
            "east.mesh_exports.0.service": "sssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssss",
        },
        [
            (
                "west: mesh_domain: the name of "
                "east/books/sssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssss in consumer "
                "meshes would be longer than 253 characters. Choose a shorter domain, or give the export "
                "a host."
            ),
        ],
    ),
    "target port unknown live": (
        {
            "east.mesh_exports.0.ports": DROP,
            "facts:east": live(ports=[{"number": 80, "name": "http", "protocol": "HTTP", "target_port": "http"}]),
        },
        [
            (
                "east: mesh_exports[0].ports: the pods' port behind port 80 of Service books/reviews is "
                "unknown, and policies see that. Add target_port to port 80."
            ),
        ],
    ),
    "facts with a broken Service": (
        {"facts:east": {"services": [{"name": "reviews"}]}},
        [
            ("east: facts.services[0]: expected a Service with its ports. Read it with multimesh.istio.mesh_info."),
        ],
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal(name: str) -> None:
    changes, messages = REFUSALS[name]
    with pytest.raises(InventoryError) as caught:
        parse(inventory(changes))
    assert [str(problem) for problem in caught.value.problems] == messages


def test_every_refusal_has_its_own_message() -> None:
    first = [messages[0] for _changes, messages in REFUSALS.values()]
    assert len(set(first)) == len(first)


def test_unchanged_it_is_good() -> None:
    assert parse(inventory({})).warnings == ()


def test_all_problems_are_one_error_in_a_stable_order() -> None:
    changes = {"east.mesh_network": "a b", "west.mesh_locality": "///", "east.mesh_domain": "X"}
    with pytest.raises(InventoryError) as caught:
        parse(inventory(changes))
    lines = str(caught.value).splitlines()
    assert lines[0] == "The inventory has 3 problems:"
    assert [line.split(": ")[:2] for line in lines[1:]] == [
        ["  - east", "mesh_domain"],
        ["  - east", "mesh_network"],
        ["  - west", "mesh_locality"],
    ]
