# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every form of a name resolves and is called, with and without the DNS of a sidecar, and is gone when it should be.

East and west serve ``stock`` by the name that the Service has in each of them; north, which has no such Service, takes
it from both. East's greeter has an alias, and a short name in a namespace of north.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml

from tests.e2e import scenario
from tests.e2e.dns import NOERROR, NXDOMAIN, Answer, ask, corefile, uncaptured
from tests.e2e.scenario import MESHES, NAMESPACE
from tests.e2e.support import AuditLog, wait_for
from tests.e2e.test_10_site import changed_tasks
from tests.e2e.test_20_exposure import answers_handshake
from tests.lab import manifests
from tests.lab.api import Lab

STOCK = "stock.books.svc.cluster.local"
ALIAS = "greetings.example.com"
SHORT = "greeter.shop.svc.cluster.local"
EAST, WEST = (f"greeter.{NAMESPACE}.svc.{mesh}.global" for mesh in ("east", "west"))
HIDDEN = f"hidden.{NAMESPACE}.svc.east.global"
PODS = {"captured": "caller", "uncaptured": "plain"}
SHOPPERS = {"captured": "till", "uncaptured": "plain-till"}
STOCK_PORTS = {"http": 80, "tcp": 9000}


def inventory() -> dict[str, dict[str, Any]]:
    """That of the other tests, with more names."""
    hosts = scenario.hosts()
    stock = {"service": "stock", "namespace": "books", "host": STOCK, "consumers": ["all"]}
    for mesh in ("east", "west"):
        hosts[mesh]["mesh_exports"].append(copy.deepcopy(stock))
    hosts["east"]["mesh_exports"][0]["aliases"] = [ALIAS]
    greeter = {"from": "east", "select": "[?service=='greeter']", "short_names_in": ["shop"]}
    hosts["north"]["mesh_imports"] = [{"from": "all"}, greeter]
    for values in hosts.values():
        values["dns_enabled"] = True
    return hosts


def deploy(lab: Lab) -> None:
    """The Services and clients of this file."""
    injected = {"istio-injection": "enabled"}
    for mesh in MESHES:
        lab.apply(mesh, [manifests.namespace("books", injected), *uncaptured(NAMESPACE, PODS["uncaptured"])])
    for mesh in ("east", "west"):
        lab.apply(mesh, manifests.app(mesh, "books", "stock", ports=STOCK_PORTS))
    lab.apply("north", [*manifests.curl("shop", SHOPPERS["captured"]), *uncaptured("shop", SHOPPERS["uncaptured"])])
    for mesh in MESHES:
        lab.wait_ready(mesh, [NAMESPACE, "books", "shop"])


def clear(lab: Lab) -> None:
    """Take them away."""
    for mesh in MESHES:
        lab.kubectl(mesh, "delete", "namespace", "books", "--ignore-not-found")
        lab.kubectl(
            mesh, "delete", "deployment,serviceaccount", "-n", NAMESPACE, PODS["uncaptured"], "--ignore-not-found"
        )
    for name in SHOPPERS.values():
        lab.kubectl("north", "delete", "deployment,serviceaccount", "-n", "shop", name, "--ignore-not-found")


@pytest.fixture(scope="module")
def before(federated):
    """The Corefiles as the clusters had them."""
    return {mesh: corefile(federated, mesh) for mesh in MESHES}


@pytest.fixture(scope="module")
def prepared(federated, before):
    """The federation with all that is to be named, before the run that does."""
    assert not any("multimesh" in text for text in before.values())
    deploy(federated.lab)
    federated.write_inventory(inventory())
    yield federated
    federated.write_inventory(scenario.hosts())
    federated.play("federate", "-e", '{"dns_enabled": false}').ok()
    clear(federated.lab)


@pytest.fixture(scope="module")
def runs(prepared):
    """That run, checked and done."""
    announced = prepared.play("site", "--check", "--diff").ok()
    return announced, prepared.play("site", "--diff").ok()


