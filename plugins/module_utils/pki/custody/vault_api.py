# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Talking to a server with Vault's API: Vault, OpenBao, HCP Vault. Every error says what to do and quotes no secret."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import CustodyError

with contextlib.suppress(ImportError):
    import hvac
    import hvac.exceptions
    import requests

LOGINS = ("token", "approle", "jwt", "kubernetes")

SERVICE_ACCOUNT_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
"""Where Kubernetes puts the token of a pod's ServiceAccount."""

_SECONDS = 30.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Server:
    """Where the server is.

    url: https; http only on this machine.
    namespace: of Vault Enterprise, OpenBao or HCP, "" for the root namespace.
    ca_cert: file with the certificates to verify the server by, "" for those of the system.
    """

    url: str
    namespace: str = ""
    ca_cert: str = ""


@dataclass(frozen=True)
class Login:
    """How to be let in.

    method: one of LOGINS.
    mount: path of the auth method, default: its name.
    token: for ``token``. role_id, secret_id: for ``approle``. role, jwt: for ``jwt`` and ``kubernetes``; in a pod of
    Kubernetes the jwt may be left out.
    """

    method: str = "token"
    mount: str = ""
    role: str = ""
    token: str = field(default="", repr=False)
    role_id: str = field(default="", repr=False)
    secret_id: str = field(default="", repr=False)
    jwt: str = field(default="", repr=False)


class RejectedError(CustodyError):
    """The server understood and refused (status 400): it says why in the message."""


class Api:
    """Requests to one server. It logs in with the first one, and raises CustodyError."""

    def __init__(self, server: Server, login: Login) -> None:
        self._server = server
        self._login = login

    @property
    def place(self) -> str:
        """How messages name the server."""
        return self._server.url

    def read(self, path: str) -> dict[str, Any] | None:
        """The data at a path, None if there is none."""
        return self._data("read", path, lambda client: client.read(path))

    def list(self, path: str) -> dict[str, Any] | None:
        """What is below a path, None if nothing is."""
        return self._data("list", path, lambda client: client.list(path))

    def write(self, path: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """Write to a path; gives the data of the answer."""
        return self._data("update", path, lambda client: client.write_data(path, data=dict(content))) or {}

    def delete(self, path: str) -> None:
        """Delete what is at a path; nothing happens if nothing is."""
        self._data("delete", path, lambda client: client.delete(path))

    def _data(self, verb: str, path: str, call: Callable[[hvac.Client], Any]) -> dict[str, Any] | None:
        client, answer = self._client, None
        with self._explained(verb, path):
            answer = call(client)
        if answer is None:
            return None
        data = answer.get("data") if isinstance(answer, dict) else None  # an empty answer comes as a response
        return data or {}

    @cached_property
    def _client(self) -> hvac.Client:
        client = self._anonymous()
        login = self._login
        if login.method == "token":
            if not login.token:
                raise CustodyError(
                    f"{self.place}: the token is empty. Set shared_root_ca_vault_token, or choose another "
                    "shared_root_ca_vault_auth."
                )
            client.token = login.token
            return client
        path = f"auth/{login.mount or login.method}/login"
        content = self._credentials()
        with self._explained("update", path):
            client.login(f"/v1/{path}", json=content)
        return client

    def _anonymous(self) -> hvac.Client:
        try:
            make = hvac.Client
        except NameError:
            raise CustodyError(
                f"{self.place}: the Python that runs the module lacks the library hvac, with which Vault is asked. "
                "Install it there: pip install hvac"
            ) from None
        address = urlsplit(self._server.url)
        if not address.hostname or (address.scheme != "https" and address.hostname not in _LOOPBACK):
            raise CustodyError(
                f"shared_root_ca_vault_url: {self._server.url!r} cannot be used, expected https://HOST[:PORT]. Others "
                "could read what is sent there."
            )
        # Empty instead of None: hvac would look for both in the environment and in files of the user.
        return make(
            url=self._server.url,
            token="",
            cert=(),
            verify=self._server.ca_cert or True,
            namespace=self._server.namespace or None,
            timeout=_SECONDS,
        )

    def _credentials(self) -> dict[str, str]:
        login = self._login
        if login.method == "approle":
            wanted = {"role_id": login.role_id, "secret_id": login.secret_id}
        elif login.method in ("jwt", "kubernetes"):
            wanted = {"role": login.role, "jwt": login.jwt or self._service_account_token()}
        else:
            raise CustodyError(
                f"shared_root_ca_vault_auth: {login.method!r} is unknown, expected one of {', '.join(LOGINS)}."
            )
        missing = [f"shared_root_ca_vault_{name}" for name, value in wanted.items() if not value]
        if missing:
            raise CustodyError(f"shared_root_ca_vault_auth: {login.method} needs {' and '.join(missing)}. Set that.")
        return wanted

    def _service_account_token(self) -> str:
        if self._login.method != "kubernetes":
            return ""
        try:
            return SERVICE_ACCOUNT_TOKEN.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""

    @contextlib.contextmanager
    def _explained(self, verb: str, path: str) -> Iterator[None]:
        """Turns whatever the libraries raise into what the user can do."""
        try:
            yield
        except hvac.exceptions.Forbidden:
            raise CustodyError(
                f"{self.place}: this login may not {verb} {path}, or its token has ended. Give its policy: "
                f'path "{path}" {{ capabilities = ["{verb}"] }}'
            ) from None
        except hvac.exceptions.InvalidPath:
            if verb != "delete":
                raise CustodyError(
                    f"{self.place}: there is no {path}. Check the mount, and enable it if need be."
                ) from None
        except hvac.exceptions.InvalidRequest as error:
            raise RejectedError(f"{self.place}: {verb} {path}: {self._without_secrets(error)}") from None
        except hvac.exceptions.VaultDown:
            raise CustodyError(f"{self.place}: the server is sealed or being maintained. Unseal it.") from None
        except hvac.exceptions.VaultError as error:
            raise CustodyError(
                f"{self.place}: {verb} {path} failed: {self._without_secrets(error)}. See the log of the server."
            ) from None
        except requests.exceptions.SSLError as error:
            raise CustodyError(
                f"{self.place}: the certificate of the server cannot be verified: {error}. Name the file with its "
                "CA in shared_root_ca_vault_ca_cert."
            ) from None
        except (requests.exceptions.RequestException, OSError) as error:
            raise CustodyError(
                f"{self.place}: the server cannot be reached: {error}. Check shared_root_ca_vault_url and the way "
                "there."
            ) from None

    def _without_secrets(self, error: Exception) -> str:
        text = ", ".join(map(str, getattr(error, "errors", None) or [error]))
        login = self._login
        for secret in (login.token, login.role_id, login.secret_id, login.jwt):
            text = text.replace(secret, "(withheld)") if secret else text
        return text.strip()
