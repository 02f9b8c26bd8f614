# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What lookups and filters share: from Ansible's variables and one term to the objects of a cluster or mesh."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ansible import context
from ansible.errors import AnsibleError
from ansible.utils.display import Display
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.plugin_utils.raw_inventory import decoded, inventory_texts
from ansible_collections.multimesh.istio.plugins.plugin_utils.shared import known, shared

# The model and the federation are imported where they are needed. Ansible compiles a collection's code anew in every
# process, and most processes find that another one has computed what they want.
if TYPE_CHECKING:
    from ansible_collections.multimesh.istio.plugins.module_utils import rbac
    from ansible_collections.multimesh.istio.plugins.module_utils.model.types import Inventory

Object = dict[str, Any]
Ask = Callable[["Inventory", str], Any]
"""What is to be known of one cluster, by its host name."""

# The last inventory of this process by its content: plugins of one task mostly ask for the same.
_memo: dict[str, Inventory] = {}


def objects(
    hostvars: Mapping[str, Any],
    term: str,
    kind: str | None = None,
    allow_unknown_addresses: bool = False,
    groups: Mapping[str, Sequence[str]] | None = None,
    without: Sequence[str] = (),
    state: str | None = None,
) -> list[Object]:
    """Federation objects of a cluster or a mesh, sorted; those of one kind if asked.

    term: a host of group ``meshes``, or a mesh, whose clusters' objects are put together.
    without: hosts that are about to leave the federation.
    state: what ``federation_state`` gave, to ask about that and not to look at all hosts again.
    Raises AnsibleError for everything a user can act on.
    """
    question = _Question(hostvars, term, groups, allow_unknown_addresses, without, state)
    found = question.ask("federation", _federation)
    with _as_ansible_errors():
        return [item for item in _union(term, found) if kind in (None, item["kind"])]


def federation_state(
    hostvars: Mapping[str, Any],
    hosts: Sequence[str],
    allow_unknown_addresses: bool,
    groups: Mapping[str, Sequence[str]],
    without: Sequence[str],
) -> str:
    """Compute objects and settings of these hosts for every process of the run. Gives the name of the inventory's
    state."""
    question = _Question(hostvars, hosts[0], groups, allow_unknown_addresses, without)
    question.prepare("mesh_config", _mesh_config, hosts)
    return question.prepare("federation", _federation, hosts)


def mesh_config(hostvars: Mapping[str, Any], host: str, state: str | None = None) -> dict[str, Any]:
    """Settings of the control plane of one cluster, see ``compute.mesh_config``. state: as in ``objects``."""
    question = _Question(hostvars, host, allow_unknown_addresses=True, state=state)
    found: dict[str, Any] = question.single("mesh_config", _mesh_config)
    return found


def ingress_certificates(hostvars: Mapping[str, Any], host: str, without: Sequence[str]) -> list[dict[str, Any]]:
    """What the Ingresses of one cluster are to be served with, see ``compute.ingress_certificates``."""
    question = _Question(hostvars, host, None, True, without)
    found: list[dict[str, Any]] = question.single(
        "ingress_certificates", lambda inventory, name: _core().ingress_certificates(inventory, name)
    )
    return found


def edges(hostvars: Mapping[str, Any], term: str, allow_unknown_addresses: bool = False) -> list[dict[str, Any]]:
    """Who of a cluster or mesh may call what elsewhere, see ``compute.edges``."""
    question = _Question(hostvars, term, allow_unknown_addresses=allow_unknown_addresses)
    found = question.ask("edges", lambda inventory, host: _core().edges(inventory, host))
    return [edge for _host, of_host in found for edge in of_host]


def dns_hosts(
    hostvars: Mapping[str, Any], host: str, allow_unknown_addresses: bool = False, without: Sequence[str] = ()
) -> dict[str, list[str]]:
    """Addresses of the hosts that one cluster imports, see ``dns.hosts``."""
    from ansible_collections.multimesh.istio.plugins.module_utils.federation import dns

    question = _Question(hostvars, host, None, allow_unknown_addresses, without)
    found: dict[str, list[str]] = question.single(
        "dns_hosts", lambda inventory, name: dns.hosts(inventory.clusters[name]), share=False
    )
    return found


def admissions(hostvars: Mapping[str, Any], term: str, allow_unknown_addresses: bool = False) -> list[dict[str, Any]]:
    """Who may call the exports of a cluster or mesh, see ``admissions.admissions``."""
    from ansible_collections.multimesh.istio.plugins.module_utils.federation import admissions as admitted

    question = _Question(hostvars, term, allow_unknown_addresses=allow_unknown_addresses)
    return [entry for _host, found in question.ask("admissions", admitted.admissions) for entry in found]


def rights(
    hostvars: Mapping[str, Any], host: str, part: str, names: rbac.Names, subject: Mapping[str, Any] | None
) -> list[Object]:
    """Manifests of the rights that a part of the collection needs in one cluster, see ``rbac``."""

    from ansible_collections.multimesh.istio.plugins.module_utils import rbac

    def ask(inventory: Inventory, name: str) -> list[Object]:
        return rbac.manifests(part, rbac.permissions(inventory, name, part, names), names, subject)

    found: list[Object] = _Question(hostvars, host, allow_unknown_addresses=True).single("rights", ask, share=False)
    return found


