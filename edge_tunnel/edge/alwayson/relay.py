"""The bytes of one tunnel: a local TCP socket, and a WebSocket of text messages.

The wire has one way to say that something ended: the WebSocket is closed, both ways at once. So
what is said with it matters. To the server: 1000 after the service's EOF, 1011 for everything
else. From the server: 1000 is an EOF, and the service gets one; whatever else it is (another code,
a connection that broke, a time that is over), the service sees a reset. No reader takes a cut file
for a whole one. A service that goes on reading after its own EOF is cut off, too: that half of its
connection cannot be kept.
"""

from __future__ import annotations

import math
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import trio

from edge_tunnel.alwayson.reading import AlwaysOnError
from edge_tunnel.alwayson.text import ALL_SENT, decode_text, texts
from edge_tunnel.alwayson.tunnels import CANCEL, DISCONNECT
from edge_tunnel.config.source import printable
from edge_tunnel.errors import LinkLost
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.splice import reset_socket
from edge_tunnel.link.transport import CUT_OFF, NORMAL, PlainTransport

__all__ = ["End", "Relay", "drop", "fit"]

_FAREWELL: Final = 2.0
"""Seconds for the closing handshake; a server that is gone answers never."""

_IN_PEACE: Final = 10.0
"""Seconds that a service may go on talking after the user's EOF, to nobody: a socket that is closed
with unread bytes is reset, and the reset would take along what the service has not read yet."""

_MOST_UNHEARD: Final = 1024 * 1024
"""Bytes that it may say meanwhile. A camera would never end, and reading ten seconds of it as fast
as it comes takes a small device's processor from all its other tunnels."""

_READ: Final = 64 * 1024
"""Bytes of one read of the service: some messages of bulk."""

_TEXT: Final = 300
_CLOSE_TEXT: Final = 60
"""Characters; a closing handshake has room for 123 bytes."""

_CLEAN: Final = (NORMAL, 1005)
"""Codes of a server that came to an end as it should; 1005: it said goodbye and no code."""

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class End:
    """How a tunnel ended."""

    text: str
    """For people."""

    code: int = CUT_OFF
    """What the server is told, if it was not the server that ended it."""

    command: str = CANCEL
    """What it is told on the main socket, unless it was a clean end."""

    by_server: bool = False

    @property
    def clean(self) -> bool:
        """Whether somebody came to an end as he should."""
        return self.code == NORMAL


_RESET: Final = End("the service reset the connection", command=DISCONNECT)


def fit(text: str) -> str:
    """A text that may quote a server, made fit for a line, a message and a log."""
    return printable(text[:_TEXT])


def drop(sock: trio.SocketStream) -> None:
    """Close it so that the service sees a reset, unless it is closed."""
    if sock.socket.fileno() != -1:
        reset_socket(sock)


class Relay:
    """One connection of a tunnel. `run` it once."""

    def __init__(
        self,
        sock: trio.SocketStream,
        web: PlainTransport,
        *,
        limit: int,
        idle_timeout: float | None,
        read_timeout: float | None,
    ) -> None:
        """`limit`: bytes of one message to the server. Times in seconds; None: any."""
        self._sock = sock
        self._web = web
        self._limit = limit
        self._idle_timeout = idle_timeout
        self._read_timeout = math.inf if read_timeout is None else read_timeout
        self._moved = 0
        self._end: End | None = None
        self._scope = trio.CancelScope()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)

    def stop(self, end: End) -> None:
        """End it from outside."""
        if self._end is None:
            self._end = end
            self._scope.cancel()

    async def run(self) -> End:
        """Carry bytes until it ends; both sockets are closed then, and told how it ended."""
        try:
            with self._scope:
                async with open_plain_nursery() as nursery:
                    nursery.start_soon(self._say_here)
                    nursery.start_soon(self._to_server)
                    nursery.start_soon(self._to_service)
                    if self._idle_timeout is not None:
                        nursery.start_soon(self._watch_idle, self._idle_timeout)
            assert self._end is not None
            await self._tell_both(self._end)
            return self._end
        finally:
            drop(self._sock)

    async def _tell_both(self, end: End) -> None:
        if end.by_server and end.clean:
            await self._end_in_peace()
        else:
            drop(self._sock)
        with trio.move_on_after(_FAREWELL):
            await self._web.aclose(end.code, fit(end.text)[:_CLOSE_TEXT])

    async def _end_in_peace(self) -> None:
        """The user's EOF: the service gets all bytes, and then the end."""
        with trio.move_on_after(_IN_PEACE):
            try:
                await self._sock.send_eof()
                unheard = 0
                while unheard < _MOST_UNHEARD and (data := await self._sock.receive_some(_READ)):
                    unheard += len(data)
            except trio.BrokenResourceError:
                pass
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
        self._sock.socket.close()

    async def _say_here(self) -> None:
        """A ping, at once: a server that gets a frame of ours knows that our handshake is over. One
        of ours holds the user's first bytes back until then, since C devices would lose them."""
        with suppress(LinkLost):
            await self._web.ping()

    # -- the two ways; whichever sees the end first says how it is

    async def _to_server(self) -> None:
        while True:
            with trio.move_on_after(self._read_timeout) as waiting:
                try:
                    data = await self._sock.receive_some(_READ)
                except trio.BrokenResourceError:
                    self.stop(_RESET)
                    return
            if waiting.cancelled_caught:
                text = f"the service was silent for {self._read_timeout:g} s (tunnel.read_timeout)"
                self.stop(End(text))
                return
            if not data:
                self.stop(End(ALL_SENT, NORMAL))
                return
            self._moved += len(data)
            try:
                for text in texts(data, self._limit):
                    await self._web.send_text(text)
            except LinkLost:
                return  # the other way knows how it was closed, after what came before that

    async def _to_service(self) -> None:
        try:
            while True:
                message = await self._web.receive_any()
                if isinstance(message, str):  # other clients overlook binary ones, too
                    data = decode_text(message)
                    self._moved += len(data)
                    await self._sock.send_all(data)
        except LinkLost as error:
            clean = self._web.close_code in _CLEAN
            text = "the user ended the connection" if clean else str(error)
            self.stop(End(text, NORMAL if clean else CUT_OFF, by_server=True))
        except AlwaysOnError as error:
            self.stop(End(str(error)))
        except trio.BrokenResourceError:
            # what the service said before may still be unread: the other way gets to its end
            await trio.sleep(_FAREWELL)
            self.stop(_RESET)

    async def _watch_idle(self, timeout: float) -> None:
        while True:
            before = self._moved
            await trio.sleep(timeout)
            if self._moved == before:
                self.stop(End(f"no byte either way for {timeout:g} s"))
                return
