"""One greeted link or hop, as the node's tables know it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_tunnel.protocol.codec import encode
from edge_tunnel.protocol.frames import Frame
from edge_tunnel.protocol.outlet import Outlet

if TYPE_CHECKING:
    from edge_tunnel.proxy.routes import Route

__all__ = ["Port"]


class Port:
    """The node's end of a link or hop: where its frames go, and what hangs on it."""

    __slots__ = ("binds", "features", "is_hop", "outlet", "peer", "role", "routes", "waiting")

    def __init__(self, role: str, peer: str, outlet: Outlet) -> None:
        """`role`: ``edge`` or ``remote``; ``node`` for a hop, and `peer` is that node's name."""
        self.role = role
        self.is_hop = role == "node"
        self.peer = peer
        self.outlet = outlet
        self.features: frozenset[str] | None = None
        """What was agreed in the greeting; None: a hop that is still being dialled."""
        self.binds: dict[str, int] = {}  # thing -> epoch (edges)
        self.routes: set[Route] = set()  # this port is one of their two ends, or a candidate
        self.waiting: dict[
            bytes, str
        ] = {}  # tunnel -> thing that its ATTACH waits for (remotes, hops)

    def __repr__(self) -> str:
        return f"<Port {self.role} {self.peer} {len(self.routes)} routes>"

    def send(self, frame: Frame) -> None:
        """Send a control frame."""
        self.outlet.push(encode(frame))
