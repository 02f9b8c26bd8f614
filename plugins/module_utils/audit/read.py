# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an audit reads of a cluster: policies, Gateways, ServiceEntries, Services, pods, settings of control planes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.audit.exposure import Service, served
from ansible_collections.multimesh.istio.plugins.module_utils.audit.report import State, exposed_services
from ansible_collections.multimesh.istio.plugins.module_utils.kube.cluster import Lister
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import (
    AUTHORIZATION_POLICIES,
    CONFIG_MAPS,
    GATEWAYS,
    PODS,
    SERVICE_ENTRIES,
    SERVICES,
)
from ansible_collections.multimesh.istio.plugins.module_utils.mesh_info import (
    ISTIO_NAMESPACE,
    is_serving,
    selects,
    service_facts,
)

with contextlib.suppress(ImportError):  # the Kubernetes client brings it, and the modules report that one
    import yaml

Body = Mapping[str, Any]


def read_state(cluster: Lister, exports: Iterable[Service]) -> State:
    """The state of one cluster. exports: Services that the inventory exports. Raises KubeError."""
    with ThreadPoolExecutor(5) as pool:
        policies, gateways, entries, services, config_maps = pool.map(
            lambda asked: cluster.list_objects(*asked),
            [(AUTHORIZATION_POLICIES,), (GATEWAYS,), (SERVICE_ENTRIES,), (SERVICES,), (CONFIG_MAPS, ISTIO_NAMESPACE)],
        )
        by_name = {(item["metadata"]["namespace"], item["metadata"]["name"]): item for item in services}
        state = State(admitted_domains(config_maps), policies, gateways, entries, {}, {})
        at_gateways = {way.service for way in served(gateways)}
        asked = {*exposed_services(state, by_name), *at_gateways, *exports} & by_name.keys()
        namespaces = sorted({*(namespace for namespace, _name in asked), *([ISTIO_NAMESPACE] if at_gateways else [])})
        pods = dict(zip(namespaces, pool.map(lambda one: cluster.list_objects(PODS, one), namespaces), strict=True))
    selectors = {name: (by_name[name].get("spec") or {}).get("selector") or {} for name in sorted(asked)}
    behind = {
        name: [pod for pod in pods[name[0]] if is_serving(pod) and selects(selector, pod)]
        for name, selector in selectors.items()
    }
    return replace(
        state,
        services={name: service_facts(by_name[name], [pod["spec"] for pod in behind[name]]) for name in behind},
        pods={name: _labels(found) for name, found in behind.items()},
        gateway_pods=_labels(pod for pod in pods.get(ISTIO_NAMESPACE, ()) if is_serving(pod)),
    )


def _labels(pods: Iterable[Body]) -> list[Mapping[str, str]]:
    return [pod["metadata"].get("labels") or {} for pod in pods]


def admitted_domains(config_maps: Iterable[Body]) -> list[str]:
    """Trust domains of other meshes that any control plane of the cluster admits."""
    found: set[str] = set()
    for config_map in config_maps:
        name = config_map["metadata"]["name"]
        text = (config_map.get("data") or {}).get("mesh")
        if not text or not (name == "istio" or name.startswith("istio-")):
            continue
        mesh = yaml.safe_load(text) or {}
        for certificate in mesh.get("caCertificates") or ():
            found.update(certificate.get("trustDomains") or ())
    return sorted(found)
