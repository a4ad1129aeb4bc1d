"""A tunnel's stream as trio knows streams.

All decisions are the core's (protocol/stream.py); this file waits. It follows the contract of
`trio.abc.HalfCloseableStream` to the letter and passes trio's own checks, also with a reconnect in
the middle: a lost link is not an error here, just a pause.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import TracebackType
from typing import Final

import trio

from edge_tunnel.errors import StreamRefused, TunnelEnded
from edge_tunnel.link.batch import batch, now, soon
from edge_tunnel.protocol.frames import MAX_DATA
from edge_tunnel.protocol.receiving import ReceiveState
from edge_tunnel.protocol.sending import SendState
from edge_tunnel.protocol.stream import Stream
from edge_tunnel.protocol.tunnel import (
    StreamAccepted,
    StreamBroken,
    StreamReadable,
    StreamWritable,
)
from edge_tunnel.reasons import Reason

__all__ = ["StreamEvent", "TunnelStream", "Turn", "checked_size", "wake_user"]

_OPEN: Final = SendState.OPEN  # see sending.py
_STOPPED: Final = SendState.STOPPED

StreamEvent = (StreamReadable, StreamWritable, StreamAccepted, StreamBroken)
"""Of one stream: its user is woken."""


class TunnelStream(trio.abc.HalfCloseableStream):
    """One connection through the tunnel.

    `receive_some` counts what it returns as delivered: the far end's memory of it is freed, and new
    credit is given. A reader that does not come back therefore stops the sender after one window.

    Errors are trio's, with ours as ``__cause__``: a BrokenResourceError from `TunnelEnded` (the
    tunnel is over) or `StreamRefused` (this stream was refused or reset), with the reason. There is
    no cause where nothing is wrong but that the far end reads no more, and somebody sends.
    """

    def __init__(self, stream: Stream) -> None:
        self.core = stream
        stream.owner = self
        self._closed = False
        self._ended = False  # send_eof was called
        self._stopped = False  # the far end did not want everything; the core forgets that
        self._sending = Turn("another task is sending on this stream")
        self._receiving = Turn("another task is receiving from this stream")
        self._changed_out = trio.lowlevel.ParkingLot()
        self._changed_in = trio.lowlevel.ParkingLot()
        self.sink: Callable[[], None] | None = None
        """Called when there is something to be received, or no more; it may `receive_now`."""

        self.source: Callable[[], None] | None = None
        """Called when there may be room again, or something is over; it may ask for the `room`."""

    def __repr__(self) -> str:
        return f"<TunnelStream {self.core!r}>"

    # -- what the tunnel says

    def readable(self) -> None:
        """Look again at what can be read."""
        if self._changed_in:  # mostly nobody waits: the sink takes it
            self._changed_in.unpark_all()
        if self.sink is not None and not soon(self.sink):
            self.sink()

    def writable(self) -> None:
        """Look again at what can be written, or whether the stream is accepted or over."""
        self._stopped = self._stopped or self.core.outgoing.state is _STOPPED
        if self._changed_out:
            self._changed_out.unpark_all()
        if self.source is not None:
            self.source()

    # -- sending

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with self._sending:
            self._check_sending()
            if len(data) <= min(self.core.outgoing.room, MAX_DATA):
                with batch():
                    self.core.write(data)  # `bytes` are not copied
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.checkpoint()
                await self._send_in_parts(data)

    def room(self) -> int:
        """Bytes that are worth sending now and that `core.write` takes; 0: wait for `source`.

        Raises as `send_all` does.
        """
        self._check_sending()
        return min(self.core.outgoing.usable, MAX_DATA)

    async def _send_in_parts(self, data: bytes | bytearray | memoryview) -> None:
        done = 0
        with memoryview(data) as view:
            while done < len(view):
                part = view[done : done + await self._room()]
                with batch():
                    self.core.write(part)
                done += len(part)

    async def wait_send_all_might_not_block(self) -> None:
        with self._sending:
            self._check_sending()
            await trio.lowlevel.checkpoint()
            await self._room()

    async def send_eof(self) -> None:
        with self._sending:
            self.end_now()
            await trio.lowlevel.checkpoint()

    def end_now(self) -> None:
        """As `send_eof`, without a checkpoint."""
        if self._closed:
            raise trio.ClosedResourceError("this stream was closed")
        if not self._ended:
            self._check_sending()
            self._end()

    # -- receiving

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        most = checked_size(max_bytes)
        with self._receiving:
            self._check_receiving()
            if self.core.incoming.readable:  # if not, `park` is the checkpoint
                await trio.lowlevel.checkpoint()
                self._check_receiving()
            while not self.core.incoming.readable:
                await self._changed_in.park()
                self._check_receiving()
            with batch():  # it may be worth a CREDIT
                return bytes(self._take(most))

    def receive_now(self) -> bytes | memoryview | None:
        """Bytes that are here, without a checkpoint; None: none, or the end, or an error.

        In a batch: they may be worth a CREDIT.
        """
        return self._take(MAX_DATA) if self.core.incoming.waiting and not self._closed else None

    def receive_end(self) -> None:
        """Take the end, which is here: all bytes before it were received. Raises as `receive_some`
        if it is an error instead."""
        self._check_receiving()
        self._take(MAX_DATA)

    def _take(self, most: int) -> bytes | memoryview:
        return self.core.take(most, now())

    def stop_receiving(self) -> None:
        """Read no more: the far end is told, and its writer gets BrokenResourceError.

        Without this, a far end that writes would hang on its credit for ever.
        """
        self.core.stop()

    # -- the whole stream

    async def wait_accepted(self) -> None:
        """Wait until the device says that the service answered.

        Raises:
          StreamRefused: it did not, and why.
          TunnelEnded: the tunnel is over.
        """
        while not self.core.accepted:
            if self.core.reason is not None:
                raise _error(self.core)
            await self._changed_out.park()

    async def wait_delivered(self) -> None:
        """After `send_eof`: wait until the far end has delivered every byte and the end.

        Raises BrokenResourceError if the stream is reset instead, or if the far end stopped
        receiving before it had everything.
        """
        while self.core.outgoing.state in (SendState.OPEN, SendState.ENDING):
            await self._changed_out.park()
        if self._stopped:
            raise trio.BrokenResourceError("the far end receives no more")
        if self.core.outgoing.state is SendState.BROKEN:
            raise trio.BrokenResourceError("the stream was reset") from _error(self.core)

    async def wait_flushed(self, most: int = 0) -> None:
        """Wait until the far end has delivered all but `most` (0 or `LOW_WATER`) of the bytes that
        were written so far, or the sending half is over."""
        while self.core.outgoing.buffered > most and self.core.outgoing.state is SendState.OPEN:
            await self._changed_out.park()

    async def wait_unread(self) -> None:
        """Wait until the far end reads no more, or the sending half is over."""
        while self.core.outgoing.state is SendState.OPEN:
            await self._changed_out.park()

    async def wait_gone(self) -> None:
        """Wait until the sending half is over, delivered or reset."""
        while self.core.outgoing.state in (SendState.OPEN, SendState.ENDING, SendState.STOPPED):
            await self._changed_out.park()

    async def wait_reset(self) -> None:
        """Wait until the stream is reset, by whichever end; for ever if it never is."""
        while self.core.reason is None:
            await self._changed_out.park()

    def abort(self, reason: Reason = Reason.RESET, text: str = "") -> None:
        """End the stream as an RST ends a connection: both users see an error."""
        self._closed = True
        self.core.reset(reason, text)
        self.readable()
        self.writable()

    async def aclose(self) -> None:
        """End what is sent, read no more. What was sent is still delivered, in the background.

        Whoever is cancelled here had more to do: then, unless `send_eof` has said that all is
        sent, the stream is reset, so that the far end does not take a part for the whole.
        """
        cancelled = trio.current_effective_deadline() == -math.inf
        self._close(whole=self._ended or not cancelled)
        await trio.lowlevel.checkpoint()

    def close_now(self) -> None:
        """As `aclose` of a task that is not cancelled, without a checkpoint."""
        self._close(whole=True)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """As `aclose`; leaving the block by an error is like being cancelled."""
        self._close(whole=self._ended or error is None)
        await self.aclose()

    def _close(self, *, whole: bool) -> None:
        if self._closed:
            return
        if not whole:
            self.abort(Reason.RESET, "the sender broke off")
            return
        self._closed = True
        if self.core.reason is None:
            self._end()
            if self.core.incoming.state is not ReceiveState.DONE:
                self.core.stop()
        self.readable()
        self.writable()

    # -- inside

    def _end(self) -> None:
        self._ended = True
        if self.core.outgoing.state is SendState.OPEN:
            self.core.end()

    async def _room(self) -> int:
        while not (room := self.room()):
            await self._changed_out.park()
        return room

    def _check_sending(self) -> None:
        if self._closed or self._ended:
            raise trio.ClosedResourceError("this stream was closed for sending")
        if self.core.reason is not None:
            raise trio.BrokenResourceError("the stream was reset") from _error(self.core)
        if self.core.outgoing.state is not _OPEN:
            raise trio.BrokenResourceError("the far end receives no more")

    def _check_receiving(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this stream was closed")
        if self.core.reason is not None:
            raise trio.BrokenResourceError("the stream was reset") from _error(self.core)
        if self.core.incoming.state is ReceiveState.STOPPED:
            raise trio.ClosedResourceError("this stream was closed for receiving")


def wake_user(event: StreamReadable | StreamWritable | StreamAccepted | StreamBroken) -> None:
    """Whoever uses the event's stream looks again at what has changed."""
    owner = event.stream.owner
    if owner is None:
        return
    if isinstance(event, StreamReadable):
        owner.readable()
        return
    owner.writable()
    if isinstance(event, StreamBroken):
        owner.readable()


def checked_size(max_bytes: int | None) -> int:
    """What a read may return at most, as trio wants it checked."""
    if max_bytes is None:
        return MAX_DATA
    if not isinstance(max_bytes, int):
        raise TypeError("max_bytes must be an integer")
    if max_bytes < 1:
        raise ValueError("max_bytes must be at least 1")
    return max_bytes


class Turn:
    """trio's rule for streams: two tasks at once are an error, not a queue."""

    __slots__ = ("_busy", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._busy = False

    def __enter__(self) -> None:
        if self._busy:
            raise trio.BusyResourceError(self._text)
        self._busy = True

    def __exit__(self, *_: object) -> None:
        self._busy = False


def _error(stream: Stream) -> TunnelEnded:
    reason = stream.reason or Reason.RESET
    kind = StreamRefused if reason >= Reason.CONNECTION_REFUSED else TunnelEnded
    return kind(reason, stream.text)