@pytest.fixture(scope="module")
def named(prepared, runs):  # noqa: ARG001, for its order
    """The federation with all names."""
    return prepared


def pinned(federation, mesh: str) -> dict[str, str]:
    """The address that the ServiceEntry of each imported host says."""
    entries = federation.kubectl_json(mesh, "get", "serviceentries", "-n", "istio-system")["items"]
    return {entry["spec"]["hosts"][0]: entry["spec"]["addresses"][0] for entry in entries}


def answer(federation, mesh: str, namespace: str, pod: str, url: str) -> dict[str, Any]:
    """What the application answers."""
    status, body = federation.call(mesh, namespace, pod, url)
    assert status == 200, (status, body)
    return json.loads(body)


def line(federation, mesh: str, namespace: str, pod: str, host: str) -> str:
    """The line with which the application greets a TCP connection."""
    shell = f"echo hello | timeout 3 curl -s -m 2 telnet://{host}:9000 || true"
    return federation.lab.kubectl(mesh, "exec", "-n", namespace, f"deploy/{pod}", "-c", pod, "--", "sh", "-c", shell)


def test_what_is_announced_is_what_is_done(runs, before, named):
    announced, done = runs
    print(sorted({task for task, _host in changed_tasks(done.output)}))
    assert {mesh: counts["changed"] for mesh, counts in announced.recap.items()} == {
        mesh: counts["changed"] for mesh, counts in done.recap.items()
    }
    assert "+# BEGIN multimesh.istio" in announced.output
    for mesh in MESHES:
        assert corefile(named, mesh).endswith(f"# END multimesh.istio\n{before[mesh]}")
    print(corefile(named, "north"))


def test_a_second_run_changes_nothing_and_writes_nothing(named):
    logs = {mesh: AuditLog(named.lab.audit_log(mesh)) for mesh in MESHES}
    run = named.play("federate").ok()
    assert {mesh: counts["changed"] for mesh, counts in run.recap.items()} == dict.fromkeys(MESHES, 0)
    assert {mesh: log.writes() for mesh, log in logs.items()} == {mesh: [] for mesh in MESHES}


@pytest.mark.parametrize("kind", PODS)
def test_every_imported_host_resolves_to_its_pinned_address(named, kind):
    for mesh in MESHES:
        wanted = pinned(named, mesh)
        expected = {host: Answer(NOERROR, address) for host, address in wanted.items()}

        def all_right(mesh=mesh, expected=expected):
            found = ask(named, mesh, NAMESPACE, PODS[kind], *expected, HIDDEN)
            assert found.pop(HIDDEN).code == NXDOMAIN
            assert found == expected
            return True

        wait_for(all_right, f"{kind} pods of {mesh} resolve {sorted(expected)}", 120)
        print(f"{mesh}, {kind}: {len(expected)} hosts resolve: {wanted}; {HIDDEN}: NXDOMAIN")


def test_addresses_are_the_same_everywhere(named):
    seen: dict[str, set[str]] = {}
    for mesh in MESHES:
        for host, address in pinned(named, mesh).items():
            seen.setdefault(host, set()).add(address)
    assert {host: len(addresses) for host, addresses in seen.items()} == dict.fromkeys(seen, 1)
    assert len({address for addresses in seen.values() for address in addresses}) == len(seen)


@pytest.mark.parametrize("kind", PODS)
@pytest.mark.parametrize(
    ("host", "served_by"), [(EAST, {"east"}), (WEST, {"west"}), (ALIAS, {"east"}), (STOCK, {"east", "west"})]
)
def test_north_calls_every_form_of_name(named, kind, host, served_by):
    def called():
        found = answer(named, "north", NAMESPACE, PODS[kind], f"http://{host}/hello")
        assert found["mesh"] in served_by
        return found

    found = wait_for(called, f"north calls {host} {kind}")
    assert found["caller"] == f"spiffe://north.mesh/ns/{NAMESPACE}/sa/{PODS[kind]}"
    assert found["host"] == host
    print(f"{kind} pod of north -> http://{host}/: mesh {found['mesh']}, caller {found['caller']}")


