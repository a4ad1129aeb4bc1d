"""Messages over a WebSocket: the only module that knows trio_websocket.

What must be known of it (each was reproduced, and each has a test named after it):

* An RST that arrives before `accept()` raises inside the server's handler. Unless the whole handler
  is guarded, it kills the server: `serve` guards it.
* While the opening handshake runs, nobody tells us that the connection ended; we would wait for the
  timeout. `SharedConnection` notices it.
* `send_message`, cancelled half-way, leaves a connection that looks open and never delivers again.
  Only a link's writer sends, and when it is cancelled the connection is closed with it.
* Its receive buffer of 4 KiB halves the speed of bulk transfers: we use 256 KiB.
* It drops frames that come in one segment with the handshake. `SharedConnection` keeps them.

It makes the handshakes and answers whatever is unusual; binary messages go past it (express.py).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Final, TypeAlias, TypeVar

import trio
import trio_websocket

from edge_tunnel.config.source import printable
from edge_tunnel.errors import LinkHopeless, LinkLost, RemoteProtocolError
from edge_tunnel.link.express import Splitter, pack
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.masking import accelerate
from edge_tunnel.link.shared import SharedConnection
from edge_tunnel.link.transport import NORMAL, PlainTransport, Transport
from edge_tunnel.protocol.frames import MAX_MESSAGE
from edge_tunnel.protocol.greeting import SUBPROTOCOL

__all__ = [
    "Beside",
    "PlainWebSocket",
    "Rejected",
    "WebSocketTransport",
    "open_client",
    "open_plain",
    "serve",
]

_log = logging.getLogger("edge_tunnel.link")
T = TypeVar("T")
_Closable = TypeVar("_Closable", "WebSocketTransport", "PlainWebSocket")

_SPEAKS_TLS: Final = b"this port speaks TLS"
"""What a node's port for TLS answers to HTTP (proxy/tls.py)."""

CLOSE_TIMEOUT: Final = 2.0
"""Seconds that the closing handshake may take; a peer that is gone answers never."""

_MAX_UNREAD: Final = 64 * 1024
"""Bytes of control frames that may wait for the library, which waits for the peer to read its
answers: hundreds of the largest."""

_OPTIONS: Final = {
    "message_queue_size": 1,  # our reader empties it at once; more would only be more memory
    "max_message_size": MAX_MESSAGE,
    "receive_buffer_size": 256 * 1024,
}

Beside: TypeAlias = Callable[[str, Mapping[str, str]], AbstractAsyncContextManager[PlainTransport]]
"""Opens one more WebSocket to the same server: its path, and more headers."""

accelerate()


class WebSocketTransport(Transport):
    """A WebSocket after its opening handshake."""

    group = 16 * 1024
    """Small messages are one system call; a large one is alone, so that what comes in the meantime
    has to wait for one and no more."""

    def __init__(
        self,
        connection: trio_websocket.WebSocketConnection,
        wire: SharedConnection,
        peer: str,
    ) -> None:
        """`wire`: what `connection` runs on."""
        self._connection = connection
        self._wire = wire
        self._masks = connection.is_client
        self._splitter = Splitter(masked=not connection.is_client)
        self._splitter.feed(wire.early)
        self.peer = peer

    async def send(self, message: bytes) -> None:
        if not self.send_now((message,)):
            await self.flush()

    def send_now(self, messages: Sequence[bytes]) -> bool:
        if self._connection.closed is not None:
            raise LinkLost(_why(self._connection.closed))
        try:
            if len(messages) == 1:
                return self._wire.send_now(pack(messages[0], masked=self._masks))
            parts = [part for each in messages for part in pack(each, masked=self._masks)]
            return self._wire.send_now(parts)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise LinkLost("the connection was lost") from None

    async def flush(self) -> None:
        try:
            await self._wire.flush()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise LinkLost("the connection was lost") from None

    async def receive(self) -> bytes:
        while True:
            message = self.receive_now()
            if message is not None:
                return message
            if not self._wire.taken:
                return await self._receive_from_library()
            if self._splitter.given_up or self._splitter.for_library:
                self._serve_library()
            else:
                await self._read()

    def receive_now(self) -> bytes | None:
        messages = self._splitter.messages
        return messages.pop() if messages else None

    def give_back(self) -> None:
        """Leave the connection to the library, which says goodbye."""
        self._wire.abandon()
        self._leave_to_library()

    def _leave_to_library(self) -> None:
        if self._wire.taken:
            self._splitter.give_up()
            self._serve_library()

    async def aclose(self) -> None:
        """The closing handshake."""
        await self._connection.aclose()

    async def _read(self) -> None:
        try:
            more = await self._wire.feed(self._splitter, self._take)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            more = False
        if not more:
            self._leave_to_library()  # the library knows best why it is over

    def _take(self) -> bool:
        """What was read is the link's to take, unless some of it is the library's."""
        unusual = self._splitter.given_up or self._splitter.for_library
        return not unusual and self.take_now()

    def _serve_library(self) -> None:
        if self._wire.unread > _MAX_UNREAD:
            raise LinkLost("the peer pings faster than it reads the answers")
        self._wire.hand_over(self._splitter.for_library)
        self._splitter.for_library.clear()
        if self._splitter.given_up:
            self._wire.give_back()

    async def _receive_from_library(self) -> bytes:
        try:
            message = await self._connection.get_message()
        except trio_websocket.ConnectionClosed as closed:
            raise LinkLost(_why(closed.reason)) from None
        if isinstance(message, str):
            raise RemoteProtocolError("a text message; frames are binary")
        return message


