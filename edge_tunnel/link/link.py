"""One live link: the tasks around a transport.

Three rules, each reproduced as a real hazard of the stack (DESIGN.md section 4):

1. One place writes (writer.py). It takes from the link's `Outlet`, which decides the order, and
   nobody's timeout can cancel it inside a message: its task is cancelled only with the link.
2. One task reads. It hands each message to a plain function and waits for nothing but the
   transport; so no application can hold up the frames of another, and reading never waits for
   writing.
3. Liveness is inbound silence. "I sent something lately" proves nothing: a peer that stopped
   reading still takes bytes for a while. An endpoint pings with our own PING frame, ahead of data;
   WebSocket pings deadlock the library under two-way bulk traffic.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import trio

from edge_tunnel.errors import LinkLost, RemoteProtocolError
from edge_tunnel.link.batch import batch
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.transport import Transport
from edge_tunnel.link.writer import Writer
from edge_tunnel.protocol.codec import encode
from edge_tunnel.protocol.frames import Bye, Ping
from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.reasons import Reason

__all__ = ["Link"]

_TURN: Final = 64
"""Messages that the reader takes before it lets the others have a turn: one read from a socket may
hold 10,000 of the smallest, and a peer that floods would hold up all other links for as long as
they take (seconds, measured with tools/attack on a busy machine)."""

_GRACE: Final = 1.03
"""Parts of the silence after which the link is really ended; see `_read_messages`."""

FAREWELL_TIMEOUT: Final = 2.0
"""Seconds that BYE may take to get out before the link is simply cut."""


class Link:
    """A greeted connection between an endpoint and a node."""

    def __init__(
        self,
        transport: Transport,
        *,
        silence: float,
        ping_interval: float | None = None,
        outlet: Outlet | None = None,
    ) -> None:
        """`silence`: seconds without a message that end the link.

        `ping_interval`: seconds after which a quiet link is pinged (endpoints); None: never
        (nodes: their endpoints announced how quiet they may be).

        `outlet`: what waits to be sent already, if something does.
        """
        self.transport = transport
        self.outlet = Outlet() if outlet is None else outlet
        self.last_received = trio.current_time()
        self._silence = silence
        self._ping_interval = ping_interval
        self._last_ping = self.last_received
        self._pings = 0
        self._problem = "the farewell could not be sent in time"
        self._scope = trio.CancelScope()
        self._writer = Writer(transport, self.outlet, self._over)
        self.over = trio.Event()
        """Set when `run` has ended."""

    def __repr__(self) -> str:
        return f"<Link {self.transport.peer} {self.outlet!r}>"

    async def run(self, on_message: Callable[[bytes], None]) -> None:
        """Read and write until the link is over; `on_message` is called for each message.

        Raises:
          LinkLost: the link is over, and why. It never returns.
        """
        try:
            with self._scope:
                async with open_plain_nursery() as nursery:
                    nursery.start_soon(self._write)
                    if self._ping_interval is not None:
                        nursery.start_soon(self._keep_alive, self._ping_interval)
                    await self._read(on_message)
            raise LinkLost(self._problem)
        finally:
            self.over.set()

    def end(self, reason: Reason, text: str = "", retry_after: float = 0.0) -> None:
        """Say BYE and end the link as soon as that is sent. `retry_after` is in seconds."""
        if self._writer.farewell is None:
            farewell = encode(Bye(reason, text[:1024], int(retry_after * 1000)))
            self._writer.farewell = farewell
            self._scope.deadline = trio.current_time() + FAREWELL_TIMEOUT
            self.outlet.push(farewell)

    # -- the three tasks; whichever sees the end first says why and ends them all

    def _over(self, problem: str) -> None:
        if not self._scope.cancel_called:
            self._problem = problem
            self._scope.cancel()

    async def _read(self, on_message: Callable[[bytes], None]) -> None:
        with trio.CancelScope() as scope:
            try:
                await self._read_messages(on_message, scope)
            except LinkLost as error:
                self._over(str(error))
            except RemoteProtocolError as error:
                self.end(Reason.PROTOCOL_ERROR, str(error))
                scope.deadline = math.inf
                await trio.sleep_forever()  # the writer says BYE and ends the link
        if scope.cancelled_caught:
            self._over(f"silent for {self._silence:g} s")

    async def _read_messages(
        self, on_message: Callable[[bytes], None], scope: trio.CancelScope
    ) -> None:
        def take_now() -> bool:
            return self._take(self.transport.receive_now(), on_message, scope) < _TURN

        self._heard(scope)
        self.transport.take_now = take_now
        taken = 0
        while True:
            message = await self.transport.receive()
            taken += self._take(message, on_message, scope)
            if taken >= _TURN:
                taken = 0
                await trio.lowlevel.checkpoint()

    def _heard(self, scope: trio.CancelScope) -> None:
        # moved only now and then: a deadline is a heap entry, and bulk is many messages; so
        # the link gets a little more, and never less: its next ping may be due just then
        if not 1 <= (scope.deadline - self.last_received) / self._silence <= _GRACE:
            scope.deadline = self.last_received + _GRACE * self._silence

    def _take(
        self, message: bytes | None, on_message: Callable[[bytes], None], scope: trio.CancelScope
    ) -> int:
        """Hand on a message, and those that arrived with it, but not too many. Returns how many."""
        if message is None:
            return 0
        self.last_received = trio.current_time()
        self._heard(scope)
        taken = 0
        with batch():
            while message is not None:
                on_message(message)
                taken += 1
                message = self.transport.receive_now() if taken < _TURN else None
        return taken

    async def _write(self) -> None:
        try:
            await self._writer.run()
            self._over("we said goodbye")
        except LinkLost as error:
            self._over(str(error))

    async def _keep_alive(self, interval: float) -> None:
        while True:
            quiet_since = self._quiet_since()
            due = max(quiet_since, self._last_ping) + interval
            await trio.sleep_until(due)
            if self._quiet_since() == quiet_since:
                self._last_ping = trio.current_time()
                self._pings += 1
                self.outlet.push(encode(Ping(self._pings)))

    def _quiet_since(self) -> float:
        return min(self.last_received, self._writer.last_sent)
