# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleError
from ansible_collections.multimesh.istio.plugins.filter.ingress_certificates import ingress_certificates

EXPORT = {
    "service": "reviews",
    "namespace": "bookinfo",
    "ports": [{"number": 9080, "name": "http", "protocol": "HTTP"}],
    "service_accounts": ["bookinfo-reviews"],
    "via": "ingress",
    "consumers": ["west"],
}
HOSTVARS = {
    "east": {"mesh_ingress_addresses": ["192.0.2.21"], "mesh_exports": [EXPORT]},
    "west": {},
    "north": {},
}


def test_what_the_module_takes():
    assert ingress_certificates(HOSTVARS, "east") == [
        {
            "namespace": "bookinfo",
            "secret": "multimesh-ingress.reviews.bookinfo",
            "hosts": ["9080.reviews.bookinfo.svc"],
            "spiffe_id": "spiffe://east.mesh/ns/bookinfo/sa/ingress_controller",
        }
    ]
    assert ingress_certificates(HOSTVARS, "west") == []


def test_what_is_offered_to_meshes_that_leave_needs_none():
    assert ingress_certificates(HOSTVARS, "east", without=["west"]) == []
    assert ingress_certificates(HOSTVARS, "east", without=["east"]) == []
    assert len(ingress_certificates(HOSTVARS, "east", without=["north"])) == 1


def test_a_controller_may_come_later():
    hostvars = {**HOSTVARS, "east": {"mesh_exports": [EXPORT]}, "west": {"federation_mesh_info": {"mesh": {}}}}
    assert len(ingress_certificates(hostvars, "east")) == 1


def test_an_unknown_host():
    with pytest.raises(AnsibleError, match="eats: no mesh and no host"):
        ingress_certificates(HOSTVARS, "eats")
