"""The sending half of a stream: from the user's bytes to DATA and END, and what CREDIT frees.

The half is one small table. END takes up one offset, as TCP's FIN does, so that "END was
delivered" is the same number on the wire as "this byte was delivered"::

    OPEN ──end──> ENDING ──acked──> DONE
      └────┬────────┴──stop──> STOPPED ──acked──> DONE
           └─ any, but DONE ──reset──> BROKEN
"""

from __future__ import annotations

import enum
from typing import Final

from edge_tunnel.errors import LocalProtocolError, RemoteProtocolError
from edge_tunnel.protocol.frames import MAX_DATA
from edge_tunnel.protocol.pacing import FULL_FRAME, Meter, Pace
from edge_tunnel.protocol.replay import ReplayBuffer
from edge_tunnel.protocol.window import MAX_WINDOW

__all__ = ["SENDING_TABLE", "SendHalf", "SendState"]


class SendState(enum.Enum):
    """Where a sending half stands."""

    OPEN = "open"
    ENDING = "ending"  # its user ended it; END is not yet delivered
    STOPPED = "stopped"  # the far end wants no more; its bytes are dropped, END is on its way
    DONE = "done"  # the far end has delivered END
    BROKEN = "broken"  # reset

    __hash__ = object.__hash__  # of its own it has one in Python, and the table asks often


_OPEN, _ENDING, _STOPPED, _DONE, _BROKEN = SendState
# by these names: who asks an enum for a member pays for ten attributes, and here it is asked often

SENDING_TABLE: Final[dict[tuple[SendState, str], SendState]] = {
    (SendState.OPEN, "end"): SendState.ENDING,
    (SendState.ENDING, "end"): SendState.ENDING,
    # its user may not have heard yet of a stop or a reset when it ends the half
    (SendState.STOPPED, "end"): SendState.STOPPED,
    (SendState.DONE, "end"): SendState.DONE,
    (SendState.BROKEN, "end"): SendState.BROKEN,
    (SendState.OPEN, "stop"): SendState.STOPPED,
    (SendState.ENDING, "stop"): SendState.STOPPED,
    (SendState.STOPPED, "stop"): SendState.STOPPED,
    (SendState.ENDING, "acked"): SendState.DONE,
    (SendState.STOPPED, "acked"): SendState.DONE,
    (SendState.OPEN, "reset"): SendState.BROKEN,
    (SendState.ENDING, "reset"): SendState.BROKEN,
    (SendState.STOPPED, "reset"): SendState.BROKEN,
    (SendState.BROKEN, "reset"): SendState.BROKEN,
    (SendState.DONE, "reset"): SendState.DONE,
    (SendState.DONE, "stop"): SendState.DONE,
    (SendState.BROKEN, "stop"): SendState.BROKEN,
}

_SPLINTER: Final = MAX_DATA - FULL_FRAME
"""Bytes that are not worth a frame of their own: an application may well write 64 KiB at a time."""


