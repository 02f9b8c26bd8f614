# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""``make bench``: measures what is named by PART, or everything, and writes docs/bench.md."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from tests.bench import apply, clusters, compute, machine, report, site

PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "compute": compute.measure,
    "apply": apply.measure,
    "site": site.measure,
    "clusters": clusters.measure,
}


def main() -> None:
    """Measure and write."""
    wanted = os.environ.get("PART", "").replace(",", " ").split() or list(PARTS)
    if unknown := sorted(set(wanted) - set(PARTS)):
        raise SystemExit(f"PART: there is no {', '.join(unknown)}. Use some of: {' '.join(PARTS)}.")
    about = machine.describe()
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    for part in wanted:
        print(f"{part}:", flush=True)
        report.save(part, {"machine": about, **PARTS[part]()})
        report.write()
    print(f"written to {report.PAGE}")


if __name__ == "__main__":
    main()
