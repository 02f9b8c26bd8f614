# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What `make test` runs."""

from __future__ import annotations

import re
import secrets
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.env import venv
from tests.env.checkout import CHECKOUT, collections_root, environment
from tests.lab.api import Lab
from tests.run.runner import OUTPUT, Check, Counts, junit_counter

PLAYBOOKS = sorted(f"playbooks/{path.name}" for path in (CHECKOUT / "playbooks").glob("*.yml"))
SANITY_PYTHON = "3.11"
UNIT_TESTS = {
    # The pure core does not know of ansible-core, and has run with this Python already.
    "oldest": ("tests/unit/plugins", "--ignore=tests/unit/plugins/module_utils"),
    # Another Python. Killing runs takes a while, and it has no part in that; nor have the lab and the tools.
    "newest": ("tests/unit/plugins", "--ignore-glob=*/test_interruptions.py"),
}
E2E_LAB = "test"
API_TESTS = ("tests/e2e/api", "tests/e2e/lab")


def pytest(stage: str, name: str, *arguments: str, variables: Mapping[str, str] | None = None) -> Check:
    """A pytest run, counted by its JUnit report."""
    report = OUTPUT / stage / f"{name}.xml"
    report.unlink(missing_ok=True)
    command = ["python", "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}", *arguments]
    return Check(name, command, junit_counter(report), variables)


def lint() -> list[Check]:
    """Form of Python, YAML, roles and playbooks, changelog fragments, licence marks."""
    return [
        Check("ruff", ["ruff", "check", "."]),
        Check("format", ["ruff", "format", "--check", "--diff", "."]),
        Check("yamllint", ["yamllint", "--strict", "."]),
        Check("ansible-lint", ["ansible-lint", "--nocolor"]),
        Check(
            "docs", ["antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs=self", "."]
        ),
        Check("changelog", ["antsibull-changelog", "lint"]),
        Check("reuse", ["reuse", "lint"]),
        Check("execution-environment", ["ansible-builder", "introspect", "--sanitize", str(collections_root())]),
    ]


def types() -> list[Check]:
    """The collection as Ansible imports it, and the lab and tools as packages of the checkout."""
    collection = "ansible_collections.multimesh.istio.plugins"
    packages = [f"{collection}.{path.name}" for path in sorted((CHECKOUT / "plugins").iterdir()) if path.is_dir()]
    mypy = ["mypy", "--config-file", str(CHECKOUT / ".mypy.ini")]
    paths = environment(Path(sys.prefix)) | {"MYPYPATH": str(collections_root())}
    return [
        Check("plugins", [*mypy, *(part for name in packages for part in ("-p", name))], environment=paths),
        Check("tools", [*mypy, "-p", "tests.env", "-p", "tests.lab", "-p", "tests.run"], environment=paths),
    ]


def count_sanity(code: int, output: str) -> Counts:
    """Counts of ``ansible-test sanity`` from what it prints."""
    ran = len(set(re.findall(r'^Running sanity test "([^"]+)"', output, re.MULTILINE)))
    skipped = len(re.findall(r"^WARNING: Skip", output, re.MULTILINE))
    failed = re.search(r"^FATAL: The (\d+) sanity test", output, re.MULTILINE)
    count = int(failed[1]) if failed else int(code != 0)
    return Counts(max(0, ran - count), count, skipped)


def sanity() -> list[Check]:
    """Plain ``ansible-test sanity`` without ignores."""
    command = ["python", "-m", "tests.run.sanity", "--python", SANITY_PYTHON]
    return [Check("ansible-test", command, count_sanity)]


def unit() -> list[Check]:
    """The pure core and the rules of the repository."""
    return [pytest("unit", "pytest", "tests/unit")]


def same_objects(name: str) -> list[Check]:
    """What the newest ansible-core renders is what the oldest did, where that ran before."""
    oldest, newest = (OUTPUT / other / "rendered" for other in ("oldest", "newest"))
    wanted = name == "newest" and oldest.is_dir()
    return [Check("same-objects", ["diff", "--recursive", str(oldest), str(newest)])] if wanted else []


