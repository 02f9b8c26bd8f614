# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""An API server farther away: a relay on the loopback that hands on what it gets half a round trip later.

A process of its own, for it must not take turns with the threads of what is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import yaml

_MOST = 2**16  # bytes handed on at once


@contextlib.contextmanager
def farther(kubeconfig: Path, milliseconds: float) -> Iterator[Path]:
    """A kubeconfig, beside the given one's contents, for the same API server with a longer round trip.

    milliseconds: of the round trip. Opening a connection takes one, as with TCP.
    """
    config = yaml.safe_load(kubeconfig.read_text())
    cluster = config["clusters"][0]["cluster"]
    url = urlsplit(cluster["server"])
    command = [sys.executable, "-m", __name__, str(url.hostname), str(url.port), str(milliseconds / 2000)]
    relay = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert relay.stdout
        cluster["server"] = f"https://127.0.0.1:{relay.stdout.readline().strip()}"
        path = kubeconfig.with_name(f"{kubeconfig.name}.farther")
        path.touch(mode=0o600)
        try:
            path.write_text(yaml.safe_dump(config))
            yield path
        finally:
            path.unlink()
    finally:
        relay.terminate()
        relay.wait()


async def _serve(host: str, port: int, delay: float) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2 * delay)
        server_reader, server_writer = await asyncio.open_connection(host, port)
        with contextlib.suppress(ConnectionError):  # of whoever is read from
            await asyncio.gather(_hand_on(reader, server_writer, delay), _hand_on(server_reader, writer, delay))
        for each in (writer, server_writer):
            each.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Until the end of what is read. Everything keeps its order and its distance."""
    clock = asyncio.get_running_loop().time
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def arrive() -> None:
        with contextlib.suppress(OSError):  # whoever was to get it has gone
            while True:
                due, data = await under_way.get()
                await asyncio.sleep(due - clock())
                if not data:
                    return writer.write_eof()
                writer.write(data)
                await writer.drain()

    arriving = asyncio.create_task(arrive())
    data = b" "
    while data:
        data = await reader.read(_MOST)
        under_way.put_nowait((clock() + delay, data))
    await arriving


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
