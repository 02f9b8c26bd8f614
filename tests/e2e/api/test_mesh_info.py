# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The mesh_info module against a real API server."""

from __future__ import annotations

import json

from tests.e2e.api.objects import deployment, service


def test_facts_of_a_cluster_without_istio(api_cluster):
    audit = api_cluster.audit()
    result = api_cluster.module("mesh_info", read_ca=True, read_remote_secrets=True)
    assert result["changed"] is False
    mesh = result["mesh"]
    assert mesh["kubernetes_version"].startswith("v1.")
    assert (mesh["istio"], mesh["gateway_addresses"], mesh["services"]) == ({"revisions": [], "ambient": False}, [], [])
    assert (mesh["remembered"], mesh["remote_secrets"], mesh["ca"]["cacerts_present"]) == ({}, 0, False)
    assert audit.writes() == []


def test_a_service_and_the_gateway(api_cluster, namespace):
    ports = [{"name": "http", "port": 80, "targetPort": "web"}, {"name": "db", "port": 5432, "appProtocol": "tcp"}]
    container = {"name": "app", "image": "app:1", "ports": [{"name": "web", "containerPort": 8080}]}
    gateway = service(namespace, "gateway", [{"port": 15443}])
    gateway["metadata"]["labels"] = {"istio": "eastwestgateway"}
    gateway["spec"]["type"] = "LoadBalancer"
    workload = deployment(namespace, "web", [container], serviceAccountName="web-account")
    for body in (service(namespace, "web", ports), workload, gateway):
        api_cluster.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    options = {"exports": [{"service": "web", "namespace": namespace}], "gateway_namespace": namespace}
    assert api_cluster.module("mesh_info", **options)["mesh"]["gateway_addresses"] == []
    status = '{"status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.7"}]}}}'
    api_cluster.kubectl("patch", "service", "-n", namespace, "gateway", "--subresource=status", "-p", status)
    mesh = api_cluster.module("mesh_info", **options)["mesh"]
    assert mesh["gateway_addresses"] == ["198.51.100.7"]
    assert mesh["services"] == [
        {
            "namespace": namespace,
            "name": "web",
            "ports": [
                {"number": 80, "name": "http", "protocol": "HTTP", "target_port": 8080, "target_port_name": "web"},
                {"number": 5432, "name": "db", "protocol": "TCP", "target_port": 5432, "target_port_name": None},
            ],
            "selector": {"app": "web"},
            "service_accounts": ["web-account"],
            "cluster_ip": api_cluster.kubectl(
                "get", "service", "-n", namespace, "web", "-o", "jsonpath={.spec.clusterIP}"
            ),
            "same_pods": [],
        }
    ]
