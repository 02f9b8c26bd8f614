# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from ansible.module_utils import basic
from ansible_collections.multimesh.istio.plugins.modules import federation_plan

DELETE = {"action": "delete", "object": "Gateway a/b", "origins": [], "wanted": None, "found": "f", "others": []}
PLANS = {"east": {"changes": [DELETE], "plan": {"unchanged": 2}}}


@pytest.fixture
def call(monkeypatch, capsys):
    def run(check=False, **options):
        arguments = {"plans": PLANS, **options, "_ansible_check_mode": check}
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        with pytest.raises(SystemExit):
            federation_plan.main()
        return json.loads(capsys.readouterr().out)

    return run


def test_the_page_and_the_totals(call):
    result = call()
    assert (result["changed"], result["totals"]) == (False, {"create": 0, "change": 0, "delete": 1, "unchanged": 2})
    assert "Plan of the federation: 1 cluster" in result["table"][0]


def test_a_refusal_has_the_page_too_and_the_file_is_written(call, tmp_path):
    path = tmp_path / "plan.json"
    result = call(max_deletions=0, dest=str(path))
    assert result["failed"] is True
    assert "federation_max_deletions allows 0: east: Gateway a/b" in result["msg"]
    assert result["table"]
    assert json.loads(path.read_text())["totals"]["delete"] == 1


def test_check_mode_writes_no_file(call, tmp_path):
    call(check=True, dest=str(tmp_path / "plan.json"))
    assert list(tmp_path.iterdir()) == []


def test_a_saved_plan(call, tmp_path):
    path = tmp_path / "plan.json"
    call(dest=str(path))
    assert "failed" not in call(saved=str(path))
    moved = {"east": {"changes": [{**DELETE, "found": "g"}], "plan": {"unchanged": 2}}}
    assert f"east: {path} is out of date" in call(saved=str(path), plans=moved)["msg"]


def test_files_that_cannot_be_used(call, tmp_path):
    missing = tmp_path / "missing" / "plan.json"
    assert call(saved=str(missing))["msg"] == (
        f"{missing}: cannot be read: No such file or directory. Write a plan with federation_plan_file."
    )
    assert call(dest=str(missing))["msg"] == (
        f"{missing}: cannot be written: No such file or directory. Make its folder, or choose another."
    )
