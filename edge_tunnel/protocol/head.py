"""What a node reads of a message: enough to pass it on, and nothing else.

The head of a frame has one form only (WIRE.md), so that it is found without msgpack.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from edge_tunnel.errors import RemoteProtocolError
from edge_tunnel.protocol.frames import FIRST_TUNNEL_KIND, MAX_DATA, MAX_MESSAGE, TAG, Kind
from edge_tunnel.protocol.spec import MAX_NUMBER

__all__ = ["Head", "bulk_at", "check_data", "kind_of", "numbers_at", "peek"]

_KINDS: Final = frozenset(kind.value for kind in Kind)


class Head(NamedTuple):
    """Kind, tunnel id (None: the frame is about the link) and stream id (0: about the tunnel)."""

    kind: int
    tunnel: bytes | None
    stream: int


def peek(message: bytes) -> Head:
    """Read kind, tunnel id and stream id from the head of a message, and nothing else.

    Raises:
      RemoteProtocolError: the head is not one.
    """
    kind = kind_of(message)
    if kind < FIRST_TUNNEL_KIND:
        return Head(kind, None, 0)
    # bin 8 of 16 bytes, then the stream id
    if len(message) < 22 or message[2:4] != b"\xc4\x10":
        raise RemoteProtocolError(f"bad head of a frame of kind {kind}")
    first = message[20]
    if first < 0x80:
        return Head(kind, message[4:20], first)
    width = _WIDTHS.get(first, 8)
    if width == 8 or len(message) < 21 + width:
        raise RemoteProtocolError("bad stream id")
    return Head(kind, message[4:20], int.from_bytes(message[21 : 21 + width], "big"))


def check_data(message: bytes, head: Head) -> None:
    """Check the rest of a DATA frame's head, so that a node passes no garbage on.

    Raises:
      RemoteProtocolError: it is not one whole DATA frame.
    """
    if message[0] != 0x96 or not head.stream or bulk_at(message, numbers_at(message, 2)[1]) is None:
        raise RemoteProtocolError("Data: bad head")


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


def numbers_at(message: bytes, count: int) -> tuple[list[int], int]:
    """The numbers behind the stream id, and where they end: beyond the message if they are none."""
    numbers = []
    start = 21 + _WIDTHS.get(message[20], 0)
    try:
        for _ in range(count):
            number = message[start]
            start += 1
            if number >= 0x80:
                stop = start + _WIDTHS[number]
                number = int.from_bytes(message[start:stop], "big")
                start = stop
            numbers.append(number)
    except (IndexError, KeyError):
        return [], MAX_MESSAGE + 1
    return numbers, start if max(numbers) <= MAX_NUMBER else MAX_MESSAGE + 1


def bulk_at(message: bytes, start: int) -> memoryview | None:
    """The bytes at the end of DATA; None: it is something else."""
    width = _BULK_WIDTHS.get(message[start], 0) if start < len(message) else 0
    begin = start + 1 + width
    size = int.from_bytes(message[start + 1 : begin], "big")
    whole = len(message) == begin + size and 0 < size <= MAX_DATA + TAG
    return memoryview(message)[begin:] if whole else None


_WIDTHS: Final = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_BULK_WIDTHS: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4}
