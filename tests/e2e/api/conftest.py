# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real API server with Istio's definitions and no node: all that applying objects needs, up in seconds."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.api.cluster import ApiCluster
from tests.lab.api import Lab

MESH = "api"


@pytest.fixture(scope="session")
def api_cluster() -> Iterator[ApiCluster]:
    """One fresh cluster for all tests of this folder; each test works in namespaces of its own."""
    lab = Lab(os.environ.get("MULTIMESH_API_LAB", "api-test"))
    lab.down()
    lab.up([MESH], api_only=True)
    cluster = ApiCluster(lab, MESH)
    lab.install_istio_definitions(MESH)
    yield cluster
    if os.environ.get("MULTIMESH_KEEP_LAB") != "1":
        lab.down()


@pytest.fixture
def namespace(api_cluster: ApiCluster, numbers: Iterator[int]) -> str:
    """A namespace of this test's own."""
    return api_cluster.make_namespace(f"test-{next(numbers)}")


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    return itertools.count()


@pytest.fixture
def run_set(api_cluster: ApiCluster, namespace: str) -> Callable[..., dict]:
    """Run the applyset module on a set of this test's own; gives its result."""

    def run(objects, **options):
        return api_cluster.module("applyset", name="set", namespace=namespace, objects=objects, **options)

    return run
