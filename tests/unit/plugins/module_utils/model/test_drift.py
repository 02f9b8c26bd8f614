# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Addresses of gateways that live: several, of both sorts, and differences that are told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.plugins.module_utils.model.build import export, facts, host, inventory

EAST, WEST = "192.0.2.1", "192.0.2.2"


def warnings(east: dict[str, Any], remembered: Any = None) -> tuple[str, ...]:
    """What west is told of east, and east of itself."""
    told = facts(address=WEST, remembered={"east": {"gateway_addresses": remembered}} if remembered else None)
    return inventory(east=east, west=host(facts=told)).warnings


def exporter(said: list[str] | None, told: list[str] | None) -> dict[str, Any]:
    live = None if told is None else {**facts(), "gateway_addresses": told}
    return host(export("reviews", "west"), gateway_addresses=said, facts=live)


@pytest.mark.parametrize(
    ("said", "told", "remembered"),
    [
        (None, [EAST], [EAST]),
        (None, [EAST, "192.0.2.9"], ["192.0.2.9", EAST]),
        ([EAST], [EAST], [EAST]),
        (["gw.east.example"], [EAST], ["gw.east.example"]),
        ([EAST], ["gw.east.example"], [EAST]),
        ([EAST], [], [EAST]),
        (None, [EAST], None),
        ([EAST], None, [EAST]),
    ],
)
def test_nothing_to_say(said: list[str] | None, told: list[str] | None, remembered: list[str] | None) -> None:
    assert warnings(exporter(said, told), remembered) == ()


@pytest.mark.parametrize(
    ("said", "told", "at", "now"),
    [
        (None, ["192.0.2.9"], [EAST], "192.0.2.9"),
        (None, ["192.0.2.9", "192.0.2.8"], [EAST], "192.0.2.8, 192.0.2.9"),
        (None, ["gw.east.example"], [EAST], "gw.east.example"),
        (["gw.east.example"], [EAST], [EAST], "gw.east.example"),
        (["192.0.2.9"], None, [EAST], "192.0.2.9"),
    ],
)
def test_entries_that_lead_elsewhere(said: list[str] | None, told: list[str] | None, at: list[str], now: str) -> None:
    assert warnings(exporter(said, told), at) == (
        (
            f"west: callers are sent to the gateway of east at {', '.join(at)}, and it is at {now}; playbook"
            " multimesh.istio.site corrects that"
        ),
    )


@pytest.mark.parametrize(
    ("said", "told"),
    [(["192.0.2.9"], [EAST]), ([EAST, "192.0.2.9"], [EAST]), (["old.east.example"], ["gw.east.example"])],
)
def test_an_inventory_that_says_something_else(said: list[str], told: list[str]) -> None:
    assert warnings(exporter(said, told)) == (
        (
            f"east: mesh_gateway_addresses says {', '.join(sorted(said))}, and the gateway's Service {told[0]};"
            " callers are sent"
            " to the former"
        ),
    )


def test_a_peer_that_left_or_was_not_asked_is_not_spoken_of() -> None:
    remembered = {"east": {"gateway_addresses": [EAST]}, "gone": {"gateway_addresses": ["192.0.2.7"]}}
    found = inventory(east=host(export("reviews", "west")), west=host(facts=facts(remembered=remembered)))
    assert [text for text in found.warnings if "gateway of" in text] == []
