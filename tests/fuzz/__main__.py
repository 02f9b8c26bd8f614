# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python -m tests.fuzz``: spoil bundles and see whether the verification says what Go, OpenSSL and Envoy say."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.fuzz import campaign, check, mutators
from tests.fuzz.campaign import Tally
from tests.fuzz.keyring import Keyring
from tests.fuzz.verifiers import envoy, golang, openssl
from tests.lab.progress import format_line, say


def table(total: Tally) -> str:
    """The figures at the end."""
    lines = [f"{'mutator':40} {'cases':>8} {'accepted':>8} {'refused':>8}"]
    for name in sorted({*total.accepted, *total.refused}):
        accepted, refused = total.accepted[name], total.refused[name]
        lines.append(f"{name:40} {accepted + refused:8} {accepted:8} {refused:8}")
    lines.append(f"{'finding':40} {'cases':>8} {'accepted by all verifiers, of one in':>8} {campaign.ALSO_REFUSED}")
    for name in sorted(total.findings):
        lines.append(f"{name:40} {total.findings[name]:8} {total.stricter[name]:8}")
    asked = ", ".join(f"{name} {total.asked[name]}" for name in ("Go", "OpenSSL", "Envoy"))
    seconds, index, names = total.slowest
    lines.append(f"bundles put before {asked}; of them refused by the verification {total.asked_refused}")
    lines.append(f"slowest verification {seconds:.3f} s: case {index}, {' + '.join(names)}")
    lines.append(f"{total.cases} cases, {total.taken} accepted, {len(total.failures)} failures")
    return "\n".join(lines)


def one(seed: int, index: int, now: datetime, folder: Path | None) -> bool:
    """Make one case again and say everything about it; its files go to a folder if there is one."""
    keys = Keyring(seed)
    case = mutators.case(seed, index, now, keys)
    print(" + ".join(case.mutators) or "(none)")
    if folder is not None:
        folder.mkdir(parents=True)
        for name, content in (*case.files.items(), ("federation.pem", check.bundle(case).federation)):
            (folder / name).write_bytes(content)
    verdict = check.verify(case)
    for line in (*verdict.findings, *(f"FAULT {fault}" for fault in verdict.faults)):
        print(line)
    print(f"{'refused' if verdict.findings else 'accepted'} in {verdict.seconds:.3f} s")
    leaf_key = keys.get("p256", "leaf")
    with golang.Go(golang.program(), leaf_key) as go:
        bundle, complaints = go.judge(check.bundle(case))
        if bundle.leaves and all(bundle.leaves):
            complaints += openssl.judge(bundle)
            complaints += envoy.Envoy(envoy.program(), go, leaf_key).judge([bundle])[0]
    print("\n".join(complaints) or "Go, OpenSSL and Envoy have nothing against it")
    return not verdict.faults and bool(verdict.findings or not complaints)


def main() -> int:
    """Parse the command line and do it."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="cases, default 5000")
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 2, help="processes, default one per core")
    parser.add_argument("--without-envoy", action="store_true", help="ask only Go and OpenSSL")
    parser.add_argument("--index", type=int, help="make only this case again and explain it")
    parser.add_argument("--now", type=datetime.fromisoformat, help="the moment of that case, default the present")
    parser.add_argument("--files", type=Path, help="new folder for the files of that case, keys included")
    arguments = parser.parse_args()
    seed = secrets.randbelow(2**31) if arguments.seed is None else arguments.seed
    if arguments.index is not None:
        now = arguments.now or datetime.now(UTC).replace(microsecond=0)
        return 0 if one(seed, arguments.index, now, arguments.files) else 1
    started = time.monotonic()
    say(f"seed {seed}")
    total = campaign.run(
        seed,
        arguments.count,
        arguments.workers,
        lambda text: say(format_line(time.monotonic() - started, None, text)),
        with_envoy=not arguments.without_envoy,
    )
    say(table(total))
    say(f"{time.monotonic() - started:.0f} s")
    return 1 if total.failures or total.cases != arguments.count else 0


if __name__ == "__main__":
    sys.exit(main())
