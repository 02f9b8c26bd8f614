# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading of ``mesh_ingress_*``: the ingress controller of a cluster."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.multimesh.istio.plugins.module_utils.model import names
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Fields, shown
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import IngressController

# As Istio calls its own (meshConfig.ingressService).
SERVICE = "istio-system/istio-ingressgateway"


def read_ingress(fields: Fields) -> IngressController:
    """The ``mesh_ingress_*`` variables of one host."""
    service = fields.text("mesh_ingress_service", _service, f"Write namespace and name, for example '{SERVICE}'")
    namespace, _slash, name = (service or SERVICE).partition("/")
    return IngressController(
        class_name=fields.text("mesh_ingress_class", names.subdomain, "Name an IngressClass, or leave it out"),
        annotations=_annotations(fields),
        addresses=fields.texts(
            "mesh_ingress_addresses", names.address, "Give what other clusters can reach, for example '192.0.2.20'"
        ),
        service_namespace=namespace,
        service_name=name,
        secret_namespace=fields.text(
            "mesh_ingress_secret_namespace",
            names.label,
            "Name the namespace of Istio's ingress gateway, or leave it out",
        ),
    )


def _service(value: str) -> str | None:
    namespace, _slash, name = value.partition("/")
    return "'<namespace>/<name>' of a Service" if names.label(namespace) or names.label(name) else None


def _annotations(fields: Fields) -> Mapping[str, str]:
    way_out = "Write names and values, for example {nginx.ingress.kubernetes.io/backend-protocol: GRPC}"
    found = {}
    for key, value in (fields.mapping("mesh_ingress_annotations", way_out) or {}).items():
        path = f"mesh_ingress_annotations.{key}"
        if expected := names.label_key(str(key)):
            fields.note(path, f"expected {expected.replace('label key', 'key of an annotation')}", way_out)
        elif not isinstance(value, str):
            fields.note(path, f"expected a string, found {shown(value)}", "Put the value in quotes")
        else:
            found[str(key)] = value
    return found
