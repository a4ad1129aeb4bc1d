"""Messages over a byte stream: each preceded by its length in four bytes, the highest first.

Between nodes there is no browser and no HTTP proxy, so there is no WebSocket either: a hop moved
356 MB/s in messages of 64 KiB where a WebSocket moved 78.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import trio

from edge_tunnel.errors import LinkLost, RemoteProtocolError
from edge_tunnel.link.eager import EagerStream
from edge_tunnel.link.scratch import feed
from edge_tunnel.link.secured import Secured
from edge_tunnel.link.transport import Transport
from edge_tunnel.protocol.frames import MAX_MESSAGE

__all__ = ["FramedTransport"]

_HEAD: Final = 4

_READ: Final = 256 * 1024
"""Bytes of one read: some messages of bulk, and every small one that waits."""


class FramedTransport(Transport):
    """A hop's messages over its connection."""

    group = 16 * 1024

    def __init__(self, stream: trio.abc.Stream, peer: str) -> None:
        if isinstance(stream, trio.SocketStream):
            stream = EagerStream.fitted(stream)
        self._stream = stream
        self._arrived = _Arrived()
        self.peer = peer

    async def send(self, message: bytes) -> None:
        try:
            await self._stream.send_all(_head(message) + message)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise LinkLost("the connection was lost") from None

    def send_now(self, messages: Sequence[bytes]) -> bool:
        if not isinstance(self._stream, (EagerStream, Secured)):
            return super().send_now(messages)
        try:
            return self._stream.send_now([p for each in messages for p in (_head(each), each)])
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise LinkLost("the connection was lost") from None

    async def flush(self) -> None:
        if not isinstance(self._stream, (EagerStream, Secured)):
            return await super().flush()
        try:
            await self._stream.flush()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise LinkLost("the connection was lost") from None

    async def receive(self) -> bytes:
        while (message := self.receive_now()) is None:
            try:
                more = await self._read()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                more = False
            if not more:
                raise LinkLost("the connection was lost")
        return message

    def receive_now(self) -> bytes | None:
        return self._arrived.next_message()

    async def _read(self) -> bool:
        if isinstance(self._stream, (EagerStream, Secured)):
            return await feed(self._arrived, self._stream, self.take_now)
        data = await self._stream.receive_some(_READ)
        with memoryview(self._arrived.rest + data) as whole:
            self._arrived.split(whole)
        return bool(data)


def _head(message: bytes) -> bytes:
    return len(message).to_bytes(_HEAD, "big")


class _Arrived:
    """Takes arriving bytes apart; see `scratch.Divider`."""

    def __init__(self) -> None:
        self.rest = b""
        self._messages: deque[bytes] = deque()
        self._problem = ""

    def next_message(self) -> bytes | None:
        """None: none is whole. Raises RemoteProtocolError behind the last that is good."""
        if self._messages:
            return self._messages.popleft()
        if self._problem:
            raise RemoteProtocolError(self._problem)
        return None

    def split(self, data: memoryview) -> None:
        start, end = 0, len(data)
        while end - start >= _HEAD:
            stop = start + _HEAD + int.from_bytes(data[start : start + _HEAD], "big")
            if stop - start > _HEAD + MAX_MESSAGE:
                size = stop - start - _HEAD
                self._problem = f"a message of {size} bytes; the limit is {MAX_MESSAGE}"
                start = end
            elif stop > end:
                break
            else:
                self._messages.append(bytes(data[start + _HEAD : stop]))
                start = stop
        self.rest = bytes(data[start:])
