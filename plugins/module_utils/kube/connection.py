# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a cluster is reached: the options of every module, the environment, and the credentials they lead to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import CredentialsError, MissingLibraryError

if TYPE_CHECKING:
    import urllib3

# Documented in doc_fragments/connection.py. The environment is read in Connection.from_options and not by an
# argument_spec fallback: a variable meant for one cluster must not mix with the options given for another.
CONNECTION_OPTIONS: dict[str, dict[str, Any]] = {
    "mesh": {"type": "str"},
    "kubeconfig": {"type": "path"},
    "context": {"type": "str"},
    "host": {"type": "str"},
    "api_key": {"type": "str", "no_log": True},
    "ca_cert": {"type": "path"},
    "client_cert": {"type": "path"},
    "client_key": {"type": "path", "no_log": False},
    "validate_certs": {"type": "bool"},
    "request_timeout": {"type": "int", "default": 30},
}

# The names that kubernetes.core reads too.
_ENVIRONMENT = {
    "kubeconfig": "K8S_AUTH_KUBECONFIG",
    "context": "K8S_AUTH_CONTEXT",
    "host": "K8S_AUTH_HOST",
    "api_key": "K8S_AUTH_API_KEY",
    "ca_cert": "K8S_AUTH_SSL_CA_CERT",
    "client_cert": "K8S_AUTH_CERT_FILE",
    "client_key": "K8S_AUTH_KEY_FILE",
    "validate_certs": "K8S_AUTH_VERIFY_SSL",
}
_FALSE = ("0", "false", "no", "off", "n", "f")


@dataclass(frozen=True)
class Connection:
    """Where a cluster is and who we are there; None leaves the decision to the kubeconfig.

    mesh: name for messages.
    request_timeout: seconds that one request may take, its retries included.
    """

    mesh: str
    kubeconfig: str | None = None
    context: str | None = None
    host: str | None = None
    api_key: str | None = None
    ca_cert: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    validate_certs: bool | None = None
    request_timeout: float = 30

    def __repr__(self) -> str:  # api_key must not get into a traceback
        return f"Connection(mesh={self.mesh!r}, kubeconfig={self.kubeconfig!r}, host={self.host!r})"

    @classmethod
    def from_options(cls, options: Mapping[str, Any], environ: Mapping[str, str]) -> Connection:
        """Options first; the environment fills in what belongs to the same source.

        With ``kubeconfig`` as an option nothing is taken from the environment. With ``context`` as an option only
        ``K8S_AUTH_KUBECONFIG`` is. Otherwise every variable counts for the option it stands for, and
        ``K8S_AUTH_HOST`` is left aside where ``K8S_AUTH_KUBECONFIG`` is set. Raises CredentialsError.
        """
        given: dict[str, Any] = {key: options[key] for key in _ENVIRONMENT if options.get(key) is not None}
        if "host" in given and given.keys() & {"kubeconfig", "context"}:
            # the token of the kubeconfig would go to that host
            raise CredentialsError(
                f"{options.get('mesh') or given['host']}: host and kubeconfig or context are given. Give host, or them."
            )
        if "kubeconfig" in given:
            wanted: tuple[str, ...] = ()
        elif "context" in given:
            wanted = ("kubeconfig",)
        elif "host" in given:
            wanted = ("api_key", "ca_cert", "client_cert", "client_key", "validate_certs")
        elif environ.get(_ENVIRONMENT["kubeconfig"]):
            wanted = tuple(key for key in _ENVIRONMENT if key not in ("host", "api_key"))
        else:
            wanted = tuple(_ENVIRONMENT)
        for key in wanted:
            value = environ.get(_ENVIRONMENT[key])
            if value and key not in given:
                given[key] = value.lower() not in _FALSE if key == "validate_certs" else value
        mesh = options.get("mesh") or given.get("context") or given.get("host") or given.get("kubeconfig")
        return cls(mesh=str(mesh or "this cluster"), request_timeout=options.get("request_timeout") or 30, **given)


