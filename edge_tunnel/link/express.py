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

__all__ = ["Splitter", "pack", "packed"]

_BINARY: Final = 0x82  # FIN and opcode 2
_CONTROL: Final = range(0x88, 0x8B)  # FIN and opcode 8 (close), 9 (ping), 10 (pong)
_MASKED: Final = 0x80
_LARGEST_CONTROL: Final = 125


def pack(message: bytes, *, masked: bool) -> tuple[bytes, bytes]:
    """The frame that carries `message`, in two parts; a client masks it."""
    flag = _MASKED if masked else 0
    size = len(message)
    if size < 126:
        head = _small_head(_BINARY, flag | size)
    elif size < 65536:
        head = _medium_head(_BINARY, flag | 126, size)
    else:
        head = _large_head(_BINARY, flag | 127, size)
    if not masked:
        return head, message
    key = _fresh_key()
    return head + key, mask(message, key)


def packed(message: bytes, *, masked: bool) -> bytes:
    """The same in one piece."""
    return b"".join(pack(message, masked=masked))


_small_head = struct.Struct(">BB").pack
_medium_head = struct.Struct(">BBH").pack
_large_head = struct.Struct(">BBQ").pack


_keys: list[bytes] = []


def _fresh_key() -> bytes:
    """One that nobody can foretell (RFC 6455, section 5.3); many come of one system call."""
    while True:
        try:
            return _keys.pop()
        except IndexError:
            some = os.urandom(1024)
            _keys.extend(some[start : start + 4] for start in range(0, len(some), 4))


class Splitter:
    """Takes arriving bytes apart; see the module."""

    __slots__ = ("_masked", "_messages", "for_library", "given_up", "rest")

    def __init__(self, *, masked: bool) -> None:
        """`masked`: whether the peer is a client, whose frames must be masked."""
        self._masked = masked
        self.rest = b""
        """The beginning of a frame that is not whole yet: at most one of the largest."""

        self._messages: list[bytes] = []  # whole ones, the last first: an empty deque is larger
        self.for_library = bytearray()
        """Bytes that the library must see, in order."""

        self.given_up = False
        """All further bytes are the library's."""

    def next_message(self) -> bytes | None:
        """The next whole message, if there is one."""
        return self._messages.pop() if self._messages else None

    def feed(self, data: bytes | bytearray) -> None:
        """Bytes arrived."""
        with memoryview(self.rest + data) as whole:
            self.split(whole)

    def split(self, data: memoryview) -> None:
        """Bytes arrived; the first of them are those of `rest`. None of `data` is kept."""
        start, end = 0, len(data)
        earlier, self._messages = self._messages, []
        while end - start >= 2:
            payload, size = self._measure(data, start)
            if self._is_unusual(data[start], data[start + 1], size):
                self.given_up = True
                self.for_library += data[start:]
                start = end
            elif end < payload + size:
                break
            else:
                self._take(data, start, payload, payload + size)
                start = payload + size
        self.rest = bytes(data[start:])
        self._messages.reverse()
        self._messages += earlier

    def give_up(self) -> None:
        """Leave everything to the library from here on, what is not a whole frame yet too."""
        self.given_up = True
        self.for_library += self.rest
        self.rest = b""

    def _measure(self, data: memoryview, start: int) -> tuple[int, int]:
        """Where the payload of the frame starts, and its size; beyond `data` if not known yet."""
        size = data[start + 1] & 0x7F
        payload = start + 6 if self._masked else start + 2
        if size < 126:
            return payload, size
        width = 2 if size == 126 else 8
        if len(data) < start + 2 + width:
            return len(data), 1
        return payload + width, int.from_bytes(data[start + 2 : start + 2 + width], "big")

    def _is_unusual(self, first: int, second: int, size: int) -> bool:
        return (
            (first != _BINARY and (first not in _CONTROL or second & 0x7F > _LARGEST_CONTROL))
            or bool(second & _MASKED) is not self._masked
            or size > MAX_MESSAGE
        )

    def _take(self, data: memoryview, start: int, payload: int, stop: int) -> None:
        if data[start] != _BINARY:
            self.for_library += data[start:stop]
        elif self._masked:
            self._messages.append(mask(data[payload:stop], bytes(data[payload - 4 : payload])))
        else:
            self._messages.append(bytes(data[payload:stop]))
