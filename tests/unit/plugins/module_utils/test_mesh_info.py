# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import gzip
import json

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils import mesh_info
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import ForbiddenError
from ansible_collections.multimesh.istio.plugins.module_utils.mesh_info import Request, protocol, read_mesh
from ansible_collections.multimesh.istio.plugins.module_utils.pki import bundle, crl

from tests.unit.plugins.module_utils.pki import forge

NOW = forge.NOW


def selected(label_selector, labels):
    """As Kubernetes reads ``a=b,c!=d``."""
    for part in label_selector.split(",") if label_selector else ():
        key, _equals, value = part.partition("=")
        if (labels.get(key.removesuffix("!")) == value) is key.endswith("!"):
            return False
    return True


class FakeCluster:
    """Serves these objects. ``forbidden`` are (verb, plural, namespace)."""

    mesh = "west"

    def __init__(self, *objects, forbidden=()):
        self.objects = objects
        self.forbidden = set(forbidden)
        self.asked = []

    def _ask(self, verb, resource, namespace):
        self.asked.append((verb, resource.plural, namespace))
        if (verb, resource.plural, namespace) in self.forbidden:
            raise ForbiddenError("no", 403)

    def get_path(self, path):
        assert path == "/version"
        return {"gitVersion": "v1.36.3"}

    def get(self, resource, namespace, name, *, metadata_only=False):
        self._ask("get", resource, namespace)
        found = [body for body in self._of(resource, namespace) if body["metadata"]["name"] == name]
        return self._shown(found[0], metadata_only) if found else None

    def list_objects(self, resource, namespace=None, *, label_selector=None, metadata_only=False, page=None):  # noqa: ARG002
        self._ask("list", resource, namespace)
        return [
            self._shown(body, metadata_only)
            for body in self._of(resource, namespace)
            if selected(label_selector, body["metadata"].get("labels") or {})
        ]

    def _of(self, resource, namespace):
        return [
            body
            for body in self.objects
            if body["kind"] == resource.kind and namespace in (None, body["metadata"]["namespace"])
        ]

    @staticmethod
    def _shown(body, metadata_only):
        return {"metadata": body["metadata"]} if metadata_only else body


def thing(kind, name, namespace="istio-system", labels=None, **fields):
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace, "labels": labels or {}}, **fields}


def service(name, *ports, namespace="shop", **spec):
    return thing("Service", name, namespace, spec={"ports": list(ports), "selector": {"app": name}, **spec})


def pod(name, app, account=None, ports=(), phase="Running", **metadata):
    body = thing("Pod", name, "shop", {"app": app}, status={"phase": phase})
    body["metadata"].update(metadata)
    body["spec"] = {"containers": [{"name": "c", "ports": list(ports)}]}
    if account:
        body["spec"]["serviceAccountName"] = account
    return body


def workload(kind, app, account, ports=()):
    pod_spec = {"containers": [{"name": "c", "ports": list(ports)}], "serviceAccountName": account}
    template = {"metadata": {"labels": {"app": app, "version": "v1"}}, "spec": pod_spec}
    return thing(kind, app, "shop", spec={"template": template})


def gateway(name="gw", ips=(), names=(), external=()):
    ingress = [*({"ip": ip} for ip in ips), *({"hostname": host} for host in names)]
    status = {"loadBalancer": {"ingress": ingress} if ingress else {}}
    return thing(
        "Service", name, labels={"istio": "eastwestgateway"}, spec={"externalIPs": list(external)}, status=status
    )


def facts(cluster, **request):
    return read_mesh(cluster, Request(**request), NOW).facts


def exports(*names):
    return [{"service": name, "namespace": "shop"} for name in names]


def test_an_empty_cluster():
    assert facts(FakeCluster(), exports=exports("reviews")) == {
        "kubernetes_version": "v1.36.3",
        "istio": {"revisions": [], "ambient": False},
        "gateway_addresses": [],
        "ingress_addresses": [],
        "services": [],
        "remembered": {},
        "peers": [],
        "ca": {
            "cacerts_present": None,
            "roots": [],
            "intermediate": None,
            "chain": [],
            "share_of_life": None,
            "crls": [],
        },
        "remote_secrets": None,
        "recorded_remote_secrets": None,
        "releases": {},
        "foreign": None,
    }
    found = facts(FakeCluster(), read_ca=True, read_remote_secrets=True)
    assert (found["ca"]["cacerts_present"], found["remote_secrets"]) == (False, 0)


