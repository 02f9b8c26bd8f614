# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run ``ansible-test sanity`` on a copy of the tree, with its tools from the package index alone."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.env.checkout import CHECKOUT
from tests.lab.cache import cache_dir, locked

# ansible-test gives its environments pip by a script from a host of Ansible's own, kept under this name
# (ansible_test/_util/target/setup/requirements.py). This one takes the pip that Python brings along.
PIP_SCRIPT = Path(".ansible/test/cache/get_pip_24_2.py")
PIP_BOOTSTRAP = """\
import subprocess
import sys

subprocess.check_call([sys.executable, "-m", "ensurepip"])
wanted = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *wanted]))
"""


def prepare_home(home: Path) -> None:
    """A home for ansible-test, which keeps its environments there and hides from pip all variables meant for it."""
    script = home / PIP_SCRIPT
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(PIP_BOOTSTRAP)
    pip = configparser.ConfigParser(interpolation=None)
    pip.read([Path.home() / ".pip" / "pip.conf", Path.home() / ".config" / "pip" / "pip.conf"])
    if not pip.has_section("global"):
        pip.add_section("global")
    for key, value in os.environ.items():
        if key.startswith("PIP_") and key != "PIP_CONFIG_FILE":
            pip.set("global", key.removeprefix("PIP_").lower().replace("_", "-"), value)
    target = home / ".config" / "pip" / "pip.conf"
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w") as handle:
        pip.write(handle)


def copy_tree(target: Path) -> None:
    """Copy what git would commit: ansible-test wants ``ansible_collections/<namespace>/<name>`` to be no link."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listing, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        source = CHECKOUT / name
        if source.is_symlink() or source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / name, follow_symlinks=False)


def main() -> int:
    """Exit code of ``ansible-test sanity`` with the arguments of this command."""
    home = cache_dir() / "ansible-test"
    with locked("ansible-test"), tempfile.TemporaryDirectory(prefix="multimesh-sanity-") as temporary:
        prepare_home(home)
        collection = Path(temporary) / "ansible_collections" / "multimesh" / "istio"
        copy_tree(collection)
        command = ["ansible-test", "sanity", "--color", "no", "--truncate", "0", *sys.argv[1:]]
        environment = os.environ | {"HOME": str(home)}
        environment.pop("PYTHONPATH", None)
        return subprocess.run(command, cwd=collection, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
