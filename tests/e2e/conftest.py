# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""One lab of three meshes for all end-to-end tests, federated once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.canary import Watch
from tests.e2e import scenario
from tests.e2e.scenario import LOCALITIES, MESHES
from tests.e2e.support import AuditLog, Federation, known_secrets
from tests.lab.api import Lab

REUSE = os.environ.get("MULTIMESH_REUSE_LAB") == "1"
"""Take the lab as the last run left it, federated, and leave it up."""
KEEP = REUSE or os.environ.get("MULTIMESH_KEEP_LAB") == "1"
"""Leave it up for the next run."""


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Three fresh clusters, with the same pod and service ranges in each."""
    lab = Lab(os.environ.get("MULTIMESH_LAB", "test"))
    if not REUSE:
        lab.down()
    lab.up(list(MESHES), LOCALITIES)
    yield lab
    if not KEEP:
        lab.down()


@pytest.fixture(scope="session")
def unfederated(lab: Lab) -> Federation:
    """The inventory of the tests, with nothing run yet; of the services only the namespaces are there."""
    folder = Path(lab.place.published) / "e2e"
    if not REUSE:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    scenario.make_namespaces(lab)
    federation = Federation(lab, folder)
    federation.write_inventory(scenario.hosts())
    return federation


@pytest.fixture(scope="session")
def first_check(unfederated: Federation) -> SimpleNamespace:
    """``site --check --diff`` on empty clusters: the run and the write requests it sent."""
    logs = {mesh: AuditLog(unfederated.lab.audit_log(mesh)) for mesh in MESHES}
    run = unfederated.play("site", "--check", "--diff")
    return SimpleNamespace(run=run, writes={mesh: log.writes() for mesh, log in logs.items()})


@pytest.fixture(scope="session")
def first_run(unfederated: Federation, first_check: SimpleNamespace) -> SimpleNamespace:  # noqa: ARG001, for its order
    """The first real ``site``, watched for secrets, with the services of the scenario deployed behind it."""
    with Watch(unfederated.temporary) as watch:
        run = unfederated.play("site", "--diff", "-vvvv").ok()
    scenario.deploy(unfederated.lab)
    # later tests exchange the root and the CAs
    return SimpleNamespace(run=run, watch=watch, canary=known_secrets(unfederated))


@pytest.fixture(scope="session")
def federated(request: pytest.FixtureRequest, unfederated: Federation) -> Iterator[Federation]:
    """Three federated meshes with their services running, for modules that bring an inventory of their own.

    These need not undo it: whoever asks for ``federation`` has that done.
    """
    if not REUSE:
        request.getfixturevalue("first_run")
    yield unfederated
    if KEEP:
        restore(unfederated)


def restore(federation: Federation) -> None:
    if federation.hosts != scenario.hosts():
        federation.write_inventory(scenario.hosts())
        federation.play("site").ok()


@pytest.fixture(scope="module")
def federation(federated: Federation) -> Federation:
    """The same with the inventory of the scenario."""
    restore(federated)
    return federated