class _Question:
    """Something to be known of a cluster or a mesh, of an inventory as Ansible has it at this moment.

    Raises AnsibleError for everything a user can act on.
    """

    def __init__(
        self,
        hostvars: Mapping[str, Any],
        term: str,
        groups: Mapping[str, Sequence[str]] | None = None,
        allow_unknown_addresses: bool = False,
        without: Sequence[str] = (),
        state: str | None = None,
    ) -> None:
        if not isinstance(term, str):
            raise AnsibleError(f"expected the name of a host or a mesh, found {term!r}")
        if not isinstance(hostvars, Mapping):
            raise AnsibleError("expected hostvars, for example: hostvars | multimesh.istio.federation('west')")
        self._term = term
        self._hostvars = hostvars
        self._groups = groups
        self._allow = allow_unknown_addresses
        self._without = tuple(sorted(without))
        if state is None or not known(state):
            state = self._digest()
        self._state = state

    @cached_property
    def _texts(self) -> dict[str, str]:
        return inventory_texts(self._hostvars, self._groups)

    def _digest(self) -> str:
        # One digest for each host, as texts of hosts that follow one another could be cut elsewhere.
        parts = [str(self._allow), *self._without, "", *(part for item in sorted(self._texts.items()) for part in item)]
        digests = b"".join(hashlib.sha256(part.encode()).digest() for part in parts)
        return hashlib.sha256(digests).hexdigest()[:32]

    def prepare(self, what: str, ask: Ask, hosts: Sequence[str]) -> str:
        """Have the answers for these hosts ready. Gives the state."""
        with _as_ansible_errors():
            self._meshes()
            self._answer(what, ask, hosts[0], hosts)
        return self._state

    def ask(self, what: str, ask: Ask, share: bool = True) -> list[tuple[str, Any]]:
        """The answers for every cluster that is meant, with its host name.

        what: names the question and the function together.
        share: keep the answers of all clusters for the other processes of the run.
        """
        with _as_ansible_errors():
            hosts = self._hosts()
        return self._ask(hosts, what, ask, share)

    def _ask(self, hosts: Iterable[str], what: str, ask: Ask, share: bool) -> list[tuple[str, Any]]:
        with _as_ansible_errors():
            # Whoever has chosen some of the hosts does not wait for the rest.
            everybody = share and not context.CLIARGS.get("subset")
            answers = [(host, *self._answer(what, ask, host, None if everybody else [host], share)) for host in hosts]
        for warning in (warning for _host, _answer, warnings in answers for warning in warnings):
            Display().warning(warning)
        return [(host, answer) for host, answer, _warnings in answers]

    def single(self, what: str, ask: Ask, share: bool = True) -> Any:
        """The same of one cluster; of a host and a mesh of one name the host is meant."""
        with _as_ansible_errors():
            hosts = [self._term] if self._is_host() else self._hosts()
            if len(hosts) > 1:
                raise MultimeshError(
                    f"{self._term}: this mesh has several clusters. Ask for one of the hosts {', '.join(hosts)}."
                )
        return self._ask(hosts, what, ask, share)[0][1]

    def _meshes(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = shared(
            self._state, "meshes", "all", lambda: iter([("all", self._inventory().meshes)])
        )
        return found

    def _is_host(self) -> bool:
        return any(self._term in hosts for hosts in self._meshes().values())

    def _hosts(self) -> list[str]:
        meshes = self._meshes()
        if self._term in meshes:
            return list(meshes[self._term])
        if self._is_host():
            return [self._term]
        from ansible_collections.multimesh.istio.plugins.module_utils.model.reader import nearest

        names = {*meshes, *(host for hosts in meshes.values() for host in hosts)}
        raise MultimeshError(f"{self._term}: no mesh and no host of group 'meshes'. {nearest(self._term, names)}.")

    def _answer(
        self, what: str, ask: Ask, host: str, hosts: Iterable[str] | None, share: bool = True
    ) -> tuple[Any, list[str]]:
        """hosts: those whose answers are kept for others on the way, None is all of them."""

        def answers() -> Iterator[tuple[str, Any]]:
            inventory = self._inventory()
            for name in inventory.clusters if hosts is None else hosts:
                yield name, [ask(inventory, name), list(inventory.clusters[name].warnings)]

        answer, warnings = shared(self._state, what, host, answers) if share else next(answers())[1]
        return answer, warnings

    def _inventory(self) -> Inventory:
        if self._state not in _memo:
            self._state = self._digest()  # of what is there now, should somebody ask for more than was prepared
        if self._state not in _memo:
            from ansible_collections.multimesh.istio.plugins.module_utils.model import inventory as model

            inventory = model.parse(decoded(self._texts), self._allow, self._without)
            _memo.clear()
            _memo[self._state] = inventory
        return _memo[self._state]


def _federation(inventory: Inventory, host: str) -> list[Object]:
    return list(_core().federation(inventory, host))


def _mesh_config(inventory: Inventory, host: str) -> dict[str, Any]:
    found: dict[str, Any] = _core().mesh_config(inventory, host)
    return found


def _core() -> ModuleType:
    from ansible_collections.multimesh.istio.plugins.module_utils.federation import compute

    return compute


@contextlib.contextmanager
def _as_ansible_errors() -> Iterator[None]:
    try:
        yield
    except MultimeshError as error:
        raise AnsibleError(str(error)) from error


def _union(term: str, found: list[tuple[str, list[Object]]]) -> list[Object]:
    """Objects of all clusters of a mesh, those that are alike once."""
    if len(found) == 1:
        return found[0][1]
    from ansible_collections.multimesh.istio.plugins.module_utils.federation.objects import identity

    union: dict[tuple[str, str, str], tuple[str, Object]] = {}
    for host, items in found:
        for item in items:
            first, other = union.setdefault(identity(item), (host, item))
            if other != item:
                kind, namespace, name = identity(item)
                raise MultimeshError(
                    f"{term}: {kind} {namespace}/{name} differs between the clusters {first} and {host}."
                    f" Ask for one of the hosts {', '.join(host for host, _items in found)}."
                )
    return [union[key][1] for key in sorted(union)]
