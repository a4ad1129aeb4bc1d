"""What a node reads of a message: enough to pass it on, and nothing else.

The head of a frame has one form only (WIRE.md), so that it is found without msgpack.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from edge_tunnel.errors import RemoteProtocolError
from edge_tunnel.protocol.frames import FIRST_TUNNEL_KIND, MAX_DATA, MAX_MESSAGE, TAG, Kind

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
    if message[2:4] != b"\xc4\x10" or len(message) < 22:
        raise RemoteProtocolError(f"bad head of a frame of kind {kind}")
    first = message[20]
    if first < 0x80:
        return Head(kind, message[4:20], first)
    size = _SIZES[first]
    if not 1 < size < 9 or len(message) < 20 + size:
        raise RemoteProtocolError("bad stream id")
    return Head(kind, message[4:20], int.from_bytes(message[21 : 20 + size], "big"))


def check_data(message: bytes, head: Head) -> None:
    """Check the rest of a DATA frame's head, so that a node passes no garbage on.

    Raises:
      RemoteProtocolError: it is not one whole DATA frame.
    """
    try:
        epoch = 20 + _SIZES[message[20]]
        offset = epoch + _size_at(message, epoch)
        bulk = offset + _size_at(message, offset)
        begin = bulk + _BULK_SIZES[message[bulk]]
        size = int.from_bytes(message[bulk + 1 : begin], "big")
    except (IndexError, KeyError):
        size = 0
    if (
        not 0 < size <= _MOST_BULK
        or len(message) != begin + size
        or message[0] != 0x96
        or not head.stream
    ):
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
    start = 20 + _SIZES[message[20]]
    try:
        for _ in range(count):
            size = _size_at(message, start)
            first = message[start]
            numbers.append(
                first if size == 1 else int.from_bytes(message[start + 1 : start + size], "big")
            )
            start += size
    except (IndexError, KeyError):
        return [], MAX_MESSAGE + 1
    return numbers, start


def bulk_at(message: bytes, start: int) -> memoryview | None:
    """The bytes at the end of DATA; None: it is something else."""
    head = _BULK_SIZES.get(message[start], 1) if start < len(message) else 1
    begin = start + head
    size = int.from_bytes(message[start + 1 : begin], "big")
    whole = len(message) == begin + size and 0 < size <= _MOST_BULK
    return memoryview(message)[begin:] if whole else None


def _size_at(message: bytes, start: int) -> int:
    """Bytes of the number that begins there. Raises KeyError or IndexError: it is none."""
    first = message[start]
    if first < 0x80:
        return 1
    size = _SIZES[first]
    if not size or (size == 9 and message[start + 1] >= 0x80):  # above MAX_NUMBER
        raise KeyError(first)
    return size


_SIZES: Final = bytes({0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9}.get(n, n < 0x80) for n in range(256))
"""By its first byte, the bytes of a number in msgpack; 0: it is none."""

_BULK_SIZES: Final = {0xC4: 2, 0xC5: 3, 0xC6: 5}
"""By its first byte, the bytes of the head of a bin in msgpack."""

_MOST_BULK: Final = MAX_DATA + TAG
