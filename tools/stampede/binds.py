"""How fast one node's binds are written and known to all, with two other nodes that watch.

Once row by row, each guarded by itself (what a wrong guess falls back to), once as it is done.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final

import trio

from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.proxy.cluster import ClusterRegistry
from edge_tunnel.proxy.directory import Announcement, NodeInfo, Withdrawal
from edge_tunnel.proxy.etcd import EtcdClient, endpoints_of
from edge_tunnel.proxy.port import Port
from edge_tunnel.proxy.rows import guarded
from edge_tunnel.testing.etcd import Etcd

__all__ = ["compare_binds"]

_MOST: Final = 120
"""Nested transactions in one, which etcd's --max-txn-ops of 128 allows."""


class RowByRow(ClusterRegistry):
    """Writes as if every guess were wrong."""

    async def _write(self, batch: Sequence[Announcement | Withdrawal], lease: int) -> None:
        for at in range(0, len(batch), _MOST):
            part = batch[at : at + _MOST]
            rows = [guarded(self._keys, self.name, wish, lease) for wish in part]
            await self._client.transact(rows)


def compare_binds(etcd: Etcd, count: int) -> None:
    """Both ways, in one run."""
    for name, kind in (("row by row", RowByRow), ("guessed", ClusterRegistry)):
        prefix = f"/{kind.__name__}"
        watchers = [_watcher(etcd.url, prefix, f"w{number}", count) for number in range(2)]
        for watcher in watchers:
            _line(watcher)
        seconds, transactions = trio.run(_bind, etcd.url, prefix, kind, count)
        start = time.monotonic()
        for watcher in watchers:
            _line(watcher)
            watcher.wait()
        print(
            f"{count} binds, {name}: written and known here after {seconds:.1f} s, to two other "
            f"nodes {time.monotonic() - start:.1f} s later; {transactions} transactions",
            flush=True,
        )


async def _bind(
    url: str, prefix: str, kind: type[ClusterRegistry], count: int
) -> tuple[float, int]:
    client = EtcdClient(endpoints_of(url))
    registry = kind(NodeInfo("a", "127.0.0.1:1"), client, prefix=prefix)
    things = [f"thing-{number:06}" for number in range(count)]
    port = Port("edge", "peer", Outlet())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(registry.run)
        await registry.ready.wait()
        before = (await client.range(prefix, most=1)).revision
        start = time.monotonic()
        for number, thing in enumerate(things):
            registry.bind(thing, int(start * 1000) + number, port)
        for thing in things:
            while registry.row(thing) is None:  # noqa: ASYNC110 - the measured code has no event
                await trio.sleep(0.02)
        seconds = time.monotonic() - start
        transactions = (await client.range(prefix, most=1)).revision - before
        nursery.cancel_scope.cancel()
    return seconds, transactions


def _watcher(url: str, prefix: str, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "stampede.binds", url, prefix, name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _line(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    if not process.stdout.readline():
        raise OSError("a node that watches has ended")


async def _watch(url: str, prefix: str, name: str, count: int) -> None:
    """Another node: says when it is ready, and when it knows all things."""
    registry = ClusterRegistry(
        NodeInfo(name, "127.0.0.1:1"), EtcdClient(endpoints_of(url)), prefix=prefix
    )
    known: set[str] = set()
    full = trio.Event()

    def moved(thing: str) -> None:
        known.add(thing)
        if len(known) == count:
            full.set()

    registry.on_moved = moved
    async with trio.open_nursery() as nursery:
        nursery.start_soon(registry.run)
        await registry.ready.wait()
        print("ready", flush=True)
        await full.wait()
        print("full", flush=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(_watch, sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
