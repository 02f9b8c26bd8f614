# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from tests.lab import addresses
from tests.lab.errors import LabError


@pytest.mark.parametrize(
    ("taken", "chosen"),
    [
        ([], "198.18.0.0/24"),
        (["0.0.0.0/0"], "198.18.0.0/24"),
        (["198.18.0.0/24", "198.18.1.0/24"], "198.18.2.0/24"),
        (["198.18.1.0/24"], "198.18.0.0/24"),
        (["198.18.0.77/32"], "198.18.1.0/24"),
        (["198.18.0.0/16"], "198.19.0.0/24"),
        (["10.0.0.0/8", "192.168.0.0/16"], "198.18.0.0/24"),
    ],
)
def test_first_free_subnet(taken: list[str], chosen: str) -> None:
    assert str(addresses.choose_subnet(map(IPv4Network, taken))) == chosen


def test_no_free_subnet() -> None:
    with pytest.raises(LabError, match="sweep"):
        addresses.choose_subnet([addresses.POOL])


def test_addresses_of_a_subnet_are_distinct() -> None:
    subnet = IPv4Network("198.18.7.0/24")
    taken = [str(addresses.host_address(subnet))]
    for _index in range(addresses.LAST_MESH - addresses.FIRST_MESH + 1):
        taken.append(str(addresses.mesh_address(subnet, taken)))
    assert taken[0] == "198.18.7.1"
    assert taken[1] == "198.18.7.11"
    assert len(set(taken)) == len(taken)
    with pytest.raises(LabError, match=r"198\.18\.7\.0/24"):
        addresses.mesh_address(subnet, taken)


def test_address_of_a_removed_mesh_is_given_again() -> None:
    assert str(addresses.mesh_address(IPv4Network("198.18.0.0/24"), ["198.18.0.12"])) == "198.18.0.11"


def test_mac_address_is_local_and_unicast() -> None:
    first = addresses.mac_address("198.18.0.11")
    assert first == "02:4d:c6:12:00:0b"
    assert int(first[:2], 16) & 0b11 == 0b10
