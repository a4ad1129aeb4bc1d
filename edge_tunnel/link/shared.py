"""One connection with two users: the WebSocket library, and the short way past it.

The library makes the handshakes and answers control frames. From the end of the opening handshake
on, a link's own reader takes the bytes off the connection (`read`), hands the library what is its
business (`hand_over`) and leaves it the connection again in the end (`give_back`). Both write whole
frames, one at a time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import trio

from edge_tunnel.errors import LinkLost
from edge_tunnel.link.eager import EagerStream
from edge_tunnel.link.express import Splitter
from edge_tunnel.link.scratch import feed
from edge_tunnel.link.secured import Secured

__all__ = ["SharedConnection"]

_READ_SIZE: Final = 128 * 1024
"""Bytes of one read: the library's 4 KiB halve the speed of bulk transfers."""

Part: TypeAlias = "bytes | memoryview"

_HEAD_ENDS: Final = b"\r\n\r\n"


class SharedConnection(trio.abc.Stream):
    """The stream that the library is given. It also notices the end of the connection."""

    __slots__ = (
        "_changed", "_first", "_for_library", "_half", "_head", "_kept", "_prompt", "_sending",
        "_stream", "_torn", "_turns", "early", "ended", "taken", "why",
    )  # fmt: skip

    def __init__(self, stream: trio.abc.Stream, first: bytes = b"") -> None:
        """`first`: what was read of the handshake already."""
        if isinstance(stream, trio.SocketStream):
            stream = EagerStream.fitted(stream)
        self._stream = stream
        self._prompt = stream if isinstance(stream, EagerStream | Secured) else None
        self._first = first
        self.ended = trio.Event()
        self.why: LinkLost | None = None
        """What the network said when it ended, if that is more than that it did."""

        self.taken = False
        """Whether `read` is the link's; the library gets what it is handed."""

        self.early = b""
        """Bytes that came behind the handshake: the library would drop them."""

        self._head: bytearray | None = bytearray()  # of the handshake, so far
        self._for_library = bytearray()
        self._changed = trio.lowlevel.ParkingLot()
        self._sending = False
        self._kept: Sequence[Part] = ()  # what `send_now` took while somebody else was sending
        self._half = False  # `send_now` sent a part, and `flush` is to send the rest
        self._torn = False  # half a frame went out, and whatever follows would be its rest
        self._turns = trio.lowlevel.ParkingLot()

    # -- the library's side, as trio.abc.Stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Also the short way's: nobody writes into the middle of another's frame.

        A send that fails or is cancelled has written nobody knows how much of its frame; from then
        on nothing is written any more. The closing handshake would be taken for the frame's rest.
        """
        while self._sending:
            await self._turns.park()
        self._check_torn()
        self._sending = True
        await self._finish(self._stream.send_all(data))

    def _check_torn(self) -> None:
        if self._torn:
            raise trio.BrokenResourceError("half a frame was sent")

    async def _finish(self, sending: Awaitable[None]) -> None:
        try:
            await sending
        except BaseException as error:
            self._torn = True
            if isinstance(error, trio.BrokenResourceError):
                self.ended.set()
            raise
        finally:
            self._stop_sending()

    def _stop_sending(self) -> None:
        self._sending = False
        if self._turns:
            self._turns.unpark()

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """What the library may read; `max_bytes` is for the network alone."""
        while True:
            if self._for_library:
                arrived, self._for_library = self._for_library, bytearray()
                return arrived
            if self.ended.is_set():
                return b""
            if self.taken:
                await self._changed.park()
                continue
            return self._split(await self._first_or_next(max_bytes))

    async def _first_or_next(self, max_bytes: int | None) -> bytes | bytearray:
        if not self._first:
            return await self.read(max_bytes)
        await trio.lowlevel.checkpoint()
        first, self._first = self._first, b""
        return first

    def _split(self, data: bytes | bytearray) -> bytes | bytearray:
        """The library's part of what arrived: all but what follows a handshake that succeeds."""
        if self._head is None:
            return data
        before = len(self._head)
        self._head += data
        end = self._head.find(_HEAD_ENDS) + len(_HEAD_ENDS)
        if end < len(_HEAD_ENDS):
            return data
        head, self._head = bytes(self._head), None
        if head.startswith(b"HTTP/") and head.split(maxsplit=2)[1:2] != [b"101"]:
            return data  # a refusal, and its body
        self.taken = True
        self.early = bytes(data[end - before :])
        return data[: end - before]

    async def aclose(self) -> None:
        await self._stream.aclose()

    # -- the short way's side

    def send_now(self, parts: Sequence[Part]) -> bool:
        """Send a frame. Returns whether it is sent; if not, `flush` must send it, or its rest."""
        if self._torn:
            self._check_torn()
        if self._sending or self._prompt is None:
            self._kept = parts
            return False
        try:
            self._half = self._sending = not self._prompt.send_now(parts)
        except trio.BrokenResourceError:
            self._torn = True
            self.ended.set()
            raise
        return not self._half

    async def flush(self) -> None:
        """Send what `send_now` could not."""
        kept, self._kept = self._kept, ()
        if kept:
            await self.send_all(b"".join(kept))
        elif self._half and self._prompt is not None:
            self._half = False
            await self._finish(self._prompt.flush())

    def abandon(self) -> None:
        """Nobody calls `flush` any more."""
        self._kept = ()
        if self._half:
            self._half, self._torn = False, True
            self._stop_sending()

    async def read(self, max_bytes: int | None = None) -> bytes | bytearray:
        """The next bytes from the network; b"" at the end. Raises trio's errors."""
        try:
            data = await self._stream.receive_some(max_bytes or _READ_SIZE)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._has_ended(error)
            raise
        if not data:
            self._has_ended()
        return data

    async def feed(self, splitter: Splitter, take: Callable[[], bool]) -> bool:
        """Read, and give `splitter` what is read, until `take` returns False; see `scratch.feed`.

        Returns False if the connection is at its end.
        """
        if self._prompt is None:
            data = await self.read()
            splitter.feed(data)
            return bool(data)
        try:
            more = await feed(splitter, self._prompt, take)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._has_ended(error)
            raise
        if not more:
            self._has_ended()
        return more

    def _has_ended(self, error: Exception | None = None) -> None:
        if error is not None and isinstance(error.__cause__, LinkLost):
            self.why = error.__cause__
        self.ended.set()

    @property
    def unread(self) -> int:
        """Bytes that were handed over and that the library has not looked at."""
        return len(self._for_library)

    def hand_over(self, data: bytearray) -> None:
        """Bytes that arrived for the library."""
        self._for_library += data
        self._changed.unpark_all()

    def give_back(self) -> None:
        """Let the library read again."""
        self.taken = False
        self._head = None
        self._changed.unpark_all()
