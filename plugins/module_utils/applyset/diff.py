# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plan as Ansible shows it with --diff."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.applyset.fields import owned_fields, project
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.identity import ObjectKey
from ansible_collections.multimesh.istio.plugins.module_utils.applyset.plan import Live, Plan


def differences(plan: Plan, manager: str) -> list[dict[str, str]]:
    """One before/after pair of YAML texts for each object that is created, changed or deleted."""
    shown = [_difference(wanted.key, None, wanted.body) for wanted in plan.create]
    for change in plan.change:
        shown.append(
            _difference(change.desired.key, ours(change.live, change.desired.body, manager), change.desired.body)
        )
    shown += [_difference(live.key, ours(live, {}, manager), None) for live in plan.delete]
    return shown


def ours(live: Live, desired: Mapping[str, Any], manager: str) -> dict[str, Any]:
    """What a live object has of the fields that are wanted or were applied before."""
    return project(live.body, desired, owned_fields(live.body, manager))


def _difference(key: ObjectKey, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> dict[str, str]:
    return {"before_header": str(key), "after_header": str(key), "before": _text(before), "after": _text(after)}


def _text(body: Mapping[str, Any] | None) -> str:
    if body is None:
        return ""
    import yaml  # here, because only --diff needs it

    if body.get("kind") == "Secret":
        body = {**body, "data": {key: fingerprint(value) for key, value in (body.get("data") or {}).items()}}

    class Dumper(yaml.SafeDumper):
        """Texts of several lines, such as files in ConfigMaps, as these lines."""

    Dumper.add_representer(
        str,
        lambda dumper, text: dumper.represent_scalar(
            "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
        ),
    )
    return str(yaml.dump(dict(body), Dumper=Dumper, default_flow_style=False, sort_keys=True, width=120))


def fingerprint(encoded: Any) -> str:
    """SHA-256 of the value behind a base64 text, which is all of a Secret that may be shown."""
    try:
        value = base64.b64decode(str(encoded), validate=True)
    except (binascii.Error, ValueError):
        value = str(encoded).encode()
    return f"sha256:{hashlib.sha256(value).hexdigest()}"
