# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Syntax of the names in an inventory. Every rule returns what is expected, or None if the value is good."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from functools import cache

from ansible_collections.multimesh.istio.plugins.module_utils.model.types import CLUSTER_DOMAIN

LONGEST_NAME = 253
"""Of an object in Kubernetes, and in DNS (RFC 1035)."""

Rule = Callable[[str], "str | None"]

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
_TAG = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}\Z")
_PATH = re.compile(r"[!-~]+\Z")
_HEADER = re.compile(r"[a-z0-9][-_a-z0-9]*\Z")
_PATTERN = re.compile(r"\*?[ -)+-~]+\*?\Z|\*\Z")

# RFC 9110 section 9 and RFC 5789; what else Envoy would pass is not a method that a policy should name.
METHODS = ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")


def label(value: str) -> str | None:
    """RFC 1123 label: names of namespaces, Services and ports, mesh names."""
    if _LABEL.match(value):
        return None
    return "a DNS label (lower case letters, digits and '-', at most 63 characters)"


def subdomain(value: str) -> str | None:
    """RFC 1123 subdomain: names of service accounts and Secrets, domains."""
    if len(value) <= 253 and all(_LABEL.match(part) for part in value.split(".")):
        return None
    return "a DNS name (lower case labels joined by '.', at most 253 characters)"


def label_value(value: str) -> str | None:
    """Value of a Kubernetes label, which an Istio network is."""
    if _LABEL_VALUE.match(value):
        return None
    return "a label value (letters, digits, '-', '_' and '.', at most 63 characters)"


def label_key(value: str) -> str | None:
    """Key of a Kubernetes label, with an optional DNS prefix."""
    prefix, slash, name = value.rpartition("/")
    if _LABEL_VALUE.match(name) and (not slash or subdomain(prefix) is None):
        return None
    return "a label key (an optional DNS name and '/', then at most 63 letters, digits, '-', '_' and '.')"


def trust_domain(value: str) -> str | None:
    """SPIFFE trust domain (SPIFFE-ID section 2.1), within what Istio accepts for one (DNS labels)."""
    if "://" in value:
        return "a bare trust domain without scheme"
    if subdomain(value):
        return "a trust domain of lower case DNS labels"
    if value == CLUSTER_DOMAIN or value.endswith(f".{CLUSTER_DOMAIN}"):
        return "a trust domain of the mesh's own, because every mesh calls itself 'cluster.local' in policies"
    return None


def locality(value: str) -> str | None:
    """Istio locality."""
    parts = value.split("/")
    if len(parts) <= 3 and all(_LABEL_VALUE.match(part) for part in parts):
        return None
    return "a locality 'region', 'region/zone' or 'region/zone/subzone'"


def host(value: str) -> str | None:
    """Name under which a Service is known to consumers."""
    if "*" in value:
        return "one host without wildcards"
    if subdomain(value) or "." not in value or value.rpartition(".")[2].isdigit():
        return "a fully qualified DNS name in lower case with at least one '.'"
    if value == CLUSTER_DOMAIN or value.endswith(f".{CLUSTER_DOMAIN}"):
        return f"a host outside '{CLUSTER_DOMAIN}', whose names belong to each cluster's own Services"
    return None


def external_host(value: str) -> str | None:
    """Name of a service outside every mesh, or ``*.`` and a name for all names below it."""
    below = value.removeprefix("*.")
    if "*" in below:
        return "a DNS name, or '*.' and a DNS name"
    return host(below) or (subdomain(object_name(value)) if below != value else None)


def object_name(host: str) -> str:
    """Name of the Kubernetes objects of a host."""
    return host.replace("*", "wildcard", 1)


def destination(value: str) -> str | None:
    """IP address that pods may call, or a range of them in CIDR notation."""
    try:
        network = ipaddress.ip_network(value)
    except ValueError:
        return "an IP address, or a range such as '192.0.2.0/24' that begins at its first address"
    if "%" in value or network.is_unspecified or network.is_loopback or network.is_multicast or network.prefixlen == 0:
        return "an address or a range that pods can reach"
    return None


@cache
def ip(value: str) -> bool:
    """Whether the value is a bare IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return "%" not in value


def ip_address(value: str) -> str | None:
    """Address of a Service or of an external service."""
    return None if ip(value) else "a bare IP address"


def address(value: str) -> str | None:
    """Address of a gateway: a bare IP address or a DNS name."""
    if ip(value):
        found = ipaddress.ip_address(value)
        if found.is_unspecified or found.is_loopback or found.is_multicast:
            return "an address that other clusters can reach"
        return None
    if subdomain(value) or value.rpartition(".")[2].isdigit():
        return "a bare IP address or a DNS name, without scheme, port or brackets"
    return None


def method(value: str) -> str | None:
    """HTTP method."""
    return None if value in METHODS else f"one of {', '.join(METHODS)}"


def path(value: str) -> str | None:
    """Path pattern of an Istio AuthorizationPolicy: exact, prefix (``/a/*``), suffix (``*/a``) or ``*``."""
    expected = "a path pattern: '/exact', '/prefix/*', '*/suffix' or '*'"
    if not _PATH.match(value) or set(value) & set("{}?#"):
        return expected
    stem = value[1:] if value.startswith("*") else value.removesuffix("*")
    if "*" in stem or not value.startswith(("/", "*")):
        return expected
    return None


def header(value: str) -> str | None:
    """Name of an HTTP header, as HTTP/2 has it."""
    return None if _HEADER.match(value) else "the name of a header in lower case"


def pattern(value: str) -> str | None:
    """Pattern of a text: exact, prefix (``a*``), suffix (``*a``) or ``*``."""
    return None if _PATTERN.match(value) else "a pattern: 'exact', 'prefix*', '*suffix' or '*'"


def visibility(value: str) -> str | None:
    """Entry of an ``exportTo`` list."""
    return None if value in ("*", ".") or _LABEL.match(value) else "a namespace, '.' or '*'"


def telemetry_tag(value: str) -> str | None:
    """Name of an attribute that becomes a tag of metrics (https://prometheus.io/docs/concepts/data_model/)."""
    return None if _TAG.match(value) else "a name of letters, digits and '_' that does not begin with a digit"


def text(value: str) -> str | None:
    """Anything that is not empty."""
    return None if value.strip() else "a text that is not empty"
