"""Many edges, or many remotes, in one process, on the public API.

Sixty interpreters would mostly measure the memory and the two cores of a CI machine; some edges and
remotes are processes of their own all the same. stdin: one line of JSON says what to open; each
further line asks for the levels; its end ends us. stdout: JSON lines, as those of the commands.
"""

from __future__ import annotations

import gc
import json
import sys
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import trio

from edge_tunnel import Edge, EdgeConfig, Notice, Remote, Secret, Server, Service, open_edge
from edge_tunnel.config.model import LinkSettings
from edge_tunnel.remote.remote import open_remote


def main() -> None:
    """Run until stdin ends."""
    trio.run(_run)


async def _run() -> None:
    spec = json.loads(await trio.to_thread.run_sync(sys.stdin.readline))
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        edges = [await _edge(stack, spec["key"], each) for each in spec.get("edges", ())]
        for edge in edges:
            await edge.wait_bound()
        remotes = [
            await _remote(stack, nursery, spec["key"], each) for each in spec.get("remotes", ())
        ]
        _say("all_ready")
        while await trio.to_thread.run_sync(sys.stdin.readline):
            _levels(edges, remotes)
        nursery.cancel_scope.cancel()


async def _edge(stack: AsyncExitStack, key: str, spec: dict[str, Any]) -> Edge:
    config = EdgeConfig(
        servers=tuple(Server(host="127.0.0.1", port=port) for port in spec["ports"]),
        app_key=Secret(key),
        things=(spec["name"],),
        services=(Service(name="hash", host="127.0.0.1", port=spec["service"]),),
        link=LinkSettings(encrypted=False),
    )
    edge = await stack.enter_async_context(open_edge(config))
    edge.notices.call(partial(_tell, spec["name"]))
    return edge


async def _remote(
    stack: AsyncExitStack, nursery: trio.Nursery, key: str, spec: dict[str, Any]
) -> Remote:
    urls = [f"ws://127.0.0.1:{port}" for port in spec["ports"]]
    remote = await stack.enter_async_context(open_remote(urls, key))
    remote.notices.call(partial(_tell, spec["name"]))
    await nursery.start(remote.forward, spec["thing"], "hash")
    return remote


def _tell(who: str, notice: Notice) -> None:
    print(json.dumps({**notice.as_dict(), "who": who}), flush=True)


def _say(event: str, **data: object) -> None:
    print(json.dumps({"event": event, **data}), flush=True)


def _levels(edges: list[Edge], remotes: list[Remote]) -> None:
    gc.collect()
    counts = [each.statistics() for each in edges], [each.statistics() for each in remotes]
    _say(
        "levels",
        tasks=trio.lowlevel.current_statistics().tasks_living,
        tunnels=sum(each.tunnels for side in counts for each in side),
        streams=sum(each.streams for side in counts for each in side),
    )


if __name__ == "__main__":
    main()