@dataclass(frozen=True)
class Credentials:
    """A kept pool of connections to one API server.

    server: base URL without a slash at the end.
    authorization: gives the Authorization header of the moment, None without a token; refreshes it when due.
    configuration: the library's ``Configuration`` that all of it comes from, for what does not go through the pool.
    """

    pool: urllib3.PoolManager
    server: str
    authorization: Callable[[], str | None]
    configuration: Any = field(default=None, repr=False)


def open_connection(connection: Connection, pool_size: int) -> Credentials:
    """Credentials from options, kubeconfig (exec plugins included) or the pod this runs in.

    pool_size: connections kept at most; not below the number of threads that share them.
    Raises MissingLibraryError and CredentialsError.
    """
    _check(connection)
    try:
        from kubernetes import client, config
    except ImportError as error:
        raise MissingLibraryError(
            f"{connection.mesh}: the Python library kubernetes is missing for this interpreter ({error}). "
            "Install it there, or set ansible_python_interpreter to an interpreter that has it."
        ) from None
    configuration = client.Configuration()
    try:
        if connection.kubeconfig or connection.context:
            _load_kubeconfig(config, connection, configuration)
        elif not connection.host:
            _load_default(config, connection, configuration)
    except CredentialsError:
        raise
    except Exception as error:  # noqa: BLE001  # the library raises what its parsers raise
        raise CredentialsError(
            f"{connection.mesh}: no usable credentials: {type(error).__name__}: {error}. "
            "Check kubeconfig and context, or give host and api_key."
        ) from None
    _override(connection, configuration)
    configuration.connection_pool_maxsize = pool_size
    pool = client.ApiClient(configuration).rest_client.pool_manager
    return Credentials(pool, str(configuration.host).rstrip("/"), _authorization(configuration), configuration)


def _check(connection: Connection) -> None:
    """What would otherwise look like a server that does not answer. Raises CredentialsError."""
    if connection.host and not connection.host.startswith(("https://", "http://")):
        raise CredentialsError(f"{connection.mesh}: host {connection.host} is no URL. Write https:// before it.")
    for option in ("ca_cert", "client_cert", "client_key"):
        path = getattr(connection, option)
        if path and not Path(path).is_file():
            raise CredentialsError(f"{connection.mesh}: {option}: there is no file {path}. Correct the path.")


def _load_kubeconfig(config: Any, connection: Connection, configuration: Any) -> None:
    config.load_kube_config(
        config_file=connection.kubeconfig,
        context=connection.context,
        client_configuration=configuration,
        persist_config=False,
    )


def _load_default(config: Any, connection: Connection, configuration: Any) -> None:
    try:
        _load_kubeconfig(config, connection, configuration)
    except config.ConfigException as missing:
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            raise CredentialsError(
                f"{connection.mesh}: no credentials: neither kubeconfig, context nor host is given, the default "
                f"kubeconfig is not usable ({missing}), and this is not a pod. Set mesh_kubeconfig or mesh_context."
            ) from None


def _override(connection: Connection, configuration: Any) -> None:
    if connection.host:
        configuration.host = connection.host
    if connection.api_key:
        configuration.api_key = {"authorization": connection.api_key}
        configuration.api_key_prefix = {"authorization": "Bearer"}
        configuration.refresh_api_key_hook = None
    if connection.ca_cert:
        configuration.ssl_ca_cert = connection.ca_cert
    if connection.client_cert:
        configuration.cert_file = connection.client_cert
    if connection.client_key:
        configuration.key_file = connection.client_key
    if connection.validate_certs is not None:
        configuration.verify_ssl = connection.validate_certs


def _authorization(configuration: Any) -> Callable[[], str | None]:
    lock = threading.Lock()  # the library's refresh is not made for threads

    def current() -> str | None:
        with lock:
            setting = configuration.auth_settings().get("BearerToken") or {}
            value = setting.get("value")
            return str(value) if value else None

    return current
