# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan of a federation on real API servers: what it says happens, and nothing else; what must not is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.e2e.api.plan_run import MESHES, PlanRun, export, hosts, plan_run
from tests.e2e.api.proxy import Answer, Hang, on
from tests.e2e.support import Run

GREETED = "reviews.shop.svc.{}.global"
SUMMARY = "Plan of the federation: "


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlanRun]:
    with plan_run(tmp_path_factory.mktemp("plan")) as clusters:
        yield clusters


@pytest.fixture
def federated(clusters: PlanRun) -> PlanRun:
    """As the inventory says, whatever a test before has done."""
    clusters.proxy.begin()
    clusters.write_inventory(hosts())
    settings = {"federation_gone": ["north"], "federation_force_conflicts": True}
    clusters.play(clusters.federate, "-e", json.dumps(settings)).ok()
    clusters.proxy.begin()
    return clusters


def page(run: Run) -> list[str]:
    """What is shown of the plan, once."""
    lines = run.output.splitlines()
    [begin] = [index for index, line in enumerate(lines) if line.startswith(SUMMARY)]
    end = next(index for index in range(begin, len(lines)) if not lines[index].strip())
    return [line for line in lines[begin:end] if not line.startswith(("ok:", "fatal:"))]


def reasons(run: Run) -> str:
    """The message of a refusal, unwrapped."""
    assert run.returncode != 0
    [found] = re.findall(r"Nothing was written:.*", run.output.replace("\\n", "\n"), re.DOTALL)[:1]
    return found


def counts(clusters: PlanRun, file: str = "plan.json") -> dict[str, int]:
    return json.loads((clusters.folder / file).read_text())["totals"]


def test_the_first_plan_is_what_the_first_run_does(clusters: PlanRun) -> None:
    clusters.write_inventory(hosts())
    clusters.proxy.begin()
    announced = clusters.play(clusters.federate, "--check", "--diff", "-e", "federation_plan_file=plan.json").ok()
    assert clusters.writes() == []
    assert all(members == {} for members in clusters.everything().values())
    planned = json.loads((clusters.folder / "plan.json").read_text())["clusters"]
    done = clusters.play(clusters.federate).ok()
    assert page(done) == page(announced)
    held = clusters.everything()
    for mesh in MESHES:
        assert {entry["object"] for entry in planned[mesh]["changes"]} == set(held[mesh])
        assert {entry["action"] for entry in planned[mesh]["changes"]} == {"create"}
    again = clusters.play(clusters.federate).ok()
    assert len(page(again)) == 1
    assert clusters.everything() == held


def test_an_export_that_goes_is_named_as_the_cause(federated: PlanRun) -> None:
    changed = hosts()
    changed["east"]["mesh_exports"] = [export("ratings", "west")]
    federated.write_inventory(changed)
    run = federated.play(federated.federate, "--check", "-e", "federation_plan_file=plan.json").ok()
    assert "  east/shop/reviews  east -1, north -3, west -3" in page(run)
    assert "  east/shop/ratings  east +1, west +3" in page(run)
    assert counts(federated)["delete"] == 7


def test_too_many_deletions_are_refused_before_any_write(federated: PlanRun) -> None:
    before = federated.everything()
    changed = hosts()
    changed["east"]["mesh_exports"] = []
    federated.write_inventory(changed)
    for arguments in ((), ("--check",)):
        federated.proxy.begin()
        run = federated.play(federated.federate, *arguments, "-e", "federation_max_deletions=7")
        assert "8 objects would be deleted, and federation_max_deletions allows 7: east: " in reasons(run)
        assert "-e federation_max_deletions=8" in reasons(run)
        assert page(run)
        assert federated.writes() == []
    assert federated.everything() == before
    federated.play(federated.federate, "-e", "federation_max_deletions=8").ok()
    assert not any("svc.east.global" in name for name in federated.members("west"))


def test_a_saved_plan_is_carried_out_exactly(federated: PlanRun) -> None:
    changed = hosts()
    changed["east"]["mesh_exports"] = [export("ratings", "west")]
    federated.write_inventory(changed)
    federated.play(federated.federate, "--check", "-e", "federation_plan_file=plan.json").ok()
    planned = json.loads((federated.folder / "plan.json").read_text())["clusters"]
    before = federated.everything()
    federated.play(federated.federate, "-e", "federation_saved_plan=plan.json").ok()
    after = federated.everything()
    for mesh in MESHES:
        touched = {name for name in {*before[mesh], *after[mesh]} if before[mesh].get(name) != after[mesh].get(name)}
        assert touched == {entry["object"] for entry in planned[mesh]["changes"]}
    federated.proxy.begin()
    again = federated.play(federated.federate, "-e", "federation_saved_plan=plan.json")
    assert "is to be created in the earlier plan, and is to stay as it is now" in reasons(again)
    assert federated.writes() == []


