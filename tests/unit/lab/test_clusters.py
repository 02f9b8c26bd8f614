# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.lab import certificates, components, loadbalancer, process
from tests.lab.__main__ import main
from tests.lab.api import merge_kubeconfigs
from tests.lab.cluster import locality_labels, pods_ready
from tests.lab.errors import LabError
from tests.lab.place import Place, locked

REGION, ZONE, SUBZONE = (
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.istio.io/subzone",
)


def test_labs_never_collide() -> None:
    places = [Place.of(lab, Path(checkout)) for lab in ("demo", "test") for checkout in ("/a", "/b")]
    for attribute in ("id", "state", "published", "cgroup", "switch", "interface", "lock_file"):
        assert len({getattr(place, attribute) for place in places}) == len(places), attribute


def test_names_have_room() -> None:
    place = Place.of("x" * 40, Path("/a"))
    assert len(place.interface) <= 15
    assert len(str(place.mesh("m" * 40) / "control.sock")) < 108


@pytest.mark.parametrize("name", ["", "East", "a_b", "-a", "a-", "a/b", "..", "a" * 41])
def test_bad_names(name: str) -> None:
    with pytest.raises(LabError, match="DNS label"):
        Place.of(name)


def test_lock_survives_the_removal_of_its_file(tmp_path: Path) -> None:
    for _index in range(2):
        with locked(tmp_path / "lock"):
            assert (tmp_path / "lock").exists()
        assert not (tmp_path / "lock").exists()


@pytest.mark.parametrize(
    ("locality", "labels"),
    [
        ("", (None, None, None)),
        ("eu", ("eu", None, None)),
        ("eu/eu-1", ("eu", "eu-1", None)),
        ("eu/eu-1/rack", ("eu", "eu-1", "rack")),
    ],
)
def test_locality(locality: str, labels: tuple[str | None, ...]) -> None:
    assert locality_labels(locality) == dict(zip((REGION, ZONE, SUBZONE), labels, strict=True))


@pytest.mark.parametrize("locality", ["/", "eu//rack", "a/b/c/d", "eu/"])
def test_bad_locality(locality: str) -> None:
    with pytest.raises(LabError, match="region"):
        locality_labels(locality)


CGROUPS = "9:name=systemd:/\n4:memory:/user/multimesh-12345678/east/k8s.io/abc\n0::/multimesh-12345678/east/init\n"


@pytest.mark.parametrize(
    ("cgroup", "member"),
    [
        ("multimesh-12345678", True),
        ("multimesh-12345678/east", True),
        ("multimesh-12345678/eas", False),
        ("multimesh-1234567", False),
        ("multimesh-12345678/west", False),
    ],
)
def test_membership_is_exact(cgroup: str, member: bool) -> None:
    assert process.belongs(CGROUPS, cgroup) is member


@pytest.fixture
def node(tmp_path: Path) -> components.Node:
    names = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"]
    programs = {name: Path("/bin") / name for name in [*names, "containerd", "runc"]}
    return components.Node("east", "198.18.0.11", tmp_path, "10.244.0.0/24", programs, Path("/cni"), "pause:1")


def test_every_file_that_programs_are_given_is_written(node: components.Node) -> None:
    pki = certificates.cluster_files(node.mesh, node.address)
    config = components.files(node, pki)
    for program in components.api_programs(node) + components.node_programs(node):
        for argument in program.argv:
            path = Path(argument.partition("=")[2])
            if path.parent == node.folder / "pki":
                assert path.name in pki
            if path.parent == node.folder / "config":
                assert path.name in config


def test_programs_wait_for_programs_that_exist(node: components.Node) -> None:
    programs = components.api_programs(node) + components.node_programs(node)
    known = {program.name: program for program in programs}
    for program in programs:
        for name in program.after:
            assert known[name].ready, f"{program.name} waits for {name}, which does not tell when it is ready"


