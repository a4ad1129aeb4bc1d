"""Link thousands of edges to three nodes, kill one, and see them all come back."""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio
from benchmark.page import surroundings

from edge_tunnel.errors import EdgeTunnelError
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.testing.etcd import Etcd, open_etcd
from edge_tunnel.testing.processes import Child, Site, open_site
from stampede.binds import compare_binds
from stampede.site import Failed, Node, Registry, start_node

_EVERY: Final = 5.0
"""Seconds between two lines of progress."""

_NAMES: Final = ("a", "b", "c")


@dataclass
class Crowds:
    """What the processes with the edges said last."""

    children: list[Child] = field(default_factory=list)
    back: list[float] = field(default_factory=list)
    _last: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, child: Child) -> None:
        """Listen to one more."""
        self.children.append(child)
        child.on_event = lambda event: self._hear(child.name, event)

    def _hear(self, name: str, event: dict[str, Any]) -> None:
        if event["event"] == "crowd":
            self._last[name] = event
            self.back += event["back"]

    def sum(self, key: str) -> int:
        """Of all processes."""
        return sum(event[key] for event in self._last.values())

    def check(self) -> None:
        """Raises Failed if one is gone."""
        for child in self.children:
            if child.process.returncode is not None:
                raise Failed(str(child.failed("ended")))

    async def mark(self, url: str) -> int:
        """The node of this URL will be killed; returns how many edges are bound there."""
        for child in self.children:
            assert child.process.stdin is not None
            await child.process.stdin.send_all(f"victims {url}\n".encode())
        return sum([(await child.event("marked"))["victims"] for child in self.children])


def say(text: str) -> None:
    """A line for who waits."""
    print(text, flush=True)


async def until(
    true: Callable[[], bool], crowds: Crowds, deadline: float, progress: Callable[[], str]
) -> None:
    """Wait, and say now and then how it goes. Raises Failed."""
    start = told = trio.current_time()
    while not true():
        crowds.check()
        now = trio.current_time()
        if now - start > deadline:
            raise Failed(f"after {deadline:g} s: {progress()}")
        if now - told >= _EVERY:
            told = now
            say(f"  {now - start:4.0f} s: {progress()}")
        await trio.sleep(0.1)


async def start_crowds(site: Site, options: argparse.Namespace, urls: Sequence[str]) -> Crowds:
    """The edges, in a few processes."""
    crowds = Crowds()
    share, rest = divmod(options.edges, options.processes)
    first = 0
    for number in range(options.processes):
        count = share + (number < rest)
        its = {"seed": options.seed, "first": first, "count": count, "urls": list(urls)}
        its |= {"key": site.key, "ping": options.ping, "within": options.edges / options.pace}
        command = [sys.executable, "-m", "stampede.edges", json.dumps(its)]
        crowds.add(await site.start_program(f"edges {number}", command))
        first += count
    return crowds


async def stampede(options: argparse.Namespace, etcd: Etcd, folder: Path) -> None:
    """The whole story. Raises Failed."""
    limits = {"admission_rate": options.admission_rate, "admission_burst": options.admission_burst}
    limits |= {"max_unauthenticated_per_source": 0, "max_failures_per_source": 0}  # one address
    async with open_site(folder) as site, open_plain_nursery() as nursery:
        nodes = [await start_node(site, name, etcd, limits) for name in _NAMES]
        try:
            for node in nodes:
                nursery.start_soon(node.watch)
            crowds = await start_crowds(site, options, [node.url for node in nodes])
            await link_all(crowds, options)
            show("while they linked", nodes, crowds.sum("told_later"))
            await kill_one(nodes, crowds, Registry(etcd), options)
            nursery.cancel_scope.cancel()
        finally:
            for node in nodes:  # or they would wait for their endpoints to go elsewhere
                node.child.process.kill()


