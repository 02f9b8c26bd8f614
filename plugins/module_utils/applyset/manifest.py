# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Objects as one text.

Ansible looks at every value of a list that is an option, for templates and for what must not be shown, and copies it
several times: a thousand objects take it longer than an API server needs to apply them. Into a text it does not look.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError

_BETWEEN = re.compile(r"^---[ \t]*$", re.MULTILINE)


class ManifestError(MultimeshError):
    """The text is no list of objects."""


def write(objects: Iterable[Any]) -> str:
    """A text that ``read`` gives the same objects for: documents of YAML, each a line of JSON."""
    # Not one JSON list, which Ansible before 2.19 would take apart again.
    return "".join(f"---\n{json.dumps(item)}\n" for item in objects) or "---\n[]\n"


def read(text: str) -> list[Any]:
    """The objects in a text: documents of YAML or JSON, each an object or a list of objects. Raises ManifestError."""
    documents = [part for part in _BETWEEN.split(text) if part.strip()]
    if not documents:
        raise ManifestError("manifest is empty. To delete every object of the set say so: an empty list, []")
    try:
        found = [json.loads(part) for part in documents]
    except ValueError:
        found = _read_yaml(text)
    objects: list[Any] = []
    for item in found:
        if isinstance(item, list):
            objects += item
        elif isinstance(item, dict) and item.get("kind") == "List" and isinstance(item.get("items"), list):
            objects += item["items"]
        elif item is not None:
            objects.append(item)
    return objects


def _read_yaml(text: str) -> list[Any]:
    import yaml  # here, because what this collection writes itself is JSON

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        """Dates are texts, as to Kubernetes."""

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in Loader.yaml_implicit_resolvers.items()
    }
    try:
        return list(yaml.load_all(text, Loader))
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise ManifestError(f"manifest is neither YAML nor JSON: {said}") from None
