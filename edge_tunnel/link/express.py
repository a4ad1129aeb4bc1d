"""Binary messages on the short way, past the WebSocket library. No I/O here.

Nearly all that a link carries is one kind of WebSocket frame: binary, final, of a modest size. The
library takes one apart in Python with half a dozen copies and two task switches, which is most of
what a small message costs. `Splitter` picks these frames out of the arriving bytes and leaves the
rest to the library: control frames go to it one by one, and the first frame that is anything else
(text, fragments, extensions, too large, wrongly masked) ends the short way, so that every decision
about a peer that does something unusual stays the library's.
"""

from __future__ import annotations

import os
import struct
from typing import Final

from edge_tunnel.link.masking import mask
from edge_tunnel.protocol.frames import MAX_MESSAGE

__all__ = ["Splitter", "pack"]

_BINARY: Final = 0x82  # FIN and opcode 2
_CONTROL: Final = range(0x88, 0x8B)  # FIN and opcode 8 (close), 9 (ping), 10 (pong)
_MASKED: Final = 0x80
_LARGEST_CONTROL: Final = 125


def pack(message: bytes, *, masked: bool) -> bytes:
    """The frame that carries `message`; a client masks it."""
    flag = _MASKED if masked else 0
    size = len(message)
    if size < 126:
        head = struct.pack(">BB", _BINARY, flag | size)
    elif size < 65536:
        head = struct.pack(">BBH", _BINARY, flag | 126, size)
    else:
        head = struct.pack(">BBQ", _BINARY, flag | 127, size)
    if not masked:
        return head + message
    key = os.urandom(4)
    return b"".join((head, key, mask(message, key)))


class Splitter:
    """Takes arriving bytes apart; see the module."""

    __slots__ = ("_buffer", "_masked", "for_library", "given_up")

    def __init__(self, *, masked: bool) -> None:
        """`masked`: whether the peer is a client, whose frames must be masked."""
        self._masked = masked
        self._buffer = bytearray()
        self.for_library = bytearray()
        """Bytes that the library must see, in order."""

        self.given_up = False
        """All further bytes are the library's."""

    def feed(self, data: bytes | bytearray) -> None:
        """Bytes arrived."""
        if self.given_up:
            self.for_library += data
        else:
            self._buffer += data

    def next_message(self) -> bytes | None:
        """The next whole message; None if there is none before more bytes arrive."""
        buffer = self._buffer
        while len(buffer) >= 2:
            start, size = self._measure()
            if self._is_unusual(size):
                self.give_up()
                return None
            if not start or len(buffer) < start + size:
                return None
            if buffer[0] == _BINARY:
                return self._cut(start, start + size)
            self.for_library += buffer[: start + size]
            del buffer[: start + size]
        return None

    def give_up(self) -> None:
        """Leave everything to the library from here on, what is not a whole frame yet too."""
        self.given_up = True
        self.for_library += self._buffer
        self._buffer = bytearray()

    def _measure(self) -> tuple[int, int]:
        """Where the payload starts (0: not known yet), and its size."""
        buffer = self._buffer
        size = buffer[1] & 0x7F
        key = 4 if self._masked else 0
        if size < 126:
            return 2 + key, size
        width = 2 if size == 126 else 8
        if len(buffer) < 2 + width:
            return 0, 0
        return 2 + width + key, int.from_bytes(buffer[2 : 2 + width], "big")

    def _is_unusual(self, size: int) -> bool:
        first, second = self._buffer[0], self._buffer[1]
        return (
            (first != _BINARY and (first not in _CONTROL or second & 0x7F > _LARGEST_CONTROL))
            or bool(second & _MASKED) is not self._masked
            or size > MAX_MESSAGE
        )

    def _cut(self, start: int, stop: int) -> bytes:
        with memoryview(self._buffer) as view, view[start:stop] as payload:
            if self._masked:
                message = mask(payload, bytes(view[start - 4 : start]))
            else:
                message = bytes(payload)
        del self._buffer[:stop]
        return message
