"""One storm, from the first process to the last comparison."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import trio

from edge_tunnel.cli.demo.services import SshService
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.testing.cluster_site import ClusterSite, open_cluster_site
from tools.storm.crew import Crew
from tools.storm.faults import Faults
from tools.storm.levels import Level, leaks, level_of
from tools.storm.network import Network
from tools.storm.report import Result
from tools.storm.rsync import Rsync
from tools.storm.schedule import Targets, schedule
from tools.storm.transfers import Transfers
from tools.storm.verdict import EQUAL, judge

__all__ = ["run_storm"]

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "haproxy.cfg"
NODES: Final = "abc"

LOAD: Final = 2_000_000
"""Bytes a second that all remotes together send, and get: below what the relays, which are all in
this process, carry on one core several times over."""

SETTLE: Final = 90.0
"""Seconds until everything must be given back: a hop is left after 60 s without a tunnel."""


async def run_storm(result: Result, folder: Path, quiet: bool) -> None:
    """Fill `result`. Raises ChildFailed, OSError, TimeoutError: it could not be started."""
    async with (
        open_cluster_site(folder, nodes="", members=3) as site,
        open_plain_nursery() as nursery,
    ):
        network = Network(site, nursery)
        await _start_cluster(site, network)
        transfers = Transfers(result.seed, LOAD / result.remotes)
        serve = partial(trio.serve_tcp, transfers.serve, 0, host="127.0.0.1", backlog=512)
        listeners = await nursery.start(serve)
        crew = Crew(site, network, listeners[0].socket.getsockname()[1])
        ssh = SshService(site)
        await crew.start(result.edges, result.remotes, await ssh.start())
        rsync = Rsync(ssh, await network.open_link("rsync"))
        rsync.prepare()
        nursery.start_soon(transfers.watch, crew.changed)
        storm = Storm(
            result,
            site=site,
            network=network,
            transfers=transfers,
            crew=crew,
            rsync=rsync,
            quiet=quiet,
        )
        await storm.run()
        _write_events(site)
        await crew.end()
        nursery.cancel_scope.cancel()


def _write_events(site: ClusterSite) -> None:
    """All that processes said, in the order of time, if EDGE_TUNNEL_STORM_EVENTS names a file."""
    path = os.environ.get("EDGE_TUNNEL_STORM_EVENTS")
    if path:
        events = [{"who": child.name, **event} for child in site.children for event in child.events]
        events.sort(key=lambda event: float(event.get("time", 0)))
        lines = "".join(f"{json.dumps(event)}\n" for event in events)
        Path(path).write_text(lines, encoding="utf-8")


async def _start_cluster(site: ClusterSite, network: Network) -> None:
    fronts = {name: await network.surround(site.add_node(name)) for name in NODES}
    site.add_haproxy(EXAMPLE, fronts=fronts)
    await site.start_all()


class Storm:
    """What happens once all is there."""

    def __init__(
        self,
        result: Result,
        *,
        site: ClusterSite,
        network: Network,
        transfers: Transfers,
        crew: Crew,
        rsync: Rsync,
        quiet: bool,
    ) -> None:
        self._result = result
        self._site = site
        self._network = network
        self._transfers = transfers
        self._crew = crew
        self._rsync = rsync
        self._tell: Callable[[str], None] = _silence if quiet else Teller()

    async def run(self) -> None:
        """Peace, faults, peace; then the judgement."""
        await self._transfers.one_each(self._crew.ports)
        await self._transfers.wait_over()
        before, crew_before = self._levels(), await self._crew.levels()
        await self._under_fire()
        await self._transfers.one_each(self._crew.ports)
        await self._transfers.wait_over()
        await self._compare(before, crew_before)
        self._judge()

    async def _under_fire(self) -> None:
        result = self._result
        targets = Targets(
            tuple(NODES),
            tuple(member.name for member in self._site.etcd.members),
            tuple(sorted(self._network.links)),
        )
        faults = Faults(self._site, self._network, self._tell)
        over = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._rsync.keep_copying, over)
            for remote, port in self._crew.ports.items():
                nursery.start_soon(self._transfers.keep_moving, remote, port, over)
            await faults.run(schedule(result.seed, result.seconds, targets))
            over.set()
            self._tell("no more faults; waiting for what is under way")
        await self._transfers.wait_over()
        result.faults = faults.made
        result.problems += faults.problems

    # -- afterwards

    def _levels(self) -> dict[str, Level]:
        return {name: level_of(node.pid) for name, node in self._site.nodes.items()}

    async def _compare(self, before: dict[str, Level], crew_before: dict[str, int]) -> None:
        deadline = trio.current_time() + SETTLE
        while True:
            after, crew_after = self._levels(), await self._crew.levels()
            found = leaks(before, after) + _more(crew_before, crew_after)
            if not found or trio.current_time() > deadline:
                break
            await trio.sleep(2)
        self._result.problems += found
        for name, one in before.items():
            other = after[name]
            self._result.levels.append(
                f"node {name}: {one.files} files, {one.memory / 2**20:.0f} MiB before; "
                f"{other.files}, {other.memory / 2**20:.0f} MiB after"
            )
        self._result.levels.append(f"endpoints in crowds: {crew_before} before; {crew_after} after")

    def _judge(self) -> None:
        result = self._result
        last = len(self._transfers.all) - len(self._crew.ports)
        for transfer in self._transfers.all:
            reasons = self._crew.reasons(transfer.remote, transfer.started - 1)
            outcome, problem = judge(transfer, reasons)
            if transfer.number >= last and outcome != EQUAL and not transfer.aborts:
                problem = problem or f"{outcome}, after everything was repaired: {reasons}"
            result.streams[outcome] += 1
            result.problems += [problem] if problem else []
            service = transfer.service
            result.moved += transfer.client.received + (service.received if service else 0)
        result.resumes = self._crew.resumes()
        result.copies, result.refused = self._rsync.copies, self._rsync.refused
        result.problems += self._crew.wrong_ends()
        result.problems += self._rsync.problems + self._transfers.strays + self._words()

    def _words(self) -> list[str]:
        """Bugs that processes met and outlived."""
        return [
            f"{child.name} said: {line}"
            for child in self._site.children
            for line in child.words
            if "internal error" in line or "Traceback" in line
        ]


def _more(before: dict[str, int], after: dict[str, int]) -> list[str]:
    """Streams are over; tunnels stay; tasks are those of links, tunnels and ports."""
    found = [f"{after['streams']} streams are open in the crowds"] if after["streams"] else []
    for what, slack in (("tasks", 8), ("tunnels", 0)):
        if after[what] > before[what] + slack:
            found.append(f"the crowds have {after[what]} {what}, {before[what]} before")
    return found


def _silence(_text: str) -> None:
    pass


class Teller:
    """A line on stderr, with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, text: str) -> None:
        print(f"{time.monotonic() - self._start:6.1f} s  {text}", file=sys.stderr, flush=True)