@pytest.mark.parametrize("kind", SHOPPERS)
def test_a_short_name_is_the_name_alone(named, kind):
    def called():
        return answer(named, "north", "shop", SHOPPERS[kind], "http://greeter/hello")

    found = wait_for(called, f"north calls http://greeter/ {kind}", 120)
    assert (found["mesh"], found["host"]) == ("east", "greeter")
    assert found["caller"] == f"spiffe://north.mesh/ns/shop/sa/{SHOPPERS[kind]}"


@pytest.mark.parametrize("kind", PODS)
def test_a_short_name_is_called_in_its_namespace_alone(named, kind):
    """The cluster's DNS answers everybody, but no sidecar outside the namespace knows the way."""
    status, _body = named.call("north", NAMESPACE, PODS[kind], "http://greeter.shop/hello")
    assert status in (0, 502, 503)


@pytest.mark.parametrize("kind", PODS)
def test_hosts_that_share_a_tcp_port_are_told_apart(named, kind):
    for host, mesh in ((EAST, "east"), (WEST, "west")):
        wait_for(
            lambda host=host, mesh=mesh: mesh in line(named, "north", NAMESPACE, PODS[kind], host), f"TCP to {host}"
        )
        print(f"{kind} pod of north -> {host}:9000: {line(named, 'north', NAMESPACE, PODS[kind], host).strip()}")


# The name that a Service has by itself


@pytest.mark.parametrize("kind", PODS)
@pytest.mark.parametrize("mesh", ["east", "west"])
def test_a_mesh_with_the_service_calls_its_own(named, mesh, kind):
    assert STOCK not in pinned(named, mesh)
    for _time in range(5):
        found = answer(named, mesh, NAMESPACE, PODS[kind], "http://stock.books/hello")
        assert found["mesh"] == mesh
    assert mesh in line(named, mesh, NAMESPACE, PODS[kind], "stock.books")


def test_endpoints_elsewhere_are_no_pods(named):
    items = named.kubectl_json("east", "get", "workloadentries", "-A")["items"]
    assert [item["metadata"]["namespace"] for item in items] == ["books"]
    assert items[0]["spec"]["ports"] == {"http": 15443, "tcp": 15443}
    services = named.kubectl_json("east", "get", "endpointslices", "-n", "books")["items"]
    [addresses] = [endpoint["addresses"] for item in services for endpoint in item["endpoints"]]
    assert named.lab.node_address("west") not in addresses


@pytest.fixture(scope="module")
def without_own_pods(named):
    """East has no pods of stock any more."""
    named.lab.kubectl("east", "scale", "-n", "books", "deployment/stock-v1", "--replicas=0")
    yield named
    named.lab.kubectl("east", "scale", "-n", "books", "deployment/stock-v1", "--replicas=1")


@pytest.mark.parametrize("kind", PODS)
def test_the_others_stand_in_for_it(without_own_pods, kind):
    def called():
        found = answer(without_own_pods, "east", NAMESPACE, PODS[kind], "http://stock.books/hello")
        assert found["mesh"] == "west"
        return found

    found = wait_for(called, f"east's stock is served by west, {kind}")
    assert found["caller"] == f"spiffe://east.mesh/ns/{NAMESPACE}/sa/{PODS[kind]}"
    wait_for(lambda: "west" in line(without_own_pods, "east", NAMESPACE, PODS[kind], "stock.books"), "TCP too")
    print(f"east without pods, {kind}: http://stock.books/ -> mesh {found['mesh']}, caller {found['caller']}")


def test_a_gateway_passes_no_calls_on(without_own_pods):
    """Else two meshes without pods would send a call to and fro."""
    gateway = without_own_pods.lab.node_address("east")
    greeter = f"outbound_.80_._.greeter.{NAMESPACE}.svc.cluster.local"
    assert answers_handshake(gateway, greeter)
    wait_for(lambda: not answers_handshake(gateway, f"outbound_.80_._.{STOCK}"), "east's gateway has nobody for stock")


