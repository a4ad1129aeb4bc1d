"""An application that is an edge itself, and serves a tunnel without any TCP.

What it shows: `open_edge` beside the application's own work, a service that is an async function
instead of a host and a port, and the events of the edge.

What it leaves out: what the service really does. This one is a thermometer that answers each line
with a temperature; yours may speak any protocol, and may use the stream like any trio stream.

How to poke it, with a node at 127.0.0.1:9100 (``edge-tunnel proxy --listen 127.0.0.1:9100``)::

    python examples/edge_in_application.py examples/config.json
    echo | edge-tunnel connect device-7 thermometer --stdio
"""

from __future__ import annotations

import contextlib
import random
import sys
from pathlib import Path

import trio

import edge_tunnel


async def thermometer(stream: edge_tunnel.TunnelStream) -> None:
    """Is handed each stream. When it returns, the stream is ended; what was sent is delivered."""
    async for data in stream:
        for _ in range(data.count(b"\n")):
            await stream.send_all(f"{random.gauss(21, 0.2):.2f} C\n".encode())


async def application() -> None:
    """Whatever the program does besides. A lost link is not its concern."""
    await trio.sleep_forever()


async def main(path: str) -> None:
    config = edge_tunnel.load_config(path).config
    # kept beside the file, as `edge-tunnel edge` does: who knows this device knows it next time
    identity = edge_tunnel.load_identity(Path(path).with_suffix(".identity.pem"))
    services = {"thermometer": thermometer}
    async with (
        edge_tunnel.open_edge(config, services, identity=identity) as edge,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(application)
        async for notice in edge.events():
            print(notice.event, dict(notice.data), flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        trio.run(main, sys.argv[1])
