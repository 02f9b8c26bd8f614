# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.model.addresses import pinned
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.model.build import export, host, inventory

EAST = "192.0.2.1"
WEST = "192.0.2.2"
LARGE = IPv4Network("241.0.0.0/8")
SMALL = IPv4Network("10.0.0.0/27")

names = st.lists(
    st.from_regex(r"[a-z]{1,8}\.[a-z]{1,3}", fullmatch=True), max_size=SMALL.num_addresses - 2, unique=True
)


def test_an_address_is_that_of_the_name_alone() -> None:
    assert pinned(["reviews.books.svc.east.global"], LARGE) == {"reviews.books.svc.east.global": "241.59.220.223"}


@settings(deadline=None)
@given(names)
def test_every_host_has_one_of_its_own_inside_the_range(hosts: list[str]) -> None:
    found = pinned(hosts, SMALL)
    assert set(found) == set(hosts)
    assert len(set(found.values())) == len(hosts)
    for address in map(IPv4Address, found.values()):
        assert address in SMALL
        assert address not in (SMALL.network_address, SMALL.broadcast_address)


@settings(deadline=None)
@given(names, st.randoms())
def test_order_and_repetition_make_no_difference(hosts: list[str], random: object) -> None:
    shuffled = [*hosts, *hosts]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert pinned(shuffled, SMALL) == pinned(hosts, SMALL)


@settings(deadline=None)
@given(names, names)
def test_in_a_large_range_no_host_moves_another(some: list[str], more: list[str]) -> None:
    before, after = pinned(some, LARGE), pinned({*some, *more}, LARGE)
    assert {name: after[name] for name in some} == before


def test_who_shares_an_address_makes_room_for_the_first_by_name() -> None:
    network = IPv4Network("10.0.0.0/30")
    assert pinned(["a", "b"], network) == {"a": "10.0.0.1", "b": "10.0.0.2"}
    assert pinned(["b"], network) == {"b": "10.0.0.1"}


def test_a_range_that_is_too_small() -> None:
    with pytest.raises(MultimeshError, match=r"mesh_address_range: 10\.0\.0\.0/30 has no room for 3 hosts"):
        pinned(["a", "b", "c"], IPv4Network("10.0.0.0/30"))


def test_addresses_are_the_same_in_all_clusters() -> None:
    found = inventory(
        east=host(export("reviews", "all"), address=EAST),
        west=host(export("ratings", "all"), address=WEST),
        north=host(),
    )
    everything = found.clusters["north"].addresses
    assert set(everything) == {"reviews.books.svc.east.global", "ratings.books.svc.west.global"}
    assert found.clusters["west"].addresses.items() <= everything.items()
    assert found.clusters["east"].addresses.items() <= everything.items()


def test_a_range_of_the_clusters_own() -> None:
    found = inventory(east=host(export("reviews", "west"), address=EAST), west=host(address_range="10.200.0.0/16"))
    assert list(found.clusters["west"].addresses.values()) == ["10.200.112.7"]


def test_left_to_istiod() -> None:
    found = inventory(east=host(export("reviews", "west"), address=EAST), west=host(address_range="auto"))
    assert found.clusters["west"].addresses == {}
