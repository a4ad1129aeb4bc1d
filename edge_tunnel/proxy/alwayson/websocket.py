"""A device's WebSocket, from the server's end.

What is particular about these peers (each was met with a real client):

* C devices never answer a ping. So none is sent, and what proves that a device lives is what comes
  from it; its own pings do, and have to be answered within 10 s.
* They write head and payload of a frame apart. With Linux's delayed acknowledgements that costs 40
  ms for each message, unless the kernel is told, after every read, to acknowledge at once
  (TCP_QUICKACK does not last).
* A frame to a device is never fragmented, and on a main socket at most 8,192 bytes long. That is
  for whoever sends; here a frame goes out as it is given.
* Java devices end a tunnel by closing TCP, without a closing frame: `SocketEnded.code` is None
  then.

One task receives, and one sends. The answer to a ping goes out behind the frame that is being sent.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason

from edge_tunnel.config.source import printable
from edge_tunnel.errors import LinkLost

__all__ = ["DeviceSocket", "SocketEnded", "acknowledging"]

_READ: Final = 64 * 1024
"""Bytes of one read: some messages of bulk."""

_TURN: Final = 64
"""Messages of a device, or parts of one, before others have a turn, as of a link."""

_MOST_PARTS: Final = 1024
"""Pieces of a message that are kept apart: each takes more memory than the byte that is in it."""

_ANSWER: Final = 10.0
"""Seconds that the answer to a ping may take; by then the device has given up (both SDKs)."""

_FAREWELL: Final = 2.0
"""Seconds for the closing frame. Devices do not answer it."""


class SocketEnded(LinkLost):
    """The device's socket is over."""

    def __init__(self, text: str, code: int | None = None, reason: str = "") -> None:
        super().__init__(text)
        self.code = code
        """Of the device's closing frame; None: there was none."""

        self.reason = reason
        """What it said in it."""


class DeviceSocket:
    """A WebSocket whose handshake is over."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        peer: str,
        *,
        most: int,
        rest: bytes = b"",
        quick_ack: Callable[[], None] = lambda: None,
    ) -> None:
        """`most`: bytes of a message that is taken; `rest`: what came behind the handshake."""
        self.peer = peer
        self.last_received = trio.current_time()
        self._stream = stream
        self._most = most
        self._quick_ack = quick_ack
        self._connection = Connection(ConnectionType.SERVER, trailing_data=rest)
        self._events = self._connection.events()
        self._parts: list[str | bytes | bytearray] = []
        self._size = 0
        self._taken = 0
        self._sending = trio.Lock()
        self.on_ping: Callable[[], None] = lambda: None
        self._pong: Pong | None = None  # to the last ping: one answer does for several
        self._torn = False  # half a frame went out

    # -- receiving

    async def receive(self) -> str | bytes:
        """The next message, whole. Raises SocketEnded."""
        while True:
            for event in self._events:
                message = await self._take(event)
                await self._let_others()
                if message is not None:
                    return message
            await self._read()

    async def _let_others(self) -> None:
        """One read may hold ten thousand of the smallest messages, parts of one, or pongs."""
        self._taken += 1
        if self._taken % _TURN == 0:
            await trio.lowlevel.checkpoint()

    async def _read(self) -> None:
        try:
            data = await self._stream.receive_some(_READ)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise SocketEnded("the connection was lost") from None
        if not data:
            raise SocketEnded("the device closed the connection without a word")
        self._quick_ack()
        self.last_received = trio.current_time()
        self._connection.receive_data(bytes(data))
        self._events = self._connection.events()

    async def _take(self, event: Event) -> str | bytes | None:
        if isinstance(event, (TextMessage, BytesMessage)):
            return await self._join(event)
        if isinstance(event, Ping):
            self._pong = event.response()
            self.on_ping()
            if not self._sending.locked():
                await self._answer_ping()
        elif isinstance(event, CloseConnection):
            reason = printable(event.reason or "")[:200]
            text = f"the device closed its WebSocket ({event.code} {reason or 'without a reason'})"
            raise SocketEnded(text, int(event.code), reason)
        return None

    async def _join(self, event: TextMessage | BytesMessage) -> str | bytes | None:
        self._parts.append(event.data)
        self._size += len(event.data)
        if self._size > self._most:
            await self.close(CloseReason.MESSAGE_TOO_BIG, f"the limit is {self._most} bytes")
            raise SocketEnded(f"the device sent a message of more than {self._most} bytes")
        if not event.message_finished and len(self._parts) < _MOST_PARTS:
            return None
        empty: str | bytes = "" if isinstance(event, TextMessage) else b""
        message = empty.join(self._parts)  # type: ignore[arg-type]  # all of one kind
        if not event.message_finished:
            self._parts = [message]
            return None
        self._parts, self._size = [], 0
        return message

    async def _answer_ping(self) -> None:
        with trio.move_on_after(_ANSWER) as patience, suppress(SocketEnded):
            async with self._sending:  # if it has gone, what it said before is still to be read
                await self._flush_pong()
        if patience.cancelled_caught:
            raise SocketEnded("the device pings, and does not read the answers")

    # -- sending

    async def send(self, *messages: str | bytes) -> None:
        """Send each message in a frame of its own, all of them in one write.

        Raises SocketEnded. Cancelled, it ends the socket.
        """
        async with self._sending:
            await self._write(*map(_message, messages))
            await self._flush_pong()

    async def _flush_pong(self) -> None:
        pong, self._pong = self._pong, None
        if pong is not None:
            await self._write(pong)

    async def _write(self, *events: Event) -> None:
        if self._torn or self._connection.state is not ConnectionState.OPEN:
            raise SocketEnded("the socket is closed")
        self._torn = True
        try:
            await self._stream.send_all(b"".join(map(self._connection.send, events)))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise SocketEnded("the connection was lost") from None
        self._torn = False

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye, if that is possible, and close the connection. Never raises what a peer
        can cause."""
        states = (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING)
        with trio.move_on_after(_FAREWELL) as scope:
            scope.shield = True
            async with self._sending:
                if not self._torn and self._connection.state in states:
                    event = CloseConnection(code=code, reason=reason[:100])
                    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                        await self._stream.send_all(self._connection.send(event))
        await trio.aclose_forcefully(self._stream)


def _message(data: str | bytes) -> Event:
    return TextMessage(data) if isinstance(data, str) else BytesMessage(data)


def acknowledging(sock: trio.socket.SocketType | None) -> Callable[[], None]:
    """What makes the kernel acknowledge at once, until the next read."""
    if sock is None or not hasattr(socket, "TCP_QUICKACK"):
        return lambda: None

    def quick_ack() -> None:
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    quick_ack()
    return quick_ack
