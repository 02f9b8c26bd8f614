# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import contextlib
import threading
from collections.abc import Callable

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import Call, refused
from ansible_collections.multimesh.istio.plugins.module_utils.kube.resources import Resource
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody import secret_store
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.base import CustodyError
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.secret_store import SecretStore
from ansible_collections.multimesh.istio.plugins.module_utils.pki.custody.store import LEDGER, Blobs, Changes
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.pki.custody.api import Api
from tests.unit.plugins.module_utils.pki.custody.memory import Killed

SECRET = "Secret trust/root"
SECRETS = Resource("", "v1", "Secret", "secrets", namespaced=True)


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def store(api: Api) -> SecretStore:
    return SecretStore(api, "trust", "root", sleep=lambda _seconds: None)


def write(store: SecretStore, changes: Changes) -> None:
    store.update(lambda _blobs: (changes, None))


def add_line(store: SecretStore, line: bytes) -> None:
    store.update(lambda blobs: ({LEDGER: blobs.get(LEDGER, b"") + line + b"\n"}, None))


def chunk(index: int) -> str:
    return f"ConfigMap trust/root-ledger-{index:04d}"


def paste(api: Api, files: dict[str, bytes]) -> None:
    """As kubectl create secret generic --from-file."""
    data = {name: base64.b64encode(content).decode() for name, content in files.items()}
    body = {"metadata": {"namespace": "trust", "name": "root"}, "type": "Opaque", "data": data}
    api.apply(SECRETS, body, manager="kubectl-create")


def test_keeps_replaces_and_removes(api: Api, store: SecretStore) -> None:
    assert store.read() == {}
    assert api.objects == {}
    write(store, {"a.pem": b"1", "b.crl": b"2"})
    write(store, {"a.pem": b"3", "b.crl": None, "never.there": None})
    assert store.read() == {"a.pem": b"3"}
    assert store.update(lambda blobs: ({"c": blobs["a.pem"]}, "result")) == "result"
    assert store.read() == {"a.pem": b"3", "c": b"3"}
    assert api.objects[SECRET]["data"] == {"a.pem": "Mw==", "b.crl": "", "c": "Mw=="}
    assert store.place == "Secret trust/root of management"


def test_writes_nothing_where_nothing_changes(api: Api, store: SecretStore) -> None:
    write(store, {"a": b"1", LEDGER: b"{}\n"})
    version = api.version
    write(store, {"a": b"1", "b": None, LEDGER: b"{}\n"})
    write(store, {})
    assert api.version == version


def test_the_ledger_lies_beside_the_secret(api: Api, store: SecretStore) -> None:
    write(store, {"root.pem": b"1", LEDGER: b"1\n2\n"})
    assert LEDGER not in api.objects[SECRET]["data"]
    assert api.objects[chunk(1)]["data"] == {LEDGER: "1\n2\n"}
    assert store.read() == {"root.pem": b"1", LEDGER: b"1\n2\n"}


def test_a_full_piece_of_the_ledger_is_closed(api: Api, store: SecretStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_store, "_CHUNK", 20)
    lines = [b"line %04d" % index for index in range(9)]
    for line in lines:
        add_line(store, line)
        assert all(len(held["data"][LEDGER]) <= 20 for held in api.objects.values())
    assert sorted(api.objects) == [chunk(index) for index in range(1, 6)]
    assert [held.get("immutable", False) for _name, held in sorted(api.objects.items())] == [True] * 4 + [False]
    assert store.read() == {LEDGER: b"".join(line + b"\n" for line in lines)}
    with pytest.raises(CustodyError, match=r"root-ledger-0001 and following was changed by somebody else.*backup"):
        write(store, {LEDGER: b"another\n"})
    with pytest.raises(CustodyError, match="was changed by somebody else"):
        write(store, {LEDGER: lines[0] + b"\n"})


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 60), max_size=15), st.integers(0, 40), st.booleans())
def test_a_ledger_that_dies_while_it_grows_loses_nothing(sizes: list[int], death: int, answered: bool) -> None:
    """Every request may be the last one of a process, before or after the API server has done it."""
    api = Api()
    store = SecretStore(api, "trust", "root", sleep=lambda _seconds: None)
    requests = 0

    def die(_verb: str, _subject: str) -> None:
        nonlocal requests
        requests += 1
        if requests == death:
            raise Killed

    expected = b""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(secret_store, "_CHUNK", 100)
        for index, size in enumerate(sizes):
            line = b"%03d" % index + b"x" * size
            with patch.context() as dying:
                dying.setattr(api, "after" if answered else "before", die)
                with contextlib.suppress(Killed):
                    add_line(store, line)
            if line not in store.read().get(LEDGER, b""):
                add_line(store, line)
            expected += line + b"\n"
            assert store.read() == {LEDGER: expected}


def test_begins_anew_when_somebody_was_faster(api: Api, store: SecretStore) -> None:
    other = SecretStore(api, "trust", "root")
    seen: list[Blobs] = []

    def change(blobs: Blobs) -> tuple[Changes, int]:
        seen.append(blobs)
        if len(seen) == 1:
            write(other, {"b": b"2"})
        return {"a": b"1"}, len(seen)

    assert store.update(change) == 2
    assert seen == [{}, {"b": b"2"}]
    assert store.read() == {"a": b"1", "b": b"2"}


def test_gives_up_in_the_end(api: Api, store: SecretStore) -> None:
    other = SecretStore(api, "trust", "root")

    def change(_blobs: Blobs) -> tuple[Changes, None]:
        write(other, {"b": b"%d" % api.version})
        return {"a": b"1"}, None

    with pytest.raises(CustodyError, match="others wrote to it at each of 60 attempts"):
        store.update(change)


