"""The sending side of a link: from its outlet to its transport.

Whoever gives the outlet something writes it as well, at the end of the batch that it belongs to
(batch.py), as far as the transport takes it without waiting. The rest is the writer's task: it
waits for the transport, and nobody's timeout can cancel it inside a message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from edge_tunnel.errors import LinkLost
from edge_tunnel.link.batch import now, soon
from edge_tunnel.link.transport import Transport
from edge_tunnel.protocol.outlet import Outlet

__all__ = ["Writer"]

_BURST: Final = 1024 * 1024
"""Bytes that are sent before the others have a turn: a transport that takes all at once would give
no other point to yield, and a turn for each message costs more than the message."""


class Writer:
    """Sends what an outlet has. `run` must run."""

    __slots__ = (
        "_burst", "_ended", "_flushing", "_on_lost", "_outlet", "_ready", "_transport", "farewell",
        "last_sent",
    )  # fmt: skip

    def __init__(
        self, transport: Transport, outlet: Outlet, on_lost: Callable[[str], None]
    ) -> None:
        """`on_lost`: told why, when the transport is lost."""
        self.last_sent = trio.current_time()
        self.farewell: bytes | None = None
        """A message behind which nothing is sent."""

        self._transport = transport
        self._outlet = outlet
        self._on_lost = on_lost
        self._flushing = False  # the transport has the rest of something
        self._burst = 0  # bytes since the others had a turn
        self._ended = False
        self._ready = trio.lowlevel.ParkingLot()
        outlet.on_ready = self._on_ready

    async def run(self) -> None:
        """Send what could not be sent at once. Returns when the farewell is sent.

        Raises:
          LinkLost: the transport is lost.
        """
        while not self._ended or self._flushing:
            if self._flushing:
                await self._transport.flush()
                self._flushing = False
                self.last_sent = trio.current_time()
            elif self._send_burst():
                await self._ready.park()
                self._burst = 0
            elif not self._flushing:
                await trio.lowlevel.checkpoint()
                self._burst = 0

    def _on_ready(self) -> None:
        if not self._flushing and not soon(self._send_now):
            self._ready.unpark_all()

    def _send_now(self) -> None:
        self._burst = 0
        try:
            done = self._send_burst()
        except LinkLost as error:
            self._on_lost(str(error))
        else:
            if not done or self._flushing or self._ended:
                self._ready.unpark_all()

    def _send_burst(self) -> bool:
        """Send what the transport takes at once. Returns whether that was all there is."""
        outlet, transport = self._outlet, self._transport
        while self._burst < _BURST and not self._flushing:
            group = outlet.next_group(transport.group)
            if self.farewell is not None:
                group = self._up_to_farewell(group)
            if group:
                self._burst += sum(map(len, group))
                self._flushing = not transport.send_now(group)
                self.last_sent = now()
            if self._ended or outlet.is_empty:
                return not self._ended and not self._flushing
        return False

    def _up_to_farewell(self, group: list[bytes]) -> list[bytes]:
        for index, message in enumerate(group):
            if message is self.farewell:
                self._ended = True
                return group[: index + 1]
        return group
