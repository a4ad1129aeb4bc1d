"""A device's connection whose request was read, before anybody knows whether it may be here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio

from edge_tunnel.access.rights import PeerCertificate
from edge_tunnel.proxy.strangers import Stranger

__all__ = ["Visitor"]


@dataclass(frozen=True, kw_only=True)
class Visitor:
    """One of them."""

    stream: trio.abc.Stream
    head: bytes
    """What was read of it."""

    peer: str
    stranger: Stranger | None = None
    """Leaves its place when it has shown that it may be here; None: it holds none."""

    certificate: PeerCertificate | None = None
    quick_ack: Callable[[], None] = lambda: None
    """To be called after each read."""

    passed: bool = False
    """Whether another node passes it on: it goes no further."""

    def let_in(self) -> None:
        """It may be here."""
        if self.stranger is not None:
            self.stranger.leave()
