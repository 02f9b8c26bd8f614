# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading of attributes, of an export or of a mesh: any plain data, by which others select."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.model import names
from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Fields, shown


def read_attributes(fields: Fields, key: str, way_out: str) -> Mapping[str, Any]:
    """A mapping, empty if left out. Its names are strings at any depth, because they are written as JSON."""
    found = fields.mapping(key, way_out) or {}
    _check_names(fields, key, found, way_out)
    return found


def _check_names(fields: Fields, path: str, value: Any, way_out: str) -> None:
    if isinstance(value, Mapping):
        for name, below in value.items():
            if not isinstance(name, str):
                fields.note(path, f"expected names that are strings, found {shown(name)}", way_out)
            _check_names(fields, f"{path}.{name}", below, way_out)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_names(fields, f"{path}[{index}]", item, way_out)


def read_telemetry_attributes(fields: Fields) -> tuple[str, ...]:
    """Variable ``mesh_telemetry_attributes``; an empty list switches off what a group has switched on."""
    key, way_out = "mesh_telemetry_attributes", "Name attributes of exports, for example [tier]"
    if not fields.items(key, way_out):
        return ()
    return fields.texts(key, names.telemetry_tag, way_out) or ()
