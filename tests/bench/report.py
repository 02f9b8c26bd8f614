# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Figures as a page of the documentation: a table and a plot for each part that has been measured.

Each part's figures stay in a file of their own, so that one part can be measured again without the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tests.bench.plot import Bar, bars
from tests.env.checkout import CHECKOUT

PAGE = CHECKOUT / "docs/bench.md"
FOLDER = CHECKOUT / "docs/bench"
HEAD = """<!--
SPDX-FileCopyrightText: the multimesh.istio authors
SPDX-License-Identifier: GPL-3.0-or-later
Written by make bench.
-->

# Measurements

`make bench` measures and writes this page; `make bench PART=compute` measures one part again. Seconds mean little on
another machine, so every part compares ways in one run. Where ways take turns, the best of the rounds counts.

*Whole command* is what a user waits, the start of Ansible or kubectl included. *Task* is the task alone, from the
moment Ansible begins it to its result. *Work* is without anybody's start: from the options of the module to its result,
connecting to the API server included; for kubectl and the bare PATCHes it is the command, as these do nothing else.
"""


def save(part: str, found: Mapping[str, Any]) -> None:
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{part}.json").write_text(json.dumps(found, indent=1) + "\n")


def write() -> None:
    """The page and its plots, from what has been measured last of every part."""
    sections = [HEAD]
    for part, section in SECTIONS.items():
        path = FOLDER / f"{part}.json"
        if path.exists():
            found = json.loads(path.read_text())
            text, plot = section(found)
            (FOLDER / f"{part}.svg").write_text(plot)
            machine = ", ".join(f"{name} {value}" for name, value in found["machine"].items())
            sections.append(f"{text}\n![{part}](bench/{part}.svg)\n\nMeasured with: {machine}.\n")
    PAGE.write_text("\n".join(sections))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} s"


def _ratio(theirs: float | None, ours: float) -> str:
    return "" if theirs is None else f"{theirs / ours:.1f}"


def _apply(found: Mapping[str, Any]) -> tuple[str, str]:
    names = {
        "collection": "`multimesh.istio.applyset`",
        "kubectl": "`kubectl apply --server-side`",
        "kubernetes.core": "`kubernetes.core.k8s`, `server_side_apply`",
        "bare PATCHes": "bare PATCHes, 16 connections",
        "an empty playbook": "a playbook that does nothing",
    }
    text = f"""
## Applying {found["objects"]} objects

A namespace of its own for each way, on one API server that shares the machine with them. *Away* is the same with a
longer round trip, which a relay adds.
"""
    groups: list[tuple[str, list[Bar]]] = []
    places = [
        (times, occasion, f"{title}{where}")
        for where, times in found["times"].items()
        for occasion, title in (("first", "First apply"), ("unchanged", "Nothing changed"))
    ]
    for times, occasion, title in places:
        rows = []
        own = times["collection"][occasion] | times["module"][occasion]
        for name, label in names.items():
            taken = own if name == "collection" else times[name][occasion]
            shown = [
                part
                for sort in ("whole", "task", "work")
                for part in (_seconds(taken.get(sort)), _ratio(taken.get(sort), own[sort]))
            ]
            if name == "bare PATCHes" and occasion == "unchanged":
                label += ", sent again"
            rows.append([label, *shown])
        head = [title, "whole command", "ratio", "task", "ratio", "work", "ratio"]
        text += f"\n{_table(head, rows)}"
        for sort, what in (("whole", "whole command"), ("work", "work")):
            values = [
                (label.replace("`", ""), taken[sort], name == "collection")
                for name, label in names.items()
                if sort in (taken := own if name == "collection" else times[name][occasion])
            ]
            groups.append((f"{title}, {what}", values))
    times = found["times"][""]
    limit = times["kubectl"]["first"]["work"] / times["bare PATCHes"]["first"]["work"]
    text += f"""
The bare PATCHes are {limit:.1f} times as fast as kubectl where API server and etcd share their processors with whoever
asks them: it is what these two can do in the time, and nobody who writes every object can be faster.
"""
    rows = [
        [name, *(str(counts[key]) for key in ("reads", "lists", "writes"))]
        for name, counts in found["requests"].items()
    ]
    text += "\nRequests of the collection as the API server's audit log has them:\n\n"
    text += _table(["set", "single things read", "lists", "writes"], rows)
    return text, bars(f"Applying {found['objects']} Istio objects", "s", groups)


