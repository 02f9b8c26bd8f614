# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""No piece of a private key, and no passphrase, leaves the process that needs it."""

from __future__ import annotations

import pytest

from tests.canary import Watch
from tests.e2e.support import known_secrets


@pytest.fixture(scope="module")
def canary(federation):
    """Knows the keys of now."""
    return known_secrets(federation)


def test_the_run_that_made_the_keys_showed_none_of_them(first_run):
    output, canary = first_run.run.output, first_run.canary
    print(f"{len(output)} characters of output, {first_run.watch.seen} files, arguments and environments")
    assert "Using module file" in output, "the run was as talkative as can be"
    assert canary.find(output.encode()) == set()
    assert first_run.watch.seen > 100
    assert first_run.watch.find(canary) == {}


@pytest.mark.parametrize("arguments", [("site", "--check"), ("verify",)])
def test_later_runs_show_none_either(federation, canary, arguments, tmp_path):
    facts = {"ANSIBLE_CACHE_PLUGIN": "jsonfile", "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(tmp_path)}
    with Watch(federation.temporary) as watch:
        run = federation.play(*arguments, "-vvvv", "--diff", env=facts).ok()
    assert canary.find(run.output.encode()) == set()
    assert watch.find(canary) == {}
    assert canary.find_in_files(tmp_path, federation.temporary) == {}
