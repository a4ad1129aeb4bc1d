"""Many real edges in one process: ``python -m stampede.edges JSON``.

Each is an `Edge` with no services, its own thing and its own order of the nodes; back-off,
greeting, link and binding are the real ones, only the WebSocket is a thin one. Twice a second the
process says on stdout how it stands. A line ``victims URL`` on stdin marks the edges that are bound
at that node: from then on the moments are told at which they are bound again.
"""

from __future__ import annotations

import json
import random
import sys
import time
from functools import partial
from typing import Any, Final

import trio

import edge_tunnel
from edge_tunnel.cli.open_files import allow_open_files
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.notices import Notice
from stampede.thin import thin_dial

__all__ = ["TOLD_LATER"]

TOLD_LATER: Final = "the node takes no links"
"""How an edge begins to say that a node has asked it to come back later."""

_PAUSE: Final = 0.5
_SPARE: Final = 100
"""Files of the process beside its links."""


class Crowd:
    """What all the edges of this process did."""

    def __init__(self) -> None:
        self.bound: dict[int, str] = {}
        self.victims: set[int] = set()
        self.marked: int | None = None
        self.back: list[float] = []
        self.counts = dict.fromkeys(("told_later", "failed", "lost"), 0)

    def on_notice(self, number: int, notice: Notice) -> None:
        """Something happened to one edge."""
        if notice.event == "bound":
            self.bound[number] = str(notice["url"])
            if number in self.victims:
                self.victims.discard(number)
                self.back.append(time.time())
        elif notice.event in ("link_lost", "unbound"):
            self.bound.pop(number, None)
            self.counts["lost"] += 1
        elif notice.event == "connect_failed":
            later = str(notice["reason"]).startswith(TOLD_LATER)
            self.counts["told_later" if later else "failed"] += 1

    def mark(self, url: str) -> None:
        """The node of this URL is going to die."""
        self.victims = {number for number, its in self.bound.items() if its.startswith(f"{url}/")}
        self.marked = len(self.victims)

    async def report(self) -> None:
        """Twice a second."""
        while True:
            self.say("crowd", bound=len(self.bound), back=self.back, **self.counts)
            self.back.clear()
            if self.marked is not None:
                self.say("marked", victims=self.marked)
                self.marked = None
            await trio.sleep(_PAUSE)

    @staticmethod
    def say(event: str, **data: object) -> None:
        """One line of JSON."""
        print(json.dumps({"event": event, **data}), flush=True)

    async def listen(self) -> None:
        """To our stdin."""
        while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            word, _, rest = line.strip().partition(" ")
            assert word == "victims"
            self.mark(rest)


def config_of(number: int, order: list[str], options: dict[str, Any]) -> edge_tunnel.EdgeConfig:
    """One edge: its own thing, its own order of the nodes."""
    ports = [int(url.rpartition(":")[2]) for url in order]
    return edge_tunnel.EdgeConfig(
        servers=tuple(edge_tunnel.Server(host="127.0.0.1", port=port) for port in ports),
        app_key=edge_tunnel.Secret(options["key"]),
        things=(f"thing-{number:06}",),
        services=(),
        link=edge_tunnel.LinkSettings(
            encrypted=False,
            ping_interval=options["ping"],
            max_connect_delay=options["within"],
        ),
    )


async def run(options: dict[str, Any]) -> None:
    """All edges of this process, until it is killed or its stdin ends."""
    rng = random.Random(f"{options['seed']} {options['first']}")
    crowd = Crowd()
    dial = thin_dial(edge_tunnel.LinkSettings().connect_timeout)
    async with open_plain_nursery() as nursery:
        identity = edge_tunnel.Identity()  # one for all: nobody opens a tunnel
        for number in range(options["first"], options["first"] + options["count"]):
            order = rng.sample(options["urls"], len(options["urls"]))
            config = config_of(number, order, options)
            edge = edge_tunnel.Edge(config, {}, lambda _: dial, nursery, identity)
            edge.notices.call(partial(crowd.on_notice, number))
            nursery.start_soon(edge.run)
        nursery.start_soon(crowd.report)
        await crowd.listen()
        nursery.cancel_scope.cancel()


def main() -> None:
    """As the command line says."""
    options = json.loads(sys.argv[1])
    wanted = options["count"] + _SPARE
    allowed = allow_open_files(wanted)
    if allowed < wanted:
        sys.exit(f"{wanted} open files are needed, {allowed} are allowed: raise 'ulimit -Hn'")
    trio.run(run, options)


if __name__ == "__main__":
    main()
