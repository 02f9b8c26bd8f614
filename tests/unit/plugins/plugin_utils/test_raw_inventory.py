# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from ansible.errors import AnsibleError, AnsibleUndefinedVariable
from ansible.executor.process.worker import WorkerProcess
from ansible_collections.multimesh.istio.plugins.plugin_utils import raw_inventory as reader
from ansible_collections.multimesh.istio.plugins.plugin_utils.raw_inventory import decoded, inventory_texts, plain


def raw_inventory(hostvars: Any, groups: Any = None) -> dict[str, Any]:
    return decoded(inventory_texts(hostvars, groups))


class Text(str):
    """As Ansible marks strings: unsafe, tagged, with an origin."""

    __slots__ = ()


class Number(int):
    """As Ansible tags numbers."""


class Vaulted:
    """As Ansible keeps a vaulted value."""

    __ENCRYPTED__ = True

    def __str__(self) -> str:
        return "opened"


class Lazy(Mapping[str, Any]):
    """Variables that are templated when they are read."""

    def __init__(self, **values: Any) -> None:
        self.values_of = values

    def __getitem__(self, key: str) -> Any:
        value = self.values_of[key]
        if isinstance(value, Exception):
            raise value
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_of)

    def __len__(self) -> int:
        return len(self.values_of)


def builtin(value: Any) -> bool:
    if isinstance(value, dict):
        return value.__class__ is dict and all(builtin(key) and builtin(item) for key, item in value.items())
    if isinstance(value, list):
        return value.__class__ is list and all(map(builtin, value))
    return value.__class__ in (str, int, float, bool, type(None))


def test_plain_values_are_builtin() -> None:
    value = Lazy(**{Text("a"): [Text("b"), Number(1), 1.5, True, None, (Vaulted(),)]})
    assert plain(value) == {"a": ["b", 1, 1.5, True, None, ["opened"]]}
    assert builtin(plain(value))


def test_only_variables_of_the_contract_are_read() -> None:
    hostvars = {
        "east": Lazy(
            group_names=["meshes", "eu"],
            mesh_domain=Text("global"),
            other=AnsibleUndefinedVariable("never looked at"),
            mesh_info={"changed": False, "mesh": {}},
        ),
        "db": {"group_names": ["others"], "mesh_domain": "x"},
    }
    expected = {"hosts": {"east": {"vars": {"mesh_domain": "global"}, "groups": ["eu", "meshes"]}}}
    assert raw_inventory(hostvars) == expected
    assert raw_inventory(hostvars, {"meshes": ["east"], "others": ["db"]}) == expected


def test_plain_hosts_are_clusters() -> None:
    assert raw_inventory({"east": {"mesh_name": "e"}}) == {
        "hosts": {"east": {"vars": {"mesh_name": "e"}, "groups": ["meshes"]}}
    }


FACTS = {"gateway_addresses": ["192.0.2.1"], "services": [], "remembered": {}}


@pytest.mark.parametrize(
    ("result", "found"),
    [
        ({"changed": False, "mesh": FACTS}, True),
        ({"changed": False, "failed": False, "mesh": FACTS}, True),
        ({"changed": False, "failed": True, "mesh": FACTS}, False),
        ({"changed": False, "unreachable": True, "mesh": FACTS}, False),
        ({"changed": False, "skipped": True}, False),
        ({"changed": False, "mesh": None}, False),
        ("text", False),
    ],
)
def test_facts_are_those_of_a_cluster_that_answered(result: Any, found: bool) -> None:
    raw = raw_inventory({"east": {"federation_mesh_info": result}})
    assert raw["hosts"]["east"].get("facts") == (FACTS if found else None)


def test_a_value_that_cannot_be_resolved_is_named() -> None:
    hostvars = {"east": Lazy(mesh_domain=AnsibleUndefinedVariable("'nope' is undefined"))}
    with pytest.raises(AnsibleError, match="east: mesh_domain: cannot be resolved"):
        raw_inventory(hostvars)


@pytest.mark.parametrize(("hostvars", "groups"), [({}, None), ({"east": {}}, {}), ({"db": {"group_names": []}}, None)])
def test_no_clusters(hostvars: Any, groups: Any) -> None:
    with pytest.raises(AnsibleError, match="no host in group 'meshes'"):
        raw_inventory(hostvars, groups)


@pytest.mark.parametrize(
    ("process", "seen"),
    [
        (multiprocessing.Process(), "new"),  # in which somebody's program runs Ansible
        (WorkerProcess.__new__(WorkerProcess), "old"),
    ],
)
def test_only_a_worker_which_has_one_task_remembers_what_it_read(
    monkeypatch: pytest.MonkeyPatch, process: Any, seen: str
) -> None:
    monkeypatch.setattr(reader, "current_process", lambda: process)
    monkeypatch.setattr(reader, "_last", None)
    hostvars = {"east": {"mesh_name": "old"}}
    raw_inventory(hostvars)
    hostvars["east"]["mesh_name"] = "new"
    assert raw_inventory(hostvars)["hosts"]["east"]["vars"] == {"mesh_name": seen}
    assert raw_inventory({"east": {"mesh_name": "other"}})["hosts"]["east"]["vars"] == {"mesh_name": "other"}
