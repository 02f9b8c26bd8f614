# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What external services may not be, each with the exact message."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.errors import InventoryError

from tests.unit.plugins.module_utils.model.build import export, host, inventory, port

AT = "west: mesh_external_services[0]"
NEXT = "west: mesh_external_services[1]"
HTTP = port(80, "http")
HTTPS = port(443, "https", "HTTPS")
TCP = port(5432, "tcp", "TCP")
SIMPLE = {"mode": "simple"}


def service(**changes: Any) -> dict[str, Any]:
    """A good one with changes; a value of None leaves the key out."""
    entry = {"hosts": ["api.example.com"], "ports": [HTTP], **changes}
    return {key: value for key, value in entry.items() if value is not None}


def by_address(*addresses: str, **changes: Any) -> dict[str, Any]:
    return service(hosts=None, addresses=list(addresses), **{"ports": [TCP], **changes})


def refused(*services: dict[str, Any], **hosts: Any) -> list[str]:
    """The problems of an inventory whose mesh west declares these."""
    with pytest.raises(InventoryError) as raised:
        inventory(**{"east": host(), "west": host(external_services=list(services)), **hosts})
    return [str(problem) for problem in raised.value.problems]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hosts": None}, "hosts: expected hosts or addresses, found nothing. Say where the service is."),
        (
            {"ports": None},
            (
                "ports: expected a list of ports, found nothing."
                " Write for example [{number: 443, name: https, protocol: HTTPS}]."
            ),
        ),
        (
            {"ports": [{"number": 443}]},
            (
                "ports[0].protocol: expected a protocol, found nothing."
                " Use one of GRPC, HTTP, HTTP2, HTTPS, MONGO, MYSQL, REDIS, TCP, TLS."
            ),
        ),
        (
            {"hosts": ["*api.example.com"]},
            (
                "hosts[0]: expected a DNS name, or '*.' and a DNS name, found '*api.example.com'."
                " Write for example 'api.example.com' or '*.example.com'."
            ),
        ),
        (
            {"hosts": ["*.com"]},
            (
                "hosts[0]: expected a fully qualified DNS name in lower case with at least one '.', found '*.com'."
                " Write for example 'api.example.com' or '*.example.com'."
            ),
        ),
        (
            {"hosts": ["*.svc.cluster.local"]},
            (
                "hosts[0]: expected a host outside 'cluster.local', whose names belong to each cluster's own Services,"
                " found '*.svc.cluster.local'. Write for example 'api.example.com' or '*.example.com'."
            ),
        ),
        (
            {"addresses": ["api.example.com"]},
            (
                "addresses[0]: expected an IP address, or a range such as '192.0.2.0/24' that begins at its first"
                " address, found 'api.example.com'. Write for example '192.0.2.10' or '192.0.2.0/24'."
            ),
        ),
        (
            {"addresses": ["192.0.2.1/24"]},
            (
                "addresses[0]: expected an IP address, or a range such as '192.0.2.0/24' that begins at its first"
                " address, found '192.0.2.1/24'. Write for example '192.0.2.10' or '192.0.2.0/24'."
            ),
        ),
        *(
            (
                {"addresses": [address]},
                (
                    f"addresses[0]: expected an address or a range that pods can reach, found '{address}'."
                    " Write for example '192.0.2.10' or '192.0.2.0/24'."
                ),
            )
            for address in ("0.0.0.0", "0.0.0.0/0", "127.0.0.1", "::1", "224.0.0.1", "fe80::1%eth0")
        ),
        (
            {"tls": {"mode": "SIMPLE"}},
            "tls.mode: expected one of mutual, none, simple, found 'SIMPLE'. Did you mean 'simple'.",
        ),
        (
            {"tls": {"mode": "mutual"}},
            (
                "tls.credential: expected the name of a Secret for mode 'mutual', found nothing."
                " Add credential, or use mode 'simple'."
            ),
        ),
        (
            {"tls": {"mode": "mutual", "credential": "-----BEGIN EXAMPLE-----"}, "export_to": ["shop"]},
            (
                "tls.credential: expected a DNS name (lower case labels joined by '.', at most 253 characters),"
                " found a PEM block. Give the name of a Secret with tls.crt, tls.key and ca.crt."
            ),
        ),
        (
            {"tls": {"credential": "api-ca"}},
            "tls.credential: expected no credential for mode 'none'. Remove it, or use mode 'simple'.",
        ),
        (
            {"tls": {"sni": "api.example.com"}},
            "tls.sni: expected no sni for mode 'none'. Remove it, or use mode 'simple'.",
        ),
        (
            {"timeout": 10},
            "timeout: expected a string, found 10 (a number). Write for example '500ms', '10s' or '2m'.",
        ),
        (
            {"timeout": "10"},
            (
                "timeout: expected a duration with its unit, for example '10s', found '10'."
                " Write for example '500ms', '10s' or '2m'."
            ),
        ),
        (
            {"retries": -1},
            "retries: expected a number from 0 to 10, found -1 (a number). Say how often a failed request is repeated.",
        ),
        (
            {"consumers": ["estate"]},
            (
                "consumers[0]: expected a mesh, a group of meshes or 'all', found 'estate', which this run's"
                " inventory lacks. Did you mean 'west'; job slicing takes hosts out of an inventory."
            ),
        ),
        ({"port": 443}, "port: unknown key. Did you mean 'ports'."),
    ],
)
def test_a_value_that_is_none(changes: dict[str, Any], message: str) -> None:
    assert refused(service(**changes)) == [f"{AT}.{message}"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"hosts": ["*.example.com"], "addresses": ["192.0.2.9"]},
            (
                "addresses: expected none beside '*.example.com', whose names have addresses of their own."
                " Remove them, or name the hosts one by one."
            ),
        ),
        (
            {"addresses": ["192.0.2.0/24"]},
            (
                "addresses: expected the addresses at which the hosts are served, found the range '192.0.2.0/24'."
                " List single addresses, or remove hosts."
            ),
        ),
        (
            {"hosts": ["*.example.com"], "ports": [HTTPS, TCP]},
            (
                "hosts: '*.example.com' needs ports that carry a name, and port 5432 is TCP: any address would be"
                " reachable there. Name the hosts one by one, or use HTTP, HTTPS or TLS ports only."
            ),
        ),
        (
            {"hosts": None, "addresses": ["192.0.2.0/24"]},
            (
                "addresses: the range '192.0.2.0/24' needs TCP or TLS, and port 80 is HTTP, which is told apart by"
                " the name that is called. List single addresses, or declare the port as TCP."
            ),
        ),
        *(
            (
                {"ports": [HTTPS], key: value},
                (
                    f"{key}: needs HTTP, and no port is: 443 is HTTPS."
                    " Remove it; an HTTP port with tls lets proxies see the requests of an HTTPS server."
                ),
            )
            for key, value in (("timeout", "1s"), ("retries", 0))
        ),
        (
            {"ports": [HTTPS], "tls": SIMPLE},
            (
                "tls.mode: expected 'none', found 'simple': port 443 is HTTPS, whose TLS applications make."
                " Remove tls, or declare an HTTP port that applications call without TLS."
            ),
        ),
        (
            {"hosts": None, "addresses": ["192.0.2.9"], "tls": SIMPLE},
            "tls.sni: expected the server's name, which an address does not say, found nothing. Add sni.",
        ),
        (
            {"hosts": ["*.example.com"], "tls": {"mode": "simple", "sni": "www.example.com"}},
            (
                "tls.sni: expected nothing for '*.example.com', found 'www.example.com': every name below it has its"
                " own. Remove it: proxies ask for the name that is called."
            ),
        ),
        *(
            (
                {"tls": {"mode": mode, "credential": "api"}, **more},
                (
                    "tls.credential: expected export_to with the namespaces that hold the Secret, found all of them:"
                    " elsewhere Istio ignores the credential and sends plaintext. Name the namespaces in export_to."
                ),
            )
            for mode, more in (("mutual", {}), ("simple", {"export_to": ["*"]}))
        ),
    ],
)
def test_a_combination_that_istio_would_take_and_not_do(changes: dict[str, Any], message: str) -> None:
    assert refused(service(**changes)) == [f"{AT}.{message}"]


