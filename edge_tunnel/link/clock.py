"""Time, for tunnels: their cores have no clock, and say when they want to be told."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import trio

from edge_tunnel.protocol.tunnel import Tunnel

__all__ = ["TunnelClock"]

AnyTunnel = TypeVar("AnyTunnel", bound=Tunnel)


class TunnelClock(Generic[AnyTunnel]):
    """Of all tunnels at one place."""

    def __init__(
        self, tunnels: Mapping[bytes, AnyTunnel], tell: Callable[[AnyTunnel], object]
    ) -> None:
        """`tunnels` may change at any time; `tell` passes on what a tick made happen."""
        self._tunnels = tunnels
        self._tell = tell
        self._earlier = trio.Event()

    def wake(self) -> None:
        """A deadline has become earlier, or there is a new tunnel."""
        self._earlier.set()

    async def run(self) -> None:
        """Call each tunnel's `tick` when it wants to be, for ever; sleep while none does."""
        while True:
            deadlines = [tunnel.deadline() for tunnel in self._tunnels.values()]
            due = min((each for each in deadlines if each is not None), default=math.inf)
            with trio.move_on_at(due):
                await self._earlier.wait()
            self._earlier = trio.Event()
            now = trio.current_time()
            for tunnel in list(self._tunnels.values()):
                tunnel.tick(now)
                self._tell(tunnel)