@pytest.mark.parametrize(
    ("gateways", "expected"),
    [
        ([gateway()], []),
        ([gateway(ips=["198.51.100.2", "198.51.100.1"])], ["198.51.100.1", "198.51.100.2"]),
        ([gateway(names=["lb.test"])], ["lb.test"]),
        ([gateway(names=["lb.test"], ips=["198.51.100.1"])], ["198.51.100.1"]),
        ([gateway(external=["203.0.113.1"])], ["203.0.113.1"]),
        ([gateway(external=["203.0.113.1"], ips=["198.51.100.1"])], ["198.51.100.1"]),
        ([gateway("a", ips=["198.51.100.1"]), gateway("b", ips=["198.51.100.1"])], ["198.51.100.1"]),
        ([thing("Service", "other", status={"loadBalancer": {"ingress": [{"ip": "198.51.100.9"}]}})], []),
    ],
)
def test_gateway_addresses(gateways, expected):
    assert facts(FakeCluster(*gateways))["gateway_addresses"] == expected


CONTROLLER = thing("Service", "web", "edge", status={"loadBalancer": {"ingress": [{"ip": "192.0.2.20"}]}})


@pytest.mark.parametrize(
    ("via", "service", "expected"),
    [
        ("ingress", "edge/web", ["192.0.2.20"]),
        ("ingress", "edge/none", []),
        ("ingress", "", []),
        ("passthrough", "edge/web", []),
        (None, "edge/web", []),
    ],
)
def test_ingress_addresses_are_read_for_exports_behind_an_ingress(via, service, expected):
    cluster = FakeCluster(CONTROLLER)
    export = {"service": "reviews", "namespace": "shop", **({"via": via} if via else {})}
    assert facts(cluster, exports=[export], ingress_service=service)["ingress_addresses"] == expected
    asked = ("get", "services", service.partition("/")[0]) in cluster.asked
    assert asked is (via == "ingress" and bool(service))


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        ({"name": "http"}, "HTTP"),
        ({"name": "http-web"}, "HTTP"),
        ({"name": "HTTP2-x"}, "HTTP2"),
        ({"name": "grpc"}, "GRPC"),
        ({"name": "grpc-web"}, "GRPC-WEB"),
        ({"name": "https"}, "HTTPS"),
        ({"name": "tls-x"}, "TLS"),
        ({"name": "tcp"}, "TCP"),
        ({"name": "mongo"}, "MONGO"),
        ({"name": "mysql-x"}, "MYSQL"),
        ({"name": "redis"}, "REDIS"),
        ({"name": "web"}, "TCP"),
        ({}, "TCP"),
        ({"name": "web", "appProtocol": "http"}, "HTTP"),
        ({"name": "http", "appProtocol": "tcp"}, "TCP"),
        ({"name": "http", "appProtocol": "a.test/own"}, "TCP"),
        ({"appProtocol": "kubernetes.io/h2c"}, "HTTP2"),
        ({"appProtocol": "kubernetes.io/ws"}, "HTTP"),
        ({"appProtocol": "kubernetes.io/wss"}, "HTTPS"),
        ({"name": "http", "protocol": "UDP"}, "UDP"),
        ({"name": "x", "protocol": "SCTP"}, "SCTP"),
    ],
)
def test_protocol_is_selected_as_istio_does(port, expected):
    assert protocol({"port": 80, **port}) == expected


