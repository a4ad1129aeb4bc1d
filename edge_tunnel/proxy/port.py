"""One greeted link or hop, as the node's tables know it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from edge_tunnel.access.rights import Principal
from edge_tunnel.protocol.codec import encode
from edge_tunnel.protocol.frames import Close, Frame
from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.reasons import Reason

if TYPE_CHECKING:
    from edge_tunnel.proxy.route import Route

__all__ = ["Port"]


_MAX_UNANSWERED: Final = 1024
"""An edge drops a late ATTACH without a word, and who has left is told nothing; the oldest are
forgotten."""


class Port:
    """The node's end of a link or hop: where its frames go, and what hangs on it."""

    __slots__ = (
        "asks", "binds", "end", "features", "is_hop", "outlet", "peer", "principal", "protocol",
        "role", "routes", "since", "software", "unanswered", "waiting", "wanted",
    )  # fmt: skip

    def __init__(
        self,
        role: str,
        peer: str,
        outlet: Outlet,
        principal: Principal | None = None,
        features: Collection[str] = (),
    ) -> None:
        """Make a port.

        Args:
          role: ``edge`` or ``remote``; ``node`` for a hop.
          peer: its address; the node's name for a hop.
          outlet: where its frames go.
          principal: who it was admitted as; None for a hop: the other node has asked already.
          features: those of the greeting that both ends know. A hop that is being dialled is
            taken for one that knows all.
        """
        self.principal = principal
        self.features = frozenset(features)
        self.role = role
        self.is_hop = role == "node"
        self.peer = peer
        self.outlet = outlet
        self.protocol = ""
        """What the endpoint itself speaks; empty: what the node speaks."""

        self.since = time.time()
        self.end: Callable[[Reason, str, float], object] = _nobody_told
        """End the link: the reason, a text for its user, and seconds to stay away."""

        self.wanted: Callable[[], object] = _nobody_told
        """A first tunnel begins to use it."""

        self.binds: dict[str, int] = {}  # thing -> epoch (edges)
        self.routes: set[Route] = set()  # this port is one of their two ends, or a candidate
        self.waiting: dict[tuple[bytes, int], str] = {}
        """The thing that an ATTACH waits for, by tunnel and (hops) epoch; the room's own."""

        self.unanswered: dict[tuple[bytes, int], Close | None] = {}
        """Tunnel and epoch of the ATTACHes that went there, in order (edges, hops); and the CLOSE
        with which its remote took one back."""

        self.asks = 0  # lists that we wait for (hops that we dialled)
        self.software = ""  # likewise; empty: not greeted yet

    def __repr__(self) -> str:
        return f"<Port {self.role} {self.peer} {len(self.routes)} routes>"

    @property
    def in_use(self) -> bool:
        """Whether anything here needs it."""
        return bool(self.routes or self.asks)

    def ask(self, tunnel: bytes, epoch: int, message: bytes) -> bool:
        """Send an ATTACH; False: one of this epoch is not answered, and it would not be known
        which of them an answer is for."""
        if (tunnel, epoch) in self.unanswered:
            return False
        if len(self.unanswered) >= _MAX_UNANSWERED:
            del self.unanswered[next(iter(self.unanswered))]
        self.unanswered[tunnel, epoch] = None
        self.outlet.push(message)
        return True

    def take_back(self, close: Close) -> None:
        """An ATTACH that went there. Only an edge that accepts it has heard of it from the
        tunnel's owner, and only that one is told; a hop's other end keeps it for its edge."""
        if self.is_hop:
            self.send(close)
        elif (close.tunnel, close.epoch) in self.unanswered:
            self.unanswered[close.tunnel, close.epoch] = close

    def answered(self, tunnel: bytes, epoch: int) -> Close | None:
        """The ATTACH of this epoch, if it was asked; the CLOSE that took it back."""
        return self.unanswered.pop((tunnel, epoch), None)

    def send(self, frame: Frame) -> None:
        """Send a control frame."""
        self.outlet.push(encode(frame))


def _nobody_told(*_: object) -> None:
    return None
