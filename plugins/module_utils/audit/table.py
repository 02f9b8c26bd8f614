# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""An audit for people."""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.multimesh.istio.plugins.module_utils.audit.difference import Grant
from ansible_collections.multimesh.istio.plugins.module_utils.audit.report import Report
from ansible_collections.multimesh.istio.plugins.module_utils.text_table import aligned


def table(report: Report) -> str:
    """Who may call what, one line each, and under it what is not as the inventory says."""
    rows = [
        (
            f"{grant.namespace}/{grant.service}",
            str(grant.port),
            grant.via,
            _but(grant.caller, grant.except_callers),
            _but(_list(grant.methods, "all"), grant.except_methods) if _is_http(grant) else "-",
            _but(_list(grant.paths, "all"), grant.except_paths) if _is_http(grant) else "-",
            _list(grant.limited_by, "") or "-",
        )
        for grant in report.grants
    ]
    shown = aligned(("SERVICE", "PORT", "VIA", "CALLER", "METHODS", "PATHS", "LIMITED FURTHER BY"), rows)
    return shown + "".join(f"{difference}\n" for difference in report.differences)


def _is_http(grant: Grant) -> bool:
    return grant.protocol in ("HTTP", "HTTP2", "GRPC")


def _list(values: Iterable[str] | None, every: str) -> str:
    return every if values is None else ", ".join(values)


def _but(text: str, exceptions: Iterable[str]) -> str:
    left_out = ", ".join(exceptions)
    return f"{text} but {left_out}" if left_out else text
