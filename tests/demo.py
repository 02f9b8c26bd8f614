# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""``make demo``: two real meshes, federated from inventories/demo, calling each other. The lab stays up."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.lab import manifests
from tests.lab.api import Lab
from tests.lab.errors import LabError
from tests.lab.progress import step

CHECKOUT = Path(__file__).resolve().parents[1]
INVENTORY = CHECKOUT / "inventories" / "demo"
MESHES = ("east", "west")
NAMESPACE = "demo"


def play(playbook: str) -> None:
    """Run a playbook of the collection on the demo inventory, its output on the terminal."""
    command = ["ansible-playbook", "-i", str(INVENTORY), f"multimesh.istio.{playbook}"]
    print(f"\n$ ansible-playbook -i inventories/demo multimesh.istio.{playbook}", flush=True)
    if subprocess.run(command, cwd=CHECKOUT, check=False).returncode:
        raise SystemExit(
            f"The playbook {playbook} failed; its messages are above. The lab stays up for a look; "
            "'make lab-down' removes it."
        )


def deploy(lab: Lab, mesh: str) -> None:
    """The greeter and somebody who calls it."""
    objects = [
        *manifests.app(mesh, NAMESPACE, "greeter", ports={"http": 80, "tcp": 9000}),
        *manifests.curl(NAMESPACE, "caller"),
    ]
    lab.apply(mesh, objects)
    lab.wait_ready(mesh, [NAMESPACE])


def call(lab: Lab, caller: str, callee: str) -> None:
    """One call across, with the answer as the callee gave it; repeated until configuration has reached every proxy."""
    url = f"http://greeter.{NAMESPACE}.svc.{callee}.global/hello"
    curl = ["exec", "-n", NAMESPACE, "deploy/caller", "-c", "caller", "--", "curl", "-s", "-f", "-m", "5", url]
    for _attempt in range(60):
        try:
            answer = json.loads(lab.kubectl(caller, *curl))
            break
        except (subprocess.CalledProcessError, LabError, json.JSONDecodeError):
            time.sleep(1)
    else:
        raise SystemExit(f"{caller} did not reach {url} within a minute.")
    print(f"\n{caller} -> {callee}: curl {url}")
    for key, meaning in (
        ("mesh", "answered by mesh"),
        ("host", "called as"),
        ("caller", "caller as the callee saw it"),
    ):
        print(f"    {meaning + ':':30}{answer[key]}")


def main() -> None:
    """Bring up the lab, run the main job, show the calls."""
    begin = time.monotonic()
    lab = Lab("demo")
    lab.up(list(MESHES))
    for mesh in MESHES:
        lab.apply(mesh, [manifests.namespace(NAMESPACE, {"istio-injection": "enabled"})])
    play("site")
    with step("deploying the demo's services", 15), ThreadPoolExecutor() as pool:
        list(pool.map(lambda mesh: deploy(lab, mesh), MESHES))
    play("verify")
    for caller, callee in itertools.permutations(MESHES):
        call(lab, caller, callee)
    minutes, seconds = divmod(round(time.monotonic() - begin), 60)
    print(f"\nDone in {minutes} min {seconds} s. The lab stays up; 'make lab-down' removes it.")


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        sys.exit(str(error))