def _compute(found: Mapping[str, Any]) -> tuple[str, str]:
    size, edges = found["size"], found["edges"]
    plays, core = found["playbooks"], found["core"]
    text = f"""
## Computing a federation

{size["meshes"]} meshes with {size["exports"]} exports each for {size["consumers"]} consumers each: {edges} edges.
Both ways have the objects of a mesh as data in a task of that mesh. The template renders the same kinds of objects out
of the variables of all hosts, with one look at each peer. *Net* is without what a playbook takes that computes nothing
for the same hosts.
"""
    nothing = plays["nothing"]
    ours = plays["collection"]
    rows = []
    labels = {
        "collection": "`lookup('multimesh.istio.federation', ...)`",
        "template": "Jinja template and `from_yaml_all`",
        "nothing": "a playbook that computes nothing",
    }
    for name, label in labels.items():
        row = [label]
        for sort in ("seconds", "processor"):
            net = plays[name][sort] - nothing[sort]
            row += [f"{plays[name][sort]:.1f} s", "" if name == "nothing" else f"{net / edges * 1000:.2f} ms"]
        rows.append(row)
    rows.append(
        [
            "ratio of template to lookup",
            *(
                part
                for sort in ("seconds", "processor")
                for part in (
                    f"{plays['template'][sort] / ours[sort]:.1f}",
                    f"{(plays['template'][sort] - nothing[sort]) / (ours[sort] - nothing[sort]):.1f}",
                )
            ),
        ]
    )
    text += "\n" + _table(["in a playbook", "whole command", "net per edge", "processor", "net per edge"], rows)
    rows = [
        [
            f"{name}: {taken['size']}",
            str(taken["edges"]),
            f"{taken['seconds']:.2f} s",
            f"{taken['seconds'] / taken['edges'] * 1e6:.0f} µs",
            f"{taken['memory'] / taken['edges'] / 1024:.2f} KiB",
        ]
        for name, taken in core.items()
    ]
    text += "\nThe computation by itself, in one process, all meshes one after the other:\n\n"
    text += _table(["size", "edges", "processor", "per edge", "peak memory per edge"], rows)
    net = (plays["template"]["processor"] - nothing["processor"]) / core["full"]["seconds"]
    text += (
        f"\nRendering the template in the playbook takes {net:.0f} times the processor time of the computation by"
        " itself.\n"
    )
    groups: list[tuple[str, list[Bar]]] = [
        (
            "Whole command",
            [(label.replace("`", ""), plays[name]["seconds"], name == "collection") for name, label in labels.items()],
        ),
        ("The computation by itself", [(name, taken["seconds"], True) for name, taken in core.items()]),
    ]
    return text, bars(f"Computing {edges} edges", "s", groups)


def _site(found: Mapping[str, Any]) -> tuple[str, str]:
    text = f"""
## Playbook site with nothing changed

Meshes of {found["exports"]} exports each, offered to all others, on API servers without nodes; what Helm waits for is
played to it. The playbook of kubernetes.core tasks is `tests/bench/playbooks/site_kubernetes_core.yml`. *Ansible
itself* is the time in which no task of either collection is at work on any host.
"""
    rows, groups = [], []
    for count, taken in found["meshes"].items():
        own, other = taken["site"], taken["kubernetes.core"]
        rows.append(
            [
                count,
                _seconds(own["whole"]),
                f"{own['ansible'] / own['whole']:.0%}",
                str(own["tasks"]),
                _seconds(other["whole"]),
                f"{other['ansible'] / other['whole']:.0%}",
                str(other["tasks"]),
                _ratio(other["whole"], own["whole"]),
            ]
        )
        groups.append(
            (f"{count} meshes", [("site", own["whole"], True), ("kubernetes.core tasks", other["whole"], False)])
        )
    head = ["meshes", "site", "Ansible itself", "tasks", "kubernetes.core", "Ansible itself", "tasks", "ratio"]
    return f"{text}\n{_table(head, rows)}", bars("Playbook site with nothing changed, whole command", "s", groups)


def _clusters(found: Mapping[str, Any]) -> tuple[str, str]:
    text = f"""
## More and more clusters

The role federation on clusters that are an API server and etcd each: {found["exports"]} exports for
{found["consumers"]} consumers in each mesh, {found["forks"]} forks. All API servers share this machine with Ansible.
"""
    rows = []
    groups: list[tuple[str, list[Bar]]] = []
    for count, taken in found["clusters"].items():
        row = [count, f"{taken['server'] / 2**20:.0f} MiB"]
        for occasion in ("plan", "first", "unchanged"):
            row += [_seconds(taken[occasion]["seconds"]), _seconds(taken[occasion]["seconds"] / int(count))]
        rows.append([*row, f"{taken['unchanged']['memory'] / 2**20:.0f} MiB"])
        names = {"plan": "check mode", "first": "first run", "unchanged": "nothing changed"}
        values = [(name, taken[occasion]["seconds"] / int(count), True) for occasion, name in names.items()]
        groups.append((f"{count} clusters, time per cluster", values))
    head = [
        "clusters",
        "memory of each",
        "check mode",
        "each",
        "first run",
        "each",
        "nothing changed",
        "each",
        "memory of Ansible",
    ]
    return f"{text}\n{_table(head, rows)}", bars(
        "Role federation on API servers, seconds for each cluster", "s", groups
    )


SECTIONS: dict[str, Callable[[Mapping[str, Any]], tuple[str, str]]] = {
    "apply": _apply,
    "compute": _compute,
    "site": _site,
    "clusters": _clusters,
}
