# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python3 -m tests.env run main -- COMMAND``: run a command in one of the project's Python environments.

Needs nothing but Python 3.11 or newer; everything else is installed into the cache on first use.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys

from tests.env import venv
from tests.env.checkout import CHECKOUT, environment


def main() -> None:
    """Parse the command line and do it."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.env", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    for action, text in (
        ("run", "run a command in the environment"),
        ("path", "print the environment's path"),
        ("pin", "resolve the requirements anew"),
    ):
        sub = actions.add_parser(action, help=text)
        sub.add_argument("name", choices=sorted(venv.PYTHONS))
        if action == "run":
            sub.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    # Progress goes to stderr: stdout belongs to the path or to the command.
    with contextlib.redirect_stdout(sys.stderr):
        if arguments.action == "pin":
            venv.pin(arguments.name)
            return
        path = venv.ensure(arguments.name)
    if arguments.action == "path":
        print(path)
        return
    command = [part for index, part in enumerate(arguments.command) if index or part != "--"]
    os.chdir(CHECKOUT)
    variables = environment(path)
    os.execvpe(command[0], command, variables)


if __name__ == "__main__":
    main()
