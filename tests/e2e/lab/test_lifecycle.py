# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab itself: clusters that work, survive, stay apart from other labs, and go without a trace."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import manifests, teardown
from tests.lab.api import Lab
from tests.lab.errors import LabError
from tests.lab.place import Place

MESHES = ["east", "west"]
HOST_SETTINGS = ("net/ipv4/ip_forward", "vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops")
HOST_FOLDERS = ("/run/containerd", "/run/netns", "/etc/cni", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers")


def host() -> dict[str, object]:
    """What a lab must never change."""
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=False).stdout
    return {
        "packet filter": [line for line in rules.splitlines() if not line.startswith("#")],
        "settings": {name: Path("/proc/sys", name).read_text() for name in HOST_SETTINGS},
        "folders": [folder for folder in HOST_FOLDERS if Path(folder).exists()],
    }


@pytest.fixture(scope="module")
def before() -> dict[str, object]:
    return host()


@pytest.fixture(scope="module")
def lab(before: dict[str, object]) -> Iterator[Lab]:  # noqa: ARG001, it looks at the host first
    lab = Lab("lifecycle")
    lab.down()
    lab.up(MESHES, {"east": "eu/eu-1/rack-1"})
    for mesh in MESHES:
        lab.apply(mesh, [manifests.namespace("shop"), *manifests.app(mesh, "shop", "echo"), *manifests.curl("shop")])
        service = manifests.app(mesh, "shop", "echo", ports={"http": 80})[1]
        service["metadata"]["name"] = "echo-outside"
        service["spec"]["type"] = "LoadBalancer"
        lab.apply(mesh, [service])
        wait_for_pods(lab, mesh)
    yield lab
    lab.down()


def wait_for_pods(lab: Lab, mesh: str) -> None:
    for deployment in ("echo-v1", "curl"):
        lab.kubectl(mesh, "-n", "shop", "rollout", "status", f"deployment/{deployment}", "--timeout=60s")


def call(lab: Lab, mesh: str, url: str) -> str:
    return lab.kubectl(mesh, "-n", "shop", "exec", "deployment/curl", "--", "curl", "-sS", "--max-time", "5", url)


def eventually_call(lab: Lab, mesh: str, url: str) -> str:
    deadline = time.monotonic() + 20
    while True:
        try:
            return call(lab, mesh, url)
        except LabError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def test_pods_resolve_and_reach_services(lab: Lab) -> None:
    for host_name in ("echo", "echo.shop", "echo.shop.svc.cluster.local"):
        assert json.loads(call(lab, "east", f"http://{host_name}:8080/"))["mesh"] == "east"


def test_unknown_names_are_denied_at_once(lab: Lab) -> None:
    start = time.monotonic()
    with pytest.raises(LabError, match="Could not resolve"):
        call(lab, "east", "http://nobody.example/")
    assert time.monotonic() - start < 3


def test_load_balancer_is_reached_from_other_meshes_and_its_own(lab: Lab) -> None:
    for caller in MESHES:
        for callee in MESHES:
            assert json.loads(eventually_call(lab, caller, f"http://{lab.node_address(callee)}/"))["mesh"] == callee


def test_no_way_out_of_the_machine(lab: Lab) -> None:
    with pytest.raises(LabError, match="curl"):
        call(lab, "east", "http://192.0.2.1/")


def test_pod_ranges_are_the_same(lab: Lab) -> None:
    found = [
        lab.kubectl(mesh, "-n", "shop", "get", "pods", "-o", "jsonpath={.items[*].status.podIP}") for mesh in MESHES
    ]
    assert all(address.startswith("10.244.0.") for addresses in found for address in addresses.split())


def test_locality_is_on_the_node(lab: Lab) -> None:
    def labels(mesh: str) -> dict[str, str]:
        node = json.loads(lab.kubectl(mesh, "get", "node", mesh, "-o", "json"))
        return {label: value for label, value in node["metadata"]["labels"].items() if label.startswith("topology.")}

    assert labels("west") == {}
    assert labels("east") == {
        "topology.kubernetes.io/region": "eu",
        "topology.kubernetes.io/zone": "eu-1",
        "topology.istio.io/subzone": "rack-1",
    }
    lab.up(["west"], {"west": "us"})
    assert labels("west") == {"topology.kubernetes.io/region": "us"}


def test_up_again_leaves_everything_alone(lab: Lab) -> None:
    pids = {mesh: lab.cluster(mesh).remote.pid() for mesh in MESHES}
    lab.up(MESHES)
    assert {mesh: lab.cluster(mesh).remote.pid() for mesh in MESHES} == pids
    for state in lab.status().values():
        assert state["healthy"]
        assert {program["starts"] for program in state["programs"].values()} == {1}


