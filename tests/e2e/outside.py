# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A world outside every mesh: servers behind a load balancer, a DNS zone, and a CA of their own.

The servers run without sidecar in one of the clusters, and are reached by the address of its load balancer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.lab import manifests
from tests.lab.api import Lab
from tests.lab.certificates import Authority, Credential

HOME = "north"
NAMESPACE = "outside"
ZONE = "outside.example"
NAMES = ("api", "a.wild", "b.wild", "a.safe", "other")
"""Names in the zone that resolve."""

HTTP, TLS, TCP, WEB, MUTUAL = 80, 443, 9000, 8081, 8443
"""Ports of the load balancer: HTTP, TLS, TCP, HTTP again, and TLS that asks for a client's certificate."""


def name(label: str) -> str:
    """A name in the zone."""
    return f"{label}.{ZONE}"


class Outside:
    """What the tests need to know of it: the address, and certificates from its CA."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.address = lab.node_address(HOME)
        self._authority = Authority("outside")

    def serve(self) -> None:
        """Start two servers: ``partner``, and ``bank``, which knows its clients by their certificates."""
        server = self._authority.issue("partner", serves=[name("secure"), name("*.safe"), name("bank")])
        self.lab.apply(
            HOME,
            [
                manifests.namespace(NAMESPACE),
                self.secret(NAMESPACE, "partner-tls", server, trusted=False),
                self.secret(NAMESPACE, "bank-tls", server),
                *self._server("partner", {"http": HTTP, "tls": TLS, "tcp": TCP, "tcp-web": WEB}),
                *self._server("bank", {"tls": MUTUAL}),
            ],
        )
        self.lab.wait_ready(HOME, [NAMESPACE])

    def client(self, common_name: str) -> Credential:
        """A certificate for a client of ``bank``."""
        return self._authority.issue(common_name)

    def secret(
        self, namespace: str, secret: str, credential: Credential | None = None, *, trusted: bool = True
    ) -> dict[str, Any]:
        """A Secret with a certificate, its key, and the CA's certificate."""
        data = {"tls.crt": credential.certificate, "tls.key": credential.key} if credential else {}
        if trusted:
            data["ca.crt"] = self._authority.credential.certificate
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": secret, "namespace": namespace},
            "stringData": data,
        }

    def close(self) -> None:
        self.lab.kubectl(HOME, "delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=false")

    def _server(self, server: str, ports: Mapping[str, int]) -> list[dict[str, Any]]:
        return manifests.app(
            "outside", NAMESPACE, server, ports=ports, service_type="LoadBalancer", tls_secret=f"{server}-tls"
        )


@contextmanager
def resolving(lab: Lab, meshes: Iterable[str], address: str) -> Iterator[None]:
    """The names resolve in these clusters, as they would for everybody if the zone were public."""
    zone = [f"{ZONE}:53 {{", "    errors", "    hosts {", *(f"        {address} {name(label)}" for label in NAMES)]
    zone += ["    }", "}", ""]
    before = {mesh: _corefile(lab, mesh) for mesh in meshes}
    try:
        for mesh, text in before.items():
            _set_corefile(lab, mesh, text + "\n".join(zone))
        yield
    finally:
        for mesh, text in before.items():
            _set_corefile(lab, mesh, text)


def _corefile(lab: Lab, mesh: str) -> str:
    return lab.kubectl(mesh, "get", "configmap", "-n", "kube-system", "coredns", "-o", "jsonpath={.data.Corefile}")


def _set_corefile(lab: Lab, mesh: str, text: str) -> None:
    metadata = {"name": "coredns", "namespace": "kube-system"}
    lab.apply(mesh, [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"Corefile": text}}])
    # The kubelet brings a changed file to a running pod within a minute, and to a new one at once.
    for command in (["restart"], ["status", "--timeout=60s"]):
        lab.kubectl(mesh, "rollout", *command, "deployment/coredns", "-n", "kube-system")
