# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from types import SimpleNamespace

import pytest
import yaml
from ansible.plugins.action import ActionBase
from ansible_collections.multimesh.istio.plugins.action import trust_rollout
from ansible_collections.multimesh.istio.plugins.modules import trust_rollout as module
from ansible_collections.multimesh.istio.plugins.plugin_utils.module_action import ModuleAction


class Clock:
    """Moves on by ten seconds with every run of the module."""

    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def play(monkeypatch):
    """Runs the action with these answers of the module; gives the result, what was asked and what was said."""

    def run(*answers, **arguments):
        left, clock = list(answers), Clock()
        asked, said = [], []

        def module_result(_action, arguments, task_vars):
            assert task_vars == {"a": 1}
            asked.append(dict(arguments))
            clock.now += 10
            return left.pop(0) if len(left) > 1 else left[0]

        monkeypatch.setattr(trust_rollout, "time", clock)
        monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
        action = trust_rollout.ActionModule.__new__(trust_rollout.ActionModule)
        action._task = SimpleNamespace(args=arguments)
        action._display = SimpleNamespace(display=said.append)
        monkeypatch.setattr(ModuleAction, "module_result", module_result)
        return action.run(task_vars={"a": 1}), asked, said

    return run


def behind(line, **more):
    return {"failed": True, "ready": False, "pending": True, "changed": False, "hurried": [], "line": line, **more}


READY = {"ready": True, "pending": False, "changed": False, "hurried": [], "line": "all"}


def test_it_says_who_is_awaited_when_that_changes(play):
    answers = [behind("a"), behind("a"), behind("b"), READY]
    result, asked, said = play(*answers, roots=["x"], timeout=300)
    assert said == ["[  10 s / 300 s] a", "[  30 s / 300 s] b"]
    assert asked == [{"roots": ["x"], "timeout": 10}] * 4
    assert (result["ready"], result["seconds"]) == (True, 40)


def test_it_adds_up_what_was_changed(play):
    result, _asked, _said = play(behind("a", changed=True, hurried=["i-1"]), behind("b", hurried=["i-2"]), READY)
    assert (result["changed"], result["hurried"]) == (True, ["i-1", "i-2"])


@pytest.mark.parametrize(("timeout", "asked"), [(0, [0]), (10, [10]), (25, [10, 10, 5]), ("25", [10, 10, 5])])
def test_the_time_is_split(play, timeout, asked):
    result, found, _said = play(behind("a"), timeout=timeout)
    assert [arguments["timeout"] for arguments in found] == asked
    assert result["failed"] is True


def test_the_default_is_the_module_s(play):
    _result, asked, _said = play(behind("a"))
    options = yaml.safe_load(module.DOCUMENTATION)["options"]
    assert sum(arguments["timeout"] for arguments in asked) == options["timeout"]["default"]


@pytest.mark.parametrize(
    "answer",
    [
        {"failed": True, "msg": "west: HTTP 403"},
        behind("a", pending=False),
        {"ready": False, "pending": True, "changed": False, "line": "a"},
    ],
    ids=["no look", "hopeless", "check mode"],
)
def test_nobody_waits_for_nothing(play, answer):
    result, asked, said = play(answer, timeout=300)
    assert (len(asked), said) == (1, [])
    assert result.get("msg") == answer.get("msg")


def test_a_timeout_that_is_none(play):
    _result, asked, _said = play({"failed": True, "msg": "timeout"}, timeout="soon")
    assert asked == [{"timeout": "soon"}]
