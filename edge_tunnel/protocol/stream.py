"""One TCP connection inside a tunnel: two halves, and the verbs of its user.

A stream outlives links. What it sends it makes when its turn comes (`next_message`), from its
state; so a lost link costs nothing but the rewind that the far end's position asks for.
"""

from __future__ import annotations

from typing import Final, Protocol

from edge_tunnel.protocol.frames import (
    Accept,
    Credit,
    Data,
    End,
    Frame,
    Open,
    Position,
    Reset,
    Stop,
    clip,
)
from edge_tunnel.protocol.pacing import Pace
from edge_tunnel.protocol.receiving import ReceiveHalf, ReceiveState
from edge_tunnel.protocol.sending import SendHalf, SendState
from edge_tunnel.protocol.window import Budget, Window
from edge_tunnel.reasons import Reason

__all__ = ["LOW_WATER", "Carrier", "Stream", "StreamOwner"]

LOW_WATER: Final = 512 * 1024
"""Bytes. A user that bounds what is kept for replay below the window is told when only so much of
it is left, and when nothing is."""


class StreamOwner(Protocol):
    """Whoever waits for a stream, in the shell; told by the tunnel's events."""

    def readable(self) -> None: ...

    def writable(self) -> None: ...


class Carrier(Protocol):
    """What a stream needs of its tunnel."""

    id: bytes
    epoch: int
    budget: Budget
    pace: Pace
    trip: float
    sent: int

    @property
    def attached(self) -> bool: ...

    def push(self, frame: Frame) -> None:
        """Send a control frame, if attached; if not, `Stream.resume` says it again."""

    def pack(self, frame: Frame) -> bytes:
        """The message that carries the frame, sealed if the tunnel is. It must be sent, once."""

    def ready(self, stream: Stream) -> None:
        """The stream has something to send."""

    def delay_credit(self, stream: Stream, now: float) -> None:
        """The stream has delivered a little; tell the far end soon."""

    def forget(self, stream: Stream) -> None:
        """Nothing is left to be said about the stream."""