ALREADY = "and mesh west would know both. Make one entry of the two, or give them different consumers."


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (
            service(),
            service(timeout="1s"),
            f"hosts: 'api.example.com' is already a host of mesh_external_services[0] of west, {ALREADY}",
        ),
        # Named alike in Kubernetes.
        (
            service(hosts=["*.example.com"]),
            service(hosts=["wildcard.example.com"]),
            f"hosts: 'wildcard.example.com' is already a host of mesh_external_services[0] of west, {ALREADY}",
        ),
        (
            by_address("192.0.2.9"),
            by_address("198.51.100.1", "192.0.2.9", ports=[TCP, port(1, "one", "TCP")]),
            f"addresses: '192.0.2.9' and port 5432 are already those of mesh_external_services[0] of west, {ALREADY}",
        ),
        *(
            (
                by_address(first),
                by_address(second),
                (
                    f"addresses: '{inner}' within '{outer}' and port 5432 are already those of"
                    f" mesh_external_services[0] of west, {ALREADY}"
                ),
            )
            for first, second, inner, outer in (
                ("192.0.2.0/24", "192.0.2.9", "192.0.2.9", "192.0.2.0/24"),
                ("192.0.2.9", "192.0.2.0/24", "192.0.2.9", "192.0.2.0/24"),
                ("2001:db8::/32", "2001:db8:1::/48", "2001:db8:1::/48", "2001:db8::/32"),
            )
        ),
        # Nothing in the call says which one is meant.
        (
            service(addresses=["192.0.2.9"]),
            by_address("192.0.2.9", ports=[HTTP]),
            f"addresses: '192.0.2.9' and port 80 are already those of mesh_external_services[0] of west, {ALREADY}",
        ),
        (
            service(addresses=["192.0.2.9"], ports=[TCP]),
            service(hosts=["db.example.com"], addresses=["192.0.2.9"], ports=[TCP]),
            f"addresses: '192.0.2.9' and port 5432 are already those of mesh_external_services[0] of west, {ALREADY}",
        ),
    ],
)
def test_two_for_one_consumer(first: dict[str, Any], second: dict[str, Any], message: str) -> None:
    assert refused(first, second) == [f"{NEXT}.{message}"]


