"""The frames that every connection sends, taken apart without msgpack.

Here they cost a third of the general way, and the bytes of DATA are not copied.
"""

from __future__ import annotations

import re
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
from edge_tunnel.protocol.head import NUMBER, Head, behind_stream, data_of, number_in, peek

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
    found = _FIELDS[count](message, behind_stream(message))
    if found is None:
        return None
    *numbers, tag = found.groups(b"")
    if message[0] != 0x93 + count + bool(tag):
        return None
    frame: Frame = _new(cls, (*head, *map(number_in, numbers), tag))
    return frame


def _fields(count: int) -> re.Pattern[bytes]:
    """Numbers and, at the end of a sealed frame, its tag."""
    return re.compile(rb"(?s)%b(?:\xc4\x10(.{%d}))?\Z" % (count * (b"(%b)" % NUMBER), TAG))


_FIELDS: Final = {count: _fields(count).match for _, count in FREQUENT.values()}