def test_audit_log_is_written_before_the_answer(lab: Lab) -> None:
    lab.kubectl("east", "create", "configmap", "audited", "--namespace=shop")
    events = [json.loads(line) for line in lab.audit_log("east").read_text().splitlines()]
    writes = [event for event in events if event.get("objectRef", {}).get("name") == "audited"]
    assert [(event["verb"], event["level"], event["stage"]) for event in writes] == [
        ("create", "Metadata", "ResponseComplete")
    ]


def test_kubeconfigs_are_private_and_named_as_the_meshes(lab: Lab) -> None:
    for path in (lab.kubeconfig(), lab.kubeconfig("east"), lab.kubeconfig("west")):
        assert path.stat().st_mode & 0o077 == 0
    for mesh in MESHES:
        names = lab.kubectl(mesh, f"--kubeconfig={lab.kubeconfig()}", f"--context={mesh}", "get", "nodes", "-o", "name")
        assert names == f"node/{mesh}\n"


def test_pods_outlive_the_api_server(lab: Lab) -> None:
    url = f"http://{lab.node_address('west')}/"
    lab.stop_api("west")
    with pytest.raises(LabError, match="refused"):
        lab.kubectl("west", "get", "nodes")
    assert json.loads(call(lab, "east", url))["mesh"] == "west"
    lab.start_api("west")
    assert lab.kubectl("west", "get", "node", "west", "-o", "name") == "node/west\n"


def test_a_cut_cable_and_a_mended_one(lab: Lab) -> None:
    url = f"http://{lab.node_address('west')}/"
    lab.disconnect("west")
    with pytest.raises(LabError, match="curl"):
        call(lab, "east", url)
    lab.connect("west")
    assert json.loads(eventually_call(lab, "east", url))["mesh"] == "west"


def test_a_dead_mesh_comes_back_with_its_data(lab: Lab) -> None:
    url = f"http://{lab.node_address('west')}/"
    lab.kill("west")
    assert not lab.status()["west"]["healthy"]
    with pytest.raises(LabError, match="curl"):
        call(lab, "east", url)
    lab.up(MESHES)
    wait_for_pods(lab, "west")
    assert json.loads(eventually_call(lab, "east", url))["mesh"] == "west"


def test_labs_side_by_side(lab: Lab) -> None:
    other = Lab("lifecycle-2")
    try:
        other.up(["east"], api_only=True)
        assert other.node_address("east") != lab.node_address("east")
        assert other.kubectl("east", "get", "namespaces", "-o", "name").split().count("namespace/shop") == 0
    finally:
        other.down()
    assert other.leftovers() == []
    assert json.loads(call(lab, "east", f"http://{lab.node_address('west')}/"))["mesh"] == "west"


@pytest.mark.parametrize("seconds", [0.5, 2.0, 3.5, 5.0, 7.0])
def test_killed_while_coming_up_it_leaves_nothing(seconds: float) -> None:
    lab = Lab("lifecycle-3")
    command = [sys.executable, "-m", "tests.lab", "--lab", "lifecycle-3", "up", *MESHES]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as up:
        time.sleep(seconds)
        os.killpg(up.pid, signal.SIGKILL)
    lab.down()
    assert lab.leftovers() == []


def test_up_repairs_what_a_killed_up_left() -> None:
    lab = Lab("lifecycle-3")
    command = [sys.executable, "-m", "tests.lab", "--lab", "lifecycle-3", "up", *MESHES]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as up:
        time.sleep(3)
        os.killpg(up.pid, signal.SIGKILL)
    try:
        lab.up(MESHES)
        assert all(state["healthy"] for state in lab.status().values())
    finally:
        lab.down()


def test_a_lab_whose_checkout_is_gone_is_swept(tmp_path: Path) -> None:
    lab = Lab("lifecycle")
    lab.place = Place.of("lifecycle", tmp_path / "checkout")
    (tmp_path / "checkout").mkdir()
    lab.up(["east"], api_only=True)
    assert lab.place.id not in teardown.orphans()
    shutil.rmtree(tmp_path / "checkout")
    assert lab.place.id in teardown.orphans()
    assert teardown.remove(lab.place.id) == []


def test_nothing_of_the_host_changed(lab: Lab, before: dict[str, object]) -> None:
    assert lab.leftovers() != []
    assert host() == before
    lab.down()
    assert lab.leftovers() == []
    assert host() == before