class PlainWebSocket(PlainTransport):
    """A WebSocket after an opening handshake in which no subprotocol was agreed on.

    All of it is the library's: there is nothing to hurry past it for.
    """

    def __init__(
        self,
        connection: trio_websocket.WebSocketConnection,
        wire: SharedConnection,
        peer: str,
        beside: Beside | None = None,
    ) -> None:
        self._connection = connection
        self._beside = beside
        self.peer = peer
        wire.hand_over(bytearray(wire.early))
        wire.give_back()

    async def send(self, message: bytes) -> None:
        await self._or_lost(self._connection.send_message(message))

    async def send_text(self, text: str) -> None:
        await self._or_lost(self._connection.send_message(text))

    async def receive_any(self) -> bytes | str:
        return await self._or_lost(self._connection.get_message())

    async def ping(self) -> None:
        await self._or_lost(self._connection.ping())

    async def aclose(self, code: int = NORMAL, reason: str = "") -> None:
        await self._connection.aclose(code, reason or None)

    @property
    def close_code(self) -> int | None:
        closed = self._connection.closed
        return None if closed is None else closed.code

    def beside(
        self, path: str, headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[PlainTransport]:
        if self._beside is None:
            return super().beside(path, headers)
        return self._beside(path, headers)

    async def _or_lost(self, wait: Awaitable[T]) -> T:
        try:
            return await wait
        except trio_websocket.ConnectionClosed as closed:
            raise LinkLost(_why(closed.reason)) from None


class Rejected(LinkLost):
    """The server answered the handshake with something else than 101."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class SpeaksTls(Rejected, LinkHopeless):
    """A node's port for TLS was asked without."""


@asynccontextmanager
async def open_client(
    stream: trio.abc.Stream,
    *,
    host: str,
    path: str,
    peer: str,
    timeout: float,
    headers: Mapping[str, str] | None = None,
    beside: Beside | None = None,
) -> AsyncIterator[Transport]:
    """A client's WebSocket over a connected stream, closed at the end of the block.

    Args:
      host: for the HTTP Host header.
      path: the resource, such as ``/Thingworx/WS``.
      peer: the other end's name in messages for people.
      timeout: seconds for the opening handshake.
      headers: more of them for the request.
      beside: where a server that does not speak edge-tunnel is welcome, too: how to open another
        WebSocket to it. The transport is a `PlainTransport` then.

    Raises:
      LinkLost: the server refused the handshake, does not speak edge-tunnel, or went away.
      Rejected: one of these: the handshake was answered with a status that is not 101.
    """
    opening = _handshake(
        stream, host, path, timeout=timeout, subprotocols=[SUBPROTOCOL], headers=headers or {}
    )
    async with opening as (connection, wire):
        if connection.subprotocol == SUBPROTOCOL:
            async with _closing(WebSocketTransport(connection, wire, peer)) as transport:
                yield transport
        elif beside is None:
            raise LinkLost("there is a WebSocket server, but it is not an edge_tunnel node")
        else:
            async with _closing(PlainWebSocket(connection, wire, peer, beside)) as plain:
                yield plain


@asynccontextmanager
async def open_plain(
    stream: trio.abc.Stream,
    *,
    host: str,
    path: str,
    peer: str,
    timeout: float,
    headers: Mapping[str, str],
    beside: Beside | None = None,
) -> AsyncIterator[PlainTransport]:
    """As `open_client`, with no subprotocol asked for."""
    async with (
        _handshake(stream, host, path, timeout=timeout, subprotocols=[], headers=headers) as (
            connection,
            wire,
        ),
        _closing(PlainWebSocket(connection, wire, peer, beside)) as transport,
    ):
        yield transport


@asynccontextmanager
async def _handshake(
    stream: trio.abc.Stream,
    host: str,
    path: str,
    *,
    timeout: float,
    subprotocols: Sequence[str],
    headers: Mapping[str, str],
) -> AsyncIterator[tuple[trio_websocket.WebSocketConnection, SharedConnection]]:
    """A client's opening handshake."""
    wire = SharedConnection(stream)
    async with _connection_nursery(wire) as nursery:
        wrap = partial(
            trio_websocket.wrap_client_stream,
            nursery,
            wire,  # type: ignore[arg-type]  # any stream will do
            host,
            path,
            subprotocols=subprotocols,
            extra_headers=[(name.encode(), value.encode()) for name, value in headers.items()],
            **_OPTIONS,
        )
        yield await _within(wire, timeout, wrap), wire


async def serve(
    stream: trio.abc.Stream,
    talk: Callable[[Transport], Awaitable[None]],
    *,
    peer: str,
    timeout: float,
    first: bytes = b"",
) -> None:
    """Take a client's handshake on `stream`, and run `talk` until it returns.

    `first`: what was read of the handshake already.

    Never raises what a peer can cause: one connection must not end a server.
    """
    try:
        wire = SharedConnection(stream, first)
        async with _connection_nursery(wire) as nursery:
            wrap = partial(
                trio_websocket.wrap_server_stream,
                nursery,
                wire,
                **_OPTIONS,
            )
            request = await _within(wire, timeout, wrap)
            if SUBPROTOCOL not in request.proposed_subprotocols:
                await request.reject(400, body=f"this is {SUBPROTOCOL}, over WebSocket\n".encode())
                return
            connection = await request.accept(subprotocol=SUBPROTOCOL)
            async with _closing(WebSocketTransport(connection, wire, peer)) as transport:
                await talk(transport)
    except (LinkLost, RemoteProtocolError, trio_websocket.ConnectionClosed, OSError) as error:
        _log.debug("connection from %s: %s", peer, error)
    except Exception:  # noqa: BLE001 - a bug met by one connection is logged, not everybody's end
        _log.exception("connection from %s: internal error", peer)


@asynccontextmanager
async def _connection_nursery(wire: SharedConnection) -> AsyncIterator[trio.Nursery]:
    """Where trio_websocket's reader task runs; the stream is closed in any case.

    That task dies of some things that a peer can send, such as a header that is not ASCII. It is
    the end of this connection; an error of the block stays what it is.
    """
    ours: BaseException | None = None
    try:
        async with open_plain_nursery() as nursery:
            try:
                yield nursery
            except BaseException as error:
                ours = error
                raise
            nursery.cancel_scope.cancel()
    except trio_websocket.ConnectionRejected as rejected:
        kind = SpeaksTls if (rejected.body or b"").startswith(_SPEAKS_TLS) else Rejected
        raise kind(_rejection(rejected), rejected.status_code) from None
    except trio_websocket.HandshakeError as error:
        raise LinkLost(f"the WebSocket handshake failed: {error!r}") from None
    except Exception as error:
        if isinstance(ours, Exception):
            raise ours from None
        text = f"the other end does not speak WebSocket as it should ({type(error).__name__})"
        raise LinkLost(text) from error
    finally:
        await trio.aclose_forcefully(wire)


async def _within(wire: SharedConnection, timeout: float, wrap: Callable[[], Awaitable[T]]) -> T:
    """The result of an opening handshake, unless time or connection are over before it."""
    result: list[T] = []

    async def run(scope: trio.CancelScope) -> None:
        result.append(await wrap())
        scope.cancel()

    with trio.move_on_after(timeout):
        async with open_plain_nursery() as nursery:
            nursery.start_soon(run, nursery.cancel_scope)
            await wire.ended.wait()
            nursery.cancel_scope.cancel()
        if not result:
            closed = "the connection was closed in the WebSocket handshake"
            raise wire.why or LinkLost(closed)
    if not result:
        raise LinkLost(f"no WebSocket handshake within {timeout:g} s")
    return result[0]


@asynccontextmanager
async def _closing(transport: _Closable) -> AsyncIterator[_Closable]:
    try:
        yield transport
    finally:
        if isinstance(transport, WebSocketTransport):
            transport.give_back()
        with trio.move_on_after(CLOSE_TIMEOUT):
            await transport.aclose()


def _why(reason: trio_websocket.CloseReason | None) -> str:
    if reason is None or reason.code == 1006:
        return "the connection was lost"
    text = printable(reason.reason or reason.name)
    return f"the peer closed the WebSocket ({reason.code} {text})"


def _rejection(rejected: trio_websocket.ConnectionRejected) -> str:
    body = (rejected.body or b"").decode("utf-8", "replace").strip()[:200]
    page = body.startswith("<")  # what a web server says, or a proxy on the way
    what = "a web page; this is no node" if page else printable(body) or "-"
    return f"the server answered {rejected.status_code} to the WebSocket handshake: {what}"