def matrix(name: str) -> list[Check]:
    """Unit tests, offline rendering and syntax with another ansible-core."""
    variables = environment(venv.ensure(name))
    rendered = OUTPUT / name / "rendered"
    shutil.rmtree(rendered, ignore_errors=True)
    play = ["ansible-playbook", "--inventory", "inventories/example"]
    return [
        pytest(name, "unit", *UNIT_TESTS[name], variables=variables),
        Check(
            "render", [*play, "playbooks/render.yml", "--extra-vars", f"render_dir={rendered}"], environment=variables
        ),
        *same_objects(name),
        Check("syntax", [*play, "--syntax-check", *PLAYBOOKS], environment=variables),
    ]


def molecule() -> list[Check]:
    """Every role alone, and ``site``, with idempotence."""
    plugin = ["-p", "pytest-ansible", "--ansible-unit-inject-only", "-W", "ignore::DeprecationWarning"]
    return [pytest("molecule", "pytest", "-s", *plugin, "tests/molecule")]


def api() -> list[Check]:
    """What API servers without a node are enough for: applying, rights, runs that are killed; and the lab itself."""
    return [pytest("api", "pytest", *API_TESTS)]


def e2e() -> list[Check]:
    """The federation on real clusters, which are left to the next stage."""
    return [_federation("e2e", "not long and not load", {"MULTIMESH_KEEP_LAB": "1"})]


def load() -> list[Check]:
    """What happens to requests while something happens to the federation; on the clusters of e2e if they are there."""
    return [_federation("load", "load and not long", {"MULTIMESH_REUSE_LAB": "1"} if Lab(E2E_LAB).meshes else {})]


def _federation(stage: str, marked: str, variables: dict[str, str]) -> Check:
    ignored = (f"--ignore={folder}" for folder in API_TESTS)
    return pytest(
        stage, "pytest", "-m", marked, "tests/e2e", *ignored, variables=environment(Path(sys.prefix)) | variables
    )


def fuzz(stage: str, variables: Mapping[str, str] | None = None) -> list[Check]:
    """Spoiled bundles, and what real verifiers say of those that are accepted."""
    return [pytest(stage, "fuzz", "-s", "tests/fuzz", variables=variables)]


def soak() -> list[Check]:
    """The long runs."""
    variables = environment(Path(sys.prefix)) | {
        "MULTIMESH_KILLS": "20",
        "MULTIMESH_KILL_POINTS": "all",
        "MULTIMESH_ROTATION_REQUESTS": "1000000",
        "MULTIMESH_ROTATION_QPS": "60",
        "MULTIMESH_FUZZ": "1000000",
        "MULTIMESH_FUZZ_SEED": str(secrets.randbelow(2**31)),
    }
    tests = {
        "ways": ["test_22_external.py", "test_24_gateway.py", "test_26_ingress.py", "test_44_addresses.py"],
        "trust": [
            "test_32_rotation.py",
            "test_34_revocation.py",
            "test_36_adoption.py",
            "test_38_renewal.py",
            "test_39_custody.py",
            "custody",
        ],
        "kills": ["test_50_failures.py"],
        "one-mesh": ["onemesh"],
        "interruptions": ["api/test_interruptions.py"],
    }
    return [
        *(
            pytest("soak", name, "-s", *(f"tests/e2e/{file}" for file in files), variables=variables)
            for name, files in tests.items()
        ),
        pytest("soak", "properties", "tests/unit", "--hypothesis-profile=default", variables=variables),
        *fuzz("soak", variables),
    ]


STAGES: dict[str, Callable[[], list[Check]]] = {
    "lint": lint,
    "types": types,
    "unit": unit,
    "oldest": lambda: matrix("oldest"),
    "newest": lambda: matrix("newest"),
    "sanity": sanity,
    "fuzz": lambda: fuzz("fuzz"),
    "api": api,
    "molecule": molecule,
    "e2e": e2e,
    "load": load,
}
LONG_STAGES = {"soak": soak}
LANES = 2
"""More would make each other slower: the clusters' programs and Ansible's forks keep two processors busy."""
ON_CLUSTERS = ("api", "e2e", "molecule")
"""Clusters take half a processor even when nobody uses them. Those of the first are gone before the second brings up
its own, which stay for what runs alone in the end."""
IN_ORDER = ("oldest", "newest")
"""The second compares with the first."""
ALONE = ("load", "soak")
"""Requests are counted there, and a machine that is busy with something else loses some."""
NEEDS_LAB = frozenset({*ON_CLUSTERS, *ALONE, "fuzz"})
