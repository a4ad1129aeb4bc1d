"""One tunnel at a node: its two ends of the moment, and who would be one."""

from __future__ import annotations

import time
from typing import NamedTuple

from edge_tunnel.protocol.frames import Attach
from edge_tunnel.proxy.ledger import LiveStreams
from edge_tunnel.proxy.permit import Permit
from edge_tunnel.proxy.port import Port
from edge_tunnel.proxy.stream_queue import StreamQueue

__all__ = ["Candidate", "Route"]


class Candidate(NamedTuple):
    """An ATTACH that its edge has not answered yet."""

    frame: Attach
    message: bytes
    remote: Port
    edge: Port
    permit: Permit | None
    """None over a hop: the remote's node has one."""


class Route:
    """One tunnel at this node."""

    __slots__ = (
        "candidates", "edge", "epoch", "from_edge", "from_remote", "opened", "permit", "queues",
        "recorded", "recorded_at", "remote", "service", "since", "stirred", "streams", "thing",
        "tunnel",
    )  # fmt: skip

    def __init__(self, attach: Attach) -> None:
        self.tunnel = attach.tunnel
        self.thing = attach.thing
        self.service = attach.service
        self.epoch = 0  # of the attach that stands
        self.edge: Port | None = None
        self.remote: Port | None = None
        self.candidates: dict[int, Candidate] = {}  # by epoch; all above `epoch`
        self.permit: Permit | None = None  # of the remote, if it is linked here
        self.opened = False
        self.from_edge = 0  # bytes of messages passed on
        self.from_remote = 0
        self.since = time.time()
        self.stirred = False  # since the last `take_stirred`
        self.streams = LiveStreams()
        self.queues: dict[tuple[bool, int], StreamQueue] = {}  # (towards the edge, stream)
        self.recorded: dict[str, str] | None = None  # the remote end that the audit knows of
        self.recorded_at = 0.0

    def is_owner(self, candidate: Candidate) -> bool:
        """Whether who asks is known to be who had the tunnel: one identity, and not everybody's.

        What comes over a hop may be anybody's.
        """
        had, asks = self.permit, candidate.permit
        if had is None or asks is None or asks.principal.shared:
            return False
        return had.principal.name == asks.principal.name

    def about(self) -> dict[str, object]:
        """For an event."""
        return {"tunnel": self.tunnel.hex(), "thing": self.thing, "service": self.service}