async def link_all(crowds: Crowds, options: argparse.Namespace) -> None:
    """Every edge is bound somewhere."""
    start, goal = trio.current_time(), options.edges
    say(f"{goal} edges in {options.processes} processes link, about {options.pace} a second")
    await until(
        lambda: crowds.sum("bound") == goal,
        crowds,
        options.deadline + goal / options.pace,
        lambda: f"{crowds.sum('bound')} of {goal} bound, {crowds.sum('told_later')} told to wait",
    )
    say(f"all are bound after {trio.current_time() - start:.1f} s")


async def kill_one(
    nodes: Sequence[Node], crowds: Crowds, registry: Registry, options: argparse.Namespace
) -> None:
    """And everybody comes back."""
    victim = random.Random(options.seed).choice(nodes)
    count = await crowds.mark(victim.url)
    if not count:
        raise Failed(f"no edge is at node {victim.name}: take more edges")
    told, failed = crowds.sum("told_later"), crowds.sum("failed")
    before = await registry.writes()
    survivors = [node for node in nodes if node is not victim]
    for node in survivors:
        node.sample()
        node.begin()
    victim.killed = True
    await victim.child.kill()
    killed_at, start = time.time(), trio.current_time()
    say(f"node {victim.name} is killed: {count} edges lose their link")
    await until(
        lambda: len(crowds.back) >= count,
        crowds,
        options.deadline,
        lambda: f"{len(crowds.back)} of {count} are bound again",
    )
    with trio.move_on_after(options.deadline) as scope:
        await registry.wait_for(options.edges, without=victim.name)
    if scope.cancelled_caught:
        raise Failed(f"the registry does not know all binds {options.deadline:g} s later")
    in_registry = trio.current_time() - start
    after = await registry.writes()
    say(f"bound again, seconds after the kill ({count} edges):")
    back = sorted(moment - killed_at for moment in crowds.back)
    for part in (50, 99, 100):
        say(f"  {part:3} %: {back[-(-count * part // 100) - 1]:6.2f}")
    say(f"  all of them in the registry: {in_registry:.2f}")
    say(f"etcd: {after[1] - before[1]} rows in {after[0] - before[0]} transactions")
    say(f"attempts that failed otherwise: {crowds.sum('failed') - failed}")
    for node in survivors:
        node.sample()
    show("after the kill", survivors, crowds.sum("told_later") - told)
    used = sum(node.cpu for node in survivors)
    say(f"  both together: {used:.1f} s of processor, {1000 * used / count:.1f} ms for each edge")


def show(when: str, nodes: Sequence[Node], told: int) -> None:
    """The peaks of the nodes."""
    say(f"{when}: edges were told {told} times to come back later")
    for node in nodes:
        say(
            f"  node {node.name}: peak CPU {node.peak_cpu:.0%} of one, peak memory "
            f"{node.peak_memory() / 2**20:.0f} MiB, slowest /health {node.slowest_health:.2f} s"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/load", description=__doc__)
    add = parser.add_argument
    add("--edges", type=int, default=10_000, help="default 10000, which 2 cores can do")
    add("--processes", type=int, default=2, help="that they are in (default 2)")
    add("--seed", type=int, default=random.randrange(10**6), help="of lists and who is killed")
    add("--pace", type=int, default=150, help="links a second at the start (default 150)")
    add("--ping", type=float, default=55.0, help="seconds between pings (default 55, EMS's own)")
    add("--deadline", type=float, default=120.0, help="seconds until all must be back")
    add("--admission-rate", type=int, default=100, help="of each node (default 100 a second)")
    add("--admission-burst", type=int, default=200, help="of each node (default 200)")
    add("--binds", type=int, metavar="N", help="only the registry: how fast are N binds written")
    return parser.parse_args()


def main() -> int:
    """0: all came back; 1: not all in time, or a node died."""
    options = _options()
    say(f"seed {options.seed}")
    for name, value in surroundings().items():
        say(f"{name}: {value}")
    try:
        with open_etcd(3) as etcd, tempfile.TemporaryDirectory() as folder:
            if options.binds:
                compare_binds(etcd, options.binds)
            else:
                trio.run(stampede, options, etcd, Path(folder))
    except (Failed, EdgeTunnelError, OSError) as failure:
        print(f"FAILED: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
