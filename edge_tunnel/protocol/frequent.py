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
from edge_tunnel.protocol.head import Head, data_of, numbers_at, peek

__all__ = ["FREQUENT", "by_hand"]

FREQUENT: Final[dict[int, tuple[type[Any], int]]] = {
    Kind.DATA.value: (Data, 2),
    Kind.CREDIT.value: (Credit, 3),
    Kind.END.value: (End, 2),
    Kind.STOP.value: (Stop, 1),
    Kind.OPEN.value: (Open, 2),
    Kind.ACCEPT.value: (Accept, 1),
}
"""Of each kind: its frame, and how many numbers follow the stream id."""

_DATA: Final = Kind.DATA.value

_new: Final = tuple.__new__
"""A named tuple's own constructor is Python, and is called for each frame."""


def by_hand(message: bytes, head: Head | None) -> Frame | None:
    """The frame; None if it is not a good one: the general way knows what is wrong."""
    try:
        head = head or peek(message)
    except RemoteProtocolError:
        return None
    kind, tunnel, stream, _ = head
    if not stream:
        return None
    if kind != _DATA:
        return _small(message, kind, (tunnel, stream))
    found = data_of(head)
    if found is None:
        return None
    epoch, offset, begin = found
    return _new(Data, (tunnel, stream, epoch, offset, memoryview(message)[begin:]))


def _small(message: bytes, kind: int, head: tuple[bytes | None, int]) -> Frame | None:
    cls, count = FREQUENT[kind]
    numbers, start = numbers_at(message, count)
    tag = _tag_at(message, start)
    if tag is None or message[0] != 0x93 + count + bool(tag):
        return None
    frame: Frame = _new(cls, (*head, *numbers, tag))
    return frame


def _tag_at(message: bytes, start: int) -> bytes | None:
    """The tag at the end of a message; empty: there is none; None: it is something else."""
    if len(message) == start:
        return b""
    tagged = len(message) == start + 2 + TAG and message[start : start + 2] == b"\xc4\x10"
    return message[start + 2 :] if tagged else None
