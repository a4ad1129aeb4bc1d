"""A WebSocket for a crowd: the same bytes, with less of everything around them.

A library's handshake costs a client more than all that an idle edge does afterwards, and here
thousands of devices share a processor that in life would be their own. So the request is one
constant, the answer is looked at just enough, and the frames go the short way of `link.express`.
For the same reason one process dials only so many at once: beyond that the crowd would wait for
itself and take that for a node that does not answer. Back-off, greeting and link are the real ones.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from edge_tunnel.errors import LinkLost
from edge_tunnel.link.dialling import Dial, parse_url
from edge_tunnel.link.express import Splitter, packed
from edge_tunnel.link.oserrors import in_words
from edge_tunnel.link.transport import Transport
from edge_tunnel.protocol.greeting import SUBPROTOCOL

__all__ = ["thin_dial"]

_AT_ONCE: Final = 64
_REQUEST: Final = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
)


class ThinTransport(Transport):
    """A client's end after the handshake. A control frame ends it: nodes send none but close."""

    def __init__(self, stream: trio.SocketStream, early: bytes, peer: str) -> None:
        self._stream = stream
        self._splitter = Splitter(masked=False)
        self._splitter.feed(early)
        self.peer = peer

    async def send(self, message: bytes) -> None:
        try:
            await self._stream.send_all(packed(message, masked=True))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise LinkLost("the connection was lost") from None

    async def receive(self) -> bytes:
        while (message := self._splitter.next_message()) is None:
            if self._splitter.for_library:
                raise LinkLost("the node closed the WebSocket")
            self._splitter.feed(await _some(self._stream))
        return message


def thin_dial(timeout: float) -> Dial:
    """A `Dial` for ``ws://``; `timeout` in seconds for TCP and the handshake."""
    turns = trio.CapacityLimiter(_AT_ONCE)

    @asynccontextmanager
    async def dial(url: str) -> AsyncIterator[Transport]:
        async with turns:
            try:
                with trio.fail_after(timeout):
                    transport, stream = await _open(url)
            except trio.TooSlowError:
                raise LinkLost(f"no answer within {timeout:g} s") from None
        try:
            yield transport
        finally:
            await trio.aclose_forcefully(stream)

    return dial


async def _open(url: str) -> tuple[ThinTransport, trio.SocketStream]:
    address = parse_url(url)
    sock = trio.socket.socket()
    try:
        await sock.connect((address.host, address.port))
        stream = trio.SocketStream(sock)
        request = _REQUEST.format(path=address.path, host=address.host_header)
        await stream.send_all(request.encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += await _some(stream)
        head, _, early = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            raise LinkLost(f"the server answered {head.splitlines()[0]!r}")
        return ThinTransport(stream, early, url), stream
    except OSError as error:
        sock.close()
        raise LinkLost(f"cannot reach {url}: {in_words(error)}") from None
    except trio.BrokenResourceError:
        sock.close()
        raise LinkLost("the connection was lost") from None
    except BaseException:
        sock.close()
        raise


async def _some(stream: trio.SocketStream) -> bytes:
    try:
        data = await stream.receive_some()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        data = b""
    if not data:
        raise LinkLost("the connection was lost")
    return bytes(data)
