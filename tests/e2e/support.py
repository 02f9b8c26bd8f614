# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the collection against the lab, and look at what it did."""

from __future__ import annotations

import base64
import copy
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from tests.canary import Canary
from tests.lab.api import Lab

CHECKOUT = Path(__file__).resolve().parents[2]
WRITE_VERBS = frozenset({"create", "update", "patch", "delete", "deletecollection"})
OUR_CLIENTS = ("OpenAPI-Generator/", "Helm/", "multimesh")
"""User agents of what a playbook runs: the Kubernetes client for Python, Helm, and the collection's own."""

ISTIO_KINDS = "serviceentries,destinationrules,virtualservices,gateways,authorizationpolicies,peerauthentications"
RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)

MESSAGES = re.compile(r'^ok: \[(\w+)\] => \{\s*"msg": (\[.*?\])\s*\}$', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Run:
    """One finished run of ansible-playbook."""

    output: str
    returncode: int
    seconds: float

    @property
    def recap(self) -> dict[str, dict[str, int]]:
        """Counts by host, from the closing recap."""
        return {
            host: {"ok": int(ok), "changed": int(changed), "unreachable": int(unreachable), "failed": int(failed)}
            for host, ok, changed, unreachable, failed in RECAP.findall(self.output)
        }

    @property
    def messages(self) -> dict[str, list[str]]:
        """Lines that a debug task printed last, by host."""
        return {host: json.loads(lines) for host, lines in MESSAGES.findall(self.output)}

    def ok(self) -> Run:
        """This run, if it went well; else an assertion with its output."""
        assert self.returncode == 0, self.output[-6000:]
        return self


class Federation:
    """A lab, an inventory for it, and the collection run against both."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.inventory = folder / "hosts.yml"
        self.temporary = folder / "tmp"
        self.hosts: dict[str, dict[str, Any]] = {}

    def write_inventory(
        self, hosts: Mapping[str, Mapping[str, Any]], teams: Mapping[str, Iterable[str]] | None = None
    ) -> None:
        """Write an inventory of these hosts with the settings that the demo inventory has for the lab.

        teams: more groups, each with its hosts.
        """
        self.hosts = {host: copy.deepcopy(dict(values)) for host, values in hosts.items()}
        settings = yaml.safe_load((CHECKOUT / "inventories/demo/group_vars/meshes.yml").read_text())
        settings |= {
            "demo_lab_directory": str(self.lab.place.published),
            "shared_root_ca_directory": str(self.folder / "ca"),
        }
        groups: dict[str, Any] = {"meshes": {"hosts": self.hosts, "vars": settings}}
        groups |= {team: {"hosts": dict.fromkeys(members)} for team, members in (teams or {}).items()}
        self.inventory.write_text(yaml.safe_dump(groups, sort_keys=False))

    def start(self, playbook: str, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a playbook and return its process, which leads a process group of its own.

        playbook: of the collection, or ``federate`` of these tests, which takes a fraction of the time of ``site``.
        """
        own = Path(__file__).with_name("playbooks") / f"{playbook}.yml"
        name = str(own) if own.exists() else f"multimesh.istio.{playbook}"
        command = ["ansible-playbook", "-i", str(self.inventory), name, *arguments]
        self.temporary.mkdir(exist_ok=True)
        variables = {
            **os.environ,
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCAL_TEMP": str(self.temporary),
            "ANSIBLE_REMOTE_TEMP": str(self.temporary),
            "TMPDIR": str(self.temporary),
            **(env or {}),
        }
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def play(self, playbook: str, *arguments: str, env: Mapping[str, str] | None = None) -> Run:
        """Run a playbook, as ``start`` does, to its end."""
        begin = time.monotonic()
        process = self.start(playbook, *arguments, env=env)
        output, _none = process.communicate(timeout=900)
        run = Run(output, process.returncode, time.monotonic() - begin)
        print(f"{playbook} {' '.join(arguments)}: {run.seconds:.1f} s, exit code {run.returncode}, {run.recap}")
        return run

    def kubectl_json(self, mesh: str, *arguments: str) -> Any:
        """What kubectl prints as JSON."""
        return json.loads(self.lab.kubectl(mesh, *arguments, "-o", "json"))

    def call(self, mesh: str, namespace: str, name: str, url: str, *options: str) -> tuple[int, str]:
        """Call a URL with curl from the pod of a Deployment; status (0 for no answer) and body."""
        answer = self.lab.kubectl(
            mesh, "exec", "-n", namespace, f"deploy/{name}", "-c", name, "--",
            "sh", "-c", 'curl -s -m 5 -w "\\n%{http_code}" "$@" || true', "curl", *options, url,
        )  # fmt: skip
        body, _newline, status = answer.rstrip("\n").rpartition("\n")
        return int(status), body


def held(federation: Federation, mesh: str) -> dict[tuple[str, str, str], str]:
    """Every Istio object of a cluster: kind, namespace and name -> resourceVersion."""
    items = federation.kubectl_json(mesh, "get", ISTIO_KINDS, "-A")["items"]
    return {
        (item["kind"], item["metadata"]["namespace"], item["metadata"]["name"]): item["metadata"]["resourceVersion"]
        for item in items
    }


@dataclass(frozen=True)
class Ca:
    """Fingerprints of what Secret cacerts of a mesh holds."""

    signer: str
    roots: tuple[str, ...]


def cacerts(federation: Federation, mesh: str) -> Ca:
    """The CA of a mesh."""
    data = federation.kubectl_json(mesh, "get", "secret", "-n", "istio-system", "cacerts")["data"]

    def prints(file: str) -> tuple[str, ...]:
        certificates = x509.load_pem_x509_certificates(base64.b64decode(data[file]))
        return tuple(certificate.fingerprint(hashes.SHA256()).hex() for certificate in certificates)

    return Ca(prints("ca-cert.pem")[0], prints("root-cert.pem"))


def known_secrets(federation: Federation) -> Canary:
    """What nobody may show: the root's key, the key of every mesh's CA, and the passphrase."""
    settings = yaml.safe_load(federation.inventory.read_text())["meshes"]["vars"]
    phrase = settings["shared_root_ca_passphrase"]
    keys = {}
    for path in Path(settings["shared_root_ca_directory"]).glob("root-*.pem"):
        encrypted = re.search(
            rb"-----BEGIN ENCRYPTED PRIVATE KEY-----.*-----END [^-]*-----", path.read_bytes(), re.DOTALL
        )
        assert encrypted, path
        keys[path.name] = serialization.load_pem_private_key(encrypted[0], phrase.encode()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    assert keys
    for mesh in federation.hosts:
        secret = federation.kubectl_json(mesh, "get", "secret", "-n", "istio-system", "cacerts")["data"]
        keys[mesh] = base64.b64decode(secret["ca-key.pem"])
    return Canary(keys, {"passphrase": phrase})


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Wait until the condition gives something true, and return that.

    Configuration takes from a fraction of a second to several seconds to reach every proxy, so tests wait for it to
    arrive and never for a fixed time.
    """
    end = time.monotonic() + seconds
    last: object = None
    while True:
        try:
            if found := condition():
                return found
        except (subprocess.CalledProcessError, AssertionError, RuntimeError) as error:
            last = error
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:.0f} s: {what} (last: {last})")
        time.sleep(0.5)


class AuditLog:
    """What was asked of an API server since this was made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = path.stat().st_size

    def events(self) -> Iterator[dict[str, Any]]:
        """Finished requests of what a playbook runs, in order."""
        # The API server writes its log in batches of at most a second.
        time.sleep(1.5)
        with self.path.open() as log:
            log.seek(self.offset)
            for line in log:
                event = json.loads(line)
                if event["stage"] == "ResponseComplete" and event.get("userAgent", "").startswith(OUR_CLIENTS):
                    yield event

    def writes(self) -> list[str]:
        """Write requests as ``verb uri``, without those that ask what would happen."""
        return [
            f"{event['verb']} {event['requestURI']}"
            for event in self.events()
            if event["verb"] in WRITE_VERBS and "dryRun=All" not in event["requestURI"]
        ]
