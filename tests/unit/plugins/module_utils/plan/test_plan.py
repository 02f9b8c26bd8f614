# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan of a federation: one page, one file, and every reason to refuse it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.plan.federation import PlanFileError, dump, load, merge
from ansible_collections.multimesh.istio.plugins.module_utils.plan.guard import Limits, RefusedError, check
from ansible_collections.multimesh.istio.plugins.module_utils.plan.table import table

NOW = datetime(2026, 11, 22, 3, 10, tzinfo=UTC)
BY_HAND = {"manager": "kubectl-edit", "operation": "Update", "time": "2026-11-22T03:10:00Z", "fields": ["spec.hosts"]}


def entry(action, name, *origins, wanted="w", found="f", others=()):
    return {
        "action": action,
        "object": f"ServiceEntry istio-system/{name}",
        "origins": list(origins),
        "wanted": None if action == "delete" else wanted,
        "found": None if action == "create" else found,
        "others": list(others),
    }


def result(*changes, unchanged=0):
    return {"changed": False, "changes": list(changes), "plan": {"unchanged": unchanged}}


def small():
    return merge(
        {
            "west": result(
                entry("create", "a", "east/shop/reviews"),
                entry("change", "b", "east/shop/reviews", "north/shop/reviews", others=[BY_HAND]),
                unchanged=3,
            ),
            "east": result(entry("delete", "c", "north/vault/ledger"), entry("change", "set"), unchanged=1),
            "north": result(unchanged=7),
        },
        ["east", "west", "north", "south"],
    )


def test_the_page():
    assert table(small()) == [
        "Plan of the federation: 3 clusters, 1 object to create, 2 to change, 1 to delete, 11 unchanged",
        "  cluster  create  change  delete  unchanged",
        "  east     0       1       1       1",
        "  west     1       1       0       3",
        "  1 other  0       0       0       7",
        "  no plan for  why",
        "  south        not in this run, or failed before",
        "  because of          what is done where",
        "  east/shop/reviews   west +1 ~1",
        "  no single export    east ~1",
        "  north/shop/reviews  west ~1",
        "  north/vault/ledger  east -1",
        "  held by                since                 cluster  object                       fields",
        "  kubectl-edit (Update)  2026-11-22T03:10:00Z  west     ServiceEntry istio-system/b  spec.hosts",
        "  deleted in  object",
        "  east        ServiceEntry istio-system/c",
    ]


def test_nothing_to_do_is_one_line():
    plan = merge({"east": result(unchanged=4), "west": result(unchanged=5)})
    assert table(plan) == [
        "Plan of the federation: 2 clusters, 0 objects to create, 0 to change, 0 to delete, 9 unchanged"
    ]


def test_a_thousand_objects_in_a_hundred_clusters_are_one_page():
    lost = {"manager": None, "operation": None, "time": None, "fields": ["spec.hosts"]}
    plan = merge(
        {
            f"mesh-{number:02}": result(
                *(entry("delete", f"s{index}", f"mesh-{index}/shop/s", others=[lost]) for index in range(100))
            )
            for number in range(100)
        }
    )
    page = table(plan, drift=True)
    assert len(page) < 100
    assert "  81 others  0       0       8100    0" in page
    assert "  mesh-0/shop/s   100 clusters -100" in page
    assert "  and 9980 more, see federation_plan_file" in page
    assert any(line.startswith("  nobody   removed, or new  mesh-00  ServiceEntry") for line in page)
    assert not any("nobody" in line for line in table(plan))


def test_what_a_terminal_would_obey_is_not_shown():
    page = table(merge({"east": result(entry("delete", "a", "east/\x1b[2J/x"))}))
    assert "\x1b" not in "".join(page)


def test_a_cluster_whose_plan_failed_has_none():
    plan = merge({"east": {"failed": True, "msg": "gone"}, "west": None, "north": result()}, ["north", "south"])
    assert dict(plan.unknown) == {
        "east": "failed",
        "west": "not in this run, or failed before",
        "south": "not in this run, or failed before",
    }
    assert plan.empty
    assert table(plan)[1:] == [
        "  no plan for  why",
        "  east         failed",
        "  south, west  not in this run, or failed before",
    ]
    limited = merge({"east": result()}, [f"mesh-{number}" for number in range(9)])
    assert table(limited)[-1] == "  9 clusters   not in this run, or failed before"


