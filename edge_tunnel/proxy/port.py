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

    __slots__ = (
        "asks", "binds", "features", "is_hop", "offer", "outlet", "peer", "role", "routes",
        "software", "waiting",
    )  # fmt: skip

    def __init__(self, role: str, peer: str, outlet: Outlet) -> None:
        """`role`: ``edge`` or ``remote``; ``node`` for a hop, and `peer` is that node's name."""
        self.role = role
        self.is_hop = role == "node"
        self.peer = peer
        self.outlet = outlet
        self.binds: dict[str, int] = {}  # thing -> epoch (edges)
        self.routes: set[Route] = set()  # this port is one of their two ends, or a candidate
        self.waiting: dict[
            bytes, str
        ] = {}  # tunnel -> thing that its ATTACH waits for (remotes, hops)
        self.offer: tuple[str, ...] = ()  # services of its things (edges)
        self.asks = 0  # lists that we wait for (hops that we dialled)
        self.features: tuple[str, ...] | None = None  # likewise; None: not greeted yet
        self.software = ""  # likewise

    def __repr__(self) -> str:
        return f"<Port {self.role} {self.peer} {len(self.routes)} routes>"

    @property
    def in_use(self) -> bool:
        """Whether anything here needs it."""
        return bool(self.routes or self.asks)

    def send(self, frame: Frame) -> None:
        """Send a control frame."""
        self.outlet.push(encode(frame))
