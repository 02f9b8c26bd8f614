# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

from tests.fuzz import campaign
from tests.fuzz.__main__ import table

COUNT = int(os.environ.get("MULTIMESH_FUZZ", "5000"))
SEED = int(os.environ.get("MULTIMESH_FUZZ_SEED", "1"))


def test_no_spoiled_bundle_raises_or_is_accepted_when_a_verifier_refuses_it() -> None:
    print(f"seed {SEED}")
    total = campaign.run(SEED, COUNT, os.cpu_count() or 2, print)
    print(table(total))
    assert (total.cases, total.failures) == (COUNT, [])
    assert total.taken > COUNT / 50
    assert all(total.asked[name] > COUNT / 50 for name in ("Go", "OpenSSL", "Envoy"))
