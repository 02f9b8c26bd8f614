# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules that hold for the repository as a whole and that no linter knows."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
MARKDOWN = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("roles/*/*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def files() -> list[Path]:
    """All files that git has or would add."""
    listing = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def names(folder: str) -> set[str]:
    """Plugins of one kind by name; a filter may be described in a YAML file beside another's code."""
    found = {path.stem for path in (ROOT / "plugins" / folder).glob("*") if path.suffix in (".py", ".yml")}
    return {name for name in found if not name.startswith("_")}


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_role_documents_exactly_its_defaults(role: Path) -> None:
    options = load(role / "meta" / "argument_specs.yml")["argument_specs"]["main"].get("options", {})
    optional = {name for name, option in options.items() if not option.get("required", False)}
    assert optional == set(load(role / "defaults" / "main.yml") or {})


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_role_variables_begin_with_its_name(role: Path) -> None:
    assert [name for name in load(role / "defaults" / "main.yml") if not name.startswith(f"{role.name}_")] == []


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_role_readme_names_every_variable(role: Path) -> None:
    text = (role / "README.md").read_text()
    options = load(role / "meta" / "argument_specs.yml")["argument_specs"]["main"].get("options", {})
    assert [name for name in options if f"`{name}`" not in text] == []


def test_action_group_holds_every_module_that_has_to_do_with_a_cluster() -> None:
    connected = {
        name
        for name in names("modules")
        if "- multimesh.istio.connection" in (ROOT / "plugins" / "modules" / f"{name}.py").read_text()
    }
    assert set(load(ROOT / "meta" / "runtime.yml")["action_groups"]["all"]) == connected


def test_readme_names_every_plugin_role_and_playbook() -> None:
    text = (ROOT / "README.md").read_text()
    playbooks = {path.stem for path in (ROOT / "playbooks").glob("*.yml")}
    wanted = names("modules") | names("lookup") | names("filter") | {role.name for role in ROLES} | playbooks
    assert sorted(name for name in wanted if not re.search(rf"\b{name}\b", text)) == []


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = [link.split("#")[0] for link in LINK.findall(page.read_text()) if "://" not in link]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


def test_the_floors_are_the_same_everywhere() -> None:
    floor = load(ROOT / "requirements.yml")["collections"][0]["version"]
    assert load(ROOT / "galaxy.yml")["dependencies"] == {"kubernetes.core": floor}
    core = load(ROOT / "meta" / "runtime.yml")["requires_ansible"].removeprefix(">=").rsplit(".", 1)[0]
    assert f"\nansible-core=={core}." in (ROOT / "tests" / "requirements" / "oldest.txt").read_text()


def test_no_private_key_and_no_path_of_one_machine() -> None:
    # Pieces, so that this file does not match itself.
    patterns = (
        re.compile(rb"-----BEGIN [A-Z ]*PRIVATE " + rb"KEY-----\n[A-Za-z0-9+/]{40}"),
        re.compile(rb"(?<![\w}])/(?:home|root)/[a-z.]"),
    )
    found = [
        (str(path.relative_to(ROOT)), pattern.pattern)
        for path in files()
        for pattern in patterns
        if pattern.search(path.read_bytes())
    ]
    assert found == []