def test_a_service_with_pods():
    named = {"name": "web", "containerPort": 8080}
    cluster = FakeCluster(
        service(
            "reviews", {"port": 80, "name": "http", "targetPort": "web"}, {"port": 81, "targetPort": 9000}, {"port": 82}
        ),
        pod("a", "reviews", "b-account", [named]),
        pod("b", "reviews", "a-account", [named]),
        pod("c", "reviews", None, [named]),
        pod("done", "reviews", "done", phase="Succeeded"),
        pod("leaving", "reviews", "leaving", deletionTimestamp="2026-11-21T00:00:00Z"),
        pod("other", "ratings", "other"),
        workload("Deployment", "reviews", "of-template"),
    )
    assert facts(cluster, exports=exports("reviews"))["services"] == [
        {
            "namespace": "shop",
            "name": "reviews",
            "ports": [
                {"number": 80, "name": "http", "protocol": "HTTP", "target_port": 8080, "target_port_name": "web"},
                {"number": 81, "name": None, "protocol": "TCP", "target_port": 9000, "target_port_name": None},
                {"number": 82, "name": None, "protocol": "TCP", "target_port": 82, "target_port_name": None},
            ],
            "selector": {"app": "reviews"},
            "service_accounts": ["a-account", "b-account", "default"],
            "cluster_ip": None,
            "same_pods": [],
        }
    ]


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_a_service_whose_pods_are_still_to_come(kind):
    named = {"name": "web", "containerPort": 8080}
    cluster = FakeCluster(
        service("reviews", {"port": 80, "targetPort": "web"}), workload(kind, "reviews", "reviewer", [named])
    )
    (found,) = facts(cluster, exports=exports("reviews"))["services"]
    assert (found["service_accounts"], found["ports"][0]["target_port"]) == (["reviewer"], 8080)


def test_a_service_without_pods_or_selector():
    cluster = FakeCluster(service("a", {"port": 80, "targetPort": "web"}), service("b", {"port": 80}, selector=None))
    first, second = facts(cluster, exports=exports("b", "a"))["services"]
    assert (first["name"], first["service_accounts"], first["ports"][0]["target_port"]) == ("a", [], None)
    assert (second["selector"], second["service_accounts"]) == ({}, [])


def test_services_that_select_the_same_pods():
    cluster = FakeCluster(
        service("reviews", {"port": 80}, selector={"app": "reviews", "tier": "web"}),
        service("all", {"port": 80}, selector={"tier": "web"}),
        service("headless", {"port": 80}, selector={"app": "reviews"}, clusterIP="None"),
        service("narrower", {"port": 80}, selector={"app": "reviews", "tier": "web", "version": "v1"}),
        service("other", {"port": 80}, selector={"app": "ratings"}),
        service("without", {"port": 80}, selector=None),
        service("elsewhere", {"port": 80}, namespace="books", selector={"app": "reviews"}),
    )
    headless, reviews, without = facts(cluster, exports=exports("reviews", "headless", "without"))["services"]
    assert reviews["same_pods"] == ["all", "headless"]
    assert headless["same_pods"] == []
    assert without["same_pods"] == []


def test_udp_beside_tcp_is_left_out():
    dns = service("dns", {"port": 53, "protocol": "UDP"}, {"port": 53, "name": "tcp"}, {"port": 54, "protocol": "UDP"})
    (found,) = facts(FakeCluster(dns), exports=exports("dns"))["services"]
    assert [(port["number"], port["protocol"]) for port in found["ports"]] == [(53, "TCP"), (54, "UDP")]


@pytest.mark.parametrize(("count", "lists"), [(1, 1), (3, 3), (40, 1)])
def test_pods_are_listed_by_service_or_all_at_once(count, lists):
    names = [f"s{index}" for index in range(count)]
    cluster = FakeCluster(*(service(name, {"port": 80}) for name in names), *(pod(name, name, name) for name in names))
    found = facts(cluster, exports=exports(*names))["services"]
    assert {item["name"]: item["service_accounts"] for item in found} == {name: [name] for name in names}
    assert cluster.asked.count(("list", "pods", "shop")) == lists


def test_entries_that_the_model_will_refuse_are_left_to_it():
    assert facts(FakeCluster(), exports=[{}, {"service": "a"}, {"namespace": "b"}])["services"] == []


def test_what_is_remembered():
    peers = {"east": {"gateway_addresses": ["198.51.100.9"], "services": []}}
    config_map = thing("ConfigMap", mesh_info.PEERS_NAME, data={mesh_info.PEERS_KEY: json.dumps(peers)})
    assert facts(FakeCluster(config_map))["remembered"] == peers


