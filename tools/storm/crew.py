"""The endpoints of a storm: some are processes of their own, the others are crowds."""

from __future__ import annotations

import json
import sys
from typing import Any, Final

import trio

from edge_tunnel.reasons import Reason
from edge_tunnel.testing.cluster_site import ClusterSite
from edge_tunnel.testing.processes import THING, Child
from tools.storm.network import Network

__all__ = ["Crew"]

COMMANDS: Final = 2
"""Remotes that are processes of their own; so is the edge that they talk to."""

FAIR: Final = (Reason.RESUME_TIMEOUT, Reason.NO_SUCH_THING)
"""Detached for too long, or not to be found at first. Histories that differ, a tunnel that the edge
does not know any more, too much sent: those are bugs, because no endpoint is restarted here."""


class Crew:
    """All edges and remotes."""

    def __init__(self, site: ClusterSite, network: Network, service: int) -> None:
        """`service`: the port at which transfers end."""
        self.ports: dict[str, int] = {}
        """The local port of each remote."""

        self._site = site
        self._network = network
        self._service = service
        self._speakers: list[Child] = []
        self._crowds: list[Child] = []

    async def start(self, edges: int, remotes: int, ssh: int) -> None:
        """Edges first, all bound; then remotes, all with their ports open."""
        urls = [await self._network.open_link("edge-0")]
        services = {"hash": self._service, "ssh": ssh}
        self._speakers.append(await self._site.start_device(THING, services, urls))
        things = [f"edge-{number}" for number in range(1, edges)]
        crowd = [{"name": t, "service": self._service, "ports": await self._way(t)} for t in things]
        await self._start_crowd("edges", crowd)
        for number in range(COMMANDS):
            await self._start_command(f"remote-{number}")
        crowd = []
        for number in range(COMMANDS, remotes):
            name = f"remote-{number}"
            thing = things[number % len(things)]
            crowd.append({"name": name, "thing": thing, "ports": await self._way(name)})
        await self._start_crowd("remotes", crowd)
        for event in self._crowds[1].events:
            if event["event"] == "listening":
                self.ports[event["who"]] = event["port"]

    async def _way(self, name: str) -> list[int]:
        """Through HAProxy; every third endpoint has a list of all nodes instead."""
        number = int(name.rpartition("-")[2])
        if number % 3:
            urls = [await self._network.open_link(name)]
        else:
            fronts = self._network.front_urls()
            first = number // 3 % len(fronts)
            urls = fronts[first:] + fronts[:first]
        return [int(url.rpartition(":")[2]) for url in urls]

    async def _start_command(self, name: str) -> None:
        urls = [await self._network.open_link(name)]
        remote = await self._site.start_remote(THING, "hash", urls=urls)
        self.ports[name] = (await remote.event("listening"))["port"]
        remote.name = name
        self._speakers.append(remote)

    async def _start_crowd(self, role: str, members: list[dict[str, Any]]) -> None:
        command = [sys.executable, "-m", "tools.storm.crowd"]
        crowd = await self._site.start_program(f"crowd of {role}", command)
        self._crowds.append(crowd)
        self._speakers.append(crowd)
        await self._tell(crowd, json.dumps({"key": self._site.key, role: members}))
        await crowd.event("all_ready")

    async def _tell(self, crowd: Child, line: str) -> None:
        assert crowd.process.stdin is not None
        await crowd.process.stdin.send_all(f"{line}\n".encode())

    async def levels(self) -> dict[str, int]:
        """Tasks, tunnels and streams of both crowds together."""
        total = dict.fromkeys(("tasks", "tunnels", "streams"), 0)
        for crowd in self._crowds:
            number = 1 + sum(each["event"] == "levels" for each in crowd.events)
            await self._tell(crowd, "levels")
            answer = await crowd.event("levels", number)
            for key in total:
                total[key] += answer[key]
        return total

    def resumes(self) -> list[float]:
        """Seconds that tunnels were detached, as their remotes felt it."""
        return [seconds for each in self._speakers for seconds in each.seconds_of("resumed")]

    def reasons(self, remote: str, since: float) -> list[str]:
        """Why tunnels and streams of this remote ended since then."""
        return [
            f"{event.get('reason')}"
            for child in self._speakers
            for event in child.events
            if event["event"] in ("closed", "stream_refused")
            and event.get("who", child.name) == remote
            and event["time"] >= since
        ]

    def changed(self, remote: str) -> float:
        """When its tunnel was attached, detached or resumed last, in seconds since 1970."""
        return max(
            (
                event["time"]
                for child in self._speakers
                for event in child.events
                if event["event"] in ("attached", "detached", "resumed")
                and event.get("who", child.name) == remote
            ),
            default=0.0,
        )

    def wrong_ends(self) -> list[str]:
        """Tunnels that ended for a reason that no fault of a network or a node may cause."""
        return [
            f"a tunnel of {event.get('who', child.name)} ended: {event['reason']}"
            for child in self._speakers
            for event in child.events
            if event["event"] == "closed" and event["code"] not in FAIR
        ]

    async def end(self) -> None:
        """Let the crowds leave in order."""
        for crowd in self._crowds:
            assert crowd.process.stdin is not None
            await crowd.process.stdin.aclose()
        with trio.move_on_after(10):
            for crowd in self._crowds:
                await crowd.process.wait()
