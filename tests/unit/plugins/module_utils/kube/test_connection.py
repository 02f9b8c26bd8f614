# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import stat
import sys

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.kube.connection import (
    CONNECTION_OPTIONS,
    Connection,
    open_connection,
)
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import CredentialsError, MissingLibraryError

ENVIRONMENT = {
    "K8S_AUTH_KUBECONFIG": "/env/config",
    "K8S_AUTH_CONTEXT": "env-context",
    "K8S_AUTH_HOST": "https://env",
    "K8S_AUTH_API_KEY": "env-token",
    "K8S_AUTH_VERIFY_SSL": "no",
    "K8S_AUTH_SSL_CA_CERT": "/env/ca",
    "K8S_AUTH_CERT_FILE": "/env/cert",
    "K8S_AUTH_KEY_FILE": "/env/key",
}
HOST_ONLY = {key: value for key, value in ENVIRONMENT.items() if key not in ("K8S_AUTH_KUBECONFIG", "K8S_AUTH_CONTEXT")}


def chosen(options, environ):
    connection = Connection.from_options({**dict.fromkeys(CONNECTION_OPTIONS), **options}, environ)
    return {key: value for key, value in vars(connection).items() if value is not None and key != "request_timeout"}


@pytest.mark.parametrize(
    ("options", "environ", "expected"),
    [
        ({}, {}, {"mesh": "this cluster"}),
        ({"mesh": "west", "kubeconfig": "/a"}, ENVIRONMENT, {"mesh": "west", "kubeconfig": "/a"}),
        ({"kubeconfig": "/a"}, {}, {"mesh": "/a", "kubeconfig": "/a"}),
        ({"context": "c"}, ENVIRONMENT, {"mesh": "c", "context": "c", "kubeconfig": "/env/config"}),
        (
            {"host": "https://h"},
            ENVIRONMENT,
            {
                "mesh": "https://h",
                "host": "https://h",
                "api_key": "env-token",
                "ca_cert": "/env/ca",
                "client_cert": "/env/cert",
                "client_key": "/env/key",
                "validate_certs": False,
            },
        ),
        ({"host": "https://h", "api_key": "t"}, {}, {"mesh": "https://h", "host": "https://h", "api_key": "t"}),
        # a token in the environment is for the host in the environment, not for the clusters of a kubeconfig
        (
            {},
            ENVIRONMENT,
            {
                "mesh": "env-context",
                "kubeconfig": "/env/config",
                "context": "env-context",
                "ca_cert": "/env/ca",
                "client_cert": "/env/cert",
                "client_key": "/env/key",
                "validate_certs": False,
            },
        ),
        (
            {},
            HOST_ONLY,
            {
                "mesh": "https://env",
                "host": "https://env",
                "api_key": "env-token",
                "ca_cert": "/env/ca",
                "client_cert": "/env/cert",
                "client_key": "/env/key",
                "validate_certs": False,
            },
        ),
        ({"validate_certs": True}, HOST_ONLY | {"K8S_AUTH_HOST": ""}, None),
    ],
)
def test_options_come_first_and_sources_do_not_mix(options, environ, expected):
    found = chosen(options, environ)
    if expected is None:
        assert found["validate_certs"] is True
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("1", True), ("False", False), ("0", False), ("no", False)]
)
def test_validate_certs_from_the_environment(text, value):
    assert chosen({}, {"K8S_AUTH_VERIFY_SSL": text})["validate_certs"] is value


@pytest.mark.parametrize("other", [{"kubeconfig": "/a"}, {"context": "c"}])
def test_two_sources_at_once_are_refused(other):
    with pytest.raises(CredentialsError, match="west: host and kubeconfig or context are given"):
        chosen({"mesh": "west", "host": "https://h", **other}, {})


def test_a_token_is_not_in_the_repr():
    assert "hush" not in repr(Connection(mesh="west", host="https://h", api_key="hush"))


def write_kubeconfig(path, user):
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "a",
                "clusters": [
                    {"name": "a", "cluster": {"server": "https://a.test:6443/", "insecure-skip-tls-verify": True}},
                    {"name": "b", "cluster": {"server": "https://b.test"}},
                ],
                "users": [{"name": "u", "user": user}],
                "contexts": [{"name": name, "context": {"cluster": name, "user": "u"}} for name in "ab"],
            }
        )
    )
    return str(path)


def test_a_kubeconfig(tmp_path):
    path = write_kubeconfig(tmp_path / "config", {"token": "t"})
    credentials = open_connection(Connection(mesh="west", kubeconfig=path), 16)
    assert (credentials.server, credentials.authorization()) == ("https://a.test:6443", "Bearer t")
    assert credentials.pool.connection_pool_kw["maxsize"] == 16
    assert open_connection(Connection(mesh="west", kubeconfig=path, context="b"), 4).server == "https://b.test"


def test_a_credential_plugin(tmp_path):
    plugin = tmp_path / "plugin"
    status = {"token": "from-plugin"}
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    plugin.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
    plugin.chmod(stat.S_IRWXU)
    user = {"exec": {"apiVersion": answer["apiVersion"], "command": str(plugin), "interactiveMode": "Never"}}
    path = write_kubeconfig(tmp_path / "config", user)
    assert open_connection(Connection(mesh="west", kubeconfig=path), 4).authorization() == "Bearer from-plugin"


def test_host_and_token():
    credentials = open_connection(Connection(mesh="west", host="https://h.test/", api_key="t"), 4)
    assert (credentials.server, credentials.authorization()) == ("https://h.test", "Bearer t")


def test_without_a_token_there_is_no_header():
    assert open_connection(Connection(mesh="west", host="https://h.test"), 4).authorization() is None


@pytest.mark.parametrize(
    "options", [{"kubeconfig": "/nonexistent"}, {"kubeconfig": __file__}, {"kubeconfig": "CONFIG", "context": "none"}]
)
def test_unusable_credentials_are_named(options, tmp_path):
    path = write_kubeconfig(tmp_path / "config", {"token": "hush"})
    given = {key: path if value == "CONFIG" else value for key, value in options.items()}
    with pytest.raises(CredentialsError) as caught:
        open_connection(Connection(mesh="west", **given), 4)
    assert str(caught.value).startswith("west: no usable credentials: ")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"host": "api.test:6443"}, "west: host api.test:6443 is no URL"),
        ({"host": "https://h", "ca_cert": "/nonexistent"}, "west: ca_cert: there is no file /nonexistent"),
        ({"host": "https://h", "client_key": "/nonexistent"}, "west: client_key: there is no file /nonexistent"),
    ],
)
def test_what_would_look_like_a_dead_server_is_named(options, message):
    with pytest.raises(CredentialsError, match=message):
        open_connection(Connection(mesh="west", **options), 4)


def test_no_credentials_at_all(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))
    with pytest.raises(CredentialsError, match=r"west: no credentials: .*mesh_kubeconfig"):
        open_connection(Connection(mesh="west"), 4)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(MissingLibraryError, match=r"west: the Python library kubernetes is missing.*interpreter"):
        open_connection(Connection(mesh="west"), 4)
