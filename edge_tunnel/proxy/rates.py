"""How fast one identity may bind things, attach tunnels and open streams at this node.

Counted for the principal, over all its links: whoever has ten links, or links anew for each bind,
has the rate of one. It is the identity's own share that is used up; others are not touched. Where
one key is everybody's (development mode) nobody can be told apart, and each link counts alone.

Pure: times are passed in, in seconds of a monotonic clock. Memory is bounded (see `pace`).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from edge_tunnel.proxy.pace import Pace
from edge_tunnel.proxy.port import Port

__all__ = ["MAX_BINDS", "Rates"]

MAX_BINDS: Final = 4096
"""Things that one edge's link may bind: a gateway with its sub-devices."""

_BINDS: Final = (50.0, MAX_BINDS + 1024.0)
"""A second and at once: a gateway binds all that it has, and then a change now and then. Each is a
write to the registry."""

_BINDS_OF_THING: Final = (5.0, 30.0)
"""Of one thing, by whoever may: a device that loses its link binds again, a few times a minute in
a bad place."""

_ATTACHES: Final = (100.0, 2048.0)
"""Each KiB of one counts as another: a technician's tunnels resume all together, and what an
ATTACH names is kept until it is answered."""

_OPENS: Final = (2000.0, 16_384.0)
"""Streams, over all tunnels: each makes the device dial, and one that is reset at once is not
bounded by how many there may be (as HTTP/2's rapid reset was not, CVE-2023-44487). A browser or a
load test through a tunnel opens hundreds a second."""


class Rates:
    """Those of one node. Each answer is the seconds after which to ask again; 0: go on."""

    def __init__(self) -> None:
        self._binds = Pace(*_BINDS)
        self._binds_of_things = Pace(*_BINDS_OF_THING)
        self._attaches = Pace(*_ATTACHES)
        self._opens = Pace(*_OPENS)

    def bind(self, port: Port, now: float) -> float:
        """It binds something, whether it may or not."""
        return self._binds.take(_account(port), now)

    def bind_thing(self, thing: str, now: float) -> float:
        """Somebody who may binds this thing; nobody else can use up its share."""
        return self._binds_of_things.take(thing, now)

    def attach(self, port: Port, size: int, now: float) -> float:
        """It attaches a tunnel. `size`: bytes of the message."""
        return self._attaches.take(_account(port), now, 1 + size // 1024)

    def open(self, port: Port, now: float) -> float:
        """It opens a stream."""
        return self._opens.take(_account(port), now)

    def lost(self, port: Port) -> None:
        """The link is gone. What an identity has used up stays used up."""
        self._binds.forget(port)
        self._attaches.forget(port)
        self._opens.forget(port)


def _account(port: Port) -> Hashable:
    """Who pays."""
    who = port.principal
    return port if who is None or who.shared else (who.role, who.name)
