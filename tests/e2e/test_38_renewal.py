# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""CAs that live for minutes are succeeded in time, again and again, and no request notices."""

from __future__ import annotations

import itertools
import time

import pytest

from tests.e2e import scenario
from tests.e2e.load import Load
from tests.e2e.scenario import MESHES
from tests.e2e.support import cacerts

pytestmark = pytest.mark.long

MINUTES = 9
RENEWALS = 2
SHORT = (
    "-e",
    f'{{"shared_root_ca_intermediate_lifetime_days": {MINUTES / 1440}, "shared_root_ca_settle_seconds": 45}}',
)


@pytest.fixture(scope="module")
def short_lived(federation):
    """Every mesh gets such a CA, under a new root; afterwards one with the usual life again."""
    federation.write_inventory(scenario.hosts())
    (root,) = cacerts(federation, MESHES[0]).roots
    federation.play("rotate_root_ca", "-e", f"shared_root_ca_rotate_from={root}", *SHORT).ok()
    yield
    (root,) = set(cacerts(federation, MESHES[0]).roots)
    federation.play("rotate_root_ca", "-e", f"shared_root_ca_rotate_from={root}").ok()


@pytest.mark.usefixtures("short_lived")
def test_they_are_renewed_under_load(federation):
    signers = {mesh: [cacerts(federation, mesh).signer] for mesh in MESHES}
    end = time.monotonic() + (RENEWALS + 1) * MINUTES * 60
    with Load(federation, itertools.permutations(MESHES, 2), qps=10) as load:
        while min(map(len, signers.values())) <= RENEWALS and time.monotonic() < end and not load.failed:
            federation.play("site", *SHORT).ok()
            for mesh, seen in signers.items():
                if (found := cacerts(federation, mesh).signer) != seen[-1]:
                    seen.append(found)
        time.sleep(60)
    print(f"{load.total} requests, failed: {load.failed or 'none'}", *load.failures, sep="\n")
    print({mesh: len(seen) - 1 for mesh, seen in signers.items()}, "renewals")
    assert load.problems == []
    assert load.failed == {}
    assert min(map(len, signers.values())) > RENEWALS
