"""One live link: the tasks around a transport.

Three rules, each reproduced as a real hazard of the stack (DESIGN.md section 4):

1. One place writes (writer.py). It takes from the link's `Outlet`, which decides the order, and
   nobody's timeout can cancel it inside a message: its task is cancelled only with the link.
2. One task reads. It hands each message to a plain function and waits for nothing but the
   transport; so no application can hold up the frames of another, and reading never waits for
   writing.
3. Liveness is inbound silence. "I sent something lately" proves nothing: a peer that stopped
   reading still takes bytes for a while. A ping is our own PING frame, ahead of data; WebSocket
   pings deadlock the library under two-way bulk traffic. When to ping, and when a link is over, is
   decided by `protocol.keepalive`; a node looks after all its links with one task (rounds.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import trio

from edge_tunnel.errors import LinkLost, RemoteProtocolError
from edge_tunnel.link.batch import batch, now
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.rounds import Rounds
from edge_tunnel.link.transport import Transport
from edge_tunnel.link.writer import Writer
from edge_tunnel.protocol.codec import encode
from edge_tunnel.protocol.frames import Bye, Ping, Pong
from edge_tunnel.protocol.keepalive import KeepAlive, Rhythm
from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.reasons import Reason

__all__ = ["Link"]

_TURN: Final = 64
"""Messages that the reader takes before it lets the others have a turn: one read from a socket may
hold 10,000 of the smallest, and a peer that floods would hold up all other links for as long as
they take (seconds, measured with tools/attack on a busy machine)."""

FAREWELL_TIMEOUT: Final = 2.0
"""Seconds that BYE may take to get out before the link is simply cut."""


class Link:
    """A greeted connection between an endpoint and a node."""

    __slots__ = (
        "_keep_alive", "_pings", "_problem", "_rounds", "_scope", "_sleep", "_writer", "is_used",
        "last_received", "outlet", "over", "transport",
    )  # fmt: skip

    def __init__(
        self,
        transport: Transport,
        *,
        silence: float,
        ping_interval: float = math.inf,
        resting: Rhythm | None = None,
        outlet: Outlet | None = None,
        rounds: Rounds | None = None,
    ) -> None:
        """A link. `run` it.

        Args:
          transport: greeted; the caller closes it.
          silence: seconds without a message that end the link.
          ping_interval: seconds after which a quiet link is pinged; infinite: the other end does
            it, and announced how quiet it may be.
          resting: the same two while nothing uses the link; see `is_used`.
          outlet: what waits to be sent already, if something does.
          rounds: looks after the link if it runs; else the link does it itself.
        """
        self.transport = transport
        self.outlet = Outlet() if outlet is None else outlet
        self.last_received = trio.current_time()
        tight = Rhythm(ping_interval, silence)
        self._keep_alive = KeepAlive(self.last_received, tight, resting or tight)
        self.is_used: Callable[[], bool] = _always
        """Whether it may not rest. Whoever changes that to yes says `hurry`."""

        self._rounds = rounds
        self._sleep: trio.CancelScope | None = None  # of our own watch
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
                    self._begin_watch(nursery)
                    await self._read(on_message)
            raise LinkLost(self._problem)
        finally:
            if self._rounds is not None:
                self._rounds.leave(self)
            self.over.set()

    def end(self, reason: Reason, text: str = "", retry_after: float = 0.0) -> None:
        """Say BYE and end the link as soon as that is sent. `retry_after` is in seconds."""
        if self._writer.farewell is None:
            farewell = encode(Bye(reason, text[:1024], int(retry_after * 1000)))
            self._writer.farewell = farewell
            self._scope.deadline = trio.current_time() + FAREWELL_TIMEOUT
            self.outlet.push(farewell)

    # -- liveness

    def hurry(self) -> None:
        """It begins to be used: look at it now."""
        if self._sleep is not None:
            self._sleep.cancel()
        elif self._rounds is not None:
            self._rounds.due(self, trio.current_time())

    def answer(self, ping: Ping) -> None:
        """Say PONG."""
        self.outlet.push(encode(Pong(ping.nonce)))
        if self._sleep is not None:  # so that a link that is only pinged wakes nobody else
            now = trio.current_time()
            self._sleep.deadline = self._keep_alive.next(self.last_received, now)

    def check(self, now: float) -> float:
        """Ping it or end it, if that is due; returns when to look again."""
        used = self.is_used()
        look = self._keep_alive.look(now, self.last_received, self._writer.last_sent, used=used)
        if look.silent is not None:
            self._over(f"silent for {look.silent:g} s")
        elif look.ping:
            self._pings += 1
            self.outlet.push(encode(Ping(self._pings)))
        return look.again

    def _begin_watch(self, nursery: trio.Nursery) -> None:
        if self._rounds is None or not self._rounds.running:
            nursery.start_soon(self._watch)
        else:
            self._rounds.due(self, self.check(trio.current_time()))

    async def _watch(self) -> None:
        while True:
            again = self.check(trio.current_time())
            with trio.CancelScope(deadline=again) as self._sleep:
                await trio.sleep_forever()

    # -- the tasks; whichever sees the end first says why and ends them all

    def _over(self, problem: str) -> None:
        if not self._scope.cancel_called:
            self._problem = problem
            self._scope.cancel()

    async def _read(self, on_message: Callable[[bytes], None]) -> None:
        try:
            await self._read_messages(on_message)
        except LinkLost as error:
            self._over(str(error))
        except RemoteProtocolError as error:
            self.end(Reason.PROTOCOL_ERROR, str(error))
            await trio.sleep_forever()  # the writer says BYE and ends the link

    async def _read_messages(self, on_message: Callable[[bytes], None]) -> None:
        receive_now = self.transport.receive_now

        def take_now() -> bool:
            """Hand on the messages that are here, but not too many; whether that was all."""
            for _ in range(_TURN):
                message = receive_now()
                if message is None:
                    return True
                self.last_received = now()
                on_message(message)
            return False

        self.transport.take_now = take_now
        taken = 0
        while True:
            message = await self.transport.receive()
            with batch():
                self.last_received = now()
                on_message(message)
                all_taken = take_now()
            taken += 1
            if taken == _TURN or not all_taken:
                taken = 0
                await trio.lowlevel.checkpoint()

    async def _write(self) -> None:
        try:
            await self._writer.run()
            self._over("we said goodbye")
        except LinkLost as error:
            self._over(str(error))


def _always() -> bool:
    return True
