# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab's cables: a bridge in a network namespace of its own, one cable to the host and one to every cluster.

The bridge is not the host's, so neither the host's packet filter nor its forwarding is concerned, and all cables go
with the namespaces at their ends.
"""

from __future__ import annotations

import json
import os
from ipaddress import IPv4Network
from pathlib import Path

from tests.lab.addresses import choose_subnet, host_address, mac_address
from tests.lab.place import Place, all_records
from tests.lab.process import run

NODE_INTERFACE = "eth0"
_BRIDGE = "br0"
_NO_FILTER = "[ ! -e /proc/sys/net/bridge ] || for f in /proc/sys/net/bridge/bridge-nf-call-*; do echo 0 > $f; done"


def free_subnet() -> IPv4Network:
    """A subnet that no lab has and no route of this host leads to. To be called under the machine's lock."""
    taken = [IPv4Network(record.subnet) for record in all_records().values() if record]
    for route in json.loads(run("ip", "-json", "-4", "route", "show", "table", "all")):
        if route["dst"] != "default":
            taken.append(IPv4Network(route["dst"], strict=False))
    return choose_subnet(taken)


def ensure_switch(place: Place, subnet: IPv4Network) -> None:
    """Makes the bridge and the host's cable to it, whatever of them is missing."""
    space = place.switch
    if not os.path.ismount(space):
        space.touch()
        run("unshare", f"--net={space}", "true")
    if _BRIDGE not in _interfaces(space):
        _inside(space, "sh", "-c", _NO_FILTER)
        _inside(space, "ip", "link", "add", _BRIDGE, "type", "bridge")
    if place.interface not in _interfaces():
        run("ip", "link", "add", place.interface, "type", "veth", "peer", "name", "host", "netns", space)
    _inside(space, "ip", "link", "set", _BRIDGE, "up")
    _inside(space, "ip", "link", "set", "host", "master", _BRIDGE, "up")
    run("ip", "address", "replace", f"{host_address(subnet)}/{subnet.prefixlen}", "dev", place.interface)
    run("ip", "link", "set", place.interface, "up")


def attach(place: Place, address: str, pid: int) -> None:
    """Plugs a new cable from the bridge into the network namespace of process `pid`."""
    port = _port(address)
    if port in _interfaces(place.switch):
        _inside(place.switch, "ip", "link", "delete", port)
    peer = ["peer", "name", NODE_INTERFACE, "address", mac_address(address), "netns", str(pid)]
    _inside(place.switch, "ip", "link", "add", port, "type", "veth", *peer)
    _inside(place.switch, "ip", "link", "set", port, "master", _BRIDGE, "up")


def route(pid: int, destination: str, via: str) -> None:
    """A route in the network namespace of process `pid`; made again, it changes nothing."""
    run("nsenter", f"--target={pid}", "--net", "--", "ip", "route", "replace", destination, "via", via)


def set_link(place: Place, address: str, up: bool) -> None:
    """Cuts the cable of a cluster, or mends it."""
    _inside(place.switch, "ip", "link", "set", _port(address), "up" if up else "down")


def remove(switch: Path, interface: str) -> None:
    """Removes the switch; cables to clusters that are gone went with them."""
    if interface in _interfaces():
        run("ip", "link", "delete", interface)
    if os.path.ismount(switch):
        run("umount", switch)


def _inside(space: Path, *argv: str) -> str:
    return run("nsenter", f"--net={space}", "--", *argv)


def _port(address: str) -> str:
    return "port" + address.rpartition(".")[2]


def _interfaces(space: Path | None = None) -> set[str]:
    show = ("ip", "-json", "link", "show")
    text = _inside(space, *show) if space else run(*show)
    return {link["ifname"] for link in json.loads(text or "[]")}