def test_pod_network_is_the_nodes_range(node: components.Node) -> None:
    (text,) = components.cni_files(node).values()
    assert json.loads(text)["plugins"][0]["ipam"]["ranges"] == [[{"subnet": "10.244.0.0/24"}]]


def test_merged_kubeconfig_has_a_context_per_mesh() -> None:
    configs = []
    for mesh, address in (("east", "198.18.0.11"), ("west", "198.18.0.12")):
        pki = certificates.cluster_files(mesh, address)
        configs.append(components.kubeconfig(mesh, f"https://{address}:6443", pki))
    merged = merge_kubeconfigs(configs)
    assert [context["name"] for context in merged["contexts"]] == ["east", "west"]
    assert merged["current-context"] == "east"
    assert len({user["user"]["client-key-data"] for user in merged["users"]}) == 2
    assert merge_kubeconfigs([])["contexts"] == []


def service(name: str, *ports: int, kind: str = "LoadBalancer", ip: str = "", created: int = 0) -> dict[str, Any]:
    ingress = {"ingress": [{"ip": ip, "ipMode": "VIP"}]} if ip else {}
    return {
        "metadata": {"name": name, "namespace": "n", "creationTimestamp": f"2026-01-01T00:00:{created:02}Z"},
        "spec": {"type": kind, "ports": [{"port": port, "protocol": "TCP"} for port in ports]},
        "status": {"loadBalancer": ingress},
    }


HERE = "198.18.0.11"
GIVEN = [{"ip": HERE, "ipMode": "VIP"}]


@pytest.mark.parametrize(
    ("services", "changes"),
    [
        ([service("a", 80)], {"n/a": GIVEN}),
        ([service("a", 80, ip=HERE)], {}),
        ([service("a", 80, ip="10.0.0.1")], {"n/a": GIVEN}),
        ([service("a", 80, kind="ClusterIP")], {}),
        ([service("a", 80, kind="ClusterIP", ip=HERE)], {"n/a": None}),
        ([service("a", 80), service("b", 443)], {"n/a": GIVEN, "n/b": GIVEN}),
        # One port goes to one Service: to who has it, else to the older.
        ([service("a", 80), service("b", 80, ip=HERE, created=1)], {}),
        ([service("a", 80, created=1), service("b", 80, 81)], {"n/b": GIVEN}),
    ],
)
def test_load_balancer(services: list[dict[str, Any]], changes: dict[str, Any]) -> None:
    assert loadbalancer.wanted_changes({f"n/{item['metadata']['name']}": item for item in services}, HERE) == changes


def dns_pod(ready: str, started: str) -> dict[str, Any]:
    return {
        "metadata": {"labels": {"k8s-app": "kube-dns"}},
        "status": {
            "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [{"state": {"running": {"startedAt": started}}}],
        },
    }


@pytest.mark.parametrize(
    ("pods", "ready"),
    [
        ([], False),
        ([dns_pod("True", "2026-01-01T00:00:10Z")], True),
        ([dns_pod("False", "2026-01-01T00:00:10Z")], False),
        # What was true before the cluster started again proves nothing.
        ([dns_pod("True", "2026-01-01T00:00:09Z")], False),
    ],
)
def test_readiness_is_not_what_was_true_before(pods: list[dict[str, Any]], ready: bool) -> None:
    since = 1767225610.5  # 2026-01-01T00:00:10.5Z; Kubernetes writes whole seconds
    assert pods_ready(pods, since) is ready


@pytest.mark.parametrize(
    "arguments", [["up", "east", "--locality", "east"], ["up"], [], ["up", "--pod-cidr", "=x", "a"]]
)
def test_bad_command_lines(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)


def test_lab_can_be_named_before_and_after_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--lab", "no-such-lab", "status"], ["status", "--lab", "no-such-lab"]):
        assert main(arguments) == 0
        assert capsys.readouterr().out == "lab no-such-lab is down\n"


def test_unknown_mesh_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--lab", "no-such-lab", "kubeconfig", "east"]) == 1
    assert "no mesh 'east'" in capsys.readouterr().err
