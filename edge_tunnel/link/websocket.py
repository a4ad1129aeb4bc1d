"""Messages over a WebSocket: the only module that knows trio_websocket.

What must be known of it (each was reproduced, and each has a test named after it):

* An RST that arrives before `accept()` raises inside the server's handler. Unless the whole handler
  is guarded, it kills the server: `serve` guards it.
* While the opening handshake runs, nobody tells us that the connection ended; we would wait for the
  timeout. `_Watched` notices it.
* `send_message`, cancelled half-way, leaves a connection that looks open and never delivers again.
  Only a link's writer sends, and when it is cancelled the connection is closed with it.
* Its receive buffer of 4 KiB halves the speed of bulk transfers: we use 256 KiB.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, TypeVar

import trio
import trio_websocket

from edge_tunnel.errors import LinkLost, RemoteProtocolError
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.masking import accelerate
from edge_tunnel.link.transport import Transport
from edge_tunnel.protocol.frames import MAX_MESSAGE
from edge_tunnel.protocol.greeting import SUBPROTOCOL

__all__ = ["WebSocketTransport", "open_client", "serve"]

_log = logging.getLogger("edge_tunnel.link")
T = TypeVar("T")

CLOSE_TIMEOUT: Final = 2.0
"""Seconds that the closing handshake may take; a peer that is gone answers never."""

_OPTIONS: Final = {
    "message_queue_size": 1,  # our reader empties it at once; more would only be more memory
    "max_message_size": MAX_MESSAGE,
    "receive_buffer_size": 256 * 1024,
}

accelerate()


class WebSocketTransport(Transport):
    """A WebSocket after its opening handshake."""

    def __init__(self, connection: trio_websocket.WebSocketConnection, peer: str) -> None:
        self._connection = connection
        self.peer = peer

    async def send(self, message: bytes) -> None:
        try:
            await self._connection.send_message(message)
        except trio_websocket.ConnectionClosed as closed:
            raise LinkLost(_why(closed)) from None

    async def receive(self) -> bytes:
        try:
            message = await self._connection.get_message()
        except trio_websocket.ConnectionClosed as closed:
            raise LinkLost(_why(closed)) from None
        if isinstance(message, str):
            raise RemoteProtocolError("a text message; frames are binary")
        return message


@asynccontextmanager
async def open_client(
    stream: trio.abc.Stream,
    *,
    host: str,
    path: str,
    peer: str,
    timeout: float,
) -> AsyncIterator[Transport]:
    """A client's WebSocket over a connected stream, closed at the end of the block.

    Args:
      host: for the HTTP Host header.
      path: the resource, such as ``/Thingworx/WS``.
      peer: the other end's name in messages for people.
      timeout: seconds for the opening handshake.

    Raises:
      LinkLost: the server refused the handshake, does not speak edge-tunnel, or went away.
    """
    watched = _Watched(stream)
    async with _connection_nursery(watched) as nursery:
        wrap = partial(
            trio_websocket.wrap_client_stream,
            nursery,
            watched,  # type: ignore[arg-type]  # any stream will do
            host,
            path,
            subprotocols=[SUBPROTOCOL],
            **_OPTIONS,  # type: ignore[arg-type]
        )
        connection = await _within(watched, timeout, wrap)
        if connection.subprotocol != SUBPROTOCOL:
            raise LinkLost("there is a WebSocket server, but it is not an edge_tunnel node")
        async with _closing(connection):
            yield WebSocketTransport(connection, peer)


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
        watched = _Watched(stream, first)
        async with _connection_nursery(watched) as nursery:
            wrap = partial(
                trio_websocket.wrap_server_stream,
                nursery,
                watched,
                **_OPTIONS,
            )
            request = await _within(watched, timeout, wrap)
            if SUBPROTOCOL not in request.proposed_subprotocols:
                await request.reject(400, body=f"this is {SUBPROTOCOL}, over WebSocket\n".encode())
                return
            connection = await request.accept(subprotocol=SUBPROTOCOL)
            async with _closing(connection):
                await talk(WebSocketTransport(connection, peer))
    except (LinkLost, RemoteProtocolError, trio_websocket.ConnectionClosed, OSError) as error:
        _log.debug("connection from %s: %s", peer, error)
    except Exception:  # noqa: BLE001 - a bug met by one connection is logged, not everybody's end
        _log.exception("connection from %s: internal error", peer)


class _Watched(trio.abc.Stream):
    """Passes everything on, and notices the end of the connection."""

    def __init__(self, stream: trio.abc.Stream, first: bytes = b"") -> None:
        self._stream = stream
        self._first = first
        self.ended = trio.Event()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        # If the request cannot be sent, trio_websocket never reads, and waits for ever.
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError:
            self.ended.set()
            raise

    def handshake_done(self) -> None:
        """From here on trio_websocket notices by itself, and the hot path has no layer."""
        self.send_all = self._stream.send_all  # type: ignore[method-assign]

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data: bytes | bytearray = b""
        if self._first:
            await trio.lowlevel.checkpoint()
            data, self._first = self._first, b""
            return data
        try:
            data = await self._stream.receive_some(max_bytes)
        finally:
            if not data:
                self.ended.set()
        return data

    async def aclose(self) -> None:
        await self._stream.aclose()


@asynccontextmanager
async def _connection_nursery(watched: _Watched) -> AsyncIterator[trio.Nursery]:
    """Where trio_websocket's reader task runs; the stream is closed in any case."""
    try:
        async with open_plain_nursery() as nursery:
            yield nursery
            nursery.cancel_scope.cancel()
    except trio_websocket.ConnectionRejected as rejected:
        raise LinkLost(_rejection(rejected)) from None
    except trio_websocket.HandshakeError as error:
        raise LinkLost(f"the WebSocket handshake failed: {error!r}") from None
    finally:
        await trio.aclose_forcefully(watched)


async def _within(watched: _Watched, timeout: float, wrap: Callable[[], Awaitable[T]]) -> T:
    """The result of an opening handshake, unless time or connection are over before it."""
    result: list[T] = []

    async def run(scope: trio.CancelScope) -> None:
        result.append(await wrap())
        scope.cancel()

    with trio.move_on_after(timeout):
        async with open_plain_nursery() as nursery:
            nursery.start_soon(run, nursery.cancel_scope)
            await watched.ended.wait()
            nursery.cancel_scope.cancel()
        if not result:
            raise LinkLost("the connection was closed in the WebSocket handshake")
    if not result:
        raise LinkLost(f"no WebSocket handshake within {timeout:g} s")
    watched.handshake_done()
    return result[0]


@asynccontextmanager
async def _closing(connection: trio_websocket.WebSocketConnection) -> AsyncIterator[None]:
    try:
        yield
    finally:
        with trio.move_on_after(CLOSE_TIMEOUT):
            await connection.aclose()


def _why(closed: trio_websocket.ConnectionClosed) -> str:
    reason = closed.reason
    if reason is None or reason.code == 1006:
        return "the connection was lost"
    return f"the peer closed the WebSocket ({reason.code} {reason.reason or reason.name})"


def _rejection(rejected: trio_websocket.ConnectionRejected) -> str:
    body = (rejected.body or b"").decode("utf-8", "replace").strip()[:200]
    return f"the server answered {rejected.status_code} to the WebSocket handshake: {body or '-'}"
