"""Messages that are larger than one WebSocket message.

A device takes at most 8,192 bytes at a time: more than that makes it drop the connection. Each
part has the header of its message and says its number, how many there are, and in requests also
whom the request is for; the rest is a piece of the body. Parts may come in any order, and those of
several messages mixed.

What a peer can make us keep is bounded three ways: bytes, parts, and time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from edge_tunnel.alwayson.codec import HEADER_SIZE, decode, encode
from edge_tunnel.alwayson.messages import Chunk, Message, Request
from edge_tunnel.alwayson.reading import MAX_MESSAGE, AlwaysOnError
from edge_tunnel.alwayson.value_codec import pack_text
from edge_tunnel.errors import LocalProtocolError

__all__ = ["MAX_FRAME", "Assembly", "encode_parts"]

MAX_FRAME: Final = 8192
"""Bytes of a WebSocket message to a device: announced by C clients, a hard limit of Java's."""

_MAX_PARTS: Final = 1024
"""Of one message: 1 MiB in pieces of 1 KiB; real ones have 8 KiB, or 4."""

_MAX_OPEN: Final = 8
"""Messages of which parts are missing, at the same time."""

_MAX_HELD: Final = 2 * MAX_MESSAGE
"""Bytes of all of them."""

_PATIENCE: Final = 50.0
"""Seconds that the parts of one message may take: the C SDK's own time."""

_CHUNK_HEAD: Final = 6


def encode_parts(message: Message, limit: int = MAX_FRAME) -> list[bytes]:
    """The WebSocket messages that carry `message`: one, or parts of at most `limit` bytes.

    Raises:
      LocalProtocolError: it does not fit into the wire, or not into parts.
    """
    whole = encode(message)
    if len(whole) <= limit:
        return [whole]
    entity = message.body.entity if isinstance(message.body, Request) else None
    prefix = 0 if entity is None else 1 + len(pack_text(entity.name))
    room = limit - HEADER_SIZE - _CHUNK_HEAD - prefix
    if room <= 0 or limit > 0xFFFF:
        raise LocalProtocolError(f"no parts of {limit} bytes can be made of this message")
    data = whole[HEADER_SIZE + prefix :]
    pieces = [data[start : start + room] for start in range(0, len(data), room)]
    return [
        encode(message._replace(body=Chunk(whole[1], number, len(pieces), limit, entity, piece)))
        for number, piece in enumerate(pieces, 1)
    ]


@dataclass
class _Parts:
    """What has come of one message."""

    first: Chunk
    began: float
    pieces: dict[int, bytes] = field(default_factory=dict)

    @property
    def held(self) -> int:
        return sum(map(len, self.pieces.values()))


class Assembly:
    """Puts the parts together that come on one connection."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, int], _Parts] = {}
        self._held = 0

    @property
    def held(self) -> int:
        """Bytes of messages that are not whole yet."""
        return self._held

    def receive(self, data: bytes, now: float) -> Message | None:
        """The message that is in these bytes, or whose last missing part they are.

        Args:
          data: a binary message of the WebSocket.
          now: seconds of any clock that only goes forward.

        Raises:
          AlwaysOnError: it is no message, or more than one connection may have us keep.
        """
        message = decode(data)
        if not isinstance(message.body, Chunk):
            return message
        self._forget_old(now)
        parts = self._add(message.body, message.request_id, now)
        if len(parts.pieces) < parts.first.total:
            return None
        self._drop((message.body.code, message.request_id))
        return decode(b"".join(_whole(message, parts)))

    def _add(self, chunk: Chunk, request_id: int, now: float) -> _Parts:
        key = (chunk.code, request_id)
        if chunk.total > _MAX_PARTS:
            raise AlwaysOnError(f"a message in {chunk.total} parts; the limit is {_MAX_PARTS}")
        if key not in self._open and len(self._open) >= _MAX_OPEN:
            raise AlwaysOnError(f"parts of more than {_MAX_OPEN} messages at once")
        parts = self._open.get(key) or _Parts(chunk, now)
        if (chunk.total, chunk.entity) != (parts.first.total, parts.first.entity):
            raise AlwaysOnError("the parts of a message do not agree")
        if chunk.number in parts.pieces:
            raise AlwaysOnError(f"part {chunk.number} of a message came twice")
        size = len(chunk.data)
        if parts.held + size > MAX_MESSAGE or self._held + size > _MAX_HELD:
            raise AlwaysOnError(f"the parts of a message exceed {MAX_MESSAGE} bytes")
        self._open[key] = parts
        parts.pieces[chunk.number] = chunk.data
        self._held += size
        return parts

    def _drop(self, key: tuple[int, int]) -> None:
        self._held -= self._open.pop(key).held

    def _forget_old(self, now: float) -> None:
        old = [key for key, parts in self._open.items() if now - parts.began > _PATIENCE]
        for key in old:
            self._drop(key)


def _whole(last: Message, parts: _Parts) -> Iterator[bytes]:
    """The message as if it had come in one part."""
    bare = encode(last._replace(body=parts.first._replace(data=b"")))
    yield bare[: HEADER_SIZE - 1] + b"\x00" + bare[HEADER_SIZE + _CHUNK_HEAD :]
    yield from (parts.pieces[number] for number in range(1, parts.first.total + 1))
