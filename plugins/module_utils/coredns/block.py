# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""One marked server block in a Corefile, whose zones are hosts and nothing above or beside them.

CoreDNS gives a question to the server block with the longest zone that fits. So the block is asked for its hosts alone,
and a host that leaves it has whatever answer it would have without this collection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.multimesh.istio.plugins.module_utils.coredns.corefile import (
    CorefileError,
    Listening,
    listening,
    server_blocks,
    zones,
)
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.model import names

BEGIN = "# BEGIN multimesh.istio"
END = "# END multimesh.istio"

Hosts = Mapping[str, Sequence[str]]
"""Addresses by host."""

DEFAULT_PORT = ":53"


def read_hosts(given: Mapping[str, Any]) -> tuple[dict[str, list[str]], list[str]]:
    """Hosts that can be written, and those with a wildcard, which the plugin hosts does not know.

    Raises MultimeshError naming what is no host, or no list of addresses.
    """
    found, skipped, problems = {}, [], []
    for host, addresses in sorted((str(host), addresses) for host, addresses in given.items()):
        bare = host.removeprefix("*.")
        if names.subdomain(bare):
            problems.append(f"{host}: expected {names.subdomain(bare)}")
        elif not isinstance(addresses, list) or not addresses or not all(names.ip(str(one)) for one in addresses):
            problems.append(f"{host}: expected a list of IP addresses, found {addresses}")
        elif bare != host:
            skipped.append(host)
        else:
            found[host] = [str(one) for one in addresses]
    if problems:
        raise MultimeshError(f"hosts: {'; '.join(problems)}. Correct them.")
    return found, skipped


def with_hosts(text: str, hosts: Hosts, ttl: int) -> str:
    """A Corefile with exactly these hosts in its marked block, and without the block if there are none.

    The rest stays as it is, to the byte. Raises CorefileError.
    """
    before, after = _around(text)
    if not hosts:
        return before + after
    others = server_blocks(before + after)
    if clash := sorted(zones(others) & set(hosts)):
        raise CorefileError(
            f"it has a server block for {', '.join(clash)} already, and CoreDNS takes no second one. Remove that, or"
            " import the service by another host."
        )
    return before + render(hosts, ttl, listening(others)) + after


def whole(text: str | None, hosts: Hosts, ttl: int) -> str | None:
    """A file that has nothing but the block; None if there are no hosts. Raises CorefileError if it has more."""
    if text is not None and "".join(_around(text)).strip():
        raise CorefileError("it has more than the block of this collection. Name a key that nobody else writes.")
    return render(hosts, ttl, Listening(DEFAULT_PORT)) if hosts else None


def render(hosts: Hosts, ttl: int, where: Listening) -> str:
    """The block with its marks.

    Names below a host are asked for by clients that look for more than addresses, such as gRPC for ``_grpc_config``.
    The plugin hosts answers them with an error, after which some try again or somewhere else; so they do not exist.
    """
    ordered = sorted(hosts)
    lines = [BEGIN]
    lines += [f"{host}{where.port}," for host in ordered[:-1]]
    lines.append(f"{ordered[-1]}{where.port} {{")
    lines += [f"    {' '.join(bind)}" for bind in where.bind]
    lines += ["    errors", "    hosts {"]
    lines += [f"        {address} {host}" for host in ordered for address in hosts[host]]
    lines += [f"        ttl {ttl}", "    }"]
    lines += ["    template ANY ANY {", "        match ^_", "        rcode NXDOMAIN", "        fallthrough", "    }"]
    lines += ["}", END]
    return "".join(f"{line}\n" for line in lines)


def _around(text: str) -> tuple[str, str]:
    """What stands before and after the marked block; everything is after it where there is none."""
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    begins, ends = ([index for index, line in enumerate(lines) if line.strip() == mark] for mark in (BEGIN, END))
    if not begins and not ends:
        return "", text
    if len(begins) != 1 or len(ends) != 1 or begins > ends:
        raise CorefileError(
            f"expected one line '{BEGIN}' and one '{END}' after it, found {len(begins)} and {len(ends)}. Remove all of"
            " them with what they enclose, and run again."
        )
    return "".join(lines[: begins[0]]), "".join(lines[ends[0] + 1 :])