def test_two_that_different_hosts_declare() -> None:
    east = host(external_services=[service(consumers=["west"])])
    assert refused(service(retries=0), east=east) == [
        f"{AT}.hosts: 'api.example.com' is already a host of mesh_external_services[0] of east, {ALREADY}"
    ]


@pytest.mark.parametrize(
    ("external", "exported", "message"),
    [
        (
            "reviews.shop.global",
            {"host": "reviews.shop.global"},
            (
                "'reviews.shop.global' is a name of mesh_exports[0] of east, which is in a mesh."
                " Remove the host here, or choose another name there."
            ),
        ),
        (
            "reviews.shop.global",
            {"aliases": ["reviews.shop.global"]},
            (
                "'reviews.shop.global' is a name of mesh_exports[0] of east, which is in a mesh."
                " Remove the host here, or choose another name there."
            ),
        ),
        (
            "*.shop.global",
            {"host": "reviews.shop.global"},
            (
                "'*.shop.global' covers 'reviews.shop.global', a name of mesh_exports[0] of east, which is in a mesh."
                " Name the hosts one by one."
            ),
        ),
        (
            "*.svc.east.global",
            {},
            (
                "'*.svc.east.global' covers 'reviews.books.svc.east.global', a name of mesh_exports[0] of east, which"
                " is in a mesh. Name the hosts one by one."
            ),
        ),
        (
            "reviews.books.svc.east.global",
            {},
            (
                "'reviews.books.svc.east.global' is the name of east/books/reviews in consumer meshes."
                " Choose another host."
            ),
        ),
        (
            "reviews.books",
            {},
            (
                "'reviews.books' is a short name of Service books/reviews of east, which it would hide."
                " Choose a host of its own, such as 'reviews.shop.global'."
            ),
        ),
    ],
)
def test_a_host_of_the_meshes(external: str, exported: dict[str, Any], message: str) -> None:
    east = host(export("reviews", **exported), address="192.0.2.1")
    assert refused(service(hosts=[external]), east=east) == [f"{AT}.hosts: {message}"]


def test_a_host_that_an_import_has_got() -> None:
    found = refused(
        east=host(export("reviews", "west"), address="192.0.2.1"),
        west=host(
            external_services=[service()], imports=[{"from": "east", "host": "api.example.com"}], address="192.0.2.2"
        ),
    )
    assert found == [
        (
            f"{AT}.hosts: 'api.example.com' is a name of mesh_imports[0] of west, which is in a mesh."
            " Remove the host here, or choose another name there."
        )
    ]