class SendHalf:
    """What one end sends on one stream."""

    __slots__ = ("_buffer", "_end_sent", "_meter", "_worth", "limit", "state")

    def __init__(self, limit: int, pace: Pace) -> None:
        self._buffer = ReplayBuffer()
        self._end_sent = False
        self._meter = Meter(pace)
        self._worth = _worth(limit)
        self.limit = limit  # absolute; never goes back
        self.state = _OPEN

    def __repr__(self) -> str:
        return f"<SendHalf {self.state.value} {self._buffer!r} limit={self.limit}>"

    # -- ask: what the user wants

    @property
    def room(self) -> int:
        """Bytes that `write` takes now. Zero: wait until CREDIT makes room."""
        if self.state is not _OPEN:
            return 0
        # whatever limit the far end names, it cannot make us keep more than the largest window
        return min(self.limit, self._buffer.base + MAX_WINDOW) - self._buffer.end

    @property
    def usable(self) -> int:
        """`room`, or 0 if it is not worth filling: for a whole frame, half of the far end's window,
        or all that it takes. Else each credit is filled with a splinter of a frame, and each of
        these brings as small a credit: the silly window, avoided as RFC 1122, 4.2.3.4 says."""
        if self.state is not _OPEN:
            return 0
        buffer = self._buffer
        room = min(self.limit, buffer.base + MAX_WINDOW) - buffer.end
        return room if room >= self._worth or buffer.base == buffer.end else 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes to send. Raises LocalProtocolError if there is no room for all of them."""
        if self.state is not _OPEN or len(data) > self.room:
            raise LocalProtocolError(f"write of {len(data)} bytes to {self!r}")
        self._buffer.append(data)

    def end(self) -> None:
        """No more bytes will be written."""
        self._turn("end")

    def reset(self) -> None:
        """Give up: nothing more is sent or kept."""
        self._turn("reset")
        if self.state is _BROKEN:
            self._buffer.clear()

    # -- receive: what the far end says

    def stop(self) -> None:
        """The far end wants no more: drop what it has not got, and end."""
        self._turn("stop")
        if self.state is _STOPPED:
            self._buffer.clear()  # an END that is sent already stays valid: its offset is the same

    def credit(self, delivered: int, limit: int, now: float | None = None) -> bool:
        """The far end has delivered up to `delivered` and takes bytes up to `limit`.

        `now` (seconds): this was said in answer to bytes of ours, so it tells how fast the path is.
        Returns whether there is `usable` room now and was none before.

        Raises:
          RemoteProtocolError: it claims to have delivered what was never sent.
        """
        full = not self.usable
        self.limit = max(self.limit, limit)
        self._worth = max(self._worth, _worth(limit - delivered))
        if self.state not in (_DONE, _BROKEN):
            fresh = delivered - self._buffer.base
            self._acknowledge(delivered)
            if now is not None and fresh > 0:
                self._meter.delivered(fresh, now, more=self._buffer.next > delivered)
        return full and self.usable > 0

    def resume(self, received: int, delivered: int, limit: int) -> None:
        """A new link: the far end stands at `received`; go on sending from there.

        Raises:
          RemoteProtocolError: its history is not ours (it lacks bytes that it had delivered,
            or has bytes that were never sent).
        """
        self.limit = max(self.limit, limit)
        self._worth = max(self._worth, _worth(limit - delivered))
        self._meter.pause()
        if self.state in (_DONE, _BROKEN):
            return
        buffer, stopped = self._buffer, self.state is _STOPPED
        first = 0 if stopped else buffer.base
        # `next` is enough: whatever was sent before the last rewind and counted is behind it
        if not first <= received <= buffer.next + self._end_sent or delivered > received:
            raise RemoteProtocolError(f"cannot go on from {received}: {self!r}")
        self._end_sent = received > buffer.end
        if not stopped:  # a stopped half has nothing left to send again but END
            buffer.rewind(min(received, buffer.end))
        self._acknowledge(delivered)

    def finish(self) -> None:
        """The far end has delivered everything, END as well, but its CREDIT was lost."""
        if self.state is not _DONE:
            self._turn("acked")
            self._buffer.clear()

    # -- next to send

    @property
    def pending(self) -> bool:
        """Whether `take` or `take_end` has something."""
        if self._buffer.next < self._buffer.end:
            return True
        return self.state is not _OPEN and self.ended and not self._end_sent

    def take(self) -> tuple[int, bytes | memoryview]:
        """The next bytes (at most MAX_DATA; empty if there are none) and their offset."""
        return self._buffer.take(self._meter.size, _SPLINTER)

    def take_end(self) -> int | None:
        """The final offset, once, when all bytes are taken and END is due."""
        if not self.ended or self._end_sent or self._buffer.next < self._buffer.end:
            return None
        self._end_sent = True
        return self._buffer.end

    # -- inside

    @property
    def ended(self) -> bool:
        """Whether END is all that its user has left to say, delivered or not."""
        return self.state in (_ENDING, _STOPPED, _DONE)

    @property
    def sent(self) -> int:
        """The offset up to which this half has sent (statistics)."""
        return self._buffer.next

    @property
    def buffered(self) -> int:
        """Bytes kept for replay."""
        return self._buffer.end - self._buffer.base

    def _acknowledge(self, delivered: int) -> None:
        if delivered > self._buffer.next + self._end_sent:
            raise RemoteProtocolError(f"delivered {delivered} was never sent: {self!r}")
        if delivered > self._buffer.end:
            self.finish()
        elif delivered > self._buffer.base:  # a late CREDIT may be older than what we know
            self._buffer.release(delivered)

    def _turn(self, event: str) -> None:
        try:
            self.state = SENDING_TABLE[self.state, event]
        except KeyError:
            raise LocalProtocolError(f"{event} in {self!r}") from None


def _worth(window: int) -> int:
    """The least room that is worth filling, where the far end takes a window of so many bytes."""
    return max(1, min(FULL_FRAME, window // 2))
