"""The receiving half of a stream: from DATA and END to the user, and the CREDIT that answers.

Bytes leave here in order, once, with no gap: a duplicate is trimmed, and a gap is the peer's error
(links keep order, so one cannot be). EOF is given out only after END, and only when every byte
before it was. ::

    OPEN ──end──> ENDED ──read──> DONE
      └──stop──> STOPPED ──end──> DONE
      any, but DONE ──reset──> BROKEN
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Final

from edge_tunnel.errors import LocalProtocolError, RemoteProtocolError
from edge_tunnel.protocol.window import THIN, Window

__all__ = ["RECEIVING_TABLE", "CreditExceeded", "ReceiveHalf", "ReceiveState"]

_SMALL: Final = 4096
"""Arrivals below this are joined, as in replay.py: objects cost more than small bytes."""


class CreditExceeded(RemoteProtocolError):
    """The peer sent past its credit; it loses the tunnel."""


class ReceiveState(enum.Enum):
    """Where a receiving half stands."""

    OPEN = "open"
    ENDED = "ended"  # END is here; the user has not read up to it yet
    STOPPED = "stopped"  # the user wants no more; bytes are dropped until END comes
    DONE = "done"  # the user has read EOF, or wanted no more and END came
    BROKEN = "broken"  # reset

    __hash__ = object.__hash__  # of its own it has one in Python, and the table asks often


_OPEN, _ENDED, _STOPPED, _DONE, _BROKEN = ReceiveState
# by these names: who asks an enum for a member pays for ten attributes, and here it is asked often

RECEIVING_TABLE: Final[dict[tuple[ReceiveState, str], ReceiveState]] = {
    (ReceiveState.OPEN, "end"): ReceiveState.ENDED,
    (ReceiveState.ENDED, "end"): ReceiveState.ENDED,
    (ReceiveState.STOPPED, "end"): ReceiveState.DONE,
    (ReceiveState.DONE, "end"): ReceiveState.DONE,
    (ReceiveState.BROKEN, "end"): ReceiveState.BROKEN,
    (ReceiveState.ENDED, "read"): ReceiveState.DONE,
    (ReceiveState.OPEN, "stop"): ReceiveState.STOPPED,
    (ReceiveState.ENDED, "stop"): ReceiveState.DONE,
    (ReceiveState.STOPPED, "stop"): ReceiveState.STOPPED,
    (ReceiveState.DONE, "stop"): ReceiveState.DONE,
    (ReceiveState.BROKEN, "stop"): ReceiveState.BROKEN,
    (ReceiveState.OPEN, "reset"): ReceiveState.BROKEN,
    (ReceiveState.ENDED, "reset"): ReceiveState.BROKEN,
    (ReceiveState.STOPPED, "reset"): ReceiveState.BROKEN,
    (ReceiveState.BROKEN, "reset"): ReceiveState.BROKEN,
    (ReceiveState.DONE, "reset"): ReceiveState.DONE,
}


class ReceiveHalf:
    """What one end receives on one stream."""

    __slots__ = (
        "_chunks",
        "_skip",
        "acknowledged",
        "delivered",
        "limit",
        "received",
        "state",
        "window",
    )

    def __init__(self, window: Window) -> None:
        self._chunks: deque[bytes | bytearray | memoryview] = deque()
        self._skip = 0  # bytes of the first chunk that were read already
        self.window = window
        self.received = 0  # all before it has arrived, in order
        self.delivered = 0  # all before it was handed to the user
        self.acknowledged = 0  # the `delivered` that the far end was last told
        self.limit = window.size  # how far the far end may send; never goes back
        self.state = _OPEN

    def __repr__(self) -> str:
        numbers = f"received={self.received} delivered={self.delivered} limit={self.limit}"
        return f"<ReceiveHalf {self.state.value} {numbers}>"

    # -- receive: what the far end says

    def data(self, offset: int, data: bytes | memoryview) -> bool:
        """Bytes arrived. Returns whether there is something to read that was not there before.

        Raises:
          CreditExceeded: they go past the limit.
          RemoteProtocolError: there is a gap before them, or they come after END.
        """
        stop = offset + len(data)
        if not (self.state is _OPEN and offset == self.received < stop <= self.limit):
            if not self._is_fresh(offset, stop):
                return False
            data = data[self.received - offset :]
        self._keep(data)
        self.received = stop
        return True

    def _is_fresh(self, offset: int, stop: int) -> bool:
        """Whether some of these bytes are wanted and not here. Raises as `data` does."""
        if self.state in (_STOPPED, _DONE, _BROKEN):
            return False
        if stop > self.limit:
            raise CreditExceeded(f"bytes up to {stop} beyond the credit: {self!r}")
        if offset > self.received:
            raise RemoteProtocolError(f"a gap before {offset}: {self!r}")
        if stop <= self.received:
            return False  # a duplicate, as after every resume
        if self.state is not _OPEN:
            raise RemoteProtocolError(f"bytes up to {stop} after the end: {self!r}")
        return True

    def end(self, offset: int) -> bool:
        """END arrived. Returns whether there is something to read (EOF) that was not before.

        Raises:
          RemoteProtocolError: bytes before it are missing, or came from behind it.
        """
        if not self._fits(offset):
            raise RemoteProtocolError(f"end at {offset}: {self!r}")
        if self.state is _STOPPED:
            self.received = self.delivered = offset + 1  # what is missing was not wanted
        elif self.state is _OPEN:
            self.received = offset + 1
        fresh = self.state is _OPEN
        self._turn("end")
        return fresh

    def reset(self) -> None:
        """The stream is over: what was not read is dropped, so that a cut is never an EOF."""
        self._turn("reset")
        if self.state is _BROKEN:
            self._drop()

    # -- ask: what the user wants

    @property
    def readable(self) -> bool:
        """Whether `take` gives something: bytes, or EOF."""
        return bool(self._chunks) or self.state in (_ENDED, _DONE)

    @property
    def waiting(self) -> bool:
        """Whether `take` gives bytes."""
        return bool(self._chunks)

    def take(self, most: int, now: float, trip: float) -> bytes | memoryview:
        """Hand bytes to the user (b"" is EOF). They count as delivered. They are not copied.

        `now` and the lowest round trip `trip` are in seconds; the window grows by them.

        Raises:
          LocalProtocolError: nothing is readable; b"" would look like a clean EOF.
        """
        chunks = self._chunks
        if not chunks:
            return self._take_end()
        chunk = chunks[0]
        if self._skip or len(chunk) > most:
            data: bytes | memoryview = self._take_part(most)
        else:
            data = bytes(chunk) if isinstance(chunk, bytearray) else chunk
            chunks.popleft()
        size = len(data)
        self.delivered += size
        self.window.delivered(size, now, trip, self.limit - self.delivered)
        if size < THIN and not chunks:
            self.window.thin(now)
        return data

    def _take_part(self, most: int) -> bytes:
        """Of the first chunk."""
        chunk = self._chunks[0]
        part = bytes(chunk[self._skip : self._skip + most])
        self._skip += len(part)
        if self._skip == len(chunk):
            self._chunks.popleft()
            self._skip = 0
        return part

    def _take_end(self) -> bytes:
        if not self.readable:
            raise LocalProtocolError(f"take from {self!r}")
        if self.state is _ENDED:
            self._turn("read")
            self.delivered = self.received
        return b""

    def stop(self) -> None:
        """The user wants no more."""
        self._turn("stop")
        self._drop()
        if self.state is _DONE:
            self.delivered = self.received

    # -- next to send

    def credit_due(self) -> bool:
        """Whether a CREDIT is worth a frame: a window's step was delivered, or the end was.

        What is below that waits for the tunnel's delayed credit, so that an idle stream's far
        end does not keep its last bytes for ever.
        """
        if self.state is _DONE:
            return self.delivered > self.acknowledged
        return self.delivered + self.window.size - self.limit >= self.window.step

    def take_credit(self) -> tuple[int, int]:
        """The numbers of a CREDIT that is sent now."""
        if self.state in (_OPEN, _ENDED):
            self.limit = max(self.limit, self.delivered + self.window.size)
        self.acknowledged = self.delivered
        return self.delivered, self.limit

    @property
    def told(self) -> bool:
        """Whether the far end was told of all that is delivered (it may not have heard it)."""
        return self.acknowledged == self.delivered

    # -- inside

    def _fits(self, offset: int) -> bool:
        """Whether END may be at `offset`."""
        if self.state is _OPEN:
            return offset == self.received
        if self.state is _ENDED:  # played again after a resume
            return offset + 1 == self.received
        return self.state is not _STOPPED or self.received <= offset <= self.limit

    def _drop(self) -> None:
        self._chunks.clear()
        self._skip = 0

    def _keep(self, data: bytes | memoryview) -> None:
        chunks, size = self._chunks, len(data)
        if size >= _SMALL:
            chunks.append(data)  # it stays what it is: a part of the message that it came with
        elif not chunks:
            chunks.append(bytes(data))
        elif isinstance(tail := chunks[-1], bytearray) and len(tail) + size <= _SMALL:
            tail += data
        else:
            chunks.append(bytearray(data))

    def _turn(self, event: str) -> None:
        try:
            self.state = RECEIVING_TABLE[self.state, event]
        except KeyError:
            raise LocalProtocolError(f"{event} in {self!r}") from None