@pytest.mark.parametrize(
    ("data", "known"),
    [
        ({}, []),
        ({mesh_info.PEERS_KEY: '{"east": {}}'}, ["east"]),
        ({mesh_info.PEERS_KEY: '{"east": {}}', mesh_info.CONSUMERS_KEY: '["north", "east"]'}, ["east", "north"]),
        ({mesh_info.PEERS_KEY: "{", mesh_info.CONSUMERS_KEY: '["north"]'}, ["north"]),
        ({mesh_info.CONSUMERS_KEY: '{"north": {}}'}, []),
    ],
)
def test_who_is_known_as_a_peer(data, known):
    config_map = thing("ConfigMap", mesh_info.PEERS_NAME, data=data)
    assert facts(FakeCluster(config_map))["peers"] == known


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_broken_memory_is_left_aside_with_a_warning(text):
    config_map = thing("ConfigMap", mesh_info.PEERS_NAME, data={mesh_info.PEERS_KEY: text})
    info = read_mesh(FakeCluster(config_map), Request(), NOW)
    assert info.facts["remembered"] == {}
    assert "west: ConfigMap istio-system/multimesh-peers" in info.warnings[0]


def test_istio():
    container = {"name": "discovery", "image": "registry.test:5000/istio/pilot:1.31.1@sha256:0"}
    spec = {"replicas": 2, "template": {"spec": {"containers": [container]}}}
    labels = {"app": "istiod", "istio.io/rev": "blue"}
    cluster = FakeCluster(
        thing("Deployment", "istiod-blue", labels=labels, spec=spec, status={"readyReplicas": 1}),
        thing("DaemonSet", "ztunnel", "kube-system"),
    )
    assert facts(cluster)["istio"] == {
        "revisions": [{"name": "blue", "version": "1.31.1", "replicas": 2, "ready_replicas": 1}],
        "ambient": True,
    }


def test_credentials_for_other_clusters_are_counted_by_metadata():
    secrets = [thing("Secret", f"s{index}", labels={"istio/multiCluster": "true"}) for index in range(2)]
    cluster = FakeCluster(*secrets, thing("Secret", "other"))
    assert facts(cluster, read_remote_secrets=True)["remote_secrets"] == 2


def test_credentials_that_were_made_here_are_known_without_a_look_at_secrets():
    made = thing("ConfigMap", "multimesh-remote-secrets", data={"secrets.json": '["istio-remote-secret-b"]'})
    cluster = FakeCluster(made)
    assert facts(cluster, read_record=True)["recorded_remote_secrets"] == ["istio-remote-secret-b"]
    assert facts(FakeCluster(), read_record=True)["recorded_remote_secrets"] == []
    assert "secrets" not in {plural for _verb, plural, _namespace in cluster.asked}


def test_rights_in_one_namespace_are_enough_and_no_secret_is_asked_for():
    cluster = FakeCluster(thing("DaemonSet", "ztunnel"), forbidden=[("list", "daemonsets", None)])
    assert facts(cluster, exports=exports("reviews"))["istio"]["ambient"] is True
    assert "secrets" not in {plural for _verb, plural, _namespace in cluster.asked}


@pytest.mark.parametrize(
    ("forbidden", "request_"),
    [
        (("list", "daemonsets", None), {"read_ca": True}),
        (("get", "secrets", "istio-system"), {"read_ca": True}),
        (("list", "secrets", "istio-system"), {"read_remote_secrets": True}),
    ],
)
def test_what_was_asked_for_and_may_not_be_read_is_an_error(forbidden, request_):
    with pytest.raises(ForbiddenError):
        facts(FakeCluster(forbidden=[forbidden]), **request_)


@pytest.fixture(scope="module")
def cacerts():
    root = forge.root(now=NOW)
    files = bundle.build(forge.intermediate(root), root.certificate)
    return {name: base64.b64encode(content).decode() for name, content in files.items()}


def test_the_ca_without_a_look_into_the_secret(cacerts):
    root = base64.b64decode(cacerts["root-cert.pem"]).decode()
    cluster = FakeCluster(
        thing("Secret", "cacerts", data=cacerts), thing("ConfigMap", "istio-ca-root-cert", data={"root-cert.pem": root})
    )
    found = facts(cluster)["ca"]
    assert (found["cacerts_present"], found["intermediate"], found["chain"]) == (None, None, [])
    assert found["roots"][0]["days_left"] == 3650


