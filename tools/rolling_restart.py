"""Restarts the nodes of a real cluster one after the other, under load, and prints the pauses.

Three nodes, three members of etcd, two devices and some streams on loopback. Every byte is compared
as it comes back; the first that is wrong, and the first stream that ends, ends the run with an
error. A pause is the longest time in which nothing came back on a stream. The row "nothing happens"
is what this machine does to streams anyway: read the others beside it.

Needs etcd (Debian: etcd-server).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import trio

from edge_tunnel import open_remote
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.testing import ClusterSite, NodeProcess, open_cluster_site
from edge_tunnel.testing.conversation import Conversation, serve_echo

NODES = "abc"
QUIET = 5.0  # seconds of "nothing happens"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="tools/rolling-restart",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=3, help="of all nodes (%(default)s)")
    parser.add_argument("--streams", type=int, default=8, help="at once (%(default)s)")
    options = parser.parse_args()
    trio.run(restart_all, options.rounds, options.streams)


async def restart_all(rounds: int, streams: int) -> None:
    over = trio.Event()
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(open_plain_nursery())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        site = await stack.enter_async_context(open_cluster_site(folder, NODES))
        talks = await begin(site, streams, nursery, stack, over)
        print(f"{len(talks)} streams      drained in   pause: median    longest")
        await measure("nothing happens", talks, partial(trio.sleep, QUIET))
        for _ in range(rounds):
            for name, node in site.nodes.items():
                await measure(f"node {name}", talks, partial(restart, node))
        over.set()
        nursery.cancel_scope.deadline = trio.current_time() + 10
        for talk in talks:
            await talk.ended.wait()
        nursery.cancel_scope.cancel()
    print(f"{sum(talk.received for talk in talks):,} bytes came back, each compared")


async def begin(
    site: ClusterSite, count: int, nursery: trio.Nursery, stack: AsyncExitStack, over: trio.Event
) -> list[Conversation]:
    """Streams from two technicians, on different nodes, to two devices, on different nodes."""
    serve = partial(trio.serve_tcp, serve_echo, 0, host="127.0.0.1")
    port = (await nursery.start(serve))[0].socket.getsockname()[1]
    urls = [node.url for node in site.nodes.values()]
    turned = urls[1:] + urls[:1]
    await site.start_device("one", {"echo": port}, urls)
    await site.start_device("two", {"echo": port}, turned)
    remotes = [await stack.enter_async_context(open_remote(u, site.key)) for u in (urls, turned)]
    talks = []
    for number in range(count):
        thing = ("one", "two")[number // 2 % 2]
        stream = await remotes[number % 2].open_stream(thing, "echo")
        talks.append(Conversation())
        nursery.start_soon(talks[-1].hold, stream, over)
    for talk in talks:
        await talk.hear(1_000_000)  # windows have grown
    return talks


async def restart(node: NodeProcess) -> float:
    """SIGTERM, and start again; the seconds that the drain took."""
    start = trio.current_time()
    if await node.terminate():
        raise SystemExit(f"node {node.name} did not end as it should")
    took = trio.current_time() - start
    await node.start()
    await trio.sleep(1)  # what its return does to the others belongs to it
    return took


async def measure(
    what: str, talks: Sequence[Conversation], happens: Callable[[], Awaitable[float | None]]
) -> None:
    """Print a row: what happened, and the pauses meanwhile."""
    for talk in talks:
        talk.begin_anew()
    took = await happens()
    pauses = sorted(talk.longest_pause * 1000 for talk in talks)
    drained = "" if took is None else f"{took:.2f} s"
    median, longest = pauses[len(pauses) // 2], pauses[-1]
    print(f"{what:<16} {drained:>10} {median:>16.0f} ms {longest:>7.0f} ms", flush=True)


if __name__ == "__main__":
    main()
