# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.coredns.apply import Place, Written, hold
from ansible_collections.multimesh.istio.plugins.module_utils.coredns.corefile import CorefileError
from ansible_collections.multimesh.istio.plugins.module_utils.kube.errors import ConflictError

from tests.unit.plugins.module_utils.coredns.fake import FakeCluster

COREFILE = ".:53 {\n    reload\n}\n"
HOSTS = {"reviews.shop.global": ["241.0.0.1"]}
OTHERS = {"books.shop.global": ["241.0.0.2"]}
PLACE = Place("kube-system", "coredns", "Corefile")
OWN = Place("kube-system", "coredns-custom", "multimesh.server", whole_key=True)


def test_held_twice_and_taken_out() -> None:
    cluster = FakeCluster({"Corefile": COREFILE, "other": "x"})
    first = hold(cluster, PLACE, HOSTS, 30)
    assert first.changed
    assert cluster.data["Corefile"] == first.after
    assert cluster.data["other"] == "x"
    assert hold(cluster, PLACE, HOSTS, 30) == Written(first.after, first.after)
    assert cluster.writes == 1
    assert hold(cluster, PLACE, {}, 30).changed
    assert cluster.data == {"Corefile": COREFILE, "other": "x"}
    assert not hold(cluster, PLACE, {}, 30).changed
    assert cluster.writes == 2


def test_check_mode_says_the_same_and_writes_nothing() -> None:
    cluster = FakeCluster({"Corefile": COREFILE})
    predicted = hold(cluster, PLACE, HOSTS, 30, check_mode=True)
    assert cluster.writes == 0
    assert hold(cluster, PLACE, HOSTS, 30) == predicted


def test_who_comes_between_is_not_lost() -> None:
    cluster = FakeCluster({"Corefile": COREFILE})
    cluster.before_writes = [lambda: cluster.change(Corefile=f"# theirs\n{COREFILE}")] * 2
    assert hold(cluster, PLACE, HOSTS, 30).changed
    assert cluster.data["Corefile"].endswith(f"# END multimesh.istio\n# theirs\n{COREFILE}")
    assert cluster.writes == 3


def test_a_write_whose_answer_was_lost_is_a_change() -> None:
    cluster = FakeCluster({"Corefile": COREFILE})
    written = hold(cluster, PLACE, HOSTS, 30, check_mode=True).after
    cluster.before_writes = [lambda: cluster.change(Corefile=written)]
    assert hold(cluster, PLACE, HOSTS, 30) == Written(COREFILE, written)


def test_who_always_comes_between() -> None:
    cluster = FakeCluster({"Corefile": COREFILE})
    cluster.before_writes = [lambda: cluster.change(other=str(cluster.writes))] * 5
    with pytest.raises(ConflictError):
        hold(cluster, PLACE, HOSTS, 30)
    assert cluster.writes == 5


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (None, "it does not exist"),
        ({}, "it has no keys"),
        ({"custom.server": "", "log.override": ""}, "it has custom.server, log.override"),
    ],
)
def test_no_corefile(data: dict[str, str] | None, found: str) -> None:
    with pytest.raises(CorefileError) as caught:
        hold(FakeCluster(data), PLACE, HOSTS, 30)
    assert str(caught.value) == (
        "west: ConfigMap kube-system/coredns, Corefile: expected the Corefile of the cluster's DNS, but"
        f" {found}. Say where that is."
    )
    assert not hold(FakeCluster(data), PLACE, {}, 30).changed


def test_errors_say_where() -> None:
    with pytest.raises(
        CorefileError, match=r"^west: ConfigMap kube-system/coredns, Corefile: it has a server block for"
    ):
        hold(FakeCluster({"Corefile": f"{COREFILE}reviews.shop.global {{\n}}\n"}), PLACE, HOSTS, 30)


def test_warnings() -> None:
    plain = FakeCluster({"Corefile": ".:53 {\n}\n"}, **{"addonmanager.kubernetes.io_mode": "Reconcile"})
    assert hold(plain, PLACE, HOSTS, 30).warnings == [
        (
            "west: ConfigMap kube-system/coredns, Corefile: no server block has the plugin reload, so CoreDNS has to be"
            " restarted to see a change"
        ),
        (
            "west: ConfigMap kube-system/coredns, Corefile: an add-on manager keeps it as it is and will undo a change;"
            " use a file that the Corefile imports"
        ),
    ]
    assert hold(plain, PLACE, {}, 30).warnings == []
    assert hold(FakeCluster({"Corefile": COREFILE}), PLACE, HOSTS, 30).warnings == []


def test_a_file_of_its_own_comes_and_goes() -> None:
    cluster = FakeCluster()
    assert not hold(cluster, OWN, {}, 30).changed
    assert hold(cluster, OWN, HOSTS, 30).changed
    assert list(cluster.data) == ["multimesh.server"]
    assert not hold(cluster, OWN, HOSTS, 30).changed
    assert hold(cluster, OWN, OTHERS, 30).changed
    assert hold(cluster, OWN, {}, 30).changed
    assert cluster.live is None
    assert cluster.writes == 3


@pytest.mark.parametrize("data", [{}, {"log.override": "log"}])
def test_a_config_map_of_somebody_else_stays(data: dict[str, str]) -> None:
    cluster = FakeCluster(data)
    hold(cluster, OWN, HOSTS, 30)
    assert set(cluster.data) == {*data, "multimesh.server"}
    hold(cluster, OWN, {}, 30)
    assert cluster.data == data


def test_another_key_in_our_config_map_keeps_it() -> None:
    cluster = FakeCluster()
    hold(cluster, OWN, HOSTS, 30)
    cluster.change(**{"theirs.server": "x"})
    hold(cluster, OWN, {}, 30)
    assert cluster.data == {"theirs.server": "x"}
