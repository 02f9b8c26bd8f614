# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Durations with their unit, as Istio's own ones, but longer than nothing."""

from __future__ import annotations

import re

from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import Fields

_DURATION = re.compile(r"(?P<number>\d+(\.\d+)?)(?P<unit>ms|s|m|h)\Z")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def read_seconds(fields: Fields, key: str) -> float | None:
    """A duration such as ``500ms``, in seconds; None if left out or wrong."""
    value = fields.text(key, _rule, "Write for example '500ms', '10s' or '2m'")
    found = _DURATION.match(value) if value else None
    return float(found["number"]) * _SECONDS[found["unit"]] if found else None


def written(seconds: float) -> str:
    """Seconds as Kubernetes writes durations, to the millisecond."""
    return f"{round(seconds, 3):g}s"


def _rule(value: str) -> str | None:
    found = _DURATION.match(value)
    if found and float(found["number"]) > 0:
        return None
    return "a duration with its unit, for example '10s'"
