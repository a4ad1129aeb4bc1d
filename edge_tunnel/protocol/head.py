"""What a node reads of a message: enough to pass it on, and nothing else.

The head of a frame has one form only (WIRE.md), so that it is found without msgpack.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from edge_tunnel.errors import RemoteProtocolError
from edge_tunnel.protocol.frames import FIRST_TUNNEL_KIND, MAX_DATA, MAX_MESSAGE, TAG, Kind

__all__ = [
    "NUMBER",
    "Head",
    "behind_stream",
    "check_data",
    "data_of",
    "kind_of",
    "number_in",
    "peek",
]

_KINDS: Final = frozenset(kind.value for kind in Kind)


class Head(NamedTuple):
    """Kind, tunnel id (None: the frame is about the link) and stream id (0: about the tunnel)."""

    kind: int
    tunnel: bytes | None
    stream: int
    data: re.Match[bytes] | None = None
    """Of one whole DATA frame: what `data_of` reads."""


def peek(message: bytes) -> Head:
    """Read kind, tunnel id and stream id from the head of a message, and nothing else.

    Raises:
      RemoteProtocolError: the head is not one.
    """
    data = _data(message)
    if data is not None:
        tunnel, stream, _, _, length = data.groups()
        size = len(message) - data.end()
        if 0 < size <= _MOST_BULK and size == int.from_bytes(length[1:], "big"):
            number = stream[0] if len(stream) == 1 else number_in(stream)
            if number:
                return _new(Head, (_DATA, tunnel, number, data))
    elif 22 <= len(message) <= MAX_MESSAGE and message[20] < 0x80 and message[2:4] == _ID:
        kind = message[1]
        if kind in _TUNNEL_KINDS and message[0] & 0xF0 == 0x90:
            return _new(Head, (kind, message[4:20], message[20], None))
    return _peek(message)


def _peek(message: bytes) -> Head:
    """Of a link's frame, of a stream with a larger number, of what is no frame."""
    kind = kind_of(message)
    if kind < FIRST_TUNNEL_KIND:
        return Head(kind, None, 0)
    if len(message) < 22 or message[2:4] != _ID:
        raise RemoteProtocolError(f"bad head of a frame of kind {kind}")
    size = _SIZES[message[20]]
    if not 1 < size < 9 or len(message) < 20 + size:
        raise RemoteProtocolError("bad stream id")
    return Head(kind, message[4:20], int.from_bytes(message[21 : 20 + size], "big"))


def check_data(head: Head) -> None:
    """Check the rest of a DATA frame's head, so that a node passes no garbage on.

    Raises:
      RemoteProtocolError: it is DATA, and not one whole frame.
    """
    if head.kind == _DATA and head.data is None:
        raise RemoteProtocolError("Data: bad head")


def data_of(head: Head) -> tuple[int, int, int] | None:
    """Epoch and offset of a DATA frame, and where its bytes begin; None: it is not a whole one."""
    data = head.data
    return data and (number_in(data[3]), number_in(data[4]), data.end())


def kind_of(message: bytes) -> int:
    """Check what comes before the first field: size, array, and a kind that is known."""
    if len(message) > MAX_MESSAGE:
        raise RemoteProtocolError(f"a message of {len(message)} bytes; the limit is {MAX_MESSAGE}")
    if len(message) < 3 or message[0] & 0xF0 != 0x90:
        raise RemoteProtocolError("a frame is an array that begins with its kind")
    kind = message[1]
    if kind not in _KINDS:
        raise RemoteProtocolError(f"unknown kind of frame: {kind}")
    return kind


def number_in(coded: bytes) -> int:
    """The value of a number, or of the size in the head of a bin."""
    return coded[0] if len(coded) == 1 else int.from_bytes(coded[1:], "big")


def behind_stream(message: bytes) -> int:
    """Where what follows the stream id begins, of a message that `peek` took for one with it."""
    return 20 + _SIZES[message[20]]


_SIZES: Final = bytes({0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9}.get(n, n < 0x80) for n in range(256))
"""By its first byte, the bytes of a number in msgpack; 0: it is none."""

_32_BITS: Final = rb"[\x00-\x7f]|\xcc.|\xcd..|\xce.{4}"
NUMBER: Final = _32_BITS + rb"|\xcf[\x00-\x7f].{7}"
"""As a regular expression: a number in msgpack, up to MAX_NUMBER, in any form."""

_DATA: Final = Kind.DATA.value
_data: Final = re.compile(
    rb"(?s)\x96\x%02x\xc4\x10(.{16})(%b)(%b)(%b)(\xc4.|\xc5..|\xc6.{4})"
    % (_DATA, _32_BITS, NUMBER, NUMBER)
).match
"""The head of DATA: tunnel id, stream id, epoch, offset, and how many bytes follow."""

_MOST_BULK: Final = MAX_DATA + TAG

_ID: Final = b"\xc4\x10"
"""The head of a tunnel id in msgpack: a bin of 16 bytes. The stream id follows."""

_TUNNEL_KINDS: Final = frozenset(kind for kind in _KINDS if kind >= FIRST_TUNNEL_KIND)

_new: Final = tuple.__new__
"""A named tuple's own constructor is Python, and is called for each message."""
