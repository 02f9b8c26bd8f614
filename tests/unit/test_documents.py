# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every variable and key of the inventory is explained, shown in an example, and every example is valid."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.multimesh.istio.plugins.module_utils.model import inventory
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Fields

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PEERS = ("east", "west", "north", "south")
GROUPS = {
    "shop": ("east", "west"),
    "books": ("east", "west"),
    "toys": ("north", "south"),
    "partners": ("north",),
}
"""Teams that the pages speak of."""


@dataclass(frozen=True)
class Example:
    """Variables of hosts in a fenced block of a page."""

    place: str
    hosts: dict[str, dict[str, Any]]

    def raw(self) -> dict[str, Any]:
        """A whole inventory around them, of clusters that have what the examples speak of."""
        taken = {variables.get("mesh_name") for variables in self.hosts.values()}
        hosts: dict[str, dict[str, Any]] = {name: {} for name in PEERS if name not in taken} | self.hosts
        return {
            "hosts": {
                name: {"vars": variables, "groups": _groups(name), "facts": _facts(index, variables)}
                for index, (name, variables) in enumerate(hosts.items())
            }
        }


def _groups(host: str) -> list[str]:
    return ["meshes", *(group for group, members in GROUPS.items() if host in members)]


def _facts(index: int, variables: dict[str, Any]) -> dict[str, Any]:
    """What ``mesh_info`` would say: every Service exported is there, with a cluster IP and an account of its name."""
    return {
        "gateway_addresses": [f"192.0.2.{index}"],
        "ingress_addresses": [f"198.51.100.{index}"],
        "services": [
            {
                "namespace": export["namespace"],
                "name": export["service"],
                "ports": [{"target_port": port["number"]} | port for port in _ports(export)],
                "selector": {"app": export["service"]},
                "service_accounts": [export["service"]],
                "cluster_ip": f"203.0.113.{number}",
            }
            for number, export in enumerate(variables.get("mesh_exports") or ())
        ],
    }


def _ports(export: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that it says, else 80 and whatever its consumers are limited to."""
    consumers = [consumer for consumer in export.get("consumers") or () if isinstance(consumer, dict)]
    numbers = sorted({80}.union(*(consumer.get("ports", ()) for consumer in consumers)))
    return export.get("ports") or [{"number": number, "name": "http", "protocol": "HTTP"} for number in numbers]


def examples(page: Path) -> Iterator[Example]:
    text = page.read_text()
    for match in re.finditer(r"^( *)```yaml\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        line = text.count("\n", 0, match.start()) + 1
        content = yaml.safe_load(re.sub(f"^{match[1]}", "", match[2], flags=re.MULTILINE))
        hosts = dict(_hosts(match[2], content))
        if any(key.startswith("mesh_") for variables in hosts.values() for key in variables):
            yield Example(f"{page.relative_to(ROOT)}:{line}", hosts)


def _hosts(text: str, content: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Hosts of an inventory or of a block with the variables of one, which its first line may name."""
    if not isinstance(content, dict):
        return
    inventory_group = content.get("meshes", content.get("all"))
    if isinstance(inventory_group, dict):
        common = inventory_group.get("vars") or {}
        for host, variables in (inventory_group.get("hosts") or {}).items():
            yield host, common | (variables or {})
    elif any(str(key).startswith("mesh_") for key in content):
        named = re.search(r"host_vars/(\w+)\.yml", text)
        yield named[1] if named else "east", content


EXAMPLES = [example for page in PAGES for example in examples(page)]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.place)
def test_an_example_is_valid(example: Example) -> None:
    inventory.parse(example.raw())


def keys(value: Any) -> Iterator[str]:
    """All keys of nested data."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


@pytest.fixture(scope="module")
def known() -> set[str]:
    """Keys that the model asks for while it reads every example."""
    asked: set[str] = set()
    original = Fields.has

    def has(self: Fields, key: str) -> bool:
        if "facts" not in self.path:
            asked.add(key)
        return original(self, key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fields, "has", has)
        for example in EXAMPLES:
            inventory.parse(example.raw())
    return asked


def without(found: Iterable[str], text: str) -> list[str]:
    return sorted(key for key in found if f"`{key}`" not in text and f"{key}:" not in text)


def test_every_key_is_explained(known: set[str]) -> None:
    assert without(known, "\n".join(page.read_text() for page in PAGES)) == []


def test_every_key_is_in_an_example(known: set[str]) -> None:
    shown = {key for example in EXAMPLES for key in keys(example.hosts)}
    for path in (ROOT / "inventories" / "example").rglob("*.yml"):
        shown |= set(keys(yaml.safe_load(path.read_text())))
    assert ", ".join(sorted(known - shown)) == ""
