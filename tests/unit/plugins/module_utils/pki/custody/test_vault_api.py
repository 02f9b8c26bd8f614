# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody import vault_api
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import CustodyError
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.store import FileStore
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.vault import VAULT_OPTIONS, from_options
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.vault_api import (
    Api,
    Login,
    RejectedError,
    Server,
)

SECRET = "s3cr3t-value"
LOGIN = Login(token=SECRET)


class Answers(BaseHTTPRequestHandler):
    """Gives what the test wants, and remembers what was asked."""

    protocol_version = "HTTP/1.1"
    asked: list[tuple[str, str, dict[str, str], Any]]
    answers: dict[str, tuple[int, Any]]

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        content = json.loads(self.rfile.read(length)) if length else None
        path = self.path.split("?")[0].removeprefix("/v1/")
        self.asked.append((self.command, path, dict(self.headers), content))
        status, body = self.answers.get(path, (404, {"errors": []}))
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, type[Answers]]]:
    handler = type("Handler", (Answers,), {"asked": [], "answers": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listener.server_address[1]}", handler
        listener.shutdown()


@pytest.fixture
def answers(server: tuple[str, type[Answers]]) -> type[Answers]:
    return server[1]


@pytest.fixture
def api(server: tuple[str, type[Answers]]) -> Callable[..., Api]:
    return lambda login=LOGIN, **options: Api(Server(server[0], **options), login)


def test_sends_token_and_namespace(api: Callable[..., Api], answers: type[Answers]) -> None:
    answers.answers["pki/issuers"] = (200, {"data": {"keys": ["a"]}})
    assert api(namespace="teams/mesh").list("pki/issuers") == {"keys": ["a"]}
    ((verb, path, headers, _content),) = answers.asked
    assert (verb, path) == ("GET", "pki/issuers")
    assert headers["X-Vault-Token"] == SECRET
    assert headers["X-Vault-Namespace"] == "teams/mesh"


def test_what_is_not_there_is_none(api: Callable[..., Api]) -> None:
    assert api().list("pki/issuers") is None
    assert api().read("pki/issuer/a") is None
    api().delete("pki/issuer/a")
    with pytest.raises(CustodyError, match=r"there is no pki/revoke\. Check the mount"):
        api().write("pki/revoke", {})


def test_an_answer_without_content_is_empty(api: Callable[..., Api], answers: type[Answers]) -> None:
    answers.answers |= {"pki/config/crl": (204, None), "pki/crl/rotate": (200, {"data": None})}
    assert api().write("pki/config/crl", {"expiry": "72h"}) == {}
    assert api().read("pki/crl/rotate") == {}
    assert answers.asked[0][3] == {"expiry": "72h"}


LOGINS: dict[str, tuple[Login, dict[str, str]]] = {
    "approle": (Login("approle", role_id="r", secret_id=SECRET), {"role_id": "r", "secret_id": SECRET}),
    "jwt": (Login("jwt", "gitlab", role="runner", jwt=SECRET), {"role": "runner", "jwt": SECRET}),
    "kubernetes": (Login("kubernetes", role="runner"), {"role": "runner", "jwt": "of the pod"}),
}


@pytest.mark.parametrize("method", LOGINS)
def test_logs_in_once(
    api: Callable[..., Api],
    answers: type[Answers],
    method: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "token").write_text("of the pod\n")
    monkeypatch.setattr(vault_api, "SERVICE_ACCOUNT_TOKEN", tmp_path / "token")
    login, content = LOGINS[method]
    path = f"auth/{login.mount or method}/login"
    answers.answers[path] = (200, {"auth": {"client_token": "given"}})
    ours = api(login)
    ours.read("pki/a")
    ours.read("pki/b")
    assert [(asked[1], asked[2].get("X-Vault-Token")) for asked in answers.asked] == [
        (path, None),
        ("pki/a", "given"),
        ("pki/b", "given"),
    ]
    assert answers.asked[0][3] == content


INCOMPLETE: dict[str, tuple[Login, str]] = {
    "no token": (Login(), "the token is empty. Set shared_root_ca_vault_token"),
    "no approle": (
        Login("approle"),
        "needs shared_root_ca_vault_role_id and shared_root_ca_vault_secret_id",
    ),
    "no jwt": (Login("jwt", role="r"), "jwt needs shared_root_ca_vault_jwt"),
    "no pod": (Login("kubernetes", role="r"), "kubernetes needs shared_root_ca_vault_jwt"),
    "unknown": (Login("ldap"), "'ldap' is unknown, expected one of token, approle, jwt, kubernetes"),
}


@pytest.mark.parametrize("case", INCOMPLETE)
def test_a_login_that_is_incomplete_is_named(api: Callable[..., Api], answers: type[Answers], case: str) -> None:
    login, message = INCOMPLETE[case]
    with pytest.raises(CustodyError, match=message):
        api(login).read("pki/a")
    assert answers.asked == []


FAILURES: dict[int, str] = {
    400: r"update pki/revoke: no such \(withheld\)",
    403: r'this login may not update pki/revoke.*path "pki/revoke" \{ capabilities = \["update"\] \}',
    429: r"update pki/revoke failed: no such \(withheld\)\. See the log",
    500: r"update pki/revoke failed",
    503: r"sealed or being maintained",
}


@pytest.mark.parametrize("status", FAILURES)
def test_failures_are_explained_without_secrets(api: Callable[..., Api], answers: type[Answers], status: int) -> None:
    answers.answers["pki/revoke"] = (status, {"errors": [f"no such {SECRET}"]})
    with pytest.raises(CustodyError, match=FAILURES[status]) as caught:
        api().write("pki/revoke", {})
    assert SECRET not in str(caught.value)
    assert isinstance(caught.value, RejectedError) == (status == 400)


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(CustodyError, match=r"https://127\.0\.0\.1:1: the server cannot be reached"):
        Api(Server("https://127.0.0.1:1"), LOGIN).read("pki/a")


@pytest.mark.parametrize("url", ["", "vault.example:8200", "http://vault.example:8200", "https://"])
def test_nothing_is_sent_in_the_clear(url: str) -> None:
    with pytest.raises(CustodyError, match="expected https://"):
        Api(Server(url), LOGIN).read("pki/a")


def test_the_library_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(vault_api, "hvac")
    with pytest.raises(CustodyError, match="pip install hvac"):
        Api(Server("https://vault.example"), LOGIN).read("pki/a")


def test_the_environment_does_not_count(
    api: Callable[..., Api], answers: type[Answers], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "another")
    monkeypatch.setenv("VAULT_ADDR", "https://127.0.0.1:1")
    monkeypatch.setenv("VAULT_NAMESPACE", "another")
    api().read("pki/a")
    assert answers.asked[0][2]["X-Vault-Token"] == SECRET
    assert "X-Vault-Namespace" not in answers.asked[0][2]


def test_secrets_are_not_shown() -> None:
    login = Login("approle", token=SECRET, role_id=SECRET, secret_id=SECRET, jwt=SECRET)
    assert SECRET not in repr(login)
    secret_options = {name for name, option in VAULT_OPTIONS.items() if option.get("no_log")}
    assert secret_options == {"vault_token", "vault_role_id", "vault_secret_id", "vault_jwt"}


def test_options_make_a_custody(server: tuple[str, type[Answers]], tmp_path: Path) -> None:
    url, handler = server
    options = {name: option.get("default") for name, option in VAULT_OPTIONS.items()}
    options |= {"vault_url": url, "vault_token": SECRET, "vault_mount": "mesh/pki/"}
    custody = from_options(options, FileStore(tmp_path))
    assert custody.place == f"{url}, secrets engine mesh/pki/"
    assert custody.roots() == ()
    assert [asked[1] for asked in handler.asked] == ["mesh/pki/issuers"]