def test_nobody_is_in_between(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that take turns at every request, on blobs and on a ledger of several pieces."""
    monkeypatch.setattr(secret_store, "_CHUNK", 30)
    lock = threading.Lock()

    def one_at_a_time(call: Callable[..., object]) -> Callable[..., object]:
        def locked(*args: object, **kwargs: object) -> object:
            with lock:
                return call(*args, **kwargs)

        return locked

    monkeypatch.setattr(api, "get", one_at_a_time(api.get))
    monkeypatch.setattr(api, "apply", one_at_a_time(api.apply))

    def count() -> None:
        own = SecretStore(api, "trust", "root", sleep=lambda _seconds: None)
        for _round in range(4):
            own.update(lambda blobs: ({"count": b"%d" % (int(blobs.get("count", b"0")) + 1)}, None))
            add_line(own, b"one line")

    threads = [threading.Thread(target=count) for _thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert SecretStore(api, "trust", "root").read() == {"count": b"16", LEDGER: b"one line\n" * 16}


def test_the_same_content_of_somebody_else_is_not_ones_own(api: Api, store: SecretStore) -> None:
    other, calls = SecretStore(api, "trust", "root"), 0

    def change(blobs: Blobs) -> tuple[Changes, None]:
        nonlocal calls
        calls += 1
        if calls == 1:
            add_line(other, b"the same")
        return {LEDGER: blobs.get(LEDGER, b"") + b"the same\n"}, None

    add_line(store, b"first")
    store.update(change)
    assert store.read() == {LEDGER: b"first\nthe same\nthe same\n"}


def test_a_lost_answer_is_not_somebody_else(api: Api, store: SecretStore) -> None:
    """The transport repeats a request that was not answered; it then meets its own result."""
    write(store, {"a": b"1"})
    apply, calls = api.apply, 0

    def twice(*args: object, **kwargs: object) -> object:
        apply(*args, **kwargs)  # type: ignore[arg-type]
        return apply(*args, **kwargs)  # type: ignore[arg-type]

    def change(_blobs: Blobs) -> tuple[Changes, int]:
        nonlocal calls
        calls += 1
        return {"a": b"2", LEDGER: b"{}\n"}, calls

    api.apply = twice  # type: ignore[method-assign, assignment]
    assert store.update(change) == 1


def test_takes_over_what_kubectl_has_put_there(api: Api, store: SecretStore) -> None:
    paste(api, {"own.pem": b"1", "own.crl": b"2", LEDGER: b"1\n", "run.json": b"{}"})
    assert store.read() == {"own.pem": b"1", "own.crl": b"2", LEDGER: b"1\n", "run.json": b"{}"}
    write(store, {"own.pem": None, "own.crl": b"3"})
    assert store.read() == {"own.crl": b"3", LEDGER: b"1\n", "run.json": b"{}"}
    add_line(store, b"2")
    assert store.read() == {"own.crl": b"3", LEDGER: b"1\n2\n", "run.json": b"{}"}
    assert api.objects[SECRET]["data"][LEDGER] == ""
    assert api.objects[chunk(1)]["data"] == {LEDGER: "1\n2\n"}


def test_two_ledgers_are_refused(api: Api, store: SecretStore) -> None:
    add_line(store, b"1")
    paste(api, {LEDGER: b"2\n"})
    with pytest.raises(CustodyError, match=r"it holds ledger\.jsonl, and ConfigMaps root-ledger-0001 .* hold another"):
        store.read()


def test_keeps_the_type_that_it_finds(api: Api, store: SecretStore) -> None:
    body = {"metadata": {"namespace": "trust", "name": "root"}, "type": "example.com/root"}
    api.apply(SECRETS, body, manager="admin")
    write(store, {"a": b"1"})
    assert api.objects[SECRET]["type"] == "example.com/root"


@pytest.mark.parametrize("encoded", [False, True])
def test_an_answer_that_quotes_the_content_is_withheld(api: Api, store: SecretStore, encoded: bool) -> None:
    key = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3\n"
    quoted = base64.b64encode(key).decode()[10:60] if encoded else key.decode()[40:70]

    def refuse(verb: str, subject: str) -> None:
        if verb == "apply" and "a" in api.objects.get(subject, {}).get("data", {}):
            raise refused(Call("management", "apply", subject), 400, {"message": f"denied: {quoted}"})

    write(store, {"a": b"1"})
    api.before = refuse
    with pytest.raises(CustodyError, match=r"Secret trust/root .*HTTP 400.*withheld.*admission webhooks") as caught:
        write(store, {"root.pem": key})
    assert quoted[:24] not in str(caught.value)


def test_refusals_of_the_api_server_are_named(api: Api, store: SecretStore) -> None:
    with pytest.raises(CustodyError, match=r'management: apply Secret nowhere/root: .*"nowhere" not found\. Create it'):
        write(SecretStore(api, "nowhere", "root"), {"a": b"1"})

    def refuse(verb: str, subject: str) -> None:
        raise refused(Call("management", verb, subject), 403, {"message": "forbidden"})

    api.before = refuse
    for use in (store.read, lambda: write(store, {"a": b"1"})):
        with pytest.raises(CustodyError, match=r"management: get ConfigMap trust/root-ledger-0001: HTTP 403.*Role"):
            use()


def test_data_that_is_no_base64_is_named(api: Api, store: SecretStore) -> None:
    write(store, {"a": b"1"})
    api.objects[SECRET]["data"]["a"] = "%"
    with pytest.raises(CustodyError, match=r"Secret trust/root of management: .* not base64"):
        store.read()


def test_is_shown_without_content(store: SecretStore) -> None:
    write(store, {"a": b"content"})
    assert "content" not in repr(store._see())
    assert base64.b64encode(b"content").decode() not in repr(store._see())