def test_calls_come_home_again(without_own_pods):
    named = without_own_pods
    named.lab.kubectl("east", "scale", "-n", "books", "deployment/stock-v1", "--replicas=1")

    def at_home():
        found = [answer(named, "east", NAMESPACE, pod, "http://stock.books/hello")["mesh"] for pod in PODS.values()]
        return found == ["east", "east"]

    wait_for(at_home, "east's own pods serve again")


# What is no longer offered


@pytest.fixture(scope="module")
def withdrawn(named):
    """East exports nothing any more, but keeps its stock to itself."""
    hosts = inventory()
    hosts["east"]["mesh_exports"] = []
    hosts["east"]["mesh_imports"] = [{"from": "all", "select": "[?service!='stock']"}]
    hosts["north"]["mesh_imports"] = [{"from": "all"}]
    named.write_inventory(hosts)
    named.play("federate").ok()
    return named


@pytest.mark.parametrize("kind", PODS)
def test_what_is_not_exported_does_not_exist(withdrawn, kind):
    gone = (EAST, ALIAS, SHORT)

    def nobody_knows():
        found = ask(withdrawn, "north", NAMESPACE, PODS[kind], *gone, WEST, STOCK)
        assert {host: found[host].code for host in gone} == dict.fromkeys(gone, NXDOMAIN)
        assert (found[WEST].code, found[STOCK].code) == (NOERROR, NOERROR)
        return True

    wait_for(nobody_knows, f"{kind} pods of north have forgotten {gone}", 120)
    assert answer(withdrawn, "north", NAMESPACE, PODS[kind], f"http://{STOCK}/hello")["mesh"] == "west"
    print(f"north, {kind}: NXDOMAIN for {', '.join(gone)}")


def test_nothing_is_left_at_the_service_of_who_left(withdrawn):
    for mesh in ("east", "west"):
        assert withdrawn.kubectl_json(mesh, "get", "workloadentries", "-A")["items"] == []
    for mesh in ("east", "west"):
        assert answer(withdrawn, mesh, NAMESPACE, PODS["captured"], "http://stock.books/hello")["mesh"] == mesh


def test_a_zone_of_somebody_else_is_refused_before_anything_is_written(withdrawn):
    mine = f"{STOCK}:53 {{\n    errors\n}}\n"
    held = corefile(withdrawn, "north")
    set_corefile(withdrawn, "north", held + mine)
    try:
        logs = {mesh: AuditLog(withdrawn.lab.audit_log(mesh)) for mesh in MESHES}
        withdrawn.write_inventory(inventory())
        run = withdrawn.play("site")
        assert run.returncode != 0
        message = f"north: ConfigMap kube-system/coredns, Corefile: it has a server block for {STOCK} already"
        assert message in " ".join(run.output.split())
        assert logs["north"].writes() == []
    finally:
        set_corefile(withdrawn, "north", held)


def test_without_the_role_the_corefile_has_its_bytes_again(withdrawn, before):
    withdrawn.write_inventory(inventory())
    withdrawn.play("federate", "-e", '{"dns_enabled": false}').ok()
    assert {mesh: corefile(withdrawn, mesh) for mesh in MESHES} == before
    run = withdrawn.play("federate", "-e", '{"dns_enabled": false}').ok()
    assert {mesh: counts["changed"] for mesh, counts in run.recap.items()} == dict.fromkeys(MESHES, 0)


def set_corefile(federation, mesh: str, text: str) -> None:
    patch = json.dumps({"data": {"Corefile": text}})
    federation.lab.kubectl(mesh, "patch", "configmap", "-n", "kube-system", "coredns", "--type=merge", "-p", patch)