@pytest.mark.parametrize("moved", ["cluster", "inventory"])
def test_a_saved_plan_is_refused_when_the_world_moved(federated: PlanRun, moved: str) -> None:
    changed = hosts()
    changed["east"]["mesh_exports"] = []
    federated.write_inventory(changed)
    federated.play(federated.federate, "--check", "-e", "federation_plan_file=plan.json").ok()
    if moved == "cluster":
        name = GREETED.format("east")
        federated.clusters["west"].kubectl(
            "annotate", "serviceentry", "-n", "istio-system", name, "note=in use", "--field-manager=somebody"
        )
        expected = f"west: plan.json is out of date: ServiceEntry istio-system/{name}: somebody has changed it"
    else:
        changed["west"]["mesh_gateway_addresses"] = ["192.0.2.22"]
        federated.write_inventory(changed)
        expected = "north: plan.json is out of date: ConfigMap istio-system/multimesh-peers: "
    before = federated.everything()
    federated.proxy.begin()
    run = federated.play(federated.federate, "-e", "federation_saved_plan=plan.json")
    assert expected in reasons(run)
    assert federated.writes() == []
    assert federated.everything() == before


def test_drift_is_told_with_its_author_and_healed_by_one_run(federated: PlanRun) -> None:
    quiet = federated.play("multimesh.istio.drift").ok()
    assert len(page(quiet)) == 1
    before = federated.everything()
    west = federated.clusters["west"]
    place = ("-n", "istio-system", GREETED.format("east"))
    patch = '{"spec": {"resolution": "DNS"}}'
    west.kubectl("patch", "serviceentry", *place, "--type=merge", "-p", patch, "--field-manager=kubectl-edit")
    removal = '[{"op": "remove", "path": "/spec/exportTo"}]'
    west.kubectl("patch", "destinationrule", *place, "--type=json", "-p", removal)
    west.kubectl("delete", "virtualservice", *place)
    drift = federated.play("multimesh.istio.drift", "-e", "federation_plan_file=drift.json")
    assert "1 missing, 2 different, 0 too many, in west" in reasons(drift)
    [edited] = [line for line in page(drift) if "kubectl-edit" in line]
    assert re.fullmatch(
        r"  kubectl-edit \(Update\)  2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\dZ  west     "
        rf"ServiceEntry istio-system/{re.escape(place[2])}\s+spec\.resolution",
        edited,
    )
    [removed] = [line for line in page(drift) if "removed, or new" in line]
    assert re.search(rf"DestinationRule istio-system/{re.escape(place[2])}  spec\.exportTo$", removed)
    assert counts(federated, "drift.json") == {"create": 1, "change": 2, "delete": 0, "unchanged": drift_free(before)}
    assert federated.writes() == []
    federated.play(federated.federate, "-e", "federation_force_conflicts=true").ok()
    federated.play("multimesh.istio.drift").ok()
    after = federated.everything()
    assert {mesh: set(found) for mesh, found in after.items()} == {mesh: set(found) for mesh, found in before.items()}
    assert (after["east"], after["north"]) == (before["east"], before["north"])


def drift_free(held: dict[str, dict[str, str]]) -> int:
    """Members, without the three that were spoiled; parents do not count while they are as they should be."""
    return sum(len(members) - 1 for members in held.values()) - 3


def test_a_host_that_is_missing_is_refused_with_the_choice(federated: PlanRun) -> None:
    before = federated.everything()
    federated.write_inventory(hosts("east", "west"))
    federated.proxy.begin()
    for playbook in (federated.federate, "multimesh.istio.drift"):
        run = federated.play(playbook)
        assert "north: not in the inventory any more, and east, west still know it as a peer." in reasons(run)
        assert "multimesh.istio.remove" in reasons(run)
    assert federated.writes() == []
    federated.play(federated.federate, "-e", '{"federation_gone": ["north"]}').ok()
    federated.play(federated.federate).ok()
    after = federated.everything()
    assert not any("north" in name for mesh in ("east", "west") for name in after[mesh])
    assert after["north"] == before["north"]


def test_a_host_that_only_consumes_is_not_forgotten_either(federated: PlanRun) -> None:
    changed = hosts()
    changed["north"]["mesh_exports"] = []
    federated.write_inventory(changed)
    federated.play(federated.federate).ok()
    del changed["north"]
    federated.write_inventory(changed)
    assert "north: not in the inventory any more" in reasons(federated.play(federated.federate))


def test_a_host_that_was_removed_may_leave(federated: PlanRun) -> None:
    # what playbook remove does to the others
    without = ("--limit", "east,west", "-e", '{"federation_without": ["north"]}')
    federated.play(federated.federate, *without).ok()
    federated.write_inventory(hosts("east", "west"))
    federated.play(federated.federate, "--check").ok()


@pytest.mark.parametrize("fault", [Answer(500), Answer(429), Hang()], ids=str)
def test_a_cluster_that_fails_is_named_and_the_others_are_federated(federated: PlanRun, fault: Answer | Hang) -> None:
    changed = hosts()
    changed["east"]["mesh_exports"].append(export("ratings", "all"))
    federated.write_inventory(changed)
    federated.proxy.begin(on(fault, mesh="north", call="PATCH"))
    run = federated.play(federated.federate, "-e", "patience=3")
    assert run.returncode != 0
    assert {mesh: recap["failed"] for mesh, recap in run.recap.items()} == {"east": 0, "west": 0, "north": 1}
    assert "north: " in run.output
    assert any("ratings" in name for name in federated.members("west"))
    federated.proxy.begin()
    federated.play(federated.federate).ok()
    federated.play("multimesh.istio.drift").ok()
    assert any("ratings" in name for name in federated.members("north"))