def test_the_file_gives_the_plan_back():
    text = dump(small(), NOW)
    document = json.loads(text)
    assert (document["made"], document["totals"]) == (
        "2026-11-22T03:10:00Z",
        {"create": 1, "change": 2, "delete": 1, "unchanged": 11},
    )
    assert document["unknown"] == {"south": "not in this run, or failed before"}
    again = load("plan.json", text)
    assert again.clusters == small().clusters
    check(small(), Limits(saved=again, saved_name="plan.json"))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "clusters": {"east": {"changes": [{}], "unchanged": 0}}}']
)
def test_what_is_no_plan_is_refused(text):
    with pytest.raises(PlanFileError, match=r"plan\.json: expected a plan as federation_plan_file writes it"):
        load("plan.json", text)


def refusal(plan, **limits):
    with pytest.raises(RefusedError) as caught:
        check(plan, Limits(**limits))
    head, *reasons = str(caught.value).split("\n  - ")
    assert head == "Nothing was written:"
    return reasons


def test_no_limit_refuses_nothing():
    check(small(), Limits())
    check(small(), Limits(max_deletions=1, hosts=["east", "west"], known={"east": ["west"]}))


def test_too_many_deletions_are_named_with_the_way_out():
    [reason] = refusal(small(), max_deletions=0)
    assert reason == (
        "1 object would be deleted, and federation_max_deletions allows 0: east: ServiceEntry istio-system/c."
        " If it shall go: -e federation_max_deletions=1. If not, see what the inventory no longer says."
    )


def test_deletions_of_all_clusters_add_up():
    plan = merge({host: result(entry("delete", "a"), entry("delete", "b")) for host in ("east", "west")})
    check(plan, Limits(max_deletions=4))
    assert refusal(plan, max_deletions=3)[0].startswith("4 objects would be deleted")


def test_what_differs_is_refused_where_nothing_may():
    check(merge({"east": result(unchanged=4)}), Limits(unchanged=True))
    [reason] = refusal(small(), unchanged=True)
    assert reason == (
        "clusters are not as the inventory says: 1 missing, 2 different, 1 too many, in east, west."
        " Playbook multimesh.istio.site makes them so, with -e federation_force_conflicts=true also where others hold"
        " fields."
    )


def test_a_host_that_is_missing_is_not_forgotten_by_a_slip():
    limits = {"hosts": ["east", "west"], "known": {"east": ["west", "north"], "west": ["north", "east"]}}
    [reason] = refusal(small(), **limits)
    assert reason == (
        "north: not in the inventory any more, and east, west still know it as a peer. If that is a slip, put it back."
        " If it is to leave, put it back, run playbook multimesh.istio.remove with remove_meshes=['north'], and take it"
        " out then. If its cluster is gone for good, or somebody else's by now, say so:"
        """ -e '{"federation_gone": ["north"]}'."""
    )
    check(small(), Limits(**limits, gone=["north"]))


def saved(**clusters):
    return merge(dict(clusters))


def test_a_saved_plan_is_carried_out_exactly_or_not_at_all():
    then = saved(east=result(entry("delete", "a")), west=result(entry("change", "b")))
    check(saved(east=result(entry("delete", "a")), west=result(entry("change", "b"))), Limits(saved=then))
    now = merge(
        {"east": result(entry("delete", "a", found="moved"), entry("create", "c")), "north": result()}, ["west"]
    )
    again = "Make a new plan, look at it, and run that."
    outdated, unplanned, unreached = refusal(now, saved=then, saved_name="plan.json")
    assert outdated == (
        "east: plan.json is out of date: ServiceEntry istio-system/a: somebody has changed it in the cluster since;"
        " ServiceEntry istio-system/c: it is to stay as it is in the earlier plan, and is to be created now."
        f" {again}"
    )
    assert unplanned == f"north: plan.json has no plan for it. {again}"
    assert (
        unreached
        == f"west: plan.json has a plan for it, and it has none now: not in this run, or failed before. {again}"
    )


def test_all_reasons_come_at_once():
    assert len(refusal(small(), max_deletions=0, unchanged=True, known={"east": ["gone"]}, saved=saved())) == 6