def test_the_ca_of_the_secret_and_never_its_key(cacerts):
    found = facts(FakeCluster(thing("Secret", "cacerts", data=cacerts)), read_ca=True)["ca"]
    assert found["cacerts_present"] is True
    assert found["intermediate"]["uri_constraints"] == ["east.mesh"]
    assert found["intermediate"]["issuer"] == found["roots"][0]["subject"]
    assert [item["fingerprint_sha256"] for item in found["chain"]] == [
        found["intermediate"]["fingerprint_sha256"],
        found["roots"][0]["fingerprint_sha256"],
    ]
    assert "PRIVATE" not in json.dumps(found)
    assert abs(found["share_of_life"]) < 0.01
    assert found["crls"] == []


def test_the_lists_of_the_secret(cacerts):
    root = forge.root(now=NOW)
    data = {**cacerts, "ca-crl.pem": base64.b64encode(crl.pem([crl.sign(root, (), 3, NOW)])).decode()}
    (found,) = facts(FakeCluster(thing("Secret", "cacerts", data=data)), read_ca=True)["ca"]["crls"]
    assert (found["number"], found["revoked"]) == (3, [])
    assert found["days_left"] > 3000


@pytest.mark.parametrize("content", ["", "not base64!", base64.b64encode(b"no certificate").decode(), "//8="])
def test_an_unreadable_ca_is_no_error(content):
    info = read_mesh(
        FakeCluster(thing("Secret", "cacerts", data={"root-cert.pem": content})), Request(read_ca=True), NOW
    )
    assert info.facts["ca"]["roots"] == []
    assert len(info.warnings) == (content not in ("", "not base64!", "//8="))


# Helm


def release(name, chart="istiod", version="1.31.1", revision=3, values=None, status="deployed"):
    record = {"version": revision, "chart": {"metadata": {"name": chart, "version": version}}, "config": values}
    content = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(record).encode()))).decode()
    labels = {"owner": "helm", "name": name, "status": status}
    return thing("Secret", f"sh.helm.release.v1.{name}.v{revision}", labels=labels, data={"release": content})


def looked_up(*objects, **wanted):
    wanted = {"name": "istiod", "chart_ref": "istiod", "chart_version": "1.31.1", "release_values": {}, **wanted}
    cluster = FakeCluster(*objects)
    found = read_mesh(cluster, Request(releases=[wanted]), NOW).facts["releases"]
    assert ("list", "secrets", "istio-system") in cluster.asked
    return found["istiod"]


def test_a_release_that_is_as_wanted():
    values = {"replicaCount": 1, "meshConfig": {"trustDomain": "east.mesh"}}
    older = release("istiod", revision=2, status="superseded")
    found = looked_up(older, release("istiod", values=values), release("istio-base"), release_values=values)
    assert found == {"chart": "istiod", "version": "1.31.1", "revision": 3, "current": True}
    assert looked_up(release("istiod", values=None))["current"]
    assert looked_up(release("istiod"), chart_ref="oci://charts.example/istio/istiod")["current"]


@pytest.mark.parametrize(
    "wanted",
    [{"chart_version": "1.31.2"}, {"chart_version": "1.x"}, {"chart_ref": "istio/base"}, {"release_values": {"a": 1}}],
)
def test_a_release_that_is_to_be_changed(wanted):
    assert looked_up(release("istiod", values={}), **wanted)["current"] is False


@pytest.mark.parametrize("status", ["failed", "pending-upgrade", "uninstalled"])
def test_a_release_that_is_not_there_or_not_finished(status):
    nothing = {"chart": None, "version": None, "revision": None, "current": False}
    assert looked_up() == looked_up(release("istiod", status=status)) == nothing


def test_the_version_of_a_chart_in_a_folder_is_the_folder_s(tmp_path):
    (tmp_path / "Chart.yaml").write_text("name: istiod\nversion: 1.31.1\n")
    assert looked_up(release("istiod"), chart_ref=str(tmp_path), chart_version=None)["current"]
    (tmp_path / "Chart.yaml").write_text("name: istiod\nversion: 1.31.2\n")
    assert not looked_up(release("istiod"), chart_ref=str(tmp_path), chart_version="1.31.1")["current"]


def test_no_secret_is_asked_for_without_releases():
    cluster = FakeCluster()
    assert read_mesh(cluster, Request(), NOW).facts["releases"] == {}
    assert not [asked for asked in cluster.asked if asked[1] == "secrets"]