class Stream:
    """The state of one stream at one end."""

    __slots__ = ("_carrier", "accepted", "id", "incoming", "outgoing", "owner", "reason", "text")

    def __init__(self, carrier: Carrier, number: int, *, window: int, limit: int) -> None:
        """`window`: bytes that we take at first; `limit`: bytes that the far end takes at first."""
        self._carrier = carrier
        self.id = number
        self.incoming = ReceiveHalf(Window(carrier.budget, window))
        self.outgoing = SendHalf(limit, carrier.pace)
        self.accepted = False
        self.owner: StreamOwner | None = None  # the core never calls it
        self.reason: Reason | None = None  # set once, when the stream was reset
        self.text = ""

    def __repr__(self) -> str:
        return f"<Stream {self.id} {self.incoming!r} {self.outgoing!r}>"

    # -- ask: what the user wants

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes; at most `outgoing.room` of them."""
        self.outgoing.write(data)
        self._carrier.ready(self)

    def end(self) -> None:
        """Send END after the bytes written so far."""
        self.outgoing.end()
        self._carrier.ready(self)

    def take(self, most: int, now: float) -> bytes | memoryview:
        """Read; see ReceiveHalf.take. Call only if `incoming.readable`."""
        data = self.incoming.take(most, now, self._carrier.trip)
        if self.incoming.credit_due():
            self._push_credit()
        elif data:
            self._carrier.delay_credit(self, now)
        return data

    def stop(self) -> None:
        """Read no more. The far end learns it and stops sending."""
        unread = self.incoming.state is ReceiveState.OPEN or self.incoming.waiting
        self.incoming.stop()
        if unread:  # ahead of the CREDIT, which says that nothing is left to be done
            self._carrier.push(Stop(*self._head()))
        if self.incoming.state is ReceiveState.DONE:
            self.send_credit()

    def reset(self, reason: Reason, text: str = "") -> None:
        """End both halves at once, for a reason that the far end's user sees."""
        if self.reason is None and not self._complete:
            self._break(reason, text)
            self._carrier.push(Reset(*self._head(), reason, self.text))

    def accept(self) -> None:
        """The service answered (edge only)."""
        if self.reason is None and not self.accepted:
            self.accepted = True
            self._carrier.push(Accept(*self._head()))

    def send_credit(self) -> None:
        """Say how far we are, if the far end does not know (the tunnel's delayed credit)."""
        if not self.incoming.told:
            self._push_credit()

    # -- receive: what the far end says; each returns whether the user should look again

    def on_data(self, frame: Data) -> bool:
        return self.incoming.data(frame.offset, frame.data)

    def on_end(self, frame: End) -> bool:
        fresh = self.incoming.end(frame.offset)
        if self.incoming.state is ReceiveState.DONE:  # we had stopped reading
            self.send_credit()
        return fresh

    def on_credit(self, frame: Credit, now: float) -> bool:
        before, kept = self.outgoing.state, self.outgoing.buffered
        room = self.outgoing.credit(frame.delivered, frame.limit, now)
        self._forget_if_complete()
        left = self.outgoing.buffered
        flushed = kept > LOW_WATER >= left or kept > 0 == left
        return room or flushed or self.outgoing.state is not before

    def on_stop(self) -> bool:
        before = self.outgoing.state
        self.outgoing.stop()
        self._carrier.ready(self)
        return self.outgoing.state is not before

    def on_accept(self) -> bool:
        fresh, self.accepted = not self.accepted, True
        return fresh

    def on_reset(self, frame: Reset) -> None:
        """The stream is over; the tunnel answers, as it does for a stream that is over already."""
        self.break_off(Reason.of(frame.reason) if frame.reason else Reason.RESET, frame.text)
        self._carrier.forget(self)

    # -- resume

    def position(self) -> Position:
        """Where our receiving half stands: told in ATTACH and ATTACHED, so it counts as told."""
        delivered, limit = self.incoming.take_credit()
        return Position(self.id, self.incoming.received, delivered, limit, self.accepted)

    def resume(self, far: Position) -> None:
        """Go on over a new attach, from where the far end stands.

        Raises:
          RemoteProtocolError: the far end's history is not ours.
        """
        self.accepted = self.accepted or far.accepted
        self.outgoing.resume(far.received, far.delivered, far.limit)
        if self.reason is not None:
            self._carrier.push(Reset(*self._head(), self.reason, self.text))
        elif self.incoming.state is ReceiveState.STOPPED:
            self._carrier.push(Stop(*self._head()))
        if self.outgoing.pending:
            self._carrier.ready(self)
        self._forget_if_complete()

    def open_again(self) -> None:
        """The far end never saw our OPEN (or this is the first time): say it, from the start."""
        self._carrier.push(Open(*self._head(), self.incoming.take_credit()[1]))
        self.resume(Position(self.id, 0, 0, 0, accepted=False))

    def vanish(self) -> None:
        """The far end knows the stream no longer.

        It forgets one only when both halves are done or reset. If ours is read to its end and
        ended, then only the last CREDIT was lost; whatever is still open here was refused
        without our hearing of it, and is reset.
        """
        if self.incoming.state is ReceiveState.DONE and self.outgoing.ended:
            self.outgoing.finish()
        self.break_off(Reason.RESET, "the far end knows the stream no longer")
        self._carrier.forget(self)

    def break_off(self, reason: Reason, text: str) -> None:
        """End both halves here without telling: the tunnel is over, or the far end knows."""
        if self.reason is None and not self._complete:
            self._break(reason, text)

    # -- next to send

    @property
    def pending(self) -> bool:
        """Whether there is something for the outlet."""
        return self.outgoing.pending

    def next_message(self) -> bytes | None:
        """For the outlet: one DATA or END, or None."""
        offset, data = self.outgoing.take()
        if data:
            self._carrier.sent += len(data)
            return self._carrier.pack(Data(*self._head(), offset, data))
        final = self.outgoing.take_end()
        return None if final is None else self._carrier.pack(End(*self._head(), final))

    # -- inside

    @property
    def _complete(self) -> bool:
        return self.incoming.state is ReceiveState.DONE and self.outgoing.state is SendState.DONE

    def _head(self) -> tuple[bytes, int, int]:
        return self._carrier.id, self.id, self._carrier.epoch

    def _push_credit(self) -> None:
        if self._carrier.attached:
            self._carrier.push(Credit(*self._head(), *self.incoming.take_credit()))
            self._forget_if_complete()

    def _break(self, reason: Reason, text: str) -> None:
        self.reason, self.text = reason, clip(text)
        self.incoming.reset()
        self.outgoing.reset()

    def _forget_if_complete(self) -> None:
        # while an attach is under way nothing can be told, and the far end waits to hear it
        if self._complete and self.incoming.told:
            self._carrier.forget(self)
