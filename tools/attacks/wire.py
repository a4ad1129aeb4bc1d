"""How an attacker connects: raw bytes, a WebSocket, or a greeted link; from his own address."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import trio

from edge_tunnel.errors import LinkLost
from edge_tunnel.link.transport import Transport
from edge_tunnel.link.websocket import open_client
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import Bye, Frame, Hello, Welcome
from edge_tunnel.protocol.greeting import SUBPROTOCOL

__all__ = ["GONE", "SOURCE", "UPGRADE", "Target", "answer_of", "greeted", "raw", "websocket"]

SOURCE: Final = "127.0.0.66"
"""Where an attacker is: not at the address of the honest ones (127.0.0.1)."""

GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError, OSError, LinkLost)
"""What an attacker sees when the node has enough of him."""

UPGRADE: Final = (
    "GET /Thingworx/WS HTTP/1.1\r\nHost: node\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n"
).encode()

_PATIENCE: Final = 5.0


@dataclass
class Target:
    """The node, and what was done to it."""

    port: int
    key: str = field(repr=False)
    source: str = SOURCE
    done: Counter[str] = field(default_factory=Counter)


@asynccontextmanager
async def raw(target: Target) -> AsyncIterator[trio.SocketStream]:
    """A TCP connection. Raises one of `GONE`, and counts it, if the node ends it."""
    try:
        async with await trio.open_tcp_stream(
            "127.0.0.1", target.port, local_address=target.source
        ) as stream:
            target.done["connections"] += 1
            yield stream
    except GONE:
        target.done["cut"] += 1
        raise


async def answer_of(stream: trio.SocketStream) -> bytes:
    """What comes until the node closes, or for some seconds; "" if nothing."""
    answer = bytearray()
    with trio.move_on_after(_PATIENCE), suppress(*GONE):
        async for data in stream:
            answer += data
    return bytes(answer)


@asynccontextmanager
async def websocket(target: Target) -> AsyncIterator[trio.SocketStream]:
    """The stream after a WebSocket's handshake."""
    async with raw(target) as stream:
        await stream.send_all(UPGRADE + b"\r\n")
        head = b""
        while b"\r\n\r\n" not in head:
            data = await stream.receive_some()
            if not data:
                raise LinkLost("closed in the handshake")
            head += bytes(data)
        if not head.startswith(b"HTTP/1.1 101 "):
            raise LinkLost("no WebSocket")
        yield stream


def hello(role: str, key: str) -> Hello:
    return Hello(1, 1, role, "edge_tunnel/0.1.0", key, bytes(16), 30_000, ())


@asynccontextmanager
async def greeted(
    target: Target, role: str, key: str | None = None
) -> AsyncIterator[tuple[Transport, Frame]]:
    """A link, and what the node answered to its greeting (WELCOME, or why not)."""
    async with (
        raw(target) as stream,
        open_client(
            stream, host="node", path="/Thingworx/WS", peer="node", timeout=_PATIENCE
        ) as transport,
    ):
        await transport.send(encode(hello(role, target.key if key is None else key)))
        answer = decode(await transport.receive())
        target.done["welcome" if isinstance(answer, Welcome) else "refused"] += 1
        if isinstance(answer, Bye) and answer.retry_after_ms:
            target.done["come later"] += 1
        yield transport, answer
