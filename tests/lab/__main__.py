# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Command line of the lab: ``python -m tests.lab up east west``."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence

from tests.lab import packages, teardown
from tests.lab.api import DEFAULT_NAME, Lab
from tests.lab.build import ensure_built
from tests.lab.errors import LabError
from tests.lab.progress import say, step


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 not done; the reason is on standard error."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


def _up(arguments: argparse.Namespace) -> None:
    lab = Lab(arguments.lab)
    with step(f"lab {lab.place.name}: {', '.join(arguments.meshes)}", 30):
        lab.up(
            arguments.meshes,
            dict(arguments.locality),
            api_only=arguments.api_only,
            pod_cidrs=dict(arguments.pod_cidr),
        )
    say(f"kubeconfig with a context per mesh: {lab.kubeconfig()}")


def _down(arguments: argparse.Namespace) -> None:
    lab = Lab(arguments.lab)
    with step(f"lab {lab.place.name}: removing it"):
        lab.down()


def _status(arguments: argparse.Namespace) -> None:
    lab = Lab(arguments.lab)
    found = lab.status()
    if not found:
        say(f"lab {lab.place.name} is down")
    for mesh, state in found.items():
        health = "healthy" if state["healthy"] else "NOT healthy"
        say(f"{mesh}: {health}, {state['api_server']}, locality {state['locality'] or 'none'}")
        for name, program in state["programs"].items():
            run = "ready" if program["ready"] else "running" if program["pid"] else "not running"
            say(f"  {name}: {run}, started {program['starts']} times")
    if not all(state["healthy"] for state in found.values()):
        raise LabError("`up` repairs what is not healthy; `logs MESH PROGRAM` tells why it is not")


def _logs(arguments: argparse.Namespace) -> None:
    lab = Lab(arguments.lab)
    if not arguments.mesh:
        for mesh in lab.meshes:
            for path in sorted(lab.logs(mesh).parent.glob("*.log")):
                say(f"{mesh} {path.stem}: {path}")
        return
    with lab.logs(arguments.mesh, arguments.program).open(errors="replace") as log:
        shutil.copyfileobj(log, sys.stdout)


def _kubeconfig(arguments: argparse.Namespace) -> None:
    lab = Lab(arguments.lab)
    lab.cluster(arguments.mesh)
    say(str(lab.kubeconfig(arguments.mesh)))


def _build(_arguments: argparse.Namespace) -> None:
    packages.require_privileges()
    with step("lab: building what it runs", 900):
        ensure_built()


def _sweep(_arguments: argparse.Namespace) -> None:
    packages.require_privileges()
    left = []
    for lab_id, reason in teardown.orphans().items():
        say(f"removing lab {lab_id}: {reason}")
        left += teardown.remove(lab_id)
    if left:
        raise LabError("\n".join(["left:", *left]))


def _pair(text: str) -> tuple[str, str]:
    mesh, separator, value = text.partition("=")
    if not (mesh and separator and value):
        raise argparse.ArgumentTypeError(f"{text!r}: expected MESH=VALUE")
    return mesh, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description="Real clusters for tests and demo.")
    parser.add_argument("--lab", default=DEFAULT_NAME, help="name of the lab; labs of different names never meet")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: object, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        # Also after the command; absent, it must not undo what was said before.
        sub.add_argument("--lab", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        sub.set_defaults(run=run)
        return sub

    up = command("up", _up, "make clusters run; healthy ones are left alone")
    up.add_argument("meshes", nargs="+", metavar="MESH")
    up.add_argument("--locality", action="append", default=[], type=_pair, metavar="MESH=REGION[/ZONE[/SUBZONE]]")
    up.add_argument("--pod-cidr", action="append", default=[], type=_pair, metavar="MESH=CIDR", help="other than usual")
    up.add_argument("--api-only", action="store_true", help="only etcd and an API server, no node")
    command("down", _down, "remove the lab; fails if anything of it is left")
    command("status", _status, "what runs; fails if anything is not healthy")
    logs = command("logs", _logs, "print the log of a program of a cluster, or the paths of all logs")
    logs.add_argument("mesh", nargs="?", metavar="MESH")
    logs.add_argument("program", nargs="?", default="supervisor", metavar="PROGRAM")
    command("kubeconfig", _kubeconfig, "print the path of a cluster's kubeconfig").add_argument("mesh", metavar="MESH")
    command("build", _build, "build everything the lab runs into the cache")
    command("sweep", _sweep, "remove what is left of labs whose checkout or record is gone")
    return parser


if __name__ == "__main__":
    sys.exit(main())