@pytest.fixture
def importing(named, before):
    """North's Corefile imports files of another ConfigMap, as on some managed clusters."""
    lab = named.lab
    deployment = named.kubectl_json("north", "get", "deployment", "-n", "kube-system", "coredns")
    original = {key: copy.deepcopy(deployment[key]) for key in ("apiVersion", "kind", "spec")}
    original["metadata"] = {"name": "coredns", "namespace": "kube-system", "labels": deployment["metadata"]["labels"]}
    pod = deployment["spec"]["template"]["spec"]
    pod["volumes"].append({"name": "custom", "configMap": {"name": "coredns-custom", "optional": True}})
    pod["containers"][0]["volumeMounts"].append(
        {"name": "custom", "mountPath": "/etc/coredns/custom", "readOnly": True}
    )
    set_corefile(named, "north", f"{before['north']}import custom/*.server\n")
    lab.kubectl("north", "replace", "-f", "-", stdin=json.dumps(deployment))
    lab.kubectl("north", "rollout", "status", "-n", "kube-system", "deployment/coredns", "--timeout=90s")
    yield named
    set_corefile(named, "north", before["north"])
    lab.kubectl("north", "replace", "--force", "-f", "-", stdin=json.dumps(original))
    lab.kubectl("north", "rollout", "status", "-n", "kube-system", "deployment/coredns", "--timeout=90s")


def test_a_file_that_the_corefile_imports(importing, before):
    hosts = inventory()
    hosts["north"] |= {"dns_config_map": "coredns-custom", "dns_key": "multimesh.server", "dns_whole_key": True}
    importing.write_inventory(hosts)
    importing.play("federate", "--limit", "north").ok()
    assert corefile(importing, "north") == f"{before['north']}import custom/*.server\n"
    held = importing.kubectl_json("north", "get", "configmap", "-n", "kube-system", "coredns-custom")["data"]
    assert list(held) == ["multimesh.server"]

    def resolves():
        return ask(importing, "north", NAMESPACE, PODS["uncaptured"], EAST)[EAST].code == NOERROR

    wait_for(resolves, "CoreDNS reads the imported file", 120)
    assert importing.play("federate", "--limit", "north").ok().recap["north"]["changed"] == 0
    importing.play("federate", "--limit", "north", "-e", '{"dns_enabled": false}').ok()
    found = importing.kubectl_json("north", "get", "configmaps", "-n", "kube-system")["items"]
    assert "coredns-custom" not in [item["metadata"]["name"] for item in found]


def test_a_mesh_that_leaves_is_forgotten_and_forgets(named, before):
    named.write_inventory(inventory())
    named.play("federate").ok()
    named.play("remove", "-e", '{"remove_meshes": ["north"]}').ok()
    assert corefile(named, "north") == before["north"]
    left = "".join(corefile(named, mesh) for mesh in ("east", "west"))
    assert WEST in left
    assert ".svc.north.global" not in left


def test_rendered_offline_it_is_the_same(named):
    hosts = inventory()
    for mesh, values in hosts.items():
        values["mesh_gateway_addresses"] = [named.lab.node_address(mesh)]
        for export in values["mesh_exports"]:
            ports = [{"number": number, "name": name, "protocol": name.upper()} for name, number in STOCK_PORTS.items()]
            export.setdefault("ports", ports)
            export.setdefault("service_accounts", [export["service"]])
    named.write_inventory(hosts)
    folder = named.folder / "rendered-names"
    named.play("render", "-e", f"render_dir={folder}", env={"K8S_AUTH_KUBECONFIG": "/nonexistent"}).ok()
    named.play("federate").ok()
    for mesh in MESHES:
        objects = list(yaml.safe_load_all((folder / mesh / "federation.yml").read_text()))
        rendered = {
            item["spec"]["hosts"][0]: item["spec"]["addresses"][0] for item in objects if item["kind"] == "ServiceEntry"
        }
        assert rendered == pinned(named, mesh)
        assert corefile(named, mesh).startswith((folder / mesh / "multimesh.server").read_text())
