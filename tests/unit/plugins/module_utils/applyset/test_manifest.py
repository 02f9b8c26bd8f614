# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.manifest import ManifestError, read, write

ONE: dict[str, Any] = {"kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1\n---\n{{ y }}", "ü": "2"}}
OTHER: dict[str, Any] = {"kind": "Service", "metadata": {"name": "b"}, "spec": {"ports": [{"port": 80}]}}


@pytest.mark.parametrize("objects", [[], [ONE], [ONE, OTHER]])
def test_what_is_written_is_read(objects: list[Any]) -> None:
    assert read(write(objects)) == objects


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('[{"kind": "A"}, {"kind": "B"}]', [{"kind": "A"}, {"kind": "B"}]),
        ('{"kind": "List", "items": [{"kind": "A"}]}', [{"kind": "A"}]),
        ("kind: A\n---\n# nothing\n---\n- kind: B\n", [{"kind": "A"}, {"kind": "B"}]),
        ("kind: A\ndata: {day: 2026-01-02}", [{"kind": "A", "data": {"day": "2026-01-02"}}]),
        ("---\nkind: A\n---\n", [{"kind": "A"}]),
        ("[]", []),
        ("text", ["text"]),
    ],
)
def test_yaml_and_json(text: str, found: list[Any]) -> None:
    assert read(text) == found


@pytest.mark.parametrize("text", ["", " \n", "---\n---\n"])
def test_nothing_is_not_an_empty_list(text: str) -> None:
    with pytest.raises(ManifestError, match="an empty list"):
        read(text)


def test_what_is_no_yaml() -> None:
    with pytest.raises(ManifestError, match=r"manifest is neither YAML nor JSON: .*line "):
        read("a: [")
