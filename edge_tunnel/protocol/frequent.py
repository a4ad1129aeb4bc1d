"""The frames that every connection sends, taken apart without msgpack.

Here they cost a third of the general way, and the bytes of DATA are not copied.
"""

from __future__ import annotations

from typing import Any, Final

from edge_tunnel.errors import RemoteProtocolError
from edge_tunnel.protocol.frames import (
    TAG,
    Accept,
    Credit,
    Data,
    End,
    Frame,
    Kind,
    Open,
    Stop,
)
from edge_tunnel.protocol.head import Head, bulk_at, numbers_at, peek

__all__ = ["FREQUENT", "by_hand"]

FREQUENT: Final[dict[int, tuple[type[Any], int]]] = {
    Kind.DATA: (Data, 2),
    Kind.CREDIT: (Credit, 3),
    Kind.END: (End, 2),
    Kind.STOP: (Stop, 1),
    Kind.OPEN: (Open, 2),
    Kind.ACCEPT: (Accept, 1),
}
"""Of each kind: its frame, and how many numbers follow the stream id."""


def by_hand(message: bytes, head: Head | None) -> Frame | None:
    """The frame; None if it is not a good one: the general way knows what is wrong."""
    try:
        head = head or peek(message)
    except RemoteProtocolError:
        return None
    kind, tunnel, stream = head
    cls, count = FREQUENT[kind]
    numbers, start = numbers_at(message, count)
    last = bulk_at(message, start) if cls is Data else _tag_at(message, start)
    if last is None or message[0] != 0x93 + count + bool(last) or not stream:
        return None
    frame: Frame = cls(tunnel, stream, *numbers, last)
    return frame


def _tag_at(message: bytes, start: int) -> bytes | None:
    """The tag at the end of a message; empty: there is none; None: it is something else."""
    if len(message) == start:
        return b""
    tagged = len(message) == start + 2 + TAG and message[start : start + 2] == b"\xc4\x10"
    return message[start + 2 :] if tagged else None
