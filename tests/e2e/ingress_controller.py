# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Istio's own ingress controller, by Istio's chart, in a cluster of the lab."""

from __future__ import annotations

import json
import subprocess

from tests.e2e.support import Federation

RELEASE = "istio-ingressgateway"
CLASS = "istio"


def _helm(federation: Federation, mesh: str, *arguments: str) -> None:
    state = json.loads((federation.lab.place.published / "state.json").read_text())
    source = [f"{state['charts']}/gateway"] if arguments[0] == "install" else []
    command = [state["binaries"]["helm"], arguments[0], RELEASE, *source, *arguments[1:], "-n", "istio-system"]
    config = str(federation.lab.kubeconfig(mesh))
    subprocess.run([*command, "--kubeconfig", config, "--wait"], check=True, capture_output=True, text=True)


def install(federation: Federation, mesh: str) -> None:
    """Istio's ingress gateway, open on port 443 alone, and the class that leads to it."""
    values = {
        "service": {"ports": [{"name": "https", "port": 443, "targetPort": 443, "protocol": "TCP"}]},
        "autoscaling": {"enabled": False},
        "imagePullPolicy": "IfNotPresent",
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
    }
    _helm(federation, mesh, "install", *(f"--set-json={key}={json.dumps(value)}" for key, value in values.items()))
    ingress_class = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": CLASS},
        "spec": {"controller": "istio.io/ingress-controller"},
    }
    federation.lab.apply(mesh, [ingress_class])


def uninstall(federation: Federation, mesh: str) -> None:
    """As it was before."""
    _helm(federation, mesh, "uninstall")
    federation.lab.kubectl(mesh, "delete", f"ingressclass/{CLASS}")
