"""One attempt of an endpoint to be linked to a node, and how it went."""

from __future__ import annotations

import trio

from edge_tunnel.errors import LinkLost, LinkRefused
from edge_tunnel.link.link import Link

__all__ = ["Visit"]


class Visit:
    """One attempt to be linked, and the link that came of it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.node = ""
        self.link: Link | None = None
        self.linked = False
        """Whether there was a link, of whatever kind."""

        self.problem: LinkLost | LinkRefused | None = None
        self.asked_to_go = False
        self.scope = trio.CancelScope()
        """Around all of it; cancelled where the endpoint was configured anew while it dials."""

        self.settled = trio.Event()
        """Set when it is time for another: it is over, or its node asked us to go."""

        self._start = trio.current_time()
        self.lasted = 0.0

    def settle(self) -> None:
        """It is time for another."""
        if not self.settled.is_set():
            self.lasted = trio.current_time() - self._start
            self.settled.set()
