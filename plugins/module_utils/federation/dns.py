# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a DNS server has to know, so that clients find imported hosts whose sidecar does not answer for them."""

from __future__ import annotations

from ansible_collections.multimesh.istio.plugins.module_utils.errors import InventoryError, Problem
from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Cluster


def hosts(cluster: Cluster) -> dict[str, list[str]]:
    """Addresses of every imported host; a Service of the cluster's own has one by itself.

    Raises InventoryError if nobody but istiod knows them.
    """
    if cluster.address_range is None:
        raise InventoryError(
            [
                Problem(
                    cluster.host,
                    "mesh_address_range",
                    "expected a range, because addresses that istiod gives out are no others' to know, found 'auto'",
                    "Choose a range, or leave role dns out",
                )
            ]
        )
    return {host: [address] for host, address in cluster.addresses.items()}
